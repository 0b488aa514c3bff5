"""Gradients averaged over noise on the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.perturbation.gradients import Moments, Points
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class SmoothGrad(Method):
    """R_i = 1/n Σ_k ∂_i f(x + ε_k),  ε_k ~ N(0, σ²),  σ = level · (max x − min x).

    σ is that of each sample (and of each of several inputs); the same draws, scaled, serve all
    samples. With `at`, the gradient is that by the inner module's output.

    aggregate   "mean"; "squared": 1/n Σ (∂_i f)²; "variance" (VarGrad): 1/n Σ (∂_i f − mean)²
    `standard_error` is that of the mean, or of the mean square, if there are two samples or more;
    none for the variance. Raises InputError for the variance of one sample.
    Cost: samples + 1 forwards, samples backwards. Source: Smilkov et al. 2017, arXiv 1706.03825;
    VarGrad: Adebayo et al. 2018, arXiv 1810.03307.
    """

    name: ClassVar[str] = "smoothgrad"
    summary: ClassVar[str] = "The gradient averaged over noisy copies of the input"
    cost: ClassVar[str] = "samples + 1 forward, samples backward"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    samples: int = parameter(50, "noisy copies of the input", low=1)
    level: float = parameter(0.15, "standard deviation of the noise, per range of the input", low=0)
    aggregate: str = parameter(
        "mean", "what of their gradients", choices=("mean", "squared", "variance")
    )
    seed: int = parameter(0, "of the noise")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aggregate == "variance" and self.samples < 2:
            raise InputError(f"{self.name}: the variance needs samples=2 or more")

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.inputs import batch_size
        from rootpoint.perturbation.gradients import Moments, gradients_at
        from rootpoint.scoring import decide

        decisions = decide(model, inputs, targets)
        moments: list[list[Moments]] = [[] for _ in targets]
        for batch in gradients_at(
            model,
            inputs,
            [d.target for d in decisions],
            self.samples,
            self._noisy(inputs),
            at=self.one_module(at),
            doing="adding noise",
        ):
            for mine, gradients in zip(moments, batch.found, strict=True):
                mine.extend(Moments(batch_size(inputs)) for _ in gradients[len(mine) :])
                for one, gradient in zip(mine, gradients, strict=True):
                    one.add(self._counted(gradient), batch.samples)
        return [
            Explanation(
                self._arranged([self._relevance(one) for one in mine], inputs, at),
                d.score,
                d.target,
                d.prediction,
                inputs,
                self,
                at,
                Passes(1 + self.samples, self.samples),
                standard_error=self._error(mine, inputs, at),
                notes=self._notes(inputs),
            )
            for d, mine in zip(decisions, moments, strict=True)
        ]

    def _noisy(self, inputs: Inputs) -> Points:
        """The inputs with noise: that of a step is drawn from the step's own seed."""
        import torch

        from rootpoint.inputs import tensors
        from rootpoint.perturbation.gradients import like

        xs = tensors(inputs)
        generator = torch.Generator().manual_seed(self.seed)
        seeds = torch.randint(2**62, (self.samples,), generator=generator).tolist()
        sigmas = [self.level * _range(x) for x in xs]

        def draw(step: int) -> list[Tensor]:
            own = torch.Generator().manual_seed(seeds[step])
            return [torch.randn(x.shape[1:], generator=own).to(x) for x in xs]

        def points(steps: Tensor, samples: Tensor) -> Inputs:
            first = int(steps[0])
            drawn = [draw(step) for step in range(first, int(steps[-1]) + 1)]
            noise = [torch.stack(each)[steps - first] for each in zip(*drawn, strict=True)]
            made = zip(xs, sigmas, noise, strict=True)
            return like(inputs, [x[samples] + s[samples] * n for x, s, n in made])

        return points

    def _counted(self, gradient: Tensor) -> Tensor:
        return gradient.square() if self.aggregate == "squared" else gradient

    def _relevance(self, found: Moments) -> Tensor:
        return found.variance if self.aggregate == "variance" else found.mean

    def _error(self, found: list[Moments], inputs: Inputs, at: At) -> Any:
        if self.samples < 2 or self.aggregate == "variance":
            return None
        return self._arranged([one.standard_error for one in found], inputs, at)

    def _arranged(self, values: list[Tensor], inputs: Inputs, at: At) -> Any:
        """As the inputs are; at an inner module, one tensor or a tuple of them."""
        from rootpoint.inputs import tensors
        from rootpoint.perturbation.gradients import like

        if at is not None:
            return values[0] if len(values) == 1 else tuple(values)
        xs = tensors(inputs)
        return like(inputs, [v.to(x.dtype) for v, x in zip(values, xs, strict=True)])

    def _notes(self, inputs: Inputs) -> tuple[str, ...]:
        from rootpoint.inputs import tensors

        if self.level and any(bool((_range(x) == 0).any()) for x in tensors(inputs)):
            return ("an input is constant: its range is zero, and so was the noise on it",)
        return ()


def _range(x: Tensor) -> Tensor:
    """Largest − smallest value of each sample, (B, 1, …)."""
    flat = x.reshape(len(x), -1)
    return (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (x.dim() - 1))
