"""Axioms of one map, conservation above all, and of maps that should be the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rootpoint.errors import InputError
from rootpoint.evaluation.metric import Case, Measured, Metric, parameter


@dataclass(frozen=True, eq=False)
class Conservation(Metric):
    """|Σ R − f(x)| / |f(x)|: the share of the score that relevance lacks or exceeds.

    0 is perfect; 1 is the value of a map that sums to 0. NaN where f(x) = 0.
    Cost: none beyond the explanation. Source: Bach et al. 2015, PLOS ONE 10(7):e0130140.
    """

    name: ClassVar[str] = "conservation"
    summary: ClassVar[str] = "Share of the score that the sum of relevance misses"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    best: ClassVar[float | None] = 0.0
    cost: ClassVar[str] = "none"

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.balance import sums

        positive, negative = sums(case.relevance)
        score = case.score.double().cpu()
        share = (positive - negative - score).abs() / score.abs()
        return Measured(share.where(score != 0, float("nan")))


@dataclass(frozen=True, eq=False)
class Boundedness(Metric):
    """Σ |R| / |f(x)|: the least A such that Σ |R| ≤ A |f(x)|.

    At least |Σ R| / |f(x)|, so 1 for a conserving map without contradictory evidence; it grows
    without bound where large relevance of both signs cancels. Maps that add up to less than the
    score can have less: read it together with conservation. NaN where f(x) = 0.
    Cost: none beyond the explanation. Source: Montavon 2019, LNAI 11700, ch. 13.
    """

    name: ClassVar[str] = "boundedness"
    summary: ClassVar[str] = "Sum of absolute relevance, in multiples of the score"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "none"

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.balance import sums

        positive, negative = sums(case.relevance)
        score = case.score.double().cpu()
        return Measured(((positive + negative) / score.abs()).where(score != 0, float("nan")))


@dataclass(frozen=True, eq=False)
class Positivity(Metric):
    """Σ_{R f(x) < 0} |R| / Σ |R|: the share of relevance whose sign is opposite to the score's.

    That is the negative share where f(x) ≥ 0. 0 for consistent maps, ½ by chance; a map of true
    evidence for and against has more than 0. NaN where all relevance is 0.
    Cost: none beyond the explanation.
    Source: Montavon et al. 2017, Pattern Recognition 65:211, Definitions 2 and 3.
    """

    name: ClassVar[str] = "positivity"
    summary: ClassVar[str] = "Share of relevance whose sign is opposite to the score's"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "none"

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.balance import sums

        positive, negative = sums(case.relevance)
        opposite = negative.where(case.score.cpu() >= 0, positive)
        return Measured(opposite / (positive + negative))


@dataclass(frozen=True, eq=False)
class Completeness(Metric):
    """|Σ R − (f(x) − f(x̃))| / |f(x) − f(x̃)|: what relevance misses of the score's rise from x̃.

    baseline   x̃: None is the candidate's own, if it promises a sum, and else 0 (of texts the empty
               text); a number or a tensor like one sample holds for every candidate
    A gap is 0 if it is no more than rounding: 16 ε (Σ |R| + |f(x)| + |f(x̃)|), ε of the coarsest
    numbers there are; so exactly complete maps are never rejected. NaN where f(x) = f(x̃) and Σ R
    is not 0. Raises InputError for a baseline that does not fit.
    Cost: one evaluation, unless the candidate promises a sum.
    Source: Sundararajan, Taly, Yan 2017, arXiv 1703.01365.
    """

    name: ClassVar[str] = "completeness"
    summary: ClassVar[str] = "Share of the score's rise from a baseline that relevance misses"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    best: ClassVar[float | None] = 0.0
    cost: ClassVar[str] = "1 evaluation"

    baseline: Any = parameter(
        None, "where the score rises from: a number, a tensor; None: the method's own, or 0"
    )

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.balance import incompleteness

        return Measured(incompleteness(case, self.baseline))


@dataclass(frozen=True, eq=False)
class ImplementationInvariance(Metric):
    """‖R − R′‖₁ / (‖R‖₁ + ‖R′‖₁), R′ the map of another network that computes the same function.

    other   that network
    0 for equal maps, 1 for maps that share nothing. Raises InputError if there is no `other`, or if
    it scores a sample otherwise (by 1e-4 of its outputs, 1e-8 in float64).
    Cost: one evaluation and one explanation.
    Source: Sundararajan, Taly, Yan 2017, arXiv 1703.01365.
    """

    name: ClassVar[str] = "implementation-invariance"
    summary: ClassVar[str] = "Distance to the map of another network of the same function"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    best: ClassVar[float | None] = 0.0
    cost: ClassVar[str] = "1 evaluation, 1 explanation"
    needs: ClassVar[tuple[str, ...]] = ("model",)

    other: Any = parameter(None, "a network that computes the same function")

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.invariance import of_implementation

        if not callable(self.other):
            raise InputError(
                f"{self.name}: other={self.other!r} is no model: give one that computes the same "
                "function, rootpoint.metric('implementation-invariance', other=...)"
            )
        return Measured(of_implementation(case, self.other))


@dataclass(frozen=True, eq=False)
class InputInvariance(Metric):
    """‖R − R′‖₁ / (‖R‖₁ + ‖R′‖₁), R′ the map of f′(x) = f(x − m) at x + m: of the same decision.

    shift   m, added to every value of the input
    0 for equal maps, 1 for maps that share nothing. f′ is the network with m taken off its input,
    not with another bias in its first layer. Gradients, and what is made of activations, stay the
    same; methods that multiply by the input or start from a fixed baseline do not. Rules of
    propagation meet the shift as a step before the first layer: they see that layer's input
    unchanged, and rootpoint's pass relevance on through it. So LRP is invariant here, and would not
    be if the bias were changed. Raises InputError for texts. Cost: one explanation.
    Source: Kindermans et al. 2017, arXiv 1711.00867 (the shift put into the first bias).
    """

    name: ClassVar[str] = "input-invariance"
    summary: ClassVar[str] = "Distance to the map of the same decision on shifted inputs"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    best: ClassVar[float | None] = 0.0
    cost: ClassVar[str] = "1 explanation"

    shift: float = parameter(-1.0, "added to every value of the input")

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.invariance import of_input

        return Measured(of_input(case, self.shift))
