"""Class activation maps: which places of the last feature maps speak for the class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter
from rootpoint.methods.backprop import GuidedBackprop

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.grids import Grid
    from rootpoint.inputs import Inputs, Model
    from rootpoint.target import Target

_LAYER = "path of the module to look at; None: the last one with spatial extent"


@dataclass(frozen=True, eq=False)
class CAM(Method):
    """M(u) = Σ_k w_k A_k(u): feature maps A weighted by the class's weights w.

    layer   the module that makes A; None: the last one that fits
    For networks of convolutions, a global average and one linear layer, so that the mean of the
    map is logit − bias; this is checked, and UnsupportedModelError raised where it does not hold.
    Relevance is the map, stretched bilinearly over the image (B, C, H, W) and shared equally among
    its channels, so that their sum is the map; details["map"] (B, 1, h, w) is the map itself.
    Targets are class indices. Cost: one forward. Source: Zhou et al. 2016, CVPR, arXiv 1512.04150.
    """

    name: ClassVar[str] = "cam"
    summary: ClassVar[str] = "The last feature maps, weighted by the class's weights"
    cost: ClassVar[str] = "1 forward"
    needs: ClassVar[tuple[str, ...]] = ("layer", "images")

    layer: str | None = parameter(None, _LAYER)

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        import torch

        from rootpoint.grids import find_grids, image
        from rootpoint.inputs import check_scores
        from rootpoint.target import scores

        self.inputs_only(at)
        x, layer = image(self.name, inputs), self.layer
        explanations = []
        with torch.inference_mode(False), torch.no_grad():
            output, grids = find_grids(model, x, layer)
            for target in targets:
                score, resolved = scores(output, target, len(x))
                check_scores(score)
                grid, cam = self._map(model, grids, score, resolved)
                explanations.append(
                    Explanation(
                        relevance=_over(cam, x),
                        output=score,
                        target=resolved,
                        prediction=output,
                        inputs=inputs,
                        method=self,
                        passes=Passes(1),
                        details={"map": cam, "layer": grid.run.module},
                    )
                )
        return explanations

    def _map(
        self, model: Any, grids: list[Grid], score: Tensor, target: Any
    ) -> tuple[Grid, Tensor]:
        """The last grid whose mean, weighted by the head, is logit − bias, and the map there."""
        if callable(target) or not all(isinstance(t, int) for t in target):
            raise InputError("cam explains the score of a class: give a class index as target")
        weight, bias = _head(model)
        offs = []
        for grid in reversed(grids):
            maps = grid.maps(grid.run.value)
            if maps.shape[1] != weight.shape[1]:
                continue
            w = weight[target][:, :, None, None]
            cam = (w * maps).sum(1, keepdim=True)
            off = (cam.mean((1, 2, 3)) - (score - bias[target])).abs()
            size = (w * maps).abs().sum(1).mean((1, 2)) + score.abs() + bias[target].abs()
            if (off <= _rounding(score) * size).all():
                return grid, cam
            offs.append(f"{off.max().item():.3g} at {grid.run.module!r}")
        raise UnsupportedModelError(
            "cam needs a network that ends in a global average and one linear layer: the mean of "
            "its map should be logit − bias, and "
            + (f"is off by {offs[0]}" if offs else "no feature maps fit the last linear layer")
            + "; use grad-cam, which needs no such end"
        )


@dataclass(frozen=True, eq=False)
class GradCAM(Method):
    """L(u) = (Σ_k α_k A_k(u))⁺: feature maps A weighted by mean slopes, α_k = mean_u ∂f/∂A_k(u).

    layer   the module that makes A; None: the last one with spatial extent at which the score has
            a slope. In vision transformers these are the tokens of the patches, without those of
            class and registers that come before them; the last that attention still reads
    Relevance is the map, stretched bilinearly over the image (B, C, H, W) and shared equally among
    its channels, so that their sum is the map; details["map"] (B, 1, h, w) is the map itself.
    A map without positive values is zero, and a note says so.
    Cost: one forward, one backward as far as the layer.
    Source: Selvaraju et al. 2017, ICCV, arXiv 1610.02391.
    """

    name: ClassVar[str] = "grad-cam"
    summary: ClassVar[str] = "The last feature maps, weighted by the mean slope of the score"
    cost: ClassVar[str] = "1 forward, 1 backward as far as the layer"
    needs: ClassVar[tuple[str, ...]] = ("gradients", "layer", "images")

    layer: str | None = parameter(None, _LAYER)

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        import torch

        from rootpoint.grids import find_grids, image
        from rootpoint.inputs import check_scores
        from rootpoint.target import scores

        self.inputs_only(at)
        x, layer = image(self.name, inputs), self.layer
        explanations = []
        with torch.inference_mode(False), torch.enable_grad():
            # The clone is no leaf: the model may overwrite it.
            entry = x.detach().clone().requires_grad_().clone()
            output, grids = find_grids(model, entry, layer)
            for target in targets:
                score, resolved = scores(output, target, len(x))
                check_scores(score)
                grid, slopes = _slopes(score, grids, layer)
                cam, notes = _weighted(grid, slopes)
                if layer is not None and len(grids) > 1:
                    notes = (f"{layer} ran {len(grids)} times; this is its last run", *notes)
                explanations.append(
                    Explanation(
                        relevance=_over(cam, x),
                        output=score.detach(),
                        target=resolved,
                        prediction=output.detach() if isinstance(output, torch.Tensor) else output,
                        inputs=inputs,
                        method=self,
                        passes=Passes(1, 1),
                        details={"map": cam, "layer": grid.run.module},
                        notes=notes,
                    )
                )
        return explanations


@dataclass(frozen=True, eq=False)
class GuidedGradCAM(Method):
    """Guided backprop times the stretched map of Grad-CAM: fine where edges are, for this class.

    layer   of Grad-CAM, whose map and notes come along
    Cost: two forwards, two backwards. Source: Selvaraju et al. 2017, ICCV, arXiv 1610.02391.
    """

    name: ClassVar[str] = "guided-grad-cam"
    summary: ClassVar[str] = "Guided backprop where Grad-CAM sees the class"
    cost: ClassVar[str] = "2 forward, 2 backward"
    needs: ClassVar[tuple[str, ...]] = ("gradients", "layer", "images")

    layer: str | None = parameter(None, _LAYER)

    def prepare(self, model: Model) -> Any:
        return GuidedBackprop().prepare(model)

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from dataclasses import replace

        self.inputs_only(at)
        coarse = GradCAM(self.layer).run(model, inputs, targets, at, None)
        fine = GuidedBackprop().run(model, inputs, targets, at, prepared)
        return [
            replace(
                c,
                relevance=f.relevance * c.relevance.sum(1, keepdim=True),
                method=self,
                passes=Passes(2, 2),
            )
            for c, f in zip(coarse, fine, strict=True)
        ]


def _over(cam: Tensor, x: Tensor) -> Tensor:
    """A map (B, 1, h, w) stretched over the image and shared equally among its channels."""
    from torch.nn import functional as F

    stretched = F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False)
    return (stretched / x.shape[1]).to(x.dtype).expand_as(x).contiguous()


def _rounding(score: Tensor) -> float:
    """How far sums may be off by rounding, relative to the size of their terms."""
    import torch

    return min(100 * torch.finfo(score.dtype).eps, 0.01)


def _head(model: Any) -> tuple[Tensor, Tensor]:
    """Weights (classes, K) and biases (classes,) of the model's last linear layer."""
    from torch import nn

    for module in reversed(list(model.modules())):
        pointwise = isinstance(module, nn.Conv2d) and module.weight[0].numel() == module.in_channels
        if isinstance(module, nn.Linear) or pointwise:
            weight = module.weight.detach().flatten(1)
            bias = module.bias
            return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach()
    raise UnsupportedModelError("cam needs a linear layer at the model's end, and there is none")


def _slopes(score: Tensor, grids: list[Grid], layer: str | None) -> tuple[Grid, Tensor]:
    """The last grid at which the score has a slope, and its slopes as maps (B, C, h, w).

    Where all slopes are zero, the last grid on the path.
    """
    import torch

    found = None
    for grid in reversed(grids):
        if grid.run.place is None or not score.requires_grad:
            continue
        (slope,) = torch.autograd.grad(
            score.sum(), [grid.run.place], retain_graph=True, allow_unused=True
        )
        if slope is None:
            continue
        maps = grid.maps(slope)
        if maps.any():
            return grid, maps
        found = found or (grid, maps)
    if found is None:
        where = "any layer with spatial extent" if layer is None else f"layer={layer!r}"
        raise UnsupportedModelError(
            f"the explained score does not depend on {where}: name another layer, or explain a "
            "model that neither detaches its input nor runs under torch.no_grad()"
        )
    return found


def _weighted(grid: Grid, slopes: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Grad-CAM's map (B, 1, h, w), and what is to be said of it."""
    maps = grid.maps(grid.run.value)
    signed = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
    cam = signed.clamp(min=0)
    where, notes = grid.run.module, []
    flat = [str(b) for b, s in enumerate(slopes) if not s.any()]
    empty = [str(b) for b, m in enumerate(cam) if not m.any() and str(b) not in flat]
    if flat:
        notes.append(
            f"the score has no slope at {where} in sample {', '.join(flat)}: the map is zero; "
            "name an earlier layer"
        )
    if empty:
        notes.append(
            f"no value of the map at {where} is positive in sample {', '.join(empty)}: it is zero"
        )
    return cam, tuple(notes)
