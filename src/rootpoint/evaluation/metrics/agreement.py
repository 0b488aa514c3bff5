"""Agreement: what relevance says the score would lose is what it loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rootpoint.evaluation.metric import Case, Curves, Measured, Metric, parameter
from rootpoint.evaluation.metrics.perturbation import Removing


@dataclass(frozen=True, eq=False)
class SensitivityN(Removing):
    """The correlation (Pearson) of Σ_{i∈S} R_i and f(x) − f(x without S), over random sets S.

    repetitions   random sets of each size n
    sizes         values of n, geometrically from 1 to `share` of all features; their mean counts
    features      None: single pixels of images with all their channels
    replacement   None: 0
    1 is perfect, and the value of the true map of a linear or additive model; 0 is chance. A set
    size is left out where one of the two is the same for all sets, as for a constant map; NaN if
    all are, and where there are fewer than two features. Works for texts, whose words are deleted.
    Raises InputError for features or a replacement that do not fit.
    Cost: sizes × repetitions + 1 evaluations. Source: Ancona et al. 2018, arXiv 1711.06104.
    """

    name: ClassVar[str] = "sensitivity-n"
    summary: ClassVar[str] = "Correlation of the relevance of random features with their effect"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    best: ClassVar[float | None] = 1.0
    cost: ClassVar[str] = "sizes × repetitions evaluations"

    repetitions: int = parameter(100, "random sets of each size", low=2)
    sizes: int = parameter(10, "of the sets, at most", low=2)
    share: float = parameter(0.8, "of all features, in the largest sets", low=0.0, high=1.0)

    def image_features(self) -> str:
        return "patches(1)"

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.claims import correlations

        lines, sizes = correlations(case, self.removal(case), self.sizes, self.share)
        if sizes is None:
            return Measured(lines.nanmean(1))
        curves = Curves(sizes, "features taken away", "correlation", {"correlation": lines})
        return Measured(lines.nanmean(1), curves)


@dataclass(frozen=True, eq=False)
class Infidelity(Metric):
    """E_I (Iᵀφ − (f(x) − f(x − I)))²: how wrong relevance is about random changes I.

    perturbation   "noise": I = (x − x̃) ⊙ ε, ε normal with standard deviation `sigma`; "square", of
                   images: a square of `size` pixels, at a random place, becomes the baseline
    local          False: relevance is a share of the score, φ = R / (x − x̃). True: it is per unit
                   of input, as a gradient is: φ = R, and noise is I = ε
    scaled         φ is first multiplied by the best factor for each sample,
                   E (Iᵀφ · loss) / E (Iᵀφ)², so that maps of any scale can be compared
    baseline       x̃: None is 0; a number, or a tensor like one sample
    Channels of images change together, so that maps with and without channels are asked the same.
    0 is perfect, and the value of the true map of a linear model; in squared units of the score. By
    chance, scaled, it is the mean of the squared loss. Raises InputError for texts, and for squares
    in what is no image. Cost: as many evaluations as samples.
    Source: Yeh et al. 2019, arXiv 1901.09392; local and global relevance: Ancona et al. 2018,
    arXiv 1711.06104.
    """

    name: ClassVar[str] = "infidelity"
    summary: ClassVar[str] = "Squared error of relevance about the effect of random changes"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    best: ClassVar[float | None] = 0.0
    cost: ClassVar[str] = "samples evaluations"

    perturbation: str = parameter("noise", "of inputs", choices=("noise", "square"))
    sigma: float = parameter(0.2, "standard deviation of noise", low=0.0)
    size: int = parameter(8, "width of squares, in pixels", low=1)
    samples: int = parameter(100, "random changes", low=1)
    local: bool = parameter(False, "relevance is per unit of input, as gradients are")
    scaled: bool = parameter(False, "scale relevance as fits best, first")
    baseline: Any = parameter(None, "a number (none is 0), or a tensor")

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.claims import claims, infidelity

        size = self.sigma if self.perturbation == "noise" else self.size
        found = claims(case, self.perturbation, size, self.samples, self.local, self.baseline)
        return Measured(infidelity(*found, scaled=self.scaled))
