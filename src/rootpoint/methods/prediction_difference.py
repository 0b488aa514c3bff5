"""Prediction difference analysis: what if a window of the image were unknown?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.perturbation.patch_gaussian import PatchGaussian
    from rootpoint.perturbation.reference_images import ReferenceImages
    from rootpoint.perturbation.windows import Window
    from rootpoint.scoring import Decision
    from rootpoint.target import Target

    Sampler = Callable[[Tensor, int, Window], Tensor]


@dataclass(frozen=True, eq=False)
class PredictionDifference(Method):
    """R(window) = log2 odds(p(x)) − log2 odds(p(x without it)); of a value, the mean over windows.

    p without the window is the mean probability over S samples of what the window may hold. Before
    odds are taken, p ← (p N + 1) / (N + K), K the number of classes. Positive relevance, in bits,
    is evidence for the target. All channels of a window are replaced, and get the same relevance.

    sampling   "conditional": from a Gaussian of patches, given the border around the window, cut
               off at the data's least and largest values; "marginal": other images' same window
    fitted     what `fit(model, data)` learns: a `PatchGaussian`, or for marginal sampling
               `ReferenceImages`; or the file it was saved in
    window     the side of the windows; a patch Gaussian is of one size, which must be this
    budget     sets the stride: the smallest for which windows × samples does not exceed it, at most
               the window; `stride` sets it outright. Published is stride 1, which for an image of
               224 × 224 takes 462,250 evaluations
    measure    "evidence" as above, or "difference" of the mere scores, for what is no probability
    softmax    whether probabilities are the softmax of the model's outputs (the sigmoid of a single
               one); set it to False if they are the outputs. A function as target gives them itself

    Raises InputError if it is not fitted, or the score is the same for all windows.
    Cost: `samples` forwards per window. Source: Zintgraf et al. 2017, ICLR, arXiv 1702.04595.
    """

    name: ClassVar[str] = "prediction-difference"
    summary: ClassVar[str] = "Prediction difference: evidence lost when a window becomes unknown"
    cost: ClassVar[str] = "samples forward per window, at most budget"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)
    needs: ClassVar[tuple[str, ...]] = ("images", "data")

    sampling: str = parameter(
        "conditional", "what windows are filled with", choices=("conditional", "marginal")
    )
    window: int = parameter(10, "side of the windows", low=1)
    samples: int = parameter(10, "fillings of each window", low=1)
    budget: int = parameter(6000, "model evaluations to spend on each sample", low=1)
    stride: int | None = parameter(None, "from one window to the next", low=1, number=True)
    measure: str = parameter(
        "evidence", "what is compared: log odds, or scores", choices=("evidence", "difference")
    )
    softmax: bool = parameter(True, "whether the outputs need a softmax to be probabilities")
    laplace: float = parameter(100000.0, "N: how many training samples there were", low=1)
    seed: int = parameter(0, "of the fillings")
    fitted: PatchGaussian | ReferenceImages | str | None = parameter(
        None, "the patch Gaussian or reference images, or their file"
    )

    def fit(self, model: Model, data: Any) -> Self:
        from rootpoint.perturbation.patch_gaussian import fit_patch_gaussian
        from rootpoint.perturbation.reference_images import fit_reference_images

        if self.sampling == "marginal":
            return replace(self, fitted=fit_reference_images(data, seed=self.seed))
        return replace(self, fitted=fit_patch_gaussian(data, window=self.window, seed=self.seed))

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.inputs import single
        from rootpoint.perturbation.filled import explained
        from rootpoint.perturbation.frozen import frozen
        from rootpoint.perturbation.windows import windows
        from rootpoint.progress import progress
        from rootpoint.scoring import decide

        self.inputs_only(at)
        x = single(self.name, inputs)
        decisions = decide(model, x, targets)
        sampler = self._sampler(x)
        side, stride = self.window, self._stride(*x.shape[2:])
        shape = x.shape[1:]
        at_windows = windows(shape, (shape[0], side, side), (shape[0], stride, stride), whole=True)
        copy = frozen(model, x)

        def fill(sample: int, index: int) -> Tensor:
            return sampler(x[sample], index, at_windows[index])

        def explain(decision: Decision) -> Explanation:
            return explained(
                self,
                x,
                decision,
                at_windows,
                self.samples,
                fill,
                partial(self._worth, decision),
                advance,
                network=copy,
                scored=self._scored(copy, decision),
            )

        evaluations = (1 + len(at_windows) * self.samples) * len(x) * len(targets)
        with progress(evaluations, self.name) as advance:
            return [explain(d) for d in decisions]

    def _sampler(self, x: Tensor) -> Sampler:
        from rootpoint.perturbation.fillings import conditional_filling, marginal_filling
        from rootpoint.perturbation.patch_gaussian import PatchGaussian
        from rootpoint.perturbation.reference_images import ReferenceImages

        if x.dim() != 4 or min(x.shape[2:]) < self.window:
            raise InputError(
                f"{self.name} explains images (B, C, H, W) of at least {self.window} × "
                f"{self.window} pixels, its window, not inputs of shape {tuple(x.shape)}"
            )
        kind = ReferenceImages if self.sampling == "marginal" else PatchGaussian
        if (
            isinstance(self.fitted, PatchGaussian | ReferenceImages)
            and type(self.fitted) is not kind
        ):
            raise InputError(
                f"{self.name}: {self.sampling} sampling needs {kind.kind}, not "
                f"{self.fitted.kind}: use `fit(model, data)`, or the other sampling"
            )
        if self.sampling == "marginal":
            return marginal_filling(
                ReferenceImages.of(self, self.fitted), x, self.samples, self.seed
            )
        return conditional_filling(
            PatchGaussian.of(self, self.fitted), self.window, x, self.samples, self.seed
        )

    def _stride(self, height: int, width: int) -> int:
        def cost(stride: int) -> int:
            rows, columns = (-(-(size - self.window) // stride) + 1 for size in (height, width))
            return rows * columns * self.samples

        if self.stride is None:
            for stride in range(1, self.window + 1):
                if cost(stride) <= self.budget:
                    return stride
            raise InputError(
                f"{self.name}: windows of {self.window} × {self.window} pixels that leave nothing "
                f"out of {height} × {width} need a budget of at least {cost(self.window)} "
                f"evaluations, not {self.budget}: raise it, or use fewer samples or larger windows"
            )
        if self.stride > self.window:
            raise InputError(
                f"{self.name}: a stride of {self.stride} leaves gaps between windows of "
                f"{self.window}: make it smaller, or the windows larger"
            )
        return self.stride

    def _scored(self, model: Model, decision: Decision) -> Model:
        """The model whose scores are compared: its probabilities, if evidence is."""
        from rootpoint.scoring import probable

        wanted = self.measure == "evidence" and self.softmax and not callable(decision.target)
        return probable(model) if wanted else model

    def _worth(self, decision: Decision, whole: Tensor, without: Tensor) -> Tensor:
        """What each window is worth, (n,)."""
        if self.measure == "difference":
            return whole - without
        output = decision.prediction
        single = callable(decision.target) or output.dim() == 1 or output.shape[1] == 1
        return weight_of_evidence(whole, without, self.laplace, 2 if single else output.shape[1])


def weight_of_evidence(whole: Tensor, without: Tensor, laplace: float, classes: int) -> Tensor:
    """log2 odds(p(x)) − log2 odds(p(x without)), in bits, after p ← (p N + 1) / (N + K).

    Raises InputError if these are no probabilities.
    """
    if bool((without < 0).any() | (without > 1 + 1e-5).any() | (whole < 0) | (whole > 1 + 1e-5)):
        raise InputError(
            "prediction-difference: the scores are no probabilities, as the weight of evidence "
            "needs them: set softmax=True, or measure='difference'"
        )

    def log_odds(p: Tensor) -> Tensor:
        p = (p.double() * laplace + 1) / (laplace + classes)
        return (p / (1 - p)).log2()

    return log_odds(whole) - log_odds(without)
