"""PatternNet and PatternAttribution: what drives a decision, by patterns fitted to data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation
from rootpoint.method import Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.propagation.patterns import Patterns, Placed
    from rootpoint.propagation.rules import Rule
    from rootpoint.target import Target


_GROWN = 10.0
"""A signal so many times larger than the input cannot be a part of it."""


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
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: str | None, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.backward import explain_backward
        from rootpoint.inputs import map_inputs
        from rootpoint.propagation import Propagation

        composite, weights = prepared
        one_pass = Propagation(composite, model, weights)
        found = explain_backward(model, inputs, targets, one_pass, at)
        for fields in found:
            score = fields["output"]

            def start(multiplier: Tensor, score: Tensor = score) -> Tensor:
                """What comes of starting with the score instead of 1, as all is linear in it."""
                return (multiplier.reshape(len(score), -1) * score[:, None]).reshape_as(multiplier)

            fields["relevance"] = map_inputs(start, fields["relevance"])
            self._check(fields["relevance"])
        return [
            Explanation(
                **fields,
                inputs=inputs,
                method=self,
                at=at,
                notes=self.notes(inputs, fields["relevance"]) if at is None else (),
            )
            for fields in found
        ]

    def notes(self, inputs: Inputs, relevance: Any) -> tuple[str, ...]:
        """What a reader should know of relevance at these inputs."""
        return ()

    def _check(self, relevance: Any) -> None:
        from rootpoint.inputs import tensors

        if not all(r.isfinite().all() for r in tensors(relevance)):
            raise InputError(
                f"{self.name}: the relevance grows beyond {tensors(relevance)[0].dtype} on its way "
                "through the layers; explain in float64, model.double() with inputs.double()"
            )


@dataclass(frozen=True, eq=False)
class PatternNet(Patterned):
    """The signal in x that f answers to: f goes back by patterns a where a gradient has weights w.

    m_i = Σ_j a_ij m_j through linear maps, ReLUs as in the gradient, from f(x) at the target. The
    result is in the units of the input: of a linear model it is a·f(x), the part of x that f sees
    but for what it cancels. All else (pooling to the winner, additions, a batch-norm that is not
    behind a linear map) goes back by its own gradient; no sum is promised. Sizes are products over
    layers and may grow or fade with depth: read the form, not the scale.
    patterns    what `fit` found, or the file it was saved in (`Patterns.save`)
    estimator   for `fit`: "two-component" for networks of ReLUs, "linear" (see `fit_patterns`)
    Cost: one forward, one backward. Source: Kindermans et al. 2018, ICLR, arXiv 1705.05598.
    """

    name: ClassVar[str] = "pattern-net"
    summary: ClassVar[str] = "The signal that drives the score, by patterns fitted to data"

    def rule(self, placed: Placed) -> Rule:
        from rootpoint.propagation import rules

        return rules.pattern_net(patterns=placed)

    def notes(self, inputs: Inputs, relevance: Any) -> tuple[str, ...]:
        from rootpoint.inputs import tensors

        largest = max(float(r.abs().max()) for r in tensors(relevance))
        size = max(float(x.abs().max()) for x in tensors(inputs))
        if largest <= _GROWN * size or size == 0:
            return ()
        return (
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
    estimator   for `fit`: "two-component" for networks of ReLUs, "linear" (see `fit_patterns`)
    Cost: one forward, one backward. Source: Kindermans et al. 2018, ICLR, arXiv 1705.05598.
    """

    name: ClassVar[str] = "pattern-attribution"
    summary: ClassVar[str] = "Each input's share of the signal, by patterns fitted to data"

    def rule(self, placed: Placed) -> Rule:
        from rootpoint.propagation import rules

        return rules.pattern_attribution(patterns=placed)
