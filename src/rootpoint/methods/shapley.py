"""Shapley values of a decision: features as the players of a game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.explanation import Explanation
    from rootpoint.inputs import Model
    from rootpoint.perturbation.coalitions import Worth
    from rootpoint.perturbation.playing import Solved
    from rootpoint.perturbation.shapley_values import ShapleyValues
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class Shapley(Method):
    """φ_i = Σ_S |S|! (d − |S| − 1)! / d! · [v(S ∪ i) − v(S)] over the coalitions S without i.

    v(S) is the score with the features S present and the others replaced by the baseline (its mean
    over the rows, if the baseline is data). The relevance of a value is an equal share of its
    feature's φ, so that Σ R = f(x) − v(none), with every estimator. Inputs are one tensor (B, …),
    or a list of texts for a model that takes such (also the empty one): words are left out, and
    the relevance is a list of tensors (words,).

    features    "auto" is superpixels for images (B, C, H, W), columns for tables (B, D)
    baseline    None is 0
    estimator   "exact": all 2^d coalitions, up to 16 features. "permutation": what features add in
                random orders, drawn in balanced blocks of four; unbiased; at least 4 d − 3
                coalitions. "kernel": least squares on pairs of coalitions, with the ends as exact
                constraints; at least 4 d + 1 coalitions, or all; needs the fewest for a given
                error. "auto": exact if the budget allows it, else kernel. No feature is left out.
    budget      of the sampling estimators; each coalition takes one evaluation for each row of the
                baseline, and none is evaluated twice
    accuracy    stop sampling when every φ has this standard error, in units of the score

    details["values"] holds φ of the features of each sample, details["features"] their masks (or
    details["words"]); `standard_error` is that of the relevance: φ ± 1.96 standard errors is a 95 %
    interval. Raises InputError for a budget that is too small, and if the score is constant.
    Cost: 2^d, or `budget`, forwards. Source: Shapley 1953; Štrumbelj & Kononenko 2014, Knowledge
    and Information Systems 41; Lundberg & Lee 2017, NeurIPS, arXiv 1705.07874.
    """

    name: ClassVar[str] = "shapley"
    summary: ClassVar[str] = "Shapley values: what a feature adds, mean over all orders of features"
    cost: ClassVar[str] = "budget forward (exact: 2^features)"
    axioms: ClassVar[tuple[str, ...]] = ("complete", "implementation-invariant")

    features: str | Tensor = parameter(
        "auto", "superpixels, superpixels(N), patches(N), columns, values, or a mask"
    )
    baseline: float | str | Tensor | None = parameter(
        None, "what replaces absent features: a number, mean, blur, noise, inpaint, a tensor, data"
    )
    estimator: str = parameter(
        "auto",
        "how the sum over coalitions is computed",
        choices=("auto", "exact", "permutation", "kernel"),
    )
    budget: int = parameter(2000, "model evaluations to spend on each sample", low=1)
    accuracy: float | None = parameter(
        None, "stop at this standard error, in units of the score", low=0, number=True
    )
    seed: int = parameter(0, "of the random coalitions")

    def run(
        self, model: Model, inputs: Any, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.perturbation.playing import decisions, play, samples

        self.inputs_only(at)
        found = decisions(self.name, model, inputs, targets)
        among = samples(inputs, self.features, self.baseline, self.seed)
        return play(
            self, model, inputs, found, among, expected=self._evaluations, solve=self._solved
        )

    def _solved(self, v: Worth) -> Solved:
        from rootpoint.perturbation.coalitions import reached
        from rootpoint.perturbation.playing import Solved

        found = self._estimate(v)
        notes = []
        error = found.standard_error
        if error is not None and self.accuracy is not None and not reached(error, self.accuracy):
            notes.append(
                f"the budget of {self.budget} evaluations was spent before the standard error "
                f"{self.accuracy:g} was reached: the largest is {float(error.max()):.2g}"
            )
        return Solved(
            found.values, error, v.empty, {"estimator": found.estimator}, notes=tuple(notes)
        )

    def _estimate(self, v: Worth) -> ShapleyValues:
        from rootpoint.perturbation.shapley_values import by_kernel, by_permutation, exact

        if self._is_exact(v.count, v.cost):
            return exact(v)
        estimate = by_permutation if self.estimator == "permutation" else by_kernel
        return estimate(v, budget=self.budget, accuracy=self.accuracy, seed=self.seed)

    def _is_exact(self, count: int, cost: int) -> bool:
        from rootpoint.perturbation.shapley_values import MOST_EXACT

        affordable = count <= MOST_EXACT and (2**count - 1) * cost <= self.budget
        return self.estimator == "exact" or (self.estimator == "auto" and affordable)

    def _evaluations(self, count: int, cost: int) -> int:
        return 2**count * cost if self._is_exact(count, cost) else self.budget
