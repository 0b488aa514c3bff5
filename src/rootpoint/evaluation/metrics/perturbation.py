"""Perturbation analysis: the score falls fast where the most relevant features go first."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rootpoint.evaluation.metric import Case, Curves, Measured, Metric, parameter

if TYPE_CHECKING:
    from rootpoint.evaluation.perturbing import Curve, Removal

OUTPUTS = ("score", "probability", "decision")
REPLACEMENT = (
    "a number, 'noise', 'mean', 'blur', 'linear', 'inpaint', a tensor or data; None: see docs"
)
REPEATS = "times that random noise and orders are drawn"
OUTPUT = "what is read from the model"


@dataclass(frozen=True, eq=False)
class Removing(Metric):
    """A metric that takes features away. Its docs are those of these parameters, too.

    features     what is taken away at once: "patches(N)", "superpixels(N)", "values", "columns",
                 "nodes", a mask, or None: for images (B, C, H, W) see the metric, columns of tables
                 (B, D), words of texts (deleted), single values of what else there is
    replacement  what replaces it, see `perturbing.Removal`; None: for images see the metric, else 0
    """

    features: Any = parameter(None, "patches(N), superpixels(N), values, columns, nodes, a mask")
    replacement: Any = parameter(None, REPLACEMENT)
    repetitions: int = parameter(10, REPEATS, low=1)
    output: str = parameter("score", OUTPUT, choices=OUTPUTS)

    image_replacement: ClassVar[Any] = 0.0

    @abstractmethod
    def image_features(self) -> str:
        """What is taken away from images at once, unless a parameter says it."""

    def removal(self, case: Case, **schedule: Any) -> Removal:
        """The removal that this metric's parameters mean for the inputs of a case."""
        from rootpoint.evaluation.perturbing import Removal

        features, replacement = self.features, self.replacement
        if not isinstance(case.inputs, list):
            image = case.inputs.dim() == 4
            if features is None:
                other = "columns" if case.inputs.dim() == 2 else "values"
                features = self.image_features() if image else other
            if replacement is None:
                replacement = self.image_replacement if image else 0.0
        return Removal(
            features, replacement, repetitions=self.repetitions, output=self.output, **schedule
        )

    def curves(self, **curves: Curve) -> Curves:
        """For a plot: lines of the same removal."""
        one = next(iter(curves.values()))
        return Curves(
            x=one.x(),
            x_label="share of steps" if one.ragged else "share of features taken away",
            y_label=self.output,
            lines={name: each.line() for name, each in curves.items()},
        )


@dataclass(frozen=True, eq=False)
class Flipping(Removing):
    """A metric that flips square regions of images: 1 pixel wide for pixel flipping."""

    region: int = parameter(9, "width of the regions of images, in pixels", low=1)
    steps: int = parameter(100, "at most so many", low=1)

    def image_features(self) -> str:
        return f"patches({self.region})"


@dataclass(frozen=True, eq=False)
class AOPC(Flipping):
    """1/(L+1) Σ_{k=0…L} f(x⁰) − f(xᵏ): how far the score falls while the most relevant features go.

    xᵏ lacks the k · per_step features with the largest summed relevance, replaced for good. The
    defaults are the published protocol: regions of 9 × 9 pixels, 100 steps, uniform noise in the
    range of each channel of the image, the mean of 10 draws; curves end where all is replaced.
    Features of equal relevance go in random order: a constant map has the value of random order, if
    features are equally large. With `relative`, less that of random order, which is 0 by chance.
    Not comparable between models; a perfect map's value depends on the model.
    Cost: L × repetitions evaluations, and as many for random order.
    Source: Samek et al. 2017, TNNLS 28:2660; region=1: Bach et al. 2015, PLOS ONE 10(7):e0130140.
    """

    name: ClassVar[str] = "aopc"
    summary: ClassVar[str] = "Mean fall of the score while the most relevant features go"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    cost: ClassVar[str] = "steps × repetitions evaluations"
    image_replacement: ClassVar[Any] = "noise"

    per_step: int = parameter(1, "features that go in each step", low=1)
    relative: bool = parameter(False, "less the value of random order")

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.perturbing import curve

        removal = self.removal(case, steps=self.steps, per_step=self.per_step)
        morf = curve(case, removal, "morf")
        if not self.relative:
            return Measured(morf.scores[:, 0] - morf.mean(), self.curves(morf=morf))
        random = curve(case, removal, "random")
        return Measured(random.mean() - morf.mean(), self.curves(morf=morf, random=random))


@dataclass(frozen=True, eq=False)
class ABPC(Flipping):
    """1/(L+1) Σ_{k=0…L} f(x_LeRF^k) − f(x_MoRF^k): the area between two perturbation curves.

    LeRF takes the least relevant features first, MoRF the most relevant; also called SRG, symmetric
    relevance gain. The mean is over all L + 1 points of the curves, the first among them (so no
    trapezoids). Random and constant maps have 0 on average, the reverse of a map its negative. For
    a linear model and a constant replacement no order has more than that of the true relevance.
    Defaults as in AOPC, which shares the curve. Cost: 2 · L × repetitions evaluations.
    Source: Blücher et al. 2024, arXiv 2401.06654; Achtibat et al. 2024, ICML, arXiv 2402.05602.
    """

    name: ClassVar[str] = "abpc"
    summary: ClassVar[str] = "Area between the curves of least and of most relevant first"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    cost: ClassVar[str] = "2 · steps × repetitions evaluations"
    image_replacement: ClassVar[Any] = "noise"

    per_step: int = parameter(1, "features that go in each step", low=1)

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.perturbing import curve

        removal = self.removal(case, steps=self.steps, per_step=self.per_step)
        morf, lerf = curve(case, removal, "morf"), curve(case, removal, "lerf")
        return Measured(lerf.mean() - morf.mean(), self.curves(morf=morf, lerf=lerf))


@dataclass(frozen=True, eq=False)
class Selectivity(Flipping):
    """∫ f d(share of features gone): the area under the score while the most relevant go first.

    From all features to none, by trapezoids; steps that take several if there are more features
    than `steps`. Images lose regions of `region` pixels, which become 0. Random maps have the area
    under the curve of random order. Cost: steps evaluations.
    Source: Montavon, Samek, Müller 2018, Digital Signal Processing 73:1.
    """

    name: ClassVar[str] = "selectivity"
    summary: ClassVar[str] = "Area under the score while features go, the most relevant first"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "steps evaluations"

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.perturbing import curve

        morf = curve(case, self.removal(case, steps=self.steps), "morf")
        return Measured(morf.area(), self.curves(morf=morf))
