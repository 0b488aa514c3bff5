"""Masks that delete a part of an image, and how one that removes the score is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import UnsupportedModelError
from rootpoint.inputs import Model, call, check_scores
from rootpoint.perturbation.blur import blurred
from rootpoint.perturbation.replacements import BLUR
from rootpoint.scoring import as_tensor, nothing
from rootpoint.target import Target, scores

_CUT_OFF = (
    "no gradient goes from the score back to the input, which a mask is learned by: explain a "
    "torch model that neither detaches nor computes with numpy, or use occlusion"
)
_CIRCLES = 35
_CIRCLE = 170 / 224  # the largest radius, of the image's shorter side
_REMOVED = 0.99  # of the drop of the score, by a circle that will do


@dataclass(eq=False)
class Deletion:
    """Images x (B, C, H, W) that fade into their null images where masks (B, 1, h, w) are 0.

    scale    pixels of the image to one of the mask
    smooth   standard deviation of the blur of a mask that is spread to the pixels
    spent    forward passes of each image so far
    """

    model: Model
    target: Target
    x: Tensor
    null: Tensor
    scale: int
    smooth: float
    spent: int = 0

    def spread(self, mask: Tensor) -> Tensor:
        """A mask for each pixel, (B, 1, H, W)."""
        height, width = self.x.shape[2:]
        fine = mask.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        fine = fine[:, :, :height, :width]
        return blurred(fine, self.smooth) if self.smooth else fine

    def score(self, keep: Tensor, shift: tuple[int, int] = (0, 0)) -> Tensor:
        """f of the images, moved, of which so much is kept, (B,)."""
        x, null = (_moved(images, shift) for images in (self.x, self.null))
        self.spent += 1
        output = as_tensor(call(self.model, keep * x + (1 - keep) * null))
        score, _ = scores(output, self.target, len(x))
        check_scores(score)
        return score

    def random(self, generator: torch.Generator) -> Tensor:
        """Uniform masks, one and the same for each image."""
        size = [-(-s // self.scale) for s in self.x.shape[2:]]
        drawn = torch.rand(1, 1, *size, generator=generator, dtype=torch.float64)
        return drawn.to(self.x).repeat(len(self.x), 1, 1, 1)

    def circle(self, otherwise: Tensor) -> Tensor:
        """For each image the smallest disc, of 35 radii, that removes 99 % of the score that the
        null image lacks; where there is none, the mask of `otherwise`.
        """
        with torch.no_grad():
            ones = torch.ones_like(otherwise)
            whole, none = self.score(self.spread(ones)), self.score(self.spread(0 * ones))
            enough = whole - _REMOVED * (whole - none)
            found, open_ = otherwise, none < whole
            for index in range(1, _CIRCLES):
                if not bool(open_.any()):
                    break
                disc = self._outside(index / (_CIRCLES - 1)).expand_as(otherwise)
                hit = open_ & (self.score(self.spread(disc)) <= enough)
                found = torch.where(hit[:, None, None, None], disc, found)
                open_ = open_ & ~hit
        return found

    def _outside(self, radius: float) -> Tensor:
        """A mask that deletes a blurred, centred disc; its radius as a share of the largest one."""
        height, width = self.x.shape[2:]
        rows, columns = (
            (torch.arange(-(-size // self.scale), device=self.x.device) + 0.5) * self.scale
            - size / 2
            for size in (height, width)
        )
        distance = (rows[:, None] ** 2 + columns**2).sqrt()
        outside = (distance > radius * _CIRCLE * min(height, width)).to(self.x)
        return blurred(outside, BLUR / self.scale)[None, None]

    def learned(
        self,
        start: Tensor,
        generator: torch.Generator,
        *,
        iterations: int,
        rate: float,
        jitter: int,
        cost: Callable[[Tensor], Tensor],
        advance: Callable[[int], None] = nothing,
    ) -> tuple[Tensor, Tensor]:
        """The masks that minimize cost + score, and the scores on the way, (B, iterations).

        Raises UnsupportedModelError if no gradient goes through the model.
        """
        history = []
        with torch.enable_grad():
            mask = start.clone().requires_grad_()
            adam = torch.optim.Adam([mask], lr=rate)
            for _ in range(iterations):
                drawn = torch.randint(jitter, (2,), generator=generator) - jitter // 2
                score = self._differentiable(mask, (int(drawn[0]), int(drawn[1])))
                (mask.grad,) = torch.autograd.grad(score.sum() + cost(mask), mask)
                adam.step()
                with torch.no_grad():
                    mask.clamp_(0, 1)
                history.append(score.detach())
                advance(len(mask))
        return mask.detach(), torch.stack(history, 1)

    def _differentiable(self, mask: Tensor, shift: tuple[int, int]) -> Tensor:
        try:
            score = self.score(self.spread(mask), shift)
        except RuntimeError as error:
            if "numpy" not in str(error):
                raise
            raise UnsupportedModelError(_CUT_OFF) from error
        if not score.requires_grad:
            raise UnsupportedModelError(_CUT_OFF)
        return score


def _moved(images: Tensor, shift: tuple[int, int]) -> Tensor:
    """Moved down and to the right by so many pixels, the edges repeated."""
    down, right = shift
    height, width = images.shape[2:]
    margin = max(abs(down), abs(right))
    if margin == 0:
        return images
    padded = F.pad(images, (margin,) * 4, mode="replicate")
    return padded[:, :, margin - down :, margin - right :][:, :, :height, :width]
