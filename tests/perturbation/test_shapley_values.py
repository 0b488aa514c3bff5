"""Shapley values of games: axioms, closed forms, and estimators that say how far they are off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.perturbation.coalitions import Worth, all_coalitions
from rootpoint.perturbation.shapley_values import by_kernel, by_permutation, exact

ESTIMATORS = [by_kernel, by_permutation]


class Table:
    """A game by its worth of every coalition, in the order of `all_coalitions`."""

    def __init__(self, worth: Tensor, cost: int = 1) -> None:
        self.worth, self.count = worth, len(worth).bit_length() - 1
        self.cost = cost
        self.names: tuple[str, ...] | None = None

    def __call__(self, coalitions: Tensor) -> Tensor:
        return self.worth[(coalitions * 2 ** torch.arange(self.count)).sum(1)]


def worth(table: Tensor, cost: int = 1) -> Worth:
    return Worth(Table(table, cost), float(table[-1]))


def game(count: int, seed: int) -> Tensor:
    return torch.randn(2**count, generator=torch.Generator().manual_seed(seed)).double()


def smooth(count: int, seed: int) -> Tensor:
    """The worth is a ReLU network's output: interactions of all orders, as models have them."""
    g = torch.Generator().manual_seed(seed)
    z = 2 * all_coalitions(count).double() - 1
    for _ in range(2):
        weight = torch.randn(z.shape[1], 24, generator=g).double() * 2 / z.shape[1] ** 0.5
        z = (z @ weight + torch.randn(24, generator=g).double() / 2).relu()
    return z @ torch.randn(24, generator=g).double() / 5


def of(function: Callable[..., float], x: tuple[float, ...]) -> Tensor:
    """The game of a function's arguments with the baseline zero."""
    rows = all_coalitions(len(x)).tolist()
    inputs = [[v if here else 0.0 for v, here in zip(x, row, strict=True)] for row in rows]
    return torch.tensor([function(*row) for row in inputs], dtype=torch.float64)


def two_layers(a: float, b: float) -> float:
    """The network T1 of the reference."""
    return 2 * max(0.0, a + b) - max(0.0, -a + 2 * b - 1) + 0.5


CLOSED = [
    (of(lambda a, b, c: a * b + c, (1.0, 2.0, 3.0)), (1.0, 1.0, 3.0)),
    (of(two_layers, (1.0, 2.0)), (2.5, 1.5)),
    (of(max, (3.0, 2.0, 1.0)), (11 / 6, 5 / 6, 1 / 3)),
]


@pytest.mark.parametrize(("table", "expected"), CLOSED)
def test_closed_forms(table: Tensor, expected: tuple[float, ...]) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    assert torch.allclose(exact(worth(table)).values, wanted, rtol=0, atol=1e-12)
    found = by_kernel(worth(table), budget=len(table))
    assert torch.allclose(found.values, wanted, rtol=0, atol=1e-10)


def test_exact_values_are_the_mean_over_all_orders() -> None:
    table = game(4, 1)
    total = torch.zeros(4, dtype=torch.float64)
    for order in permutations(range(4)):
        coalition = 0
        for feature in order:
            total[feature] += table[coalition | 1 << feature] - table[coalition]
            coalition |= 1 << feature
    assert torch.allclose(exact(worth(table)).values, total / 24, rtol=0, atol=1e-12)


@given(st.integers(1, 7), st.integers(0, 10**6))
@settings(max_examples=25)
def test_efficiency_of_every_estimator(count: int, seed: int) -> None:
    table = game(count, seed)
    gain = float(table[-1] - table[0])
    for found in (exact(worth(table)), *(e(worth(table), budget=40) for e in ESTIMATORS)):
        assert float(found.values.sum()) == pytest.approx(gain, abs=1e-10)


@given(st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=25)
def test_symmetric_features_share_alike(count: int, seed: int) -> None:
    rows, table = all_coalitions(count), game(count, seed)
    swapped = rows.clone()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    symmetric = table + table[(swapped * 2 ** torch.arange(count)).sum(1)]
    values = exact(worth(symmetric)).values
    assert float(values[0]) == pytest.approx(float(values[1]), abs=1e-10)


@given(st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=25)
def test_a_feature_that_adds_nothing_gets_nothing(count: int, seed: int) -> None:
    others = game(count - 1, seed)
    dummy = others.repeat(2)  # the last feature is the highest bit
    values = exact(worth(dummy)).values
    assert float(values[-1]) == pytest.approx(0, abs=1e-10)
    assert torch.allclose(values[:-1], exact(worth(others)).values, rtol=0, atol=1e-10)


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=25)
def test_values_of_a_sum_of_games_are_the_sum_of_their_values(count: int, seed: int) -> None:
    one, two = game(count, seed), game(count, seed + 1)
    both = exact(worth(2 * one + two)).values
    parts = 2 * exact(worth(one)).values + exact(worth(two)).values
    assert torch.allclose(both, parts, rtol=0, atol=1e-10)


@given(st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=25)
def test_kernel_shap_with_all_coalitions_is_exact(count: int, seed: int) -> None:
    table = game(count, seed)
    found = by_kernel(worth(table), budget=2**count)
    assert torch.allclose(found.values, exact(worth(table)).values, rtol=0, atol=1e-9)
    if found.standard_error is not None:
        assert float(found.standard_error.max()) == 0


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_games_of_pairs_are_solved_exactly_by_a_small_sample(estimate: Callable[..., Any]) -> None:
    rows = all_coalitions(10).double()
    interactions = torch.randn(10, 10).double()
    table = torch.einsum("ni,ij,nj->n", rows, interactions, rows)
    found = estimate(worth(table), budget=80)
    assert torch.allclose(found.values, exact(worth(table)).values, rtol=0, atol=1e-9)
    assert found.standard_error is not None


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("make", [game, smooth])
def test_errors_are_as_large_as_the_standard_errors_say(
    estimate: Callable[..., Any], make: Callable[[int, int], Tensor]
) -> None:
    scores = []
    for seed in range(40):
        table = make(9, seed)
        found = estimate(worth(table), budget=330, seed=seed)
        scores.append((found.values - exact(worth(table)).values) / found.standard_error)
    z = torch.stack(scores)
    assert 0.85 < float(z.square().mean().sqrt()) < 1.25
    assert float((z.abs() < 1.96).double().mean()) > 0.89
    assert abs(float(z.mean())) < 0.2


def test_sampled_orders_are_unbiased() -> None:
    table = game(8, 3)
    found = [by_permutation(worth(table), budget=60, seed=seed).values for seed in range(300)]
    mean, error = torch.stack(found).mean(0), torch.stack(found).std(0) / 300**0.5
    assert float(((mean - exact(worth(table)).values) / error).abs().max()) < 3.5


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("cost", [1, 3])
@pytest.mark.parametrize("budget", [150, 300, 1000])
def test_the_budget_is_kept(estimate: Callable[..., Any], cost: int, budget: int) -> None:
    v = worth(game(10, 0), cost)
    estimate(v, budget=budget)
    assert v.spent * cost <= budget
    assert v.spent * cost > 0.6 * budget


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_sampling_stops_at_the_accuracy(estimate: Callable[..., Any]) -> None:
    v = worth(smooth(14, 0))
    found = estimate(v, budget=100_000, accuracy=0.02)
    assert float(found.standard_error.max()) <= 0.02
    assert v.spent < 10_000


@pytest.mark.parametrize(("estimate", "least"), [(by_kernel, 41), (by_permutation, 37)])
@pytest.mark.parametrize("cost", [1, 2])
def test_a_budget_below_the_minimum_names_it(
    estimate: Callable[..., Any], least: int, cost: int
) -> None:
    with pytest.raises(InputError, match=rf"at least {least * cost} evaluations"):
        estimate(worth(game(10, 0), cost), budget=least * cost - 1)
    estimate(worth(game(10, 0), cost), budget=least * cost)


def test_too_many_features_for_exact_values_name_the_remedy() -> None:
    large = Table(torch.zeros(2))
    large.count = 17
    with pytest.raises(InputError, match="at most 16 features: use estimator='kernel'"):
        exact(Worth(large, 1.0))


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_the_same_seed_gives_the_same_values(estimate: Callable[..., Any]) -> None:
    first, again, other = (
        estimate(worth(game(8, 0)), budget=70, seed=seed).values for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_half_the_evaluations_of_plain_orders_do() -> None:
    """Captum's estimator: independent orders, d evaluations each."""
    ours, theirs = [], []
    for seed in range(12):
        table = smooth(12, seed)
        wanted = exact(worth(table)).values
        ours.append(by_kernel(worth(table), budget=240, seed=seed).values - wanted)
        orders = torch.rand(40, 12, generator=torch.Generator().manual_seed(seed)).argsort(1)
        theirs.append(plain(table, orders) - wanted)
    assert float(torch.stack(ours).norm()) < float(torch.stack(theirs).norm())


def plain(table: Tensor, orders: Tensor) -> Tensor:
    added = torch.zeros(orders.shape, dtype=torch.float64)
    for row, order in enumerate(orders.tolist()):
        coalition = 0
        for feature in order:
            added[row, feature] = table[coalition | 1 << feature] - table[coalition]
            coalition |= 1 << feature
    return added.mean(0)
