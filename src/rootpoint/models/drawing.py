"""From a drawing of a digit, on a screen or on paper, to a picture made as MNIST's were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from PIL import Image

from rootpoint.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SIDE = 28  # pixels of what the network sees
FRAME = 20  # pixels of the longer side of the digit in it
FAINT = 0.2  # of the strongest contrast: what has less is paper, not ink
BLANK = 12 / 255  # a drawing with less contrast than this is empty

Pixels: TypeAlias = "NDArray[np.float32]"
Box: TypeAlias = "tuple[float, float, float, float]"
"""Left, top, right, bottom: in pixels of the drawing, beyond its borders too."""


@dataclass(frozen=True)
class Drawing(Preprocessing):
    """A drawing as `centred` makes it: one channel, ink 1 on background 0; no field is read."""

    by_content: ClassVar[bool] = True

    size: int = SIDE
    resize: int = SIDE

    def view(self, photo: Image.Image) -> Image.Image:
        """What the network sees, white on black, RGB."""
        return Image.fromarray(_centred(photo)[0]).convert("RGB")

    def tensor(self, photo: Image.Image) -> Tensor:
        """What the network is fed: (1, 1, 28, 28), float32."""
        return centred(photo)[0]

    def fed(self, pixel: float) -> Tensor:
        """What ink of this strength is fed as, (1, 1, 1)."""
        from torch import full

        return full((1, 1, 1), float(pixel))


def centred(drawing: Image.Image) -> tuple[Tensor, Box]:
    """The drawing as MNIST's pictures were made, (1, 1, 28, 28), and where that square lies in it.

    Its border tells whether ink is dark or bright. Cropped to the ink, scaled to fit 20 × 20
    pixels, and laid into 28 × 28 with the ink's centre of mass in the middle. A relevance map of
    28 × 28, stretched over the box, lies where the ink is. An empty drawing is fed as zeros, and
    its box is the drawing.
    """
    from torch import from_numpy

    pixels, box = _centred(drawing)
    return from_numpy(pixels.astype(np.float32) / 255)[None, None], box


def _centred(drawing: Image.Image) -> tuple[NDArray[np.uint8], Box]:
    """The square in bytes, (28, 28), and its box."""
    square = np.zeros((SIDE, SIDE), np.uint8)
    strength = ink(drawing)
    rows, columns = (np.flatnonzero(strength.any(axis)) for axis in (1, 0))
    if not len(rows):
        return square, (0.0, 0.0, float(drawing.width), float(drawing.height))
    left, right = int(columns[0]), int(columns[-1]) + 1
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    digit = _fitted(strength[top:bottom, left:right])
    height, width = digit.shape
    y, x = (_offset(digit.sum(axis)) for axis in (1, 0))
    square[y : y + height, x : x + width] = np.rint(255 * digit)
    across, down = (right - left) / width, (bottom - top) / height  # pixels of the drawing in one
    start, above = left - x * across, top - y * down
    return square, (start, above, start + SIDE * across, above + SIDE * down)


def ink(drawing: Image.Image) -> Pixels:
    """How much ink each pixel holds, from 0 to 1, (H, W); all 0 if the drawing is empty.

    Ink is what differs from the border, in the direction that most of it takes.
    """
    grey = np.asarray(drawing.convert("L"), np.float32) / np.float32(255)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    contrast = grey - np.float32(np.median(border))
    if contrast.sum() < 0:
        contrast = -contrast
    if contrast.max() < BLANK:
        return np.zeros_like(grey)
    strength = contrast / contrast.max()
    strength[strength < FAINT] = 0
    return strength


def _fitted(strength: Pixels) -> Pixels:
    """Scaled to fit FRAME × FRAME; what a thin pen drew is as strong as what a thick one did."""
    scale = FRAME / max(strength.shape)
    height, width = (max(1, round(scale * length)) for length in strength.shape)
    image = Image.fromarray(strength).resize((width, height), Image.Resampling.BILINEAR)
    digit = np.asarray(image)
    return np.clip(digit / np.quantile(digit[digit > 0], 0.9), 0, 1)


def _offset(mass: Pixels) -> int:
    """Where a digit begins in the square, along one side, for its centre of mass to be where it is
    in MNIST, half a pixel beyond the middle; less than that if the digit would leave the square.
    """
    places = np.arange(len(mass)) + 0.5
    centre = float((mass * places).sum() / mass.sum())
    return min(max(round(SIDE / 2 + 0.5 - centre), 0), SIDE - len(mass))
