"""Prototypes found, as tensors, numbers and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rootpoint.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class Prototype:
    """Inputs that maximize classes; those of one class follow each other.

    images       the prototypes as the model takes them, (N, …)
    targets      the class of each
    names        what each class is called
    score        the model's score of the class for each, (N,)
    probability  the same after a softmax over the outputs, (N,); None where a function is target
    history      the objective at each step, with all it loses by regularizers, (steps, N)
    settings     the arguments of the search
    notes        what a reader should know
    box          the lowest and highest value of the input, shown as black and white
    """

    images: Tensor
    targets: list[Target]
    names: tuple[str, ...]
    score: Tensor
    probability: Tensor | None
    history: Tensor
    settings: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()
    box: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    @property
    def pictures(self) -> list[Image]:
        """The prototypes as RGB or grey pictures; without a box, each from its least value to its
        greatest. Raises InputError for inputs that are no images of one or three channels.
        """
        from PIL import Image

        if self.images.dim() != 4 or self.images.shape[1] not in (1, 3):
            raise InputError(
                f"prototypes of shape {tuple(self.images.shape)} are no pictures: these need "
                "(N, C, H, W) with one or three channels; use .images"
            )
        x = self.images.detach().cpu().float()
        low, high = (b.cpu().float() for b in self.box) if self.box else _range(x)
        pixels = ((x - low) / (high - low).clamp(min=1e-12)).clamp(0, 1) * 255
        arrays = pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(a[..., 0] if a.shape[2] == 1 else a) for a in arrays]

    @property
    def facts(self) -> list[str]:
        """The score and the probability of each prototype, in words."""
        if self.probability is None:
            return [f"score {score:.1f}" for score in self.score.tolist()]
        both = zip(self.score.tolist(), self.probability.tolist(), strict=True)
        return [f"score {score:.1f}, probability {p:.3f}" for score, p in both]

    def sheet(self) -> Image:
        """All prototypes in one picture, each with its class, score and probability."""
        from rootpoint.prototypes.sheet import contact_sheet

        first = self.names[0]
        columns = self.names.count(first) if len(set(self.names)) > 1 else len(self.names)
        return contact_sheet(self.pictures, self.names, self.facts, columns if columns > 1 else 0)

    def save(self, path: str | Path) -> Path:
        """Write the sheet as a picture."""
        self.sheet().save(path)
        return Path(path)


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
