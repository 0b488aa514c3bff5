"""What replaces values that are taken away."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.replacing import filling
from rootpoint.perturbation.features import features

IMAGES = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
TABLE = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def filled(
    spec: Any, inputs: Tensor, sample: int = 0, repetition: int = 0, kind: str = ""
) -> Tensor:
    kind = kind or ("patches(2)" if inputs.dim() == 4 else "columns")
    parts = [features(kind, x) for x in inputs]
    fill = filling(spec, inputs, parts, range(10, 10 + len(inputs)), 0)
    gone = torch.ones_like(inputs[:1, :1], dtype=torch.bool)
    return fill(sample, repetition, gone).reshape(inputs.shape[1:])


def test_noise_lies_in_the_range_of_each_channel_of_the_sample() -> None:
    found = filled("noise", IMAGES, 1)
    for channel, values in enumerate(found):
        original = IMAGES[1, channel]
        assert original.min() <= values.min() < values.max() <= original.max()


def test_noise_lies_in_a_range_that_is_given() -> None:
    found = filled("noise(-2, -1.5)", IMAGES)
    assert -2 <= found.min() < found.max() <= -1.5


def test_noise_differs_between_samples_and_repetitions_and_is_the_same_again() -> None:
    spec = "noise(0, 1)"
    assert torch.equal(filled(spec, IMAGES), filled(spec, IMAGES))
    assert not torch.equal(filled(spec, IMAGES), filled(spec, IMAGES, 1))
    assert not torch.equal(filled(spec, IMAGES), filled(spec, IMAGES, 0, 1))


def test_the_mean_is_that_of_each_channel_of_the_sample() -> None:
    found = filled("mean", IMAGES)
    assert torch.equal(found, IMAGES[0].mean((1, 2), keepdim=True).expand(3, 4, 4))
    assert torch.equal(filled("mean", TABLE, 1), torch.tensor([3.5, 3.5]))


def test_of_data_the_nearest_sample_replaces() -> None:
    data = torch.tensor([[9.0, 9.0], [3.0, 5.0], [0.0, 2.0]])
    assert torch.equal(filled(data, TABLE, 0), data[2])
    assert torch.equal(filled(data, TABLE, 1), data[1])


def test_a_number_or_a_tensor_replaces_as_it_is() -> None:
    assert torch.equal(filled(7.0, TABLE), torch.tensor([7.0, 7.0]))
    assert torch.equal(filled(torch.tensor([5.0, 6.0]), TABLE), torch.tensor([5.0, 6.0]))


def test_linear_imputation_adds_little_noise() -> None:
    image = torch.full((1, 1, 6, 6), 3.0)
    missing = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    missing[..., 1:5, 1:5] = True
    fill = filling("linear", image, [features("patches(1)", image[0])], [0], 0)
    off = (fill(0, 0, missing) - image)[missing]
    assert 0.001 < off.std() < 0.02
    assert off.abs().max() < 0.05


@pytest.mark.parametrize(
    ("spec", "inputs", "kind", "message"),
    [
        ("nosie", TABLE, "", "choose noise, 'noise"),
        ("noise(1.2.3, 4)", TABLE, "", r"'1.2.3' is not a number"),
        (None, TABLE, "", "replacement=None is none: give a name"),
        (True, TABLE, "", "replacement=True is none"),
        ("blur", TABLE, "", "is for images"),
        ("linear", TABLE, "", "is for images"),
        ("linear", IMAGES, "values", "needs features of whole pixels"),
        ("inpaint", IMAGES, "values", "needs features of whole pixels"),
    ],
)
def test_what_replaces_nothing_raises_an_error(
    spec: Any, inputs: Tensor, kind: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        filled(spec, inputs, kind=kind)
