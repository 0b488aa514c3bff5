"""The gradient, its size, and the gradient times the input; sensitivity over a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation
from rootpoint.method import At, Method, parameter

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
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
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


@dataclass(frozen=True, eq=False)
class Sensitivity(Gradient):
    """R_i = (∂f/∂x_i)²: to which inputs the score is sensitive. Σ R = ‖∇f‖², the local slope.

    aggregate   "squared", or "absolute": R_i = |∂f/∂x_i|
    Cost: one forward, one backward. Source: Zurada et al. 1994, ISCAS; Simonyan et al. 2013, arXiv
    1312.6034, whose maps are the largest absolute value of the channels.
    """

    name: ClassVar[str] = "sensitivity"
    summary: ClassVar[str] = "The size of the score's slope: to which inputs it is sensitive"

    aggregate: str = parameter("squared", "of the gradient", choices=("squared", "absolute"))

    def share(self, x: Tensor, slope: Tensor) -> Tensor:
        return slope.square() if self.aggregate == "squared" else slope.abs()


@dataclass(frozen=True, eq=False)
class DataSensitivity:
    """How sensitive a score is to each input variable, over a data set.

    values    S_i, like one sample
    samples   N, how many were aggregated
    """

    values: Tensor
    samples: int

    @property
    def ranking(self) -> Tensor:
        """The variables, as indices into the flattened sample, the most sensitive first."""
        return self.values.flatten().argsort(descending=True, stable=True)

    @property
    def relevant(self) -> Tensor:
        """The variables before the largest gap, the ratio of one S_i to the next in the ranking.

        The others may be pruned; all are relevant if all S_i are equal.
        """
        ranking = self.ranking
        ordered = self.values.flatten()[ranking]
        gaps = ordered[:-1] / ordered[1:]  # 0/0 is no gap: NaN
        gaps = gaps.nan_to_num(nan=1.0, posinf=float("inf"))
        if not len(gaps) or gaps.max() <= 1:
            return ranking
        return ranking[: int(gaps.argmax()) + 1]


def data_sensitivity(
    model: Model, data: Any, target: Target = "predicted", *, aggregate: str = "mean-square"
) -> DataSensitivity:
    """The sensitivity of a score to each input variable over a data set, batch by batch.

    data        a tensor or array (N, …), or an iterable of batches such as a DataLoader's
    aggregate   "mean-square": √(Σ_n S²/N); "absolute": Σ_n |S|/N; "maximum": max_n |S|, where S is
                ∂f/∂x_i of each sample
    Raises InputError for no data and for an unknown aggregate. Cost: a forward and a backward of
    each sample; memory for one batch. Source: Zurada et al. 1994, ISCAS.
    """
    from rootpoint.backward import Plain, explain_backward
    from rootpoint.inputs import batches
    from rootpoint.progress import progress

    known = ("mean-square", "absolute", "maximum")
    if aggregate not in known:
        raise InputError(f"aggregate={aggregate!r}; choose one of {', '.join(known)}")
    total, samples = None, 0
    with progress(getattr(data, "shape", (0,))[0], "summing sensitivity") as advance:
        for batch in batches(data):
            found = explain_backward(model, batch, [target], Plain(lambda x, slope: slope))
            slope = found[0]["relevance"].abs()
            if aggregate == "maximum":
                new = slope.amax(0)
                total = new if total is None else total.maximum(new)
            else:
                new = (slope.square() if aggregate == "mean-square" else slope).sum(0)
                total = new if total is None else total + new
            samples += len(batch)
            advance(len(batch))
    if total is None:
        raise InputError("there is no data: nothing to aggregate")
    if aggregate != "maximum":
        total = total / samples
    return DataSensitivity(total.sqrt() if aggregate == "mean-square" else total, samples)
