"""The gradient, and the gradient times the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.explanation import Explanation
from rootpoint.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class Gradient(Method):
    """R_i = ∂f/∂x_i: how the score would change with each input, not what it is made of.

    Cost: one forward, one backward. Source: Simonyan et al. 2013, arXiv 1312.6034.
    """

    name: ClassVar[str] = "gradient"
    summary: ClassVar[str] = "The slope of the score with respect to each input"
    cost: ClassVar[str] = "1 forward, 1 backward"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    def share(self, x: Tensor, slope: Tensor) -> Tensor:
        """Relevance of a value from the slope of the score there."""
        return slope

    def baseline_output(self, output: Tensor) -> Tensor | None:
        """The score that is not shared, if the method promises to share the rest."""
        return None

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: str | None, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.backward import Plain, explain_backward

        found = explain_backward(model, inputs, targets, Plain(self.share), at)
        return [
            Explanation(
                **fields,
                inputs=inputs,
                method=self,
                at=at,
                baseline_output=self.baseline_output(fields["output"]),
            )
            for fields in found
        ]


@dataclass(frozen=True, eq=False)
class GradientTimesInput(Gradient):
    """R_i = x_i · ∂f/∂x_i: a first-order Taylor expansion with its root point at zero.

    Complete for networks without biases whose activations are piecewise linear through zero.
    Cost: one forward, one backward. Source: Shrikumar et al. 2016, arXiv 1605.01713.
    """

    name: ClassVar[str] = "gradient-times-input"
    summary: ClassVar[str] = "Gradient times input: first-order Taylor at the root point zero"

    def share(self, x: Tensor, slope: Tensor) -> Tensor:
        return x * slope

    def baseline_output(self, output: Tensor) -> Tensor | None:
        return output.new_zeros(len(output))
