"""What an evaluation found: values, their means and intervals, differences, rankings."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rootpoint.errors import CheckFailedError, InputError, RootpointError, UnknownNameError
from rootpoint.evaluation.metric import Case, Curves, Measured, Metric
from rootpoint.evaluation.metric import metric as by_name
from rootpoint.evaluation.statistics import Difference, Estimate, bands, difference, estimate
from rootpoint.method import Method

if TYPE_CHECKING:
    from rootpoint.inputs import Model

EXAMPLES = 4  # samples whose maps are kept, for the report
FORMAT = "rootpoint evaluation 1"


@dataclass(eq=False)
class Result:
    """What all metrics say of one candidate.

    values    of each metric, one per sample (N,)
    curves    of each metric that has them
    seconds   that explaining took, per sample
    examples  inputs and relevance of the first samples, on the CPU
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
            self.examples.append((_kept(case.inputs[i]), _kept(case.relevance[i])))
        for name, one in measured.items():
            values = _array(one.values)
            self.values[name] = np.concatenate([self.values.get(name, values[:0]), values])
            if one.curves is not None:
                self.curves[name] = _joined(self.curves.get(name), one.curves)

    def to_dict(self) -> dict[str, Any]:
        """All but the examples, as values that JSON knows: NaN is None, ∞ is "inf"."""
        return {
            "values": plain(self.values),
            "curves": {
                name: {
                    "x": plain(one.x),
                    "x_label": one.x_label,
                    "y_label": one.y_label,
                    "lines": plain(one.lines),
                }
                for name, one in self.curves.items()
            },
            "seconds": plain(self.seconds),
            "count": self.count,
        }

    @classmethod
    def of_dict(cls, row: Mapping[str, Any]) -> Result:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError if it is something else."""
        curves = {
            name: Curves(**{**one, "lines": {k: _array(y) for k, y in one["lines"].items()}})
            for name, one in row["curves"].items()
        }
        values = {name: _array(given) for name, given in row["values"].items()}
        return cls(values, curves, float(row["seconds"]), count=int(row["count"]))


def plain(value: Any) -> Any:
    """Arrays and numbers as JSON knows them: lists, NaN as None, ±∞ as "inf" and "-inf"."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return [plain(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value


def _kept(one: Any) -> Any:
    """A sample without the memory of its batch."""
    return one.detach().cpu().clone() if isinstance(one, torch.Tensor) else one


def _array(values: Any) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def _joined(before: Curves | None, new: Curves) -> Curves:
    lines = {name: _array(line) for name, line in new.lines.items()}
    if before is not None:
        lines = {name: np.concatenate([before.lines[name], line]) for name, line in lines.items()}
    return Curves(new.x, new.x_label, new.y_label, lines)


def _bands(result: Result) -> dict[str, Any]:
    """The mean of each line of each curve, and the ends of its 95 % interval."""
    return {
        metric: {
            line: dict(zip(("mean", "low", "high"), map(plain, bands(each)), strict=True))
            for line, each in curves.lines.items()
        }
        for metric, curves in result.curves.items()
    }


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
    _means: dict[tuple[str, str], Estimate] = field(default_factory=dict, init=False, repr=False)

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.results)

    def values(self, metric: str, method: str) -> NDArray[np.float64]:
        """One value per sample, (N,); NaN where the metric is not defined."""
        return self._result(method).values[self._metric(metric)]

    def mean(self, metric: str, method: str) -> Estimate:
        """The mean over samples, with its 95 % interval."""
        key = self._metric(metric), method
        if key not in self._means:
            self._means[key] = estimate(self.values(*key))
        return self._means[key]

    def difference(self, metric: str, method: str, other: str) -> Difference:
        """How much `method` has more than `other`, sample by sample, with interval and p."""
        return difference(self.values(metric, method), self.values(metric, other))

    def ranking(self, metric: str) -> list[str]:
        """The methods, the best first. Those for which the metric is not defined come last."""
        key = self._metric(metric)
        sign = -1.0 if self.metrics[key].better == "higher" else 1.0
        means = {name: sign * self.mean(key, name).mean for name in self.results}
        return sorted(means, key=lambda name: (np.isnan(means[name]), means[name]))

    def check(self, bounds: Mapping[str, float], method: str | None = None) -> None:
        """Raise CheckFailedError if a metric's mean is worse than its bound, or not defined.

        bounds   the least a metric may have on average where higher is better, else the most
        method   which method to check; None: all of them
        """
        failed = []
        for name in self.methods if method is None else (method,):
            for metric, bound in bounds.items():
                better = self.metrics[self._metric(metric)].better
                mean, most = self.mean(metric, name).mean, better == "lower"
                if not (mean <= bound if most else mean >= bound):
                    failed.append(
                        f"{metric} of {name} is {mean:.4g}, {'over' if most else 'under'} {bound:g}"
                    )
        if failed:
            raise CheckFailedError("; ".join(failed))

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

    def save(self, path: str | Path) -> Path:
        """Write a report: by the suffix of `path`, to look at or to compute with.

        .html   one page with everything in it: a summary, tables, curves, maps; it works offline
        .json   all values, curves, means and the configuration; `load` reads it
        .csv    one row per method, metric and sample; empty where the metric is not defined
        Raises InputError for any other suffix, or if the file cannot be written.
        """
        path = Path(path)
        if path.suffix == ".html":
            from rootpoint.evaluation.report import report

            text = report(self)
        elif path.suffix == ".json":
            text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        elif path.suffix == ".csv":
            text = self._csv()
        else:
            raise InputError(
                f"cannot write {path}: use .html for a report, .json or .csv for the values"
            )
        try:
            path.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """What `save` wrote as .json: everything but the examples.

        A metric that cannot be made from its text alone, as one that holds a model, keeps its
        values but cannot measure again. Raises InputError if the file cannot be read, or is no
        evaluation.
        """
        try:
            return cls.of_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} holds no evaluation: write it with evaluation.save('….json')"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Everything but the examples, as values that JSON knows: NaN is None, ∞ is "inf"."""
        return {
            "format": FORMAT,
            "configuration": plain(self.configuration),
            "metrics": {
                text: {name: getattr(metric, name) for name in ("name", "summary", "better")}
                for text, metric in self.metrics.items()
            },
            "means": [plain(row) for row in self.rows()],
            "bands": {name: _bands(result) for name, result in self.results.items()},
            "results": {name: result.to_dict() for name, result in self.results.items()},
            "failures": dict(self.failures),
        }

    @classmethod
    def of_dict(cls, given: Mapping[str, Any]) -> Evaluation:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError if it is something else."""
        if given["format"] != FORMAT:
            raise ValueError(f"unknown format {given['format']!r}")
        return cls(
            metrics={text: _metric(text, about) for text, about in given["metrics"].items()},
            results={name: Result.of_dict(one) for name, one in given["results"].items()},
            failures=given["failures"],
            configuration=given["configuration"],
        )

    def _csv(self) -> str:
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["method", "metric", "sample", "value"])
        for method, result in self.results.items():
            for metric in self.metrics:
                for sample, value in enumerate(plain(result.values[metric])):
                    writer.writerow([method, metric, sample, value])  # None is written as nothing
        return text.getvalue()

    def _metric(self, name: str) -> str:
        """A metric's text from itself, however written, or from its name if that is unique."""
        if name in self.metrics:
            return name
        if "(" in name and (text := str(by_name(name))) in self.metrics:
            return text
        named = [text for text, metric in self.metrics.items() if metric.name == name]
        if len(named) != 1:
            raise UnknownNameError("metric of this evaluation", name, self.metrics)
        return named[0]

    def _result(self, method: str) -> Result:
        if method not in self.results:
            raise UnknownNameError("method of this evaluation", method, self.results)
        return self.results[method]


@dataclass(frozen=True, eq=False)
class Recorded(Metric):
    """A metric of which only the values are left, and what it takes to read them.

    What other metrics have by their class, each has by itself.
    """

    name: str  # type: ignore[misc]
    summary: str  # type: ignore[misc]
    better: Literal["higher", "lower"]  # type: ignore[misc]
    text: str

    def __str__(self) -> str:
        return self.text

    def measure(self, case: Case) -> Measured:
        raise InputError(f"{self.text} was read from a file, which does not hold all it needs")


def _metric(text: str, about: Mapping[str, Any]) -> Metric:
    try:
        made = by_name(text)
    except RootpointError:
        return Recorded(about["name"], about["summary"], about["better"], text)
    return made


def configuration(
    model: Model, judged: Mapping[str, Any], samples: Sequence[Case], seed: int
) -> dict[str, Any]:
    """What was evaluated, with which versions, as plain values."""
    from rootpoint import __version__

    return {
        "model": type(model).__name__,
        "methods": {name: described(candidate) for name, candidate in judged.items()},
        **fingerprint(samples),
        "targets": _targets(samples),
        "seed": seed,
        "rootpoint": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def described(candidate: Any) -> str:
    """A method with all its parameters, or where a function is from."""
    if isinstance(candidate, Method):
        return repr(candidate)
    of = candidate if hasattr(candidate, "__qualname__") else type(candidate)
    return f"{of.__module__}.{of.__qualname__}"


def _targets(samples: Sequence[Case]) -> Any:
    """What was explained of each sample, or the function that says so."""
    listed = [case.target for case in samples if isinstance(case.target, list)]
    if len(listed) == len(samples):
        return [plain(one) for targets in listed for one in targets]
    return described(samples[0].target)


def fingerprint(samples: Sequence[Case]) -> dict[str, Any]:
    """What tells samples and models apart, whatever rounds differently on another machine."""
    scores = torch.cat([case.score.double().cpu() for case in samples])
    found = {"samples": len(scores), "scores": f"{float(scores.mean()):.3g}"}
    masks = [case.masks for case in samples if case.masks is not None]
    if masks:
        found["masks"] = sum(int(one.sum()) for one in masks)
    return found
