"""Rules of kernel machines against their formulas, term by term, and the functions' gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rootpoint import LRP, rules
from rootpoint.propagation.composites import Composite
from rootpoint.propagation.functions import (
    columnwise,
    distances,
    exponential_difference,
    harmonic_minimum,
    soft_minimum,
)

Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")

SHAPES = [(2.0, 2.0), (2.0, 1.0), (2.0, 1.5), (1.0, 1.0), (1.0, 2.0), (3.0, 3.0), (1.5, 1.0)]


def by_terms(x: Tensor, points: Tensor, r: Tensor, p: float) -> Tensor:
    """R_i = Σ_j |x_i − u_ij|^p / Σ_i |x_i − u_ij|^p · R_j, equal shares at x = u_j."""
    found = torch.zeros_like(x)
    for b, j in torch.cartesian_prod(torch.arange(len(x)), torch.arange(len(points))).tolist():
        apart = (x[b] - points[j]).abs() ** p
        total = apart.sum()
        share = apart / total if total else torch.full_like(apart, 1 / len(apart))
        found[b] += share * r[b, j]
    return found


@pytest.mark.parametrize(("p", "power"), SHAPES)
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_distances_share_by_column(send: Send, p: float, power: float, scale: float) -> None:
    x, points, m = torch.randn(4, 3) + 5, torch.randn(6, 3) + 5, torch.randn(4, 6)
    x[0], x[1] = points[2], points[3] + 1e-6 * torch.randn(3)
    expected_output = scale * (x.unsqueeze(1) - points).abs().pow(p).sum(2).pow(power / p)
    given = distances(x, points, p, power, scale)
    assert torch.allclose(given, expected_output, rtol=1e-12, atol=1e-12)
    found = send(lambda v: distances(v, points, p, power, scale), x, m=m, kind="distance")
    assert torch.allclose(found, by_terms(x, points, given * m, p), rtol=1e-9, atol=1e-11)
    assert torch.allclose(found.sum(1), (given * m).sum(1), rtol=1e-10, atol=1e-12)


def test_distances_of_squares_lose_no_digits_near_a_point_far_from_the_mean(send: Send) -> None:
    points = torch.tensor([[1e3, -1e3, 1e3], [-1e3, 1e3, -1e3], [0.0, 0.0, 5.0]])
    m = torch.tensor([[1.0, 0.0, 0.0]])
    for gap in (1e-1, 1e-2, 1e-3):
        x = points[:1] + gap * torch.tensor([1.0, 2.0, 3.0])
        given = distances(x, points)
        found = send(lambda v: distances(v, points), x, m=m, kind="distance")
        shares = torch.tensor([1.0, 4.0, 9.0]) / 14 * given[0, 0]
        assert torch.allclose(found[0], shares, rtol=1e-6)
        assert torch.allclose(found.sum(1), given[:, 0], rtol=1e-10)


@pytest.mark.parametrize("offset", [None, (0.3, -1.0, 2.0)])
@pytest.mark.parametrize("rooted", [False, True])
def test_a_soft_minimum_shares_by_responsibility(
    send: Send, offset: tuple[float, ...] | None, rooted: bool
) -> None:
    a = torch.tensor([[1.0, 2.0, 4.0], [0.5, 30.0, 0.6], [3.0, 3.0, 3.0]])
    c = None if offset is None else torch.tensor(offset)
    found = send(
        lambda v: soft_minimum(v, c), a, rules.soft_minimum(rooted=rooted), kind="soft-minimum"
    )
    for b, row in enumerate(a.tolist()):
        weights = [math.exp(-one - (offset[j] if offset else 0)) for j, one in enumerate(row)]
        o = -math.log(sum(weights))
        for j, one in enumerate(row):
            kept = min(o, one) if rooted else o
            assert found[b, j].item() == pytest.approx(weights[j] / sum(weights) * kept, rel=1e-12)


def test_the_rule_of_the_deck_is_the_same(send: Send) -> None:
    """R_j = (a_j + c_j + ε_j) p_j with ε_j = log p_j."""
    a, c = torch.rand(5, 7) * 4, torch.randn(7)
    p = torch.softmax(-(a + c), 1)
    found = send(lambda v: soft_minimum(v, c), a, kind="soft-minimum")
    assert torch.allclose(found, (a + c + p.log()) * p, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rooted", [False, True])
def test_a_soft_minimum_of_large_distances_conserves(send: Send, rooted: bool) -> None:
    a = torch.tensor([[1e9, 1e9, 1e9 + 3], [1e18, 1e18, 1e19]])
    c = torch.tensor([0.1, 0.7, 0.2])
    rule = rules.soft_minimum(rooted=rooted)
    found = send(lambda v: soft_minimum(v, c), a, rule, kind="soft-minimum")
    assert torch.allclose(found.sum(1), soft_minimum(a, c), rtol=1e-9)


@pytest.mark.parametrize("rooted", [False, True])
def test_a_harmonic_minimum_shares_by_responsibility(send: Send, rooted: bool) -> None:
    a, w = torch.tensor([[1.0, 2.0, 9.0], [0.0, 5.0, 1e6]]), torch.tensor([0.5, 0.3, 0.2])
    rule = rules.harmonic_minimum(rooted=rooted)
    found = send(lambda v: harmonic_minimum(v, w), a, rule, kind="harmonic-minimum")
    for b, row in enumerate(a.tolist()):
        terms = [one / (1 + d) for one, d in zip(w.tolist(), row, strict=True)]
        o = 1 / sum(terms)
        for j, d in enumerate(row):
            expected = terms[j] * o * o * (d / (1 + d) if rooted else 1)
            assert found[b, j].item() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_a_difference_of_exponentials_is_that_of_its_logarithms(send: Send) -> None:
    x = torch.tensor([[0.3, 0.4], [1.0, 2.5], [40.0, 1.0], [2.0, 2.0 + 1e-9]])

    def f(v: Tensor) -> Tensor:
        return exponential_difference(v[:, 0], v[:, 1])

    found = send(f, x, m=torch.full((4,), 3.0), kind="exponential-difference")
    for row, given in zip(found.tolist(), x.tolist(), strict=True):
        a, b = given
        change = math.exp(-b) * math.expm1(b - a)
        mean = change / (b - a)
        assert row == pytest.approx([-3 * a * mean, 3 * b * mean], rel=1e-12)
        assert sum(row) == pytest.approx(3 * change, rel=1e-7, abs=1e-15)


def test_a_difference_of_exponentials_is_finite_where_one_of_them_vanishes(send: Send) -> None:
    x = torch.tensor([[1.0, 900.0], [900.0, 1.0], [900.0, 2000.0]])

    def f(v: Tensor) -> Tensor:
        return exponential_difference(v[:, 0], v[:, 1])

    found = send(f, x, kind="exponential-difference")
    share = math.exp(-1.0) / 899
    assert torch.allclose(
        found, torch.tensor([[-share, 900 * share], [-900 * share, share], [0.0, 0.0]]), rtol=1e-12
    )


@pytest.mark.parametrize("slot", [0, 1])
def test_one_pool_of_a_difference_may_be_constant(send: Send, slot: int) -> None:
    fixed = torch.tensor([0.5, 0.5])
    x = torch.tensor([[1.0], [2.0]])

    def f(v: Tensor) -> Tensor:
        both = (v[:, 0], fixed) if slot == 0 else (fixed, v[:, 0])
        return exponential_difference(*both)

    found = send(f, x, kind="exponential-difference").flatten()
    gap = (x.flatten() - fixed) * (1 if slot else -1)
    assert torch.allclose(found, f(x) / gap * x.flatten() * (1 if slot else -1), rtol=1e-10)


def test_columns_keep_their_relevance_also_at_zero(send: Send) -> None:
    x = torch.tensor([[0.0, 2.0, -1.0]])
    m = torch.tensor([[1.0, -2.0, 0.5]])
    scaled = (x - 3) / 2
    found = send(lambda v: columnwise(v, lambda u: (u - 3) / 2), x, m=m, kind="columnwise")
    assert torch.allclose(found, scaled * m, rtol=1e-12)


def test_without_a_composite_the_functions_have_these_rules() -> None:
    points = torch.randn(3, 2)
    x = torch.randn(4, 2)

    def f(v: Tensor) -> Tensor:
        return soft_minimum(distances(v, points))

    found = LRP(composite=Composite(()))(f, x, "predicted")
    assert torch.allclose(found.relevance.sum(1), f(x), rtol=1e-10)
    assert set(found.balance.absorbed) <= {"rounding"}


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{
        f"distances p={p} power={power}": lambda v, p=p, power=power: distances(
            v, torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.0, 0.5]]), p, power, 0.7
        )
        for p, power in SHAPES
    },
    "soft minimum": soft_minimum,
    "soft minimum with offsets": lambda v: soft_minimum(v, torch.tensor([0.1, -2.0, 1.0])),
    "harmonic minimum": lambda v: harmonic_minimum(v.abs(), torch.tensor([0.5, 0.3, 0.2])),
    "difference of exponentials": lambda v: exponential_difference(v[:, 0], v[:, 1]),
    "columnwise": lambda v: columnwise(v, torch.tanh),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_gradients_are_those_of_finite_differences(function: Callable[[Tensor], Tensor]) -> None:
    x = (torch.randn(3, 3) * 2 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(function, x)
