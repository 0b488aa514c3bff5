"""Coalitions: drawn without repetition, and evaluated once."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import pytest
import torch
from torch import Tensor

from rootpoint.perturbation.coalitions import (
    Pairs,
    Worth,
    all_coalitions,
    passed_through,
    rounds,
    shared_out,
)


class Sizes:
    """The worth of a coalition is its size; keeps what it was asked for."""

    def __init__(self) -> None:
        self.count, self.cost = 4, 1
        self.names: tuple[str, ...] | None = None
        self.asked: list[Tensor] = []

    def __call__(self, coalitions: Tensor) -> Tensor:
        self.asked.append(coalitions)
        return coalitions.sum(1).float()


def test_all_coalitions_are_each_subset_once() -> None:
    rows = {tuple(row) for row in all_coalitions(5).tolist()}
    assert len(rows) == 32
    assert not all_coalitions(5)[0].any()
    assert all_coalitions(5)[-1].all()


def test_orders_pass_through_growing_coalitions() -> None:
    found = passed_through(torch.tensor([[2, 0, 1]]))
    assert found.tolist() == [[[False, False, True], [True, False, True]]]


def test_no_coalition_is_evaluated_twice_and_the_full_one_never() -> None:
    game = Sizes()
    v = Worth(game, 4.0)
    twice = torch.cat([all_coalitions(4), all_coalitions(4)])
    assert v(twice).tolist() == twice.sum(1).tolist()
    assert v(twice).dtype == torch.float64
    assert v.empty == 0
    assert v.spent == sum(len(a) for a in game.asked) == 15


def test_rounding_is_not_a_change_of_the_score() -> None:
    v = Worth(Sizes(), 4.0)
    assert v.constant
    v(all_coalitions(4)[-2:])
    assert not v.constant


@pytest.mark.parametrize(("count", "size"), [(5, 1), (5, 2), (6, 3), (7, 3)])
def test_pairs_are_never_drawn_twice_and_end_with_all(count: int, size: int) -> None:
    pairs = Pairs(count, size, torch.Generator().manual_seed(0))
    for number in (1, 3, pairs.total):
        pairs.extend(number)
        assert len(pairs.drawn) == number
    both = torch.cat([pairs.drawn, ~pairs.drawn])
    assert len(both.unique(dim=0)) == 2 * pairs.total
    assert (pairs.drawn.sum(1) == size).all()


def test_the_masses_are_those_of_the_shapley_kernel() -> None:
    d = 6
    generator = torch.Generator()
    for size in (1, 2, 3):
        weight = (d - 1) / (comb(d, size) * size * (d - size))
        pairs = Pairs(d, size, generator)
        assert pairs.mass / pairs.total == pytest.approx(weight)


@pytest.mark.parametrize("number", [20, 33, 100, 511])
def test_the_draws_are_shared_out_without_remainder_and_outer_sizes_first(number: int) -> None:
    pairs = [Pairs(10, size, torch.Generator()) for size in range(1, 6)]
    shares = shared_out(pairs, number)
    assert sum(shares) == number
    assert all(n <= p.total for n, p in zip(shares, pairs, strict=True))
    filled = [n / p.total for n, p in zip(shares, pairs, strict=True)]
    assert all(a >= b for a, b in pairwise(filled[:4]))


def test_rounds_grow_only_if_an_accuracy_was_asked_for() -> None:
    assert list(rounds(10, 100, None)) == [100]
    assert list(rounds(10, 40, 0.1)) == [10, 16, 25, 38, 40]
