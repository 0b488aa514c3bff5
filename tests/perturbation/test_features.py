"""Features: every value belongs to one, and what does not fit is refused."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rootpoint.errors import InputError, MissingExtraError
from rootpoint.perturbation.features import features


def image(channels: int = 3) -> Tensor:
    """Two colours side by side, with little noise."""
    x = 0.02 * torch.randn(channels, 24, 30)
    x[:, :, 15:] += torch.linspace(2, 3, channels)[:, None, None]
    return x


def test_columns_are_the_values_of_the_last_dimension() -> None:
    found = features("columns", torch.zeros(2, 3, 4))
    assert found.count == 4
    assert found.mask.tolist() == [[[0, 1, 2, 3]]]


def test_values_are_features_each() -> None:
    assert features("values", torch.zeros(2, 3)).mask.tolist() == [[0, 1, 2], [3, 4, 5]]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_patches_are_squares_numbered_by_rows(height: int, width: int, size: int) -> None:
    found = features(f"patches({size})", torch.zeros(3, height, width))
    columns = -(-width // size)
    rows = [[i // size * columns + j // size for j in range(width)] for i in range(height)]
    assert found.mask.tolist() == [rows]
    assert found.count == -(-height // size) * columns


def test_patches_are_of_16_pixels_if_not_said() -> None:
    x = torch.zeros(1, 40, 40)
    assert torch.equal(features("patches", x).mask, features("patches(16)", x).mask)


@pytest.mark.parametrize("spec", ["superpixels", "superpixels(8)"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_no_superpixel_crosses_a_strong_edge(spec: str, channels: int) -> None:
    mask = features(spec, image(channels)).mask[0]
    left, right = set(mask[:, :13].flatten().tolist()), set(mask[:, 17:].flatten().tolist())
    assert left.isdisjoint(right)


@pytest.mark.parametrize("spec", ["superpixels", "superpixels(8)"])
def test_superpixels_know_no_units_and_are_the_same_again(spec: str) -> None:
    x = image()
    scaled = 7 * x - 100
    assert torch.equal(features(spec, x).mask, features(spec, scaled.double()).mask)


def test_superpixels_of_one_colour() -> None:
    assert features("superpixels(4)", torch.zeros(3, 8, 8)).mask.shape == (1, 8, 8)


def test_more_superpixels_are_more() -> None:
    x = torch.linspace(0, 1, 48)[:, None].expand(3, 48, 48)
    few, many = (features(f"superpixels({n})", x).count for n in (4, 36))
    assert few < many <= 40


def test_a_mask_is_renumbered_without_gaps() -> None:
    found = features(torch.tensor([[7, 7, -2]]), torch.zeros(2, 3))
    assert found.mask.tolist() == [[1, 1, 0]]
    assert found.count == 2


def test_weights_are_shared_equally_among_the_values_of_a_feature() -> None:
    found = features(torch.tensor([0, 1, 1]), torch.zeros(2, 3))
    assert found.spread(torch.tensor([6.0, 8.0]), torch.zeros(2, 3)).tolist() == [[3, 2, 2]] * 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("squares", "choose superpixels"),
        ("patches(0)", "at least 1"),
        ("columns(3)", "take no number"),
        ("patches(-1)", "choose superpixels"),
        (torch.zeros(2, 3), "whole numbers"),
        (torch.zeros(2, 3, dtype=torch.bool), "whole numbers"),
        (torch.zeros(3, dtype=torch.long), r"mask of shape \(3,\)"),
        (torch.zeros(5, 1, 4, 4, dtype=torch.long), "does not fit"),
    ],
)
def test_what_is_no_feature_is_refused(spec: str | Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        features(spec, torch.zeros(3, 4, 4))


@pytest.mark.parametrize("spec", ["superpixels", "patches"])
def test_only_images_have_superpixels_and_patches(spec: str) -> None:
    with pytest.raises(InputError, match=r"images \(C, H, W\), not of a sample of shape \(5,\)"):
        features(spec, torch.zeros(5))


def test_without_scikit_image_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(MissingExtraError, match=r"rootpoint\[superpixels\]"):
        features("superpixels", image())
