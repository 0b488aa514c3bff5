"""Meaningful perturbation: the smallest part of an image whose deletion removes the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.scoring import Decision
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class MeaningfulPerturbation(Method):
    """R = 1 − m,  m = argmin λ1 Σ (1 − m) + λ2 Σ ‖∇m‖^β + E_τ f(m · x_τ + (1 − m) · null_τ).

    The mask m ∈ [0, 1] says what is kept of the image: 1 all, 0 nothing. It is learned by Adam in
    `iterations` steps, on a grid `scale` times coarser than the image; sums are over that grid,
    which is spread to the pixels by repetition and a Gaussian blur. All channels share one mask, so
    R, in [0, 1], is the same in all of them; it has no unit, and evidence against is not shown.

    f           the probability of the target, by softmax of the outputs (the sigmoid of a single
                one); the plain score with softmax=False, or if the target is a function
    baseline    the null image: "blur" (σ = 10 pixels), a number, "noise", a tensor like the sample
    jitter      image and null are moved by random τ of −jitter/2 … jitter/2 − 1 pixels, the edges
                repeated
    start       "circle": the smallest blurred disc in the middle whose deletion takes away 99 % of
                what the null image does; random where there is none. "random": uniform

    All images are learned at once, each its own mask. details["scores"] (B, iterations) holds f on
    the way. Raises UnsupportedModelError if no gradient goes through the model.
    Cost: `iterations` forwards and backwards, and 36 forwards for the circle.
    Source: Fong & Vedaldi 2017, ICCV, arXiv 1704.03296.
    """

    name: ClassVar[str] = "meaningful-perturbation"
    summary: ClassVar[str] = "The smallest part of an image whose deletion removes the score"
    cost: ClassVar[str] = "iterations forward and backward"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)
    needs: ClassVar[tuple[str, ...]] = ("gradients", "images")

    iterations: int = parameter(300, "steps of the optimization", low=1)
    rate: float = parameter(0.1, "learning rate of Adam", low=0)
    area: float = parameter(1e-4, "λ1: what deleting costs", low=0)
    variation: float = parameter(1e-2, "λ2: what roughness costs", low=0)
    power: float = parameter(3.0, "β: of the roughness", low=1)
    scale: int = parameter(8, "pixels of the image to one of the mask", low=1)
    smooth: float = parameter(5.0, "σ of the mask's blur, in pixels; 0 is none", low=0)
    jitter: int = parameter(4, "by how many pixels the image is moved, less than this", low=1)
    baseline: float | str | Tensor = parameter(
        "blur", "the null image: blur, noise, a number or a tensor"
    )
    start: str = parameter("circle", "the first mask", choices=("circle", "random"))
    softmax: bool = parameter(True, "whether the softmax probability is removed, not the output")
    seed: int = parameter(0, "of the jitter, the noise and a random start")

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        import torch

        from rootpoint.inputs import single
        from rootpoint.perturbation.features import features
        from rootpoint.perturbation.frozen import frozen
        from rootpoint.perturbation.replacements import replacements
        from rootpoint.progress import progress
        from rootpoint.scoring import decide

        self.inputs_only(at)
        x = single(self.name, inputs)
        if x.dim() != 4:
            raise InputError(
                f"{self.name} explains images (B, C, H, W), not inputs of shape {tuple(x.shape)}"
            )
        if self.baseline in ("mean", "inpaint"):
            raise InputError(
                f"{self.name}: baseline={self.baseline!r} needs features, which a mask has not: "
                "use 'blur', 'noise', a number or a tensor"
            )
        decisions = decide(model, x, targets)
        whole = features("values", x[0])
        null = torch.stack(
            [replacements(self.baseline, one, whole, seed=self.seed)[0] for one in x.detach()]
        )
        copy = frozen(model, x)
        with progress(2 * self.iterations * len(x) * len(targets), self.name) as advance:
            return [self._explained(copy, x.detach(), null, d, advance) for d in decisions]

    def _explained(
        self,
        model: Model,
        x: Tensor,
        null: Tensor,
        decision: Decision,
        advance: Callable[[int], None],
    ) -> Explanation:
        import torch

        from rootpoint.perturbation.masks import Deletion
        from rootpoint.scoring import fitting, in_batches, probable

        if self.softmax and not callable(decision.target):
            model = probable(model)
        circles, scores = 0, []

        def learned(start: int, stop: int) -> Tensor:
            nonlocal circles
            some = slice(start, stop)
            target = decision.target[some] if isinstance(decision.target, list) else decision.target
            task = Deletion(model, target, x[some], null[some], self.scale, self.smooth)
            generator = torch.Generator().manual_seed(self.seed)
            first = task.random(generator)
            if self.start == "circle":
                first, circles = task.circle(first), task.spent
            found, history = task.learned(
                first,
                generator,
                iterations=self.iterations,
                rate=self.rate,
                jitter=self.jitter,
                cost=self._cost,
                advance=lambda samples: advance(2 * samples),
            )
            scores.append(history)
            return task.spread(found)

        keep = torch.cat(list(in_batches(learned, len(x), fitting(x[0]))))
        return Explanation(
            relevance=(1 - keep).expand(x.shape).contiguous(),
            output=decision.score,
            target=decision.target,
            prediction=decision.prediction,
            inputs=x,
            method=self,
            passes=Passes(1 + circles + self.iterations, self.iterations),
            details={"scores": torch.cat(scores)},
        )

    def _cost(self, mask: Tensor) -> Tensor:
        """λ1 Σ (1 − m) + λ2 Σ ‖∇m‖^β of masks (B, 1, h, w), all in one sum."""
        down = (mask[:, :, 1:] - mask[:, :, :-1])[..., :-1]
        right = (mask[..., 1:] - mask[..., :-1])[:, :, :-1]
        length = (down**2 + right**2).clamp(min=1e-10).sqrt()
        return self.area * (1 - mask).abs().sum() + self.variation * (length**self.power).sum()
