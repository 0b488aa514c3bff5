"""Perturbation metrics of other papers: deletion, insertion, IROF and ROAD."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from rootpoint.evaluation.metric import Case, Curves, Measured, parameter
from rootpoint.evaluation.metrics.perturbation import (
    OUTPUT,
    OUTPUTS,
    REPEATS,
    Flipping,
    Removing,
)

SHARES = tuple(tenths / 10 for tenths in range(1, 10))
"""Of the pixels that ROAD removes."""


@dataclass(frozen=True, eq=False)
class Deletion(Flipping):
    """∫ p d(share of pixels gone): the area under the probability while the most relevant go first.

    From the whole image to none of it, by trapezoids; `region` is 1 pixel, whose channels become 0
    together. Random maps have the area under the curve of random order.
    Cost: steps evaluations. Source: Petsiuk, Das, Saenko 2018, BMVC, arXiv 1806.07421.
    """

    name: ClassVar[str] = "deletion"
    summary: ClassVar[str] = "Area under the probability while the most relevant features go"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "steps evaluations"

    region: int = parameter(1, "width of the regions of images, in pixels", low=1)
    output: str = parameter("probability", OUTPUT, choices=OUTPUTS)

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.perturbing import curve

        morf = curve(case, self.removal(case, steps=self.steps), "morf")
        return Measured(morf.area(), self.curves(morf=morf))


@dataclass(frozen=True, eq=False)
class Insertion(Flipping):
    """∫ p d(share of pixels there): the area under the probability while the most relevant come.

    From the blurred image (a text without words) to the image itself; as what comes last is what
    goes first, this is the curve of least relevant first, backwards. Else as `deletion`.
    Cost: steps evaluations. Source: Petsiuk, Das, Saenko 2018, BMVC, arXiv 1806.07421.
    """

    name: ClassVar[str] = "insertion"
    summary: ClassVar[str] = "Area under the probability while the most relevant features come"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    cost: ClassVar[str] = "steps evaluations"
    image_replacement: ClassVar[Any] = "blur"

    region: int = parameter(1, "width of the regions of images, in pixels", low=1)
    output: str = parameter("probability", OUTPUT, choices=OUTPUTS)

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.perturbing import curve

        lerf = curve(case, self.removal(case, steps=self.steps), "lerf")
        drawn = self.curves(lerf=lerf)
        backwards = Curves(
            x=[1 - float(share) for share in reversed(drawn.x)],
            x_label="share of steps" if lerf.ragged else "share of features inserted",
            y_label=drawn.y_label,
            lines={"insertion": drawn.lines["lerf"].flip(1)},
        )
        return Measured(lerf.area(), backwards)


@dataclass(frozen=True, eq=False)
class IROF(Removing):
    """∫ 1 − f(xˡ)/f(x⁰) d(l/L): the area over the curve while segments go, the most relevant first.

    Segments of images are superpixels (SLIC, about 100), in the order of their mean relevance, and
    become the mean of each channel of the image. f is the probability. NaN where f(x⁰) ≤ 0. Random
    maps have the area over the curve of random order.
    Cost: one evaluation for each segment. Needs scikit-image for images.
    Source: Rieger and Hansen 2020, arXiv 2003.08747.
    """

    name: ClassVar[str] = "irof"
    summary: ClassVar[str] = "Area over the curve while superpixels go, the most relevant first"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    cost: ClassVar[str] = "segments evaluations"
    image_replacement: ClassVar[Any] = "mean"

    output: str = parameter("probability", OUTPUT, choices=OUTPUTS)

    def image_features(self) -> str:
        return "superpixels(100)"

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.perturbing import curve

        removal = self.removal(case, steps=10**6, per_step=1, by="mean")
        morf = curve(case, removal, "morf")
        first = morf.scores[:, :1]
        share = replace(morf, scores=(morf.scores / first).where(first > 0, float("nan")))
        return Measured(1 - share.area(), self.curves(morf=share))


@dataclass(frozen=True, eq=False)
class ROAD(Removing):
    """Σ_p [decision kept under LeRF] − [under MoRF], over p = 10, 20 … 90 % of pixels, / 9.

    Pixels that are gone are imputed from their neighbours, linearly and all at once, so that their
    shape tells the network little, with noise of N(0, 0.01²). With output="score" or "probability"
    the mean difference of these. 1 is the most; random and constant maps have 0 on average.
    Needs images (B, C, H, W), and a model of several classes. Cost: 18 × repetitions evaluations,
    and as many linear systems of the pixels that are gone.
    Source: Rong et al. 2022, ICML, arXiv 2202.00449.
    """

    name: ClassVar[str] = "road"
    summary: ClassVar[str] = (
        "Decisions kept without the least, less those without the most relevant"
    )
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    cost: ClassVar[str] = "18 × repetitions evaluations"
    image_replacement: ClassVar[Any] = "linear"

    repetitions: int = parameter(1, REPEATS, low=1)
    output: str = parameter("decision", OUTPUT, choices=OUTPUTS)

    def image_features(self) -> str:
        return "patches(1)"

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.perturbing import curve

        removal = self.removal(case, shares=SHARES)
        morf, lerf = curve(case, removal, "morf"), curve(case, removal, "lerf")
        difference = (lerf.scores - morf.scores)[:, 1:].mean(1)
        return Measured(difference, self.curves(morf=morf, lerf=lerf))
