"""What an evaluation found: values, their means and intervals, differences, rankings."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from rootpoint.errors import UnknownNameError
from rootpoint.evaluation.metric import Case, Curves, Measured, Metric
from rootpoint.evaluation.statistics import Difference, Estimate, difference, estimate

if TYPE_CHECKING:
    from rootpoint.inputs import Model

EXAMPLES = 4  # samples whose maps are kept, for the report


@dataclass(eq=False)
class Result:
    """What all metrics say of one candidate.

    values    of each metric, one per sample (N,)
    curves    of each metric that has them
    seconds   that explaining took, per sample
    examples  inputs and relevance of the first samples
    """

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    seconds: float = 0.0
    examples: list[tuple[Any, Any]] = field(default_factory=list)
    count: int = 0

    def add(self, case: Case, measured: Mapping[str, Measured], seconds: float) -> None:
        """The next samples."""
        new = len(case.numbers)
        self.seconds = (self.seconds * self.count + seconds) / (self.count + new)
        self.count += new
        for i in range(min(new, EXAMPLES - len(self.examples))):
            self.examples.append((case.inputs[i], case.relevance[i]))
        for name, one in measured.items():
            values = _array(one.values)
            self.values[name] = np.concatenate([self.values.get(name, values[:0]), values])
            if one.curves is not None:
                self.curves[name] = _joined(self.curves.get(name), one.curves)


def _array(values: Any) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def _joined(before: Curves | None, new: Curves) -> Curves:
    lines = {name: _array(line) for name, line in new.lines.items()}
    if before is not None:
        lines = {name: np.concatenate([before.lines[name], line]) for name, line in lines.items()}
    return Curves(new.x, new.x_label, new.y_label, lines)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The values of metrics (by their text, such as "aopc(region=16)") for methods, on samples.

    failures        of candidates that could not be judged, what they raised
    configuration   all it takes to repeat this: parameters, seed, versions
    """

    metrics: Mapping[str, Metric]
    results: Mapping[str, Result]
    failures: Mapping[str, str]
    configuration: Mapping[str, Any]

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.results)

    def values(self, metric: str, method: str) -> NDArray[np.float64]:
        """One value per sample, (N,); NaN where the metric is not defined."""
        return self._result(method).values[self._metric(metric)]

    def mean(self, metric: str, method: str) -> Estimate:
        """The mean over samples, with its 95 % interval."""
        return estimate(self.values(metric, method))

    def difference(self, metric: str, method: str, other: str) -> Difference:
        """How much `method` has more than `other`, sample by sample, with interval and p."""
        return difference(self.values(metric, method), self.values(metric, other))

    def ranking(self, metric: str) -> list[str]:
        """The methods, the best first. Those for which the metric is not defined come last."""
        key = self._metric(metric)
        sign = -1.0 if self.metrics[key].better == "higher" else 1.0
        means = {name: sign * self.mean(key, name).mean for name in self.results}
        return sorted(means, key=lambda name: (np.isnan(means[name]), means[name]))

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each method and metric, as plain values."""
        for method, result in self.results.items():
            for name, metric in self.metrics.items():
                found = self.mean(name, method)
                yield {
                    "method": method,
                    "metric": name,
                    "mean": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "samples": found.samples,
                    "better": metric.better,
                    "seconds": result.seconds,
                }

    def _metric(self, name: str) -> str:
        """A metric's text from itself, or from its name if it is the only one of that name."""
        if name in self.metrics:
            return name
        named = [text for text, metric in self.metrics.items() if metric.name == name]
        if len(named) != 1:
            raise UnknownNameError("metric of this evaluation", name, self.metrics)
        return named[0]

    def _result(self, method: str) -> Result:
        if method not in self.results:
            raise UnknownNameError("method of this evaluation", method, self.results)
        return self.results[method]


def configuration(
    model: Model, judged: Mapping[str, Any], samples: Sequence[Case], seed: int
) -> dict[str, Any]:
    """What was evaluated, with which versions, as plain values."""
    from rootpoint import __version__

    return {
        "model": type(model).__name__,
        "methods": {name: repr(candidate) for name, candidate in judged.items()},
        "samples": sum(len(case.numbers) for case in samples),
        "seed": seed,
        "rootpoint": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def fingerprint(samples: Sequence[Case]) -> dict[str, Any]:
    """What tells samples and models apart, whatever rounds differently on another machine."""
    scores = torch.cat([case.score.double().cpu() for case in samples])
    return {"samples": len(scores), "scores": f"{float(scores.mean()):.3g}"}
