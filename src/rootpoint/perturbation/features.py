"""Interpretable features: which values of an input are kept or replaced together."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from rootpoint.errors import InputError, MissingExtraError


@dataclass(frozen=True, eq=False)
class Features:
    """A partition of one sample's values.

    mask    the feature of each value: whole numbers 0 … count−1, of a shape that broadcasts to the
            sample's: (1, H, W) for an image (C, H, W)
    names   of the features, if they have any (words, columns)
    """

    mask: Tensor
    count: int
    names: tuple[str, ...] | None = None

    def spread(self, weights: Tensor, like: Tensor) -> Tensor:
        """The weight of each feature (count,), shared equally among its values, like the sample."""
        mask = self.mask.expand(like.shape)
        size = torch.bincount(mask.reshape(-1), minlength=self.count).clamp(min=1)
        return (weights / size.to(weights.dtype))[mask].to(like.dtype)


_NAMED = re.compile(r"(superpixels|patches|columns|values)(?:\((\d+)\))?")


def features(spec: str | Tensor, sample: Tensor) -> Features:
    """The features of one sample (without its batch dimension).

    spec   "superpixels" (quickshift, LIME's), "superpixels(200)" (SLIC, about so many), "patches"
           or "patches(16)" (squares of so many pixels), "columns" (each value of the last
           dimension), "values" (each value), or a mask as in `Features`
    Superpixels and patches are those of images (C, H, W). Raises InputError if they do not fit the
    sample, MissingExtraError if superpixels need scikit-image, which is not installed.
    """
    if isinstance(spec, Tensor):
        return as_features(spec.to(sample.device), sample)
    named = _NAMED.fullmatch(spec)
    if named is None:
        raise InputError(
            f"features={spec!r} are none: choose superpixels, superpixels(200), patches, "
            "patches(16), columns, values, or give a mask"
        )
    kind, number = named[1], None if named[2] is None else int(named[2])
    if kind in ("columns", "values"):
        if number is not None:
            raise InputError(f"features={spec!r}: {kind} take no number")
        return _columns(sample) if kind == "columns" else _values(sample)
    if sample.dim() != 3:
        raise InputError(
            f"features={spec!r} are those of images (C, H, W), not of a sample of shape "
            f"{tuple(sample.shape)}: use 'columns', 'values' or a mask"
        )
    if number == 0:
        raise InputError(f"features={spec!r}: the number must be at least 1")
    mask = _patches(sample, number or 16) if kind == "patches" else _superpixels(sample, number)
    return as_features(mask.to(sample.device), sample)


def _columns(sample: Tensor) -> Features:
    count = sample.shape[-1]
    shape = (1,) * (sample.dim() - 1) + (count,)
    return Features(torch.arange(count, device=sample.device).reshape(shape), count)


def _values(sample: Tensor) -> Features:
    count = sample.numel()
    return Features(torch.arange(count, device=sample.device).reshape(sample.shape), count)


def _patches(sample: Tensor, size: int) -> Tensor:
    """Squares from the upper left; those at the other edges may be smaller."""
    height, width = sample.shape[1:]
    rows, columns = torch.arange(height) // size, torch.arange(width) // size
    return (rows[:, None] * (width // size + 1) + columns)[None]


def _superpixels(image: Tensor, number: int | None) -> Tensor:
    """Regions of like colour, (1, H, W), of an image whose channels are scaled to [0, 1]."""
    try:
        from skimage.segmentation import quickshift, slic
    except ImportError as error:
        raise MissingExtraError("features='superpixels'", "superpixels") from error
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    scaled = (image - low) / (high - low).where(high > low, torch.ones_like(high))
    pixels = scaled.detach().permute(1, 2, 0).double().cpu().numpy()
    color = len(image) == 3  # compared in Lab, which goes to 100; other channels as if they did
    unit = 1 if color else 100
    if number is None:
        found = quickshift(pixels * unit, kernel_size=4, max_dist=200, ratio=0.2, convert2lab=color)
    else:
        found = slic(
            pixels, number, compactness=10 / unit, start_label=0, convert2lab=color, channel_axis=-1
        )
    return torch.from_numpy(found).long()[None]


def as_features(mask: Tensor, sample: Tensor) -> Features:
    """A user's mask, checked: integers of a shape that broadcasts to the sample's."""
    if mask.is_floating_point() or mask.dtype == torch.bool:
        raise InputError(
            f"a feature mask holds whole numbers, the feature of each value, not {mask.dtype}"
        )
    try:
        mask.expand(sample.shape)
    except RuntimeError as error:
        raise InputError(
            f"a feature mask of shape {tuple(mask.shape)} does not fit a sample of shape "
            f"{tuple(sample.shape)}: give it that shape, with 1 where features do not differ"
        ) from error
    _, mask = torch.unique(mask, return_inverse=True)
    return Features(mask, int(mask.max()) + 1)
