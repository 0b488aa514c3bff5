"""Relevance against known truth: masks of what the decision depends on."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rootpoint.evaluation.metric import Case, Measured, Metric, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.evaluation.ground_truth import Located

POOLINGS = ("sum-positive", "max-norm", "l2-norm", "l2-norm-squared")


@dataclass(frozen=True, eq=False)
class Localization(Metric):
    """What the metrics of this file share: relevance pooled over channels, P ≥ 0 at each position.

    pooling   P = max(0, Σ_c R_c) "sum-positive", max_c |R_c| "max-norm", √(Σ_c R_c²) "l2-norm", or
              Σ_c R_c² "l2-norm-squared": the norms count negative relevance as much as positive

    A position is in the mask if one of its channels is. Every value is NaN where the mask is empty
    or full, and where P = 0 everywhere. Ties are not broken by place: equals share what is left to
    them, so that a constant map gets what chance gives.
    """

    group: ClassVar[str] = "localization"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    best: ClassVar[float | None] = 1.0
    cost: ClassVar[str] = "none"
    needs: ClassVar[tuple[str, ...]] = ("masks",)

    pooling: str = parameter("sum-positive", "of the channels of a pixel", choices=POOLINGS)

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.ground_truth import located

        found = located(case, self.pooling)
        return Measured(found.values(self._judge(case, found)))

    @abstractmethod
    def _judge(self, case: Case, found: Located) -> Tensor:
        """The value of each sample (B,), whatever it is for those that cannot be judged."""


@dataclass(frozen=True, eq=False)
class PointingGame(Localization):
    """1 if the most relevant pixel hits: ‖argmax P − m‖ < tolerance for some pixel m of the mask.

    Several most relevant pixels hit by the share of them that does. By chance: the share of the
    image that lies so close to the mask. The mean is over samples; the paper's is over the classes'
    means. Raises InputError for inputs that are not images. Cost: none beyond the explanation.
    See `Localization` for pooling and NaN. Source: Zhang et al. 2016, ECCV, arXiv:1608.00507.
    """

    name: ClassVar[str] = "pointing-game"
    summary: ClassVar[str] = "Whether the most relevant pixel lies on the object or close to it"
    needs: ClassVar[tuple[str, ...]] = ("masks", "images")

    tolerance: int = parameter(15, "in pixels; 1 asks for a pixel of the mask itself", low=1)

    def _judge(self, case: Case, found: Located) -> Tensor:
        from rootpoint.evaluation.ground_truth import hits, near

        close = case.once(("near", self.tolerance), lambda: near(case, self.tolerance))
        return hits(found.relevance, found.judgeable.new_ones(len(close)).long(), close)


@dataclass(frozen=True, eq=False)
class RelevanceMass(Localization):
    """RMA = Σ_{i in mask} P_i / Σ_i P_i: the share of relevance that lies in the mask.

    By chance: the mask's share of the image. With the mask of a planted shortcut (a tag, a
    watermark) it is the share of the decision that the shortcut takes. Cost: none beyond the
    explanation. See `Localization` for pooling and NaN.
    Source: Arras, Osman, Samek 2022, Information Fusion 81:14, arXiv:2003.07258; as the
    inside-total ratio in Kohlbrenner et al. 2020, IJCNN, arXiv:1910.09840.
    """

    name: ClassVar[str] = "relevance-mass"
    summary: ClassVar[str] = "Share of positive relevance that lies in the mask"

    def _judge(self, case: Case, found: Located) -> Tensor:
        return (found.relevance * found.inside).sum(1) / found.relevance.sum(1)


@dataclass(frozen=True, eq=False)
class RelevanceRank(Localization):
    """RRA = |top-K ∩ mask| / K with K = |mask|: how much of the K most relevant is in the mask.

    By chance: the mask's share of the image. Cost: none beyond the explanation.
    See `Localization` for pooling, NaN and ties.
    Source: Arras, Osman, Samek 2022, Information Fusion 81:14, arXiv:2003.07258.
    """

    name: ClassVar[str] = "relevance-rank"
    summary: ClassVar[str] = "Share of the most relevant pixels, as many as the mask has, in it"

    def _judge(self, case: Case, found: Located) -> Tensor:
        from rootpoint.evaluation.ground_truth import hits

        size = found.inside.sum(1).clamp(min=1)
        return hits(found.relevance, size.long(), found.inside) / size


@dataclass(frozen=True, eq=False)
class OutsideInside(Localization):
    """μ = mean P outside the mask / mean P inside: how much the model looks at the context.

    0 is perfect, 1 is chance, infinity where nothing inside is relevant. The source takes means of
    signed relevance, where a ratio of mixed signs says nothing; here they are of P ≥ 0.
    Cost: none beyond the explanation. See `Localization` for pooling and NaN.
    Source: Lapuschkin et al. 2016, CVPR, arXiv:1512.00172.
    """

    name: ClassVar[str] = "outside-inside"
    summary: ClassVar[str] = "Mean relevance outside the mask, over that inside"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    best: ClassVar[float | None] = 0.0

    def _judge(self, case: Case, found: Located) -> Tensor:
        inside, outside = found.inside, 1 - found.inside
        means = [(found.relevance * part).sum(1) / part.sum(1) for part in (outside, inside)]
        return means[0] / means[1]


@dataclass(frozen=True, eq=False)
class IntersectionOverUnion(Localization):
    """IoU = |S ∩ mask| / |S ∪ mask| of the chosen pixels S: the |mask| most relevant ones.

    threshold   if given, S are the pixels with P ≥ threshold · max P instead
    By chance, without a threshold and with a mask of share s of the image: s / (2 − s), about.
    Cost: none beyond the explanation. See `Localization` for pooling, NaN and ties.
    Source: Jaccard 1912, New Phytologist 11:37; of thresholded maps Zhou et al. 2016, CVPR,
    arXiv:1512.04150.
    """

    name: ClassVar[str] = "iou"
    summary: ClassVar[str] = "Intersection over union of the most relevant pixels and the mask"

    threshold: float | None = parameter(
        None, "of the highest relevance, 0 to 1", number=True, low=0, high=1
    )

    def _judge(self, case: Case, found: Located) -> Tensor:
        from rootpoint.evaluation.ground_truth import hits

        relevance, inside = found.relevance, found.inside
        size = inside.sum(1)
        if self.threshold is None:
            both = hits(relevance, size.clamp(min=1).long(), inside)
            return both / (2 * size - both)
        chosen = (relevance >= self.threshold * relevance.amax(1, keepdim=True)).double()
        both = (chosen * inside).sum(1)
        return both / (chosen.sum(1) + size - both)
