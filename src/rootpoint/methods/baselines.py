"""Maps that know nothing of the model: every method must be better than these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class Random(Method):
    """R_i drawn at random: normal, N(0, 1), or uniform on [−1, 1]; the same for every sample.

    Cost: one forward, for the decision only. Source: the baseline of Samek et al. 2017, IEEE TNNLS
    28(11), arXiv 1509.06321.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "Random relevance: a baseline for other methods"
    cost: ClassVar[str] = "1 forward"

    distribution: str = parameter("normal", "of the relevance", choices=("normal", "uniform"))
    seed: int = parameter(0, "of the draws")

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        import torch

        from rootpoint.inputs import map_inputs

        self.inputs_only(at)

        def draw(x: Tensor, generator: torch.Generator) -> Tensor:
            shape = x.shape[1:]
            if self.distribution == "normal":
                values = torch.randn(shape, generator=generator)
            else:
                values = 2 * torch.rand(shape, generator=generator) - 1
            return values.to(x).expand(x.shape).clone()

        def relevance() -> Any:
            generator = torch.Generator().manual_seed(self.seed)
            return map_inputs(lambda x: draw(x, generator), inputs)

        return _explanations(self, model, inputs, targets, relevance)


@dataclass(frozen=True, eq=False)
class Edges(Method):
    """R = √(G_x² + G_y²) of the channels' mean, by Sobel's filters; each channel an equal share.

    The filters are divided by 8, so that the channels' sum is the slope per pixel; beyond its edge
    the image goes on as it ends. Inputs are images (B, C, H, W).
    Cost: one forward, for the decision only. Source: the edge detector that Adebayo et al. 2018,
    arXiv 1810.03292, compare saliency maps with; Sobel & Feldman 1968.
    """

    name: ClassVar[str] = "edges"
    summary: ClassVar[str] = "The edges of the image: a baseline for other methods"
    cost: ClassVar[str] = "1 forward"
    needs: ClassVar[tuple[str, ...]] = ("images",)

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.inputs import single

        self.inputs_only(at)
        x = single(self.name, inputs)
        if x.dim() != 4:
            raise InputError(f"edges are those of images (B, C, H, W), not of {tuple(x.shape)}")
        return _explanations(self, model, inputs, targets, lambda: _sobel(x))


def _sobel(x: Tensor) -> Tensor:
    from torch.nn.functional import conv2d, pad

    grey = pad(x.detach().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    filters = x.new_tensor([_ACROSS, list(zip(*_ACROSS, strict=True))])[:, None] / 8
    magnitude = conv2d(grey, filters).square().sum(1, keepdim=True).sqrt()
    return (magnitude / x.shape[1]).expand_as(x).clone()


_ACROSS = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]


def _explanations(
    method: Method,
    model: Model,
    inputs: Inputs,
    targets: Sequence[Target],
    relevance: Callable[[], Any],
) -> list[Explanation]:
    """The decisions, each with this relevance, whatever the model and the target."""
    from rootpoint.scoring import decide

    return [
        Explanation(relevance(), d.score, d.target, d.prediction, inputs, method, passes=Passes(1))
        for d in decide(model, inputs, targets)
    ]
