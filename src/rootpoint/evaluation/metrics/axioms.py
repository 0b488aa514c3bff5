"""Axioms that hold for one map: conservation, bounded relevance, completeness, positivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rootpoint.evaluation.metric import Case, Measured, Metric

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False)
class Conservation(Metric):
    """|Σ R − f(x)| / |f(x)|: the share of the score that relevance lacks or exceeds.

    0 is perfect. NaN where f(x) = 0. Cost: none beyond the explanation.
    Source: Bach et al. 2015, PLOS ONE 10(7):e0130140.
    """

    name: ClassVar[str] = "conservation"
    summary: ClassVar[str] = "Share of the score that the sum of relevance misses"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    best: ClassVar[float | None] = 0.0
    cost: ClassVar[str] = "none"

    def measure(self, case: Case) -> Measured:
        total = case.relevance.flatten(1).sum(1).double()
        score = case.score.double()
        return Measured((total - score).abs() / score.abs())
