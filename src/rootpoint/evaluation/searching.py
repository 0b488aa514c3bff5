"""Successive halving: candidates and composites that compete on ever more samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rootpoint.errors import InputError
from rootpoint.evaluation.evaluate import chosen_metrics
from rootpoint.evaluation.measurements import Measurements
from rootpoint.evaluation.metric import Case, Metric
from rootpoint.evaluation.metric import metric as by_name
from rootpoint.evaluation.result import Result
from rootpoint.evaluation.space import Point, Space
from rootpoint.evaluation.statistics import Estimate, estimate
from rootpoint.inputs import Model
from rootpoint.methods.gradient import Gradient

if TYPE_CHECKING:
    from torch import Tensor

Criteria: TypeAlias = "str | Metric | Mapping[str | Metric, str | float]"

COST = "cost"
BEST = "best"


@dataclass(frozen=True, eq=False)
class Trial:
    """What one candidate was in one round: its value on the first `samples` training samples.

    values   of the criterion, one per sample
    bounded  the mean of each metric with a bound, and "cost" if that has one
    met      whether every bound is met
    """

    round: int
    method: str
    samples: int
    values: NDArray[np.float64]
    bounded: Mapping[str, float]
    met: bool

    @property
    def mean(self) -> float:
        return _mean(self.values)

    @property
    def estimate(self) -> Estimate:
        """The mean with its 95 % interval, which knows nothing of how many were compared."""
        return estimate(self.values)


@dataclass(frozen=True, eq=False)
class Aims:
    """The metric that decides, and the bounds that others must meet."""

    metric: Metric
    bounds: Mapping[Metric, float]
    cost: float | None

    @classmethod
    def of(cls, criteria: Criteria, model: Model, masks: Tensor | None) -> Aims:
        """Raises InputError unless exactly one criterion is "best" and others are numbers."""
        given = {criteria: BEST} if isinstance(criteria, str | Metric) else dict(criteria)
        cost = given.pop(COST, None)
        read = {by_name(m) if isinstance(m, str) else m: aim for m, aim in given.items()}
        best = [metric for metric, aim in read.items() if aim == BEST]
        bounds = {metric: aim for metric, aim in read.items() if metric not in best}
        for metric, aim in {**bounds, COST: 0.0 if cost is None else cost}.items():
            if not isinstance(aim, int | float) or isinstance(aim, bool):
                raise InputError(f"criteria: {metric} is {aim!r}, neither {BEST!r} nor a number")
        if len(best) != 1:
            raise InputError(f"criteria: {len(best)} metrics are {BEST!r}; it takes one to decide")
        chosen_metrics([*read], model, masks)
        limits = {metric: float(bound) for metric, bound in bounds.items()}
        return cls(best[0], limits, None if cost is None else float(cost))

    @property
    def metrics(self) -> list[Metric]:
        return [self.metric, *self.bounds]

    def order(self, trial: Trial) -> tuple[Any, ...]:
        """A key to sort trials by, the best first; where the bounds are missed, the last."""
        value = -trial.mean if self.metric.better == "higher" else trial.mean
        return (not trial.met, np.isnan(value), value, trial.method)

    def bounded(self, values: Mapping[str, Any], cost: float) -> dict[str, float]:
        means = {str(metric): _mean(values[str(metric)]) for metric in self.bounds}
        return means | ({} if self.cost is None else {COST: cost})

    def met(self, bounded: Mapping[str, float]) -> bool:
        """NaN meets no bound."""
        kept = self.cost is None or bounded[COST] <= self.cost
        for metric, bound in self.bounds.items():
            value = bounded[str(metric)]
            kept &= value >= bound if metric.better == "higher" else value <= bound
        return bool(kept)

    def __str__(self) -> str:
        texts = [
            f"{m} {'≥' if m.better == 'higher' else '≤'} {bound:g}"
            for m, bound in self.bounds.items()
        ]
        return ", ".join(texts + ([] if self.cost is None else [f"{COST} ≤ {self.cost:g}"]))


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


@dataclass(eq=False)
class Search:
    """Successive halving, in which the best composites have children.

    known    every candidate by its name
    points   where the composites lie in the space
    trials   what was found, round by round, in each the best first
    """

    aims: Aims
    cases: Sequence[Case]
    measured: Measurements
    space: Space | None
    random: Random
    known: dict[str, Any] = field(default_factory=dict)
    points: dict[str, Point] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    @cached_property
    def rounds(self) -> list[tuple[int, int]]:
        return _rounds(len(self.cases))

    def run(self, given: Mapping[str, Any], width: int, generations: int) -> None:
        """Raises InputError without a candidate, and what they raise if all of them fail."""
        self.known |= given
        names = [*given, *(self._named(p) for p in self._first(width))]
        if not names:
            raise InputError("there is neither a candidate nor a space to select from")
        for number in range(1, len(self.rounds) + 1):
            found = self._trials(number, list(dict.fromkeys(names)))
            for _ in range(generations):
                found += self._trials(number, self._children(found, max(width // 2, 1)))
            if not found:
                raise self.measured.error()
            found.sort(key=self.aims.order)
            self.trials += found
            width = max(width // 2, 1)
            names = [trial.method for trial in found[: max(width, 2)]]

    def finalists(self, count: int) -> list[str]:
        """The best of the last round. Raises InputError if none has a value within the bounds."""
        last = [t for t in self.trials if t.round == self.trials[-1].round]
        if not last[0].met:
            reached = ", ".join(f"{k} {v:.3g}" for k, v in last[0].bounded.items())
            raise InputError(
                f"no candidate meets {self.aims}; the best by {self.aims.metric}, "
                f"{last[0].method}, has {reached}: loosen the bounds"
            )
        found = [t.method for t in last if t.met and not np.isnan(t.mean)][:count]
        if not found:
            raise InputError(f"{self.aims.metric} is defined for no training sample")
        return found

    def _first(self, width: int) -> list[Point]:
        return [] if self.space is None else self.space.first(width, self.random)

    def _named(self, point: Point) -> str:
        assert self.space is not None
        method = self.space.method(point)
        self.known.setdefault(str(method), method)
        self.points[str(method)] = point
        return str(method)

    def _children(self, found: Sequence[Trial], count: int) -> list[str]:
        """New composites, each one option away from one of the best; fewer if there are none."""
        ranked = [t.method for t in sorted(found, key=self.aims.order) if t.method in self.points]
        parents = ranked[: max(count // 2, 1)]
        if self.space is None or not parents:
            return []
        children: dict[str, None] = {}
        for attempt in range(20 * count):
            if len(children) >= count:
                break
            point = self.space.varied(self.points[parents[attempt % len(parents)]], self.random)
            name = str(self.space.method(point))
            if name not in self.points and name not in self.known:
                children[self._named(point)] = None
        return list(children)

    def _trials(self, number: int, names: Sequence[str]) -> list[Trial]:
        """The candidates on the samples of the first rounds; what was measured is not repeated."""
        pieces: list[Mapping[str, Result]] = []
        for start, stop in self.rounds[:number]:
            judged = {name: self.known[name] for name in names}
            pieces.append(self._measure(judged, start, stop, f"Round {number}"))
            names = [name for name in names if name in pieces[-1]]
        return [self._trial(number, name, [piece[name] for piece in pieces]) for name in names]

    def _trial(self, number: int, name: str, results: Sequence[Result]) -> Trial:
        values = {
            str(metric): np.concatenate([result.values[str(metric)] for result in results])
            for metric in self.aims.metrics
        }
        criterion = values[str(self.aims.metric)]
        bounded = self.aims.bounded(values, self._cost(number, results))
        met = self.aims.met(bounded)
        return Trial(number, name, len(criterion), criterion, bounded, met)

    def _measure(
        self, judged: Mapping[str, Any], start: int, stop: int, doing: str
    ) -> Mapping[str, Result]:
        cases = self.cases[start:stop]
        found = self.measured(f"training {start}", judged, cases, self.aims.metrics, doing)
        for result in found.values():  # pictures and curves of hundreds of candidates fill memory
            result.examples.clear()
            result.curves.clear()
        return found

    def _cost(self, number: int, results: Sequence[Result]) -> float:
        """The seconds of an explanation, in those of a gradient of the same samples."""
        if self.aims.cost is None:
            return float("nan")
        name, gradient = "gradient", {"gradient": Gradient()}
        plain = [self._measure(gradient, *piece, "Timing")[name] for piece in self.rounds[:number]]
        return sum(r.seconds * r.count for r in results) / sum(r.seconds * r.count for r in plain)


def _rounds(count: int) -> list[tuple[int, int]]:
    """The cases that each round adds: as many as all rounds before, the last all that are left."""
    ends = [1] if count else []
    while ends and ends[-1] < count:
        ends.append(2 * ends[-1] if 3 * ends[-1] <= count else count)
    return list(zip([0, *ends[:-1]], ends, strict=True))
