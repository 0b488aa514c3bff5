"""Replacements: each as its name says, per channel, seeded, and of the sample's shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.perturbation.blur import blurred
from rootpoint.perturbation.features import Features, features
from rootpoint.perturbation.inpainting import inpainted
from rootpoint.perturbation.replacements import replacements


def patches(x: Tensor) -> Features:
    return features("patches(4)", x)


def test_a_number_is_everywhere() -> None:
    x = torch.randn(3, 8, 8)
    assert torch.equal(replacements(2.5, x, patches(x)), torch.full((1, 3, 8, 8), 2.5))


def test_the_mean_is_that_of_each_feature_and_channel() -> None:
    x = torch.randn(3, 8, 8, dtype=torch.float64)
    found = replacements("mean", x, patches(x))[0]
    squares = x.reshape(3, 2, 4, 2, 4)
    expected = squares.mean((2, 4), keepdim=True).expand_as(squares).reshape(x.shape)
    assert torch.allclose(found, expected, rtol=1e-12)


def test_the_mean_of_what_is_no_image_is_over_all_values_of_a_feature() -> None:
    x = torch.tensor([[1.0, 2, 3], [5, 6, 7]])
    found = replacements("mean", x, features("columns", x))[0]
    assert found.tolist() == [[3, 4, 5], [3, 4, 5]]


def test_a_mean_that_replaces_nothing_is_an_error() -> None:
    x = torch.randn(5)
    with pytest.raises(InputError, match="replaces nothing"):
        replacements("mean", x, features("columns", x))


def test_blur_keeps_constants_and_agrees_with_scipy_away_from_the_edges() -> None:
    x = torch.randn(2, 60, 70, dtype=torch.float64)
    found = blurred(x, 2.0)
    expected = np.stack([gaussian_filter(c, 2.0, truncate=12) for c in x.numpy()])
    inside = (slice(None), slice(20, -20), slice(20, -20))
    assert np.allclose(found.numpy()[inside], expected[inside], rtol=0, atol=1e-12)
    assert torch.allclose(blurred(torch.ones(3, 5, 9), 10.0), torch.ones(3, 5, 9))


def test_noise_is_seeded_and_within_each_channels_range() -> None:
    x = torch.stack([torch.rand(40, 40), 5 + 2 * torch.rand(40, 40)])
    state = torch.get_rng_state()
    found = replacements("noise", x, patches(x), seed=3)[0]
    assert torch.equal(found, replacements("noise", x, patches(x), seed=3)[0])
    assert not torch.equal(found, replacements("noise", x, patches(x), seed=4)[0])
    assert torch.equal(state, torch.get_rng_state())
    for channel, like in zip(found, x, strict=True):
        assert like.min() <= channel.min() < channel.max() <= like.max()
        assert abs(float(channel.mean() - (like.min() + like.max()) / 2)) < 0.1


def test_inpainting_continues_a_slope_exactly() -> None:
    """What is linear in both directions solves Laplace's equation."""
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    x = torch.stack([rows + 2 * columns, 3 - rows]).double()
    mask = torch.zeros(1, 9, 11, dtype=torch.long)
    mask[:, 3:6, 2:8] = 1
    found = inpainted(x, mask)
    inside = mask.expand_as(x) == 1
    assert torch.allclose(found[inside], x[inside], atol=1e-4)


@given(st.integers(0, 100))
def test_inpainted_values_are_the_mean_of_their_neighbours(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 6, 7, generator=generator, dtype=torch.float64)
    mask = torch.randint(3, (1, 6, 7), generator=generator)
    found = inpainted(x, mask)
    assert x.min() - 1e-4 <= found.min() <= found.max() <= x.max() + 1e-4
    for i in range(6):
        for j in range(7):
            around = [(i + a, j + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))]
            around = [(a, b) for a, b in around if 0 <= a < 6 and 0 <= b < 7]
            own = mask[0, i, j]
            values = [(found if mask[0, a, b] == own else x)[0, a, b] for a, b in around]
            assert abs(sum(values) / len(values) - found[0, i, j]) < 1e-4


def test_inpainting_does_not_see_what_it_replaces() -> None:
    x = torch.rand(3, 12, 12, dtype=torch.float64)
    other = x.clone()
    other[:, :4, 4:8] = 9
    mask = patches(x).mask
    inside = (slice(None), slice(0, 4), slice(4, 8))
    assert torch.allclose(inpainted(x, mask)[inside], inpainted(other, mask)[inside], atol=1e-4)


def test_tensors_and_data_are_taken_as_they_are() -> None:
    x = torch.randn(3, 4, 4)
    one, data = torch.randn(3, 4, 4), torch.randn(5, 3, 4, 4)
    color = torch.randn(3, 1, 1)
    assert torch.equal(replacements(one, x, patches(x)), one[None])
    assert torch.equal(replacements(data, x, patches(x)), data)
    assert torch.equal(replacements(color, x, patches(x)), color.expand(1, 3, 4, 4))
    assert replacements(one.double(), x, patches(x)).dtype == torch.float32


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("median", "baseline='median' is none"),
        (float("nan"), "not a finite number"),
        (torch.zeros(3, 4, 5), "does not fit a sample"),
        (torch.zeros(0, 3, 4, 4), "does not fit a sample"),
        (torch.full((3, 4, 4), torch.inf), "NaN or infinity"),
    ],
)
def test_what_is_no_replacement_is_refused(spec: float | str | Tensor, message: str) -> None:
    x = torch.randn(3, 4, 4)
    with pytest.raises(InputError, match=message):
        replacements(spec, x, patches(x))


@pytest.mark.parametrize("spec", ["blur", "inpaint"])
def test_only_images_are_blurred_and_inpainted(spec: str) -> None:
    with pytest.raises(InputError, match=r"not for a sample of shape \(5,\)"):
        replacements(spec, torch.randn(5), features("columns", torch.randn(5)))


def test_one_feature_has_no_surroundings_and_channels_no_own_ones() -> None:
    x = torch.randn(3, 4, 4)
    with pytest.raises(InputError, match="only one feature"):
        replacements("inpaint", x, features(torch.zeros(1, 4, 4, dtype=torch.long), x))
    with pytest.raises(InputError, match="whole pixels"):
        replacements("inpaint", x, features("values", x))
