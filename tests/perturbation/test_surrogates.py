"""Weighted ridge regression on coalitions, as LIME has it."""

from __future__ import annotations

import pytest
import torch

from rootpoint.perturbation.coalitions import all_coalitions
from rootpoint.perturbation.surrogates import nearness, ridge, selected, surrogate

MASKS = torch.tensor([[1, 1], [0, 1], [1, 0], [0, 0]]).bool()
SCORES = torch.tensor([4.5, 1.5, 2.5, 0.5], dtype=torch.float64)


def test_the_kernel_of_images_on_all_masks() -> None:
    found = nearness(MASKS, 0.25, cosine=True)
    expected = torch.tensor([1, 0.503440, 0.503440, 0.000335], dtype=torch.float64)
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


def test_the_surrogate_of_the_two_layer_network() -> None:
    found = surrogate(MASKS, SCORES, nearness(MASKS, 0.25, cosine=True))
    assert found.intercept == pytest.approx(2.493586, abs=1e-6)
    expected = torch.tensor([0.669200, 0.334341], dtype=torch.float64)
    assert torch.allclose(found.coefficients, expected, rtol=0, atol=1e-6)


def test_distances_of_text_are_a_hundred_times_those_of_images() -> None:
    masks = all_coalitions(4)
    text = nearness(masks, 25.0, cosine=True, scale=100.0)
    assert torch.allclose(text, nearness(masks, 0.25, cosine=True), rtol=0, atol=1e-12)


def test_distances_of_tables_count_absent_columns() -> None:
    found = nearness(MASKS, 2.0, cosine=False)
    distance = torch.tensor([0, 1, 1, 2], dtype=torch.float64).sqrt()
    assert torch.allclose(found, (-(distance**2) / 4).exp().sqrt())


def test_an_additive_score_has_its_weights_and_a_perfect_fit() -> None:
    masks = all_coalitions(5)
    weights = torch.tensor([3.0, -2, 0, 1, 0.5], dtype=torch.float64)
    y = masks.double() @ weights + 7
    found = surrogate(masks, y, nearness(masks, 0.25, cosine=True), alpha=0.0)
    assert torch.allclose(found.coefficients, weights, atol=1e-9)
    assert found.intercept == pytest.approx(7)
    assert found.fit == pytest.approx(1)
    assert float(found.standard_error.max()) < 1e-9


@pytest.mark.parametrize("number", [1, 3, 7])
def test_the_strongest_features_are_selected(number: int) -> None:
    masks = all_coalitions(9)
    weights = torch.tensor([0.1, 9, 0.2, 8, -7, 6, 5, -4, 3], dtype=torch.float64)
    y, weight = masks.double() @ weights, torch.ones(512, dtype=torch.float64)
    strongest = sorted(weights.abs().topk(number).indices.tolist())
    assert selected(masks.double(), y, weight, number) == strongest
    found = surrogate(masks, y, weight, number=number)
    assert found.coefficients.nonzero().flatten().tolist() == strongest


def test_one_by_one_finds_what_single_weights_miss() -> None:
    """Features 0 and 1 nearly tell the same: the second of them adds less than feature 2."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(2, (400, 3), generator=generator).double()
    x[:, 1] = x[:, 0]
    y = 2 * x[:, 0] + x[:, 2]
    assert 2 in selected(x, y, torch.ones(400, dtype=torch.float64), 2)


def test_errors_are_as_large_as_the_standard_errors_say() -> None:
    truth = torch.tensor([1.0, -1, 0.5, 0], dtype=torch.float64)
    z = []
    for seed in range(100):
        g = torch.Generator().manual_seed(seed)
        x = torch.randint(2, (200, 4), generator=g).double()
        noise = torch.randn(200, generator=g).double() * (1 + x[:, 0])
        found = ridge(x, x @ truth + noise, torch.rand(200, generator=g).double() + 0.5, 0.0)
        z.append((found.coefficients - truth) / found.standard_error)
    assert 0.85 < float(torch.stack(z).square().mean().sqrt()) < 1.15
