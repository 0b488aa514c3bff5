"""Coalitions of features: all of them, those that orders pass through, and their worth."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

from rootpoint.perturbation.game import Game


class Worth:
    """v(S) of a game, each coalition evaluated once: float64, on the CPU.

    full    the score of the whole sample, which is known already
    spent   coalitions evaluated so far; each takes `cost` evaluations of the model
    """

    def __init__(self, game: Game, full: float) -> None:
        self.count, self.cost = game.count, game.cost
        self.full, self.spent, self._game = full, 0, game
        self._known = {_keys(torch.ones(1, game.count, dtype=torch.bool))[0]: full}
        self._precision = torch.finfo(torch.float64).eps

    @property
    def empty(self) -> float:
        """The worth of no feature."""
        return float(self(torch.zeros(1, self.count, dtype=torch.bool))[0])

    @property
    def constant(self) -> bool:
        """Whether all coalitions so far are worth the same, but for rounding."""
        found = np.array(list(self._known.values()))
        return bool(np.ptp(found) <= 16 * self._precision * np.abs(found).max())

    def __call__(self, coalitions: Tensor) -> Tensor:
        """The worth (n,) of coalitions (n, count), bool."""
        keys = _keys(coalitions)
        new: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if key not in self._known:
                new.setdefault(key, row)
        if new:
            found = self._game(coalitions[list(new.values())])
            self._precision = torch.finfo(found.dtype).eps
            self._known.update(zip(new, found.cpu().double().tolist(), strict=True))
            self.spent += len(new)
        return torch.tensor([self._known[key] for key in keys], dtype=torch.float64)


def _keys(coalitions: Tensor) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(coalitions.numpy(), axis=1)]


def all_coalitions(count: int) -> Tensor:
    """Every coalition of so many features, (2^count, count), the empty one first."""
    return (torch.arange(2**count)[:, None] >> torch.arange(count)) & 1 == 1


def passed_through(orders: Tensor) -> Tensor:
    """The coalitions (n, count − 1, count) as features come in one by one, in orders (n, count)."""
    arrival = orders.argsort(1)[:, None]
    return arrival < torch.arange(1, orders.shape[1])[None, :, None]


class Pairs:
    """Coalitions of `size` of `count` features, each standing for itself and its complement.

    They are drawn at random and none twice; of half of all features, those with the first one.

    total   of them
    mass    of all of them, and their complements, in the Shapley kernel
            π(S) = (d − 1) / (C(d, |S|) |S| (d − |S|))
    drawn   so far, (n, count), bool
    """

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        self.count, self.size, self._generator = count, size, generator
        self.halves = 2 * size == count
        self.total = comb(count, size) // (2 if self.halves else 1)
        self.mass = (count - 1) / (size * (count - size)) / (2 if self.halves else 1)
        self.drawn = torch.empty(0, count, dtype=torch.bool)
        self._keys: set[bytes] = set()

    def extend(self, number: int) -> None:
        """Have so many drawn, at least."""
        while len(self.drawn) < number:
            few = 2 * number < self.total
            self._take(self._random(number - len(self.drawn)) if few else self._listed(), number)

    def _take(self, rows: Tensor, number: int) -> None:
        chosen = []
        for row, key in zip(rows, _keys(rows), strict=True):
            if key not in self._keys and len(self._keys) < number:
                self._keys.add(key)
                chosen.append(row)
        if chosen:
            self.drawn = torch.cat([self.drawn, torch.stack(chosen)])

    def _random(self, number: int) -> Tensor:
        order = torch.rand(number, self.count, generator=self._generator).argsort(1)
        rows = self._rows(order[:, : self.size])
        return torch.where(rows[:, :1], rows, ~rows) if self.halves else rows

    def _listed(self) -> Tensor:
        """All of them, in random order."""
        first = (0,) if self.halves else ()
        others = combinations(range(len(first), self.count), self.size - len(first))
        rows = self._rows(torch.tensor([first + rest for rest in others]))
        return rows[torch.randperm(self.total, generator=self._generator)]

    def _rows(self, members: Tensor) -> Tensor:
        return torch.zeros(len(members), self.count, dtype=torch.bool).scatter_(1, members, True)


def shared_out(pairs: list[Pairs], number: int) -> list[int]:
    """How many of each size to draw, of `number`: by the root of their mass, at most all."""
    shares = [0] * len(pairs)
    waiting = list(range(len(pairs)))
    while waiting:
        weight = {i: pairs[i].mass ** 0.5 for i in waiting}
        unit = (number - sum(shares)) / sum(weight.values())
        small = [i for i in waiting if unit * weight[i] >= pairs[i].total]
        for i in small or waiting:
            shares[i] = pairs[i].total if small else int(unit * weight[i])
        waiting = [i for i in waiting if i not in small] if small else []
    for i, pair in enumerate(pairs):  # what rounding left over, to the outer sizes
        if sum(shares) < number and shares[i] < pair.total:
            shares[i] += 1
    return shares


def rounds(least: int, most: int, accuracy: float | None) -> Iterator[int]:
    """Numbers of draws after which to look: `most`; from `least` on, if accuracy may be reached."""
    number = most if accuracy is None else least
    while number < most:
        yield number
        number = number * 3 // 2 + 1
    yield most


def reached(standard_error: Tensor, accuracy: float | None) -> bool:
    """Whether every standard error is as small as was asked for."""
    return accuracy is not None and bool((standard_error <= accuracy).all())
