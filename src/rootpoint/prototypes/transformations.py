"""Random movements of the image: a prototype must be recognized also a little moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rootpoint.errors import InputError


@dataclass(frozen=True)
class Transformation:
    """Each step sees the image moved, scaled and turned at random, all images in the same way.

    jitter     up to so many pixels to each side
    scale      up to this factor larger or smaller, 0 for none; drawn evenly in its logarithm
    rotation   up to so many degrees either way
    The image is made wider by `jitter` pixels on each side, so that nothing foreign moves in.
    Source: Olah, Mordvintsev, Schubert 2017, Feature Visualization, Distill.
    """

    jitter: int = 0
    scale: float = 0.0
    rotation: float = 0.0

    def __post_init__(self) -> None:
        if self.jitter < 0 or self.scale < 0 or self.rotation < 0:
            raise InputError(f"{self}: no amount can be negative")

    @property
    def moves(self) -> bool:
        return bool(self.jitter or self.scale or self.rotation)

    def widened(self, start: Tensor) -> Tensor:
        """The input where the search starts, (C, H, W), with the margins."""
        if not self.moves:
            return start
        if start.dim() != 3:
            raise InputError(f"{self} needs an image (C, H, W), not an input {tuple(start.shape)}")
        return F.pad(start[None], (self.jitter,) * 4, mode="replicate")[0]

    def middle(self, images: Tensor) -> Tensor:
        """The images without their margins."""
        j = self.jitter
        return images[..., j : images.shape[-2] - j, j : images.shape[-1] - j] if j else images

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One random view of the images, (N, C, H + 2·jitter, W + 2·jitter) to (N, C, H, W)."""
        if not self.moves:
            return images
        across, down, size, turn = (2 * torch.rand(4, generator=generator) - 1).tolist()
        zoom = (1 + self.scale) ** size
        angle = math.radians(self.rotation * turn)
        wide_h, wide_w = images.shape[-2:]
        h, w = wide_h - 2 * self.jitter, wide_w - 2 * self.jitter
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        matrix = [
            [cos * w / wide_w, -sin * h / wide_w, 2 * self.jitter * across / wide_w],
            [sin * w / wide_h, cos * h / wide_h, 2 * self.jitter * down / wide_h],
        ]
        theta = images.new_tensor([matrix]).expand(len(images), 2, 3)
        grid = F.affine_grid(theta, [len(images), images.shape[1], h, w], align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
