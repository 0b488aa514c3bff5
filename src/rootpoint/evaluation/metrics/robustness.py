"""Robustness: nearly equal inputs should have nearly equal explanations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rootpoint.evaluation.metric import Case, Curves, Measured, Metric, parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Continuity(Metric):
    """‖R(x) − R(x′)‖₁ / ‖x − x′‖₂ of nearly equal inputs x and x′, the largest or the mean.

    displacement   "translation": the image moves to the right, `pixels` in each of the steps, and
                   each image of the sequence and the next are x and x′; pixels < 1 interpolates,
                   the left edge is repeated. "noise": x is the sample, x′ = x + radius · ‖x‖₂ · u,
                   u a random direction. "auto": translation of images (B, C, H, W), else noise
    The target is that of the sample at each place. In units of relevance per unit of input: compare
    methods whose maps sum to the same. A bound means that R is continuous; as displacements shrink,
    the value of a discontinuous R grows without bound. NaN where all x′ equal x.
    Raises InputError for texts, and for translations of what is no image.
    Cost: as many explanations as steps.
    Source: Montavon, Samek, Müller 2018, Digital Signal Processing 73:1, §7.1.
    """

    name: ClassVar[str] = "continuity"
    summary: ClassVar[str] = (
        "Change of relevance per change of the input, under small displacements"
    )
    group: ClassVar[str] = "robustness"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "steps explanations"

    steps: int = parameter(10, "displacements", low=1)
    over: str = parameter("max", "what counts of all displacements", choices=("max", "mean"))
    displacement: str = parameter(
        "auto", "of inputs; auto: translation of images", choices=("auto", "translation", "noise")
    )
    pixels: float = parameter(1.0, "of one step of the translation", low=0.001)
    radius: float = parameter(0.01, "of noise, in lengths of the input", low=1e-12)

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.displacement import ratios

        kind = self.displacement
        if kind == "auto":
            image = not isinstance(case.inputs, list) and case.inputs.dim() == 4
            kind = "translation" if image else "noise"
        moving = kind == "translation"
        size = self.pixels if moving else self.radius
        found = ratios(case, kind, self.steps, size)
        curves = Curves(
            x=[(k + 1) * size if moving else k + 1 for k in range(self.steps)],
            x_label="translation in pixels" if moving else "displacement",
            y_label="change of relevance / change of input",
            lines={"ratio": found},
        )
        return Measured(_over(self.over, found), curves)


@dataclass(frozen=True, eq=False)
class MaxSensitivity(Metric):
    """max_δ ‖R(x + δ) − R(x)‖ / ‖R(x)‖ over random δ with |δᵢ| ≤ radius: SENS_MAX.

    norm       "l2" is the published one, "l1" adds up and "max" takes the largest change
    relative   divide by ‖R(x)‖, so that methods whose maps differ in scale can be compared, as the
               authors' experiments do; their definition does not
    δ is uniform in the cube, so the value is a lower bound of the true maximum. NaN where R(x) = 0,
    if relative. Raises InputError for texts. Cost: as many explanations as samples.
    Source: Yeh et al. 2019, arXiv 1901.09392.
    """

    name: ClassVar[str] = "max-sensitivity"
    summary: ClassVar[str] = "Largest change of relevance in a small cube around the input"
    group: ClassVar[str] = "robustness"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "samples explanations"

    radius: float = parameter(0.02, "half the width of the cube", low=0.0)
    samples: int = parameter(10, "points of the cube", low=1)
    norm: str = parameter("l2", "of relevance", choices=("l1", "l2", "max"))
    relative: bool = parameter(True, "divide by the norm of the map")

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.displacement import sensitivities, size_of

        found = sensitivities(case, self.radius, self.samples, self.norm).amax(1)
        return Measured(found / size_of(case.relevance, self.norm) if self.relative else found)


def _over(what: str, values: Tensor) -> Any:
    """The largest or the mean of each row, but for NaN; NaN of nothing else."""
    if what == "mean":
        return values.nanmean(1)
    known = ~values.isnan()
    highest = values.where(known, -float("inf")).amax(1)
    return highest.where(known.any(1), float("nan"))
