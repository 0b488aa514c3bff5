"""PatternNet and PatternAttribution: what drives a decision, by patterns fitted to data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.propagation.patterns import Patterns, Placed
    from rootpoint.propagation.rules import Rule
    from rootpoint.target import Target


_GROWN = 10.0
"""A signal so many times larger than the input cannot be a part of it."""

_NOTHING = (
    "nothing arrives for some sample: its score is 0, or the units behind it were never positive "
    "in the data that two-component patterns were fitted to; fit to more, or estimator='linear'"
)


@dataclass(frozen=True, eq=False)
class Patterned(Method):
    """A gradient whose linear maps go back by a rule with patterns, from the score f(x) on."""

    needs: ClassVar[tuple[str, ...]] = ("gradients", "data")
    cost: ClassVar[str] = "1 forward, 1 backward; fitting takes 5 forwards per sample"

    patterns: Patterns | str | None = parameter(
        None, "fitted patterns, or the file they were saved in; `fit` finds them"
    )
    estimator: str = parameter(
        "two-component", "how `fit` estimates patterns", choices=("two-component", "linear")
    )

    start: ClassVar[float] = 1.0  # at the target, a power of 2; relevance is as from f(x)

    @abstractmethod
    def rule(self, placed: Placed) -> Rule:
        """How linear maps go back."""

    def fit(self, model: Model, data: Any) -> Self:
        """This method with patterns of `model`, fitted to data: see `fit_patterns`."""
        from rootpoint.propagation.patterns import fit_patterns

        return replace(self, patterns=fit_patterns(model, data, self.estimator))

    def prepare(self, model: Model) -> Any:
        from rootpoint.propagation.composites import Composite, Where
        from rootpoint.propagation.patterns import Patterns

        placed = Patterns.of(self, self.patterns).on(model)
        entry = (Where(kind="linear"), self.rule(placed))
        return Composite((entry,), self.name, carries="gradient"), {}  # modified weights

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.backward import explain_backward
        from rootpoint.inputs import batch_size, map_inputs
        from rootpoint.propagation import Propagation
        from rootpoint.target import scores

        composite, weights = prepared
        one_pass, batch = Propagation(composite, model, weights), batch_size(inputs)
        starts = [partial(_scaled, target, batch, self.start) for target in targets]
        found = explain_backward(model, inputs, starts, one_pass, at)
        explanations = []
        for fields, target in zip(found, targets, strict=True):
            score, fields["target"] = scores(fields["prediction"], target, batch)
            fields["output"] = score.detach()
            restore = partial(_restored, score=fields["output"], start=self.start)
            fields["relevance"] = map_inputs(restore, fields["relevance"])
            self._check(fields["relevance"], score.dtype)
            notes = self.notes(inputs, fields["relevance"], at)
            explanations.append(
                Explanation(**fields, inputs=inputs, method=self, at=at, notes=notes)
            )
        return explanations

    def notes(self, inputs: Inputs, relevance: Any, at: At) -> tuple[str, ...]:
        """What a reader should know of this relevance."""
        from rootpoint.inputs import batch_size, tensors

        batch = batch_size(inputs)
        arrived = sum(r.reshape(batch, -1).abs().sum(1) for r in tensors(relevance))
        if not isinstance(arrived, int) and bool((arrived == 0).any()):
            return (_NOTHING,)
        return ()

    def _check(self, relevance: Any, dtype: torch.dtype) -> None:
        from rootpoint.inputs import tensors

        if not all(r.isfinite().all() for r in tensors(relevance)):
            raise InputError(
                f"{self.name}: the relevance grows beyond {dtype} on its way through the layers; "
                "explain in float64, model.double() with inputs.double()"
            )


def _range(dtype: torch.dtype, start: float) -> float:
    """The start, or 1 for a type too narrow to begin so low."""
    import torch

    return start if torch.finfo(dtype).tiny < start * 2**-50 else 1.0


def _scaled(target: Target, batch: int, start: float, output: Any) -> Tensor:
    """The score, with `start` as its gradient."""
    from rootpoint.target import scores

    score, _ = scores(output, target, batch)
    return score * _range(score.dtype, start)


def _restored(multiplier: Tensor, score: Tensor, start: float) -> Tensor:
    """What comes of starting with the score, as all is linear in it; in float64 if it must be."""
    factor = score.double() / _range(score.dtype, start)
    wide = (multiplier.double().reshape(len(score), -1) * factor[:, None]).reshape_as(multiplier)
    narrow = wide.to(multiplier.dtype)
    return narrow if narrow.isfinite().all() else wide


@dataclass(frozen=True, eq=False)
class PatternNet(Patterned):
    """The signal in x that f answers to: f goes back by patterns a where a gradient has weights w.

    m_i = Σ_j a_ij m_j through linear maps, ReLUs as in the gradient, from f(x) at the target. The
    result is in the units of the input: of a linear model it is a·f(x), the part of x that f sees
    but for what it cancels. All else (pooling to the winner, additions, a batch-norm that is not
    behind a linear map) goes back by its own gradient; no sum is promised. Sizes are products over
    layers and may grow or fade with depth: read the form, not the scale. What float32 cannot hold
    is given in float64.
    patterns    what `fit` found, or the file it was saved in (`Patterns.save`)
    estimator   for `fit`: "two-component" for networks of ReLUs; "linear" also for layers without
                one behind them, as MobileNets have (see `fit_patterns`)
    Cost: one forward, one backward. Source: Kindermans et al. 2018, ICLR, arXiv 1705.05598.
    """

    name: ClassVar[str] = "pattern-net"
    summary: ClassVar[str] = "The signal that drives the score, by patterns fitted to data"

    start: ClassVar[float] = 2.0**-70  # as signals grow: float32 ends at 2^128

    def rule(self, placed: Placed) -> Rule:
        from rootpoint.propagation import rules

        return rules.pattern_net(patterns=placed)

    def notes(self, inputs: Inputs, relevance: Any, at: At) -> tuple[str, ...]:
        from rootpoint.inputs import tensors

        notes = super().notes(inputs, relevance, at)
        if at is not None:
            return notes
        largest = max(float(r.abs().max()) for r in tensors(relevance))
        size = max(float(x.abs().max()) for x in tensors(inputs))
        if largest <= _GROWN * size or size == 0:
            return notes
        return (
            *notes,
            f"the signal is up to {largest / size:.1g} times as large as the input, as patterns "
            "multiply with depth: its form means something, its size does not",
        )


@dataclass(frozen=True, eq=False)
class PatternAttribution(Patterned):
    """What each input's signal contributes to f: f goes back by w⊙a, weights times patterns.

    m_i = Σ_j w_ij a_ij m_j through linear maps, ReLUs as in the gradient, from f(x) at the target;
    the multiplier at the input is the relevance. A Taylor expansion of each unit around the
    distractor x − a·y. All else goes back by its own gradient. A unit's shares sum to 1, but what
    comes to inactive units and padding is lost: only of linear models is Σ R = f(x).
    patterns    what `fit` found, or the file it was saved in (`Patterns.save`)
    estimator   for `fit`: "two-component" for networks of ReLUs; "linear" also for layers without
                one behind them, as MobileNets have (see `fit_patterns`)
    Cost: one forward, one backward. Source: Kindermans et al. 2018, ICLR, arXiv 1705.05598.
    """

    name: ClassVar[str] = "pattern-attribution"
    summary: ClassVar[str] = "Each input's share of the signal, by patterns fitted to data"

    def rule(self, placed: Placed) -> Rule:
        from rootpoint.propagation import rules

        return rules.pattern_attribution(patterns=placed)
