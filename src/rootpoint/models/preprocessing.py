"""From a photo to what an image classifier is fed: a square crop, scaled and normalized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

RGB: TypeAlias = "tuple[float, float, float]"


@dataclass(frozen=True)
class Preprocessing:
    """The middle of a photo as a tensor, normalized per channel; the defaults are ImageNet's.

    size            the side of the square that the network sees, in pixels
    resize          the photo's short side, scaled to this many pixels, before the crop
    mean, std       a pixel in [0, 1] is fed as (pixel − mean) / std
    interpolation   how pixels are resampled
    """

    by_content: ClassVar[bool] = False  # whether what a photo shows says which part is seen

    size: int = 224
    resize: int = 256
    mean: RGB = (0.485, 0.456, 0.406)
    std: RGB = (0.229, 0.224, 0.225)
    interpolation: Image.Resampling = Image.Resampling.BILINEAR

    def view(self, photo: Image.Image) -> Image.Image:
        """The square that the network sees, RGB, size × size.

        Only this square is resampled, so that a photo of extreme proportions costs nothing extra.
        """
        side = min(photo.size) * self.size / self.resize
        left, top = ((length - side) / 2 for length in photo.size)
        box = (left, top, left + side, top + side)
        return photo.convert("RGB").resize((self.size, self.size), self.interpolation, box)

    def tensor(self, photo: Image.Image) -> Tensor:
        """What the network is fed: (1, 3, size, size), float32."""
        from torch import from_numpy

        pixels = np.asarray(self.view(photo), np.float32) / 255
        normalized = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return from_numpy(np.ascontiguousarray(normalized.transpose(2, 0, 1)[None]))

    def fed(self, pixel: float) -> Tensor:
        """What a pixel of this brightness in [0, 1] is fed as, (3, 1, 1)."""
        from torch import tensor

        return ((pixel - tensor(self.mean)) / tensor(self.std)).reshape(3, 1, 1)
