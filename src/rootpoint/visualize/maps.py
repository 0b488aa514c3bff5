"""Pictures of one relevance map: in colour, over its photo, and as the photo's relevant part.

`relevance` is a torch tensor or an array, (C, H, W) with its channels summed or (H, W); a photo
may have another resolution, the relevance is stretched over all of it. NaN, infinity and other
shapes raise InputError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rootpoint.errors import InputError
from rootpoint.visualize.colors import colorize

if TYPE_CHECKING:
    from torch import Tensor

Relevance: TypeAlias = "Tensor | NDArray[Any]"
Map: TypeAlias = NDArray[np.float64]

FULL_COLOUR: Final = 99.5  # percentile of |R| with the full colour: the few above are clipped
PIXELS_SHOWN: Final = 64  # maps with a shorter side are drawn pixel by pixel, larger ones smoothly
PAPER: Final = 248.0  # the grey of zero relevance


def as_map(relevance: Relevance) -> Map:
    """The relevance of each pixel, (H, W): the sum over the channels."""
    if not isinstance(relevance, np.ndarray) and hasattr(relevance, "detach"):
        relevance = relevance.detach().cpu().double().numpy()
    values = np.asarray(relevance, dtype=np.float64)
    if values.ndim not in (2, 3) or values.size == 0:
        raise InputError(
            f"relevance of shape {values.shape} is not one image: it must be (C, H, W) or (H, W)"
        )
    if not np.isfinite(values).all():
        raise InputError("the relevance holds NaN or infinity: there is no colour for that")
    return values if values.ndim == 2 else values.sum(axis=0)


def colour_limit(*relevances: Relevance) -> float:
    """The value of the full colour for all of these maps: the largest 99.5th percentile of |R|.

    A map with fewer values than that off zero takes its maximum; if all is zero the limit is 1.
    """
    magnitudes = [np.abs(as_map(relevance)) for relevance in relevances]
    limit = max(float(np.percentile(m, FULL_COLOUR)) for m in magnitudes)
    return limit or max(float(m.max()) for m in magnitudes) or 1.0


def heatmap(
    relevance: Relevance, *, limit: float | None = None, size: tuple[int, int] | None = None
) -> Image.Image:
    """The relevance in colour: red speaks for the target, blue against it, near-white is zero.

    limit   the value of the full colour; by default `colour_limit(relevance)`
    size    (width, height) of the picture; by default one pixel per value
    """
    values = as_map(relevance)
    limit = limit or colour_limit(values)
    return Image.fromarray(colorize(_stretch(values / limit, size)))


def overlay(photo: Image.Image, relevance: Relevance, *, limit: float | None = None) -> Image.Image:
    """The relevance in colour over the photo in light grey, at the photo's size.

    Colour tints the grey as ink does, and covers it where the relevance is strong.
    """
    values = as_map(relevance)
    limit = limit or colour_limit(values)
    share = np.clip(_stretch(values / limit, photo.size), -1.0, 1.0)
    cover = np.abs(share)[..., None]
    tinted = colorize(share) * (cover + (1.0 - cover) * _pale(photo) / PAPER)
    return Image.fromarray(np.rint(tinted).astype(np.uint8))


def focus(photo: Image.Image, relevance: Relevance) -> Image.Image:
    """The photo where it speaks for the target, pale grey elsewhere, at the photo's size.

    Positive relevance is blurred by 2 % of the shorter side; pixels are ranked by it. Those that
    hold its first half keep their colour, those that hold its last tenth lose it, others fade.
    """
    visible = _stretch(_visibility(as_map(relevance)), photo.size)[..., None]
    colours = np.asarray(photo.convert("RGB"), dtype=np.float64)
    mixed = visible * colours + (1.0 - visible) * _pale(photo)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _visibility(values: Map, kept: float = 0.5, lost: float = 0.9) -> Map:
    """How much of each pixel stays visible, in [0, 1], by the relevance ranked above it."""
    evidence = _blurred(np.maximum(values, 0.0), sigma=0.02 * min(values.shape))
    total = evidence.sum()
    if total == 0.0:
        return np.zeros_like(values)
    ascending = np.sort(evidence, axis=None)
    held = np.append(np.cumsum(ascending[::-1])[::-1], 0.0)  # by this rank and all above it
    above = held[np.searchsorted(ascending, evidence, side="right")] / total
    return np.clip((lost - above) / (lost - kept), 0.0, 1.0)


def _blurred(values: Map, sigma: float) -> Map:
    """A Gaussian blur, mirrored at the borders so that it makes and loses nothing."""
    radius = int(3 * sigma)
    if radius == 0:
        return values
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(values, padding, mode="symmetric")
        values = np.apply_along_axis(np.convolve, axis, padded, kernel, mode="valid")
    return values


def _stretch(values: Map, size: tuple[int, int] | None) -> Map:
    """The map at another size (width, height): smoothly, or pixel by pixel where it is small."""
    height, width = values.shape
    if size is None or size == (width, height):
        return values
    smooth = min(width, height) >= PIXELS_SHOWN
    image = Image.fromarray(values.astype(np.float32))
    filter = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(image.resize(size, filter), dtype=np.float64)


def _pale(photo: Image.Image) -> Map:
    """The photo in light grey as a background, values in [0, 255], shape (H, W, 1)."""
    grey = np.asarray(photo.convert("L"), dtype=np.float64)[..., None]
    return PAPER - (255.0 - grey) * 0.42
