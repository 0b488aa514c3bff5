"""LIME: the weights of a linear model of the score around one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.explanation import Explanation
    from rootpoint.inputs import Model
    from rootpoint.perturbation.coalitions import Worth
    from rootpoint.perturbation.playing import Solved
    from rootpoint.perturbation.surrogates import Surrogate
    from rootpoint.target import Target


@dataclass(frozen=True)
class _Defaults:
    """What LIME does to one kind of input, as published."""

    budget: int
    width: float
    cosine: bool
    scale: float = 1.0
    baseline: str | None = None


# The width for tables is multiplied by √d, the largest distance of d columns.
_KINDS = {
    "image": _Defaults(budget=1000, width=0.25, cosine=True, baseline="mean"),
    "text": _Defaults(budget=5000, width=25.0, cosine=True, scale=100.0),
    "table": _Defaults(budget=5000, width=0.75, cosine=False),
}


@dataclass(frozen=True, eq=False)
class LIME(Method):
    """w of argmin_{b,w} Σ_z π(z) [f(x_z) − b − w·z]² + α ‖w‖²,  π(z) = √exp(−D(z)²/σ²).

    z ∈ {0, 1}^d says which features of x_z are present, each with probability ½; the first z has
    all of them. The relevance of a value is an equal share of its feature's weight.

    kind        "image" (B, C, H, W): superpixels; a hidden one takes its own mean colour; D is the
                cosine distance of z from (1, …, 1), σ = 0.25; 1000 samples.
                "text", a list of strings for a model that takes such: each word is left out on its
                own (published: a word at all its places); D is 100 cosine distances, σ = 25; 5000
                samples; the relevance is a list of tensors (words,).
                "table" (B, D): columns, which take the baseline's values (published: values drawn
                column by column, present if they fall into the same quartile as x; a baseline of
                several rows counts by its mean score); D is √(number of absent columns),
                σ = 0.75 √d; 5000 samples.
    features, baseline, kernel_width, budget   those of the kind if left out ("auto", None); the
                baseline of tables is 0. kernel_width is σ. Equal coalitions are evaluated once.
    selected    so many features have a weight, the others 0: up to six are selected one by one by
                the weighted R², more by the size of their weights; None is all
    accuracy    stop sampling when every weight has this standard error, in units of the score

    details: "values" (the weights) and "features" (masks) or "words" of each sample; "intercept",
    "score" (the weighted R² of the fit) and "local_prediction" (b + Σ w, to be compared with the
    output), each (B,). `standard_error` is that of the relevance, from the scatter about the fit.
    Raises InputError for a budget below d + 2 samples, and if the score is constant.
    Cost: `budget` forwards. Source: Ribeiro et al. 2016, KDD, arXiv 1602.04938.
    """

    name: ClassVar[str] = "lime"
    summary: ClassVar[str] = "LIME: weights of a linear model fitted to the score near the input"
    cost: ClassVar[str] = "budget forward"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)

    kind: str = parameter("auto", "what is explained", choices=("auto", "image", "text", "table"))
    features: str | Tensor = parameter(
        "auto", "superpixels, superpixels(N), patches(N), columns, values, or a mask"
    )
    baseline: float | str | Tensor | None = parameter(
        None, "what replaces absent features: a number, mean, blur, noise, inpaint, a tensor, data"
    )
    budget: int | None = parameter(
        None, "model evaluations to spend on each sample", low=1, number=True
    )
    kernel_width: float | None = parameter(
        None, "σ: from which distance on samples count less", low=1e-6, number=True
    )
    ridge: float = parameter(1.0, "α: how strongly weights are drawn to zero", low=0)
    selected: int | None = parameter(None, "how many features get a weight", low=1, number=True)
    accuracy: float | None = parameter(
        None, "stop at this standard error, in units of the score", low=0, number=True
    )
    seed: int = parameter(0, "of the random samples")

    def run(
        self, model: Model, inputs: Any, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.perturbation.playing import decisions, play, samples

        self.inputs_only(at)
        found = decisions(self.name, model, inputs, targets)
        kind = _KINDS[self._kind(inputs)]
        baseline = kind.baseline if self.baseline is None else self.baseline
        among = samples(inputs, self.features, baseline, self.seed)
        budget = int(self.budget or kind.budget)
        return play(
            self,
            model,
            inputs,
            found,
            among,
            expected=lambda count, cost: budget,
            solve=lambda v: self._solved(v, kind, budget),
        )

    def _kind(self, inputs: Any) -> str:
        from rootpoint.perturbation.playing import is_text

        kind = "text" if is_text(inputs) else {2: "table", 4: "image"}.get(inputs.dim(), "")
        if self.kind in ("auto", kind):
            if kind:
                return kind
            raise InputError(
                f"lime: inputs of shape {tuple(inputs.shape)} are neither images (B, C, H, W) nor "
                "tables (B, D): set kind= to 'image' or 'table', whose distances are to be used"
            )
        if "text" in (self.kind, kind):
            raise InputError(f"lime: kind={self.kind!r} does not fit inputs of kind {kind!r}")
        return self.kind

    def _solved(self, v: Worth, kind: _Defaults, budget: int) -> Solved:
        from rootpoint.perturbation.coalitions import reached
        from rootpoint.perturbation.playing import Solved

        least, number = v.count + 2, budget // v.cost
        if number < least:
            raise InputError(
                f"lime with {v.count} features needs a budget of at least {least * v.cost} "
                f"evaluations, not {budget}: raise it, or use fewer, larger features"
            )
        found = self._fitted(v, kind, number)
        notes = []
        if self.accuracy is not None and not reached(found.standard_error, self.accuracy):
            notes.append(
                f"the budget of {budget} evaluations was spent before the standard error "
                f"{self.accuracy:g} was reached: the largest is "
                f"{float(found.standard_error.max()):.2g}"
            )
        details = {
            "intercept": found.intercept,
            "score": found.fit,
            "local_prediction": found.intercept + float(found.coefficients.sum()),
        }
        return Solved(found.coefficients, found.standard_error, None, details, tuple(notes))

    def _fitted(self, v: Worth, kind: _Defaults, number: int) -> Surrogate:
        """The surrogate of so many random coalitions, or of as many as the accuracy asks for."""
        import torch

        from rootpoint.perturbation.coalitions import reached, rounds
        from rootpoint.perturbation.surrogates import nearness, surrogate

        generator = torch.Generator().manual_seed(self.seed)
        present = torch.randint(2, (number, v.count), generator=generator).bool()
        present[0] = True
        width = self.kernel_width or kind.width * (1 if kind.cosine else v.count**0.5)
        weight = nearness(present, width, cosine=kind.cosine, scale=kind.scale)
        least = min(number, max(100, 2 * v.count))
        for n in rounds(least, number, self.accuracy):
            z, y = present[:n], v(present[:n])
            found = surrogate(z, y, weight[:n], alpha=self.ridge, number=self.selected)
            if n == number or reached(found.standard_error, self.accuracy):
                return found
        raise AssertionError("the last round is that of all samples")
