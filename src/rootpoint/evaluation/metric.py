"""What every metric is: its parameters, its name, what it needs, and which way is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from rootpoint.parametric import Parametric, known, make, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.evaluation.candidates import Explainer
    from rootpoint.inputs import Model
    from rootpoint.target import Target

__all__ = ["NEEDS", "Case", "Curves", "Measured", "Metric", "metric", "metrics", "parameter"]

T = TypeVar("T")

NEEDS = {
    "masks": "masks or boxes of what the decision depends on: `masks=`",
    "module": "an nn.Module, whose parameters can be randomized",
    "images": "inputs of the shape (B, C, H, W)",
    "model": "a second model, a parameter of the metric",
}
"""What a metric may need, beside a model, inputs and relevance."""


@dataclass(frozen=True, eq=False)
class Case:
    """The relevance one candidate gave for some samples, and all it takes to judge it.

    model      as given, for gradients and for copies of it; `scores` runs it without gradients
    inputs     (B, …), or a list of texts
    target     as resolved: an index for each sample, or a function of the model's output
    score      f(x), (B,)
    relevance  (B, …), of the input's number of dimensions, each of its size or 1; of texts a list
               of tensors (words,)
    explainer  explains other inputs, or another model, by the same candidate
    baseline_score   f at the candidate's baseline, (B,), if it promises Σ R = f(x) − that
    numbers    which samples of the data set these are: with `seed`, what random draws depend on
    masks      (B, 1, H, W) or like the inputs, bool: the ground truth, if it is known
    scores     `scores(make, samples)`: f of perturbed inputs; see `evaluate`. A third argument, a
               function, is given the model's output, and f is read from what it returns
    """

    model: Model
    inputs: Any
    target: Target
    score: Tensor
    relevance: Any
    explainer: Explainer
    baseline_score: Tensor | None
    numbers: Sequence[int]
    seed: int
    masks: Tensor | None
    scores: Callable[..., Tensor]
    _kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    _common: dict[Any, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Any, make: Callable[[], T], *, common: bool = False) -> T:
        """What `make` returns, made once for all metrics that judge this case by the same key.

        common   made once for all candidates, too: it must not depend on relevance
        """
        kept = self._common if common else self._kept
        if key not in kept:
            kept[key] = make()
        return kept[key]


@dataclass(frozen=True, eq=False)
class Curves:
    """What the values were computed from, for a plot: lines (B, k) over x (k,)."""

    x: Sequence[float] | Sequence[str]
    x_label: str
    y_label: str
    lines: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Measured:
    """One value for each sample (B,), NaN where the metric is not defined, and its curves."""

    values: Any
    curves: Curves | None = None


@dataclass(frozen=True, eq=False)
class Metric(Parametric, ABC):
    """A metric judges relevance: one number per sample, of which the mean counts.

    Metrics are as methods are: frozen dataclasses of their parameters, known by name once they are
    defined in `rootpoint.evaluation.metrics`.

    group    "faithfulness", "axioms", "robustness", "localization" or "sanity"
    better   which values are better
    best     the value of a perfect explanation; None if that depends on the model
    cost     per sample, in evaluations of the model and explanations
    needs    keys of `NEEDS`
    """

    group: ClassVar[str]
    better: ClassVar[Literal["higher", "lower"]]
    best: ClassVar[float | None] = None
    cost: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def measure(self, case: Case) -> Measured:
        """The value of each sample of a case."""


def metrics() -> dict[str, type[Metric]]:
    """Every metric by its name. Imports no torch."""
    return known("rootpoint.evaluation.metrics", Metric)


def metric(name: str, **parameters: Any) -> Metric:
    """The metric called `name`, which may carry parameters: "aopc(region=16)".

    Raises UnknownNameError for an unknown metric, InputError for a bad parameter.
    """
    return make("metric", name, metrics(), parameters)
