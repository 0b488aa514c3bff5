"""Masks from boxes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootpoint.errors import InputError
from rootpoint.evaluation.boxes import box_masks
from rootpoint.evaluation.evaluate import evaluate


def test_a_box_covers_left_to_right_and_top_to_bottom_without_the_ends() -> None:
    found = box_masks(torch.tensor([[1, 0, 3, 2]]), (3, 4))
    assert found.dtype == torch.bool
    assert found.int().tolist() == [[[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]]


def test_fractions_cover_the_pixels_whose_centre_is_inside() -> None:
    assert box_masks([[0.5, 0.6, 2.4, 2.6]], 3)[0].int().tolist() == [
        [0, 0, 0],
        [1, 1, 0],
        [1, 1, 0],
    ]


def test_several_boxes_are_united_and_none_is_an_empty_mask() -> None:
    found = box_masks([[[0, 0, 1, 1], [2, 2, 3, 3]], [], [0, 0, 3, 3]], 3)
    assert found.sum((1, 2)).tolist() == [2, 0, 9]


def test_boxes_may_reach_beyond_the_image() -> None:
    assert box_masks([[-5, 1, 99, 2]], 3).sum().item() == 3


@given(
    left=st.integers(0, 6),
    top=st.integers(0, 6),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
)
def test_the_area_is_that_of_the_box_within_the_image(
    left: int, top: int, width: int, height: int
) -> None:
    found = box_masks([[left, top, left + width, top + height]], 7)
    assert found.sum().item() == min(width, 7 - left) * min(height, 7 - top)


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([[0, 0, 2]], r"image 0 have shape \(3,\).*left, top, right, bottom"),
        (torch.zeros(1, 2, 3), r"image 0 have shape \(2, 3\)"),
        ([[0, 0, 1, 1], [2, 0, 1, 1]], "image 1.*right is not after its left"),
        ([[0, 1, 1, 1]], "bottom is not below its top"),
        ([[0, 0, float("nan"), 1]], "image 0 holds NaN"),
        ([["a", 0, 1, 1]], "image 0 are no numbers"),
        ([[300, 300, 400, 400]], "without a pixel of its 4 × 4.*after resizing"),
        ([[[0, 0, 1, 1], [1.6, 0, 2.4, 1]]], "without a pixel"),
        ([], "no image"),
    ],
)
def test_what_is_no_box_is_refused(boxes: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        box_masks(boxes, 4)


def test_evaluate_takes_them() -> None:
    masks = box_masks(torch.tensor([[0, 0, 2, 2], [2, 2, 4, 4]]), 4)
    x = torch.ones(2, 1, 4, 4)

    def upper_left(model: Any, inputs: Any, targets: Any) -> Any:
        return masks[:1].expand(2, -1, -1).float()

    found = evaluate(lambda x: x.flatten(1), x, upper_left, "relevance-mass", masks=masks)
    assert found.values("relevance-mass", "upper_left").tolist() == [1.0, 0.0]
