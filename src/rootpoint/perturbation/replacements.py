"""What stands in for features that are taken away."""

from __future__ import annotations

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.perturbation.blur import blurred
from rootpoint.perturbation.features import Features
from rootpoint.perturbation.inpainting import inpainted

BLUR = 10.0
"""The standard deviation of "blur", in pixels."""

BY_FEATURE = ("mean", "inpaint")
"""Replacements that depend on the features; the others are the same for all of them."""


def replacements(
    spec: float | str | Tensor, sample: Tensor, features: Features, *, seed: int = 0
) -> Tensor:
    """What replaces the values of one sample (without batch dimension): (k, *sample's shape).

    spec   a number; a tensor that broadcasts to the sample; data (k, …), of which each is tried:
           the mean score counts; or a name:
           "mean"     of each feature's own values, in images (C, H, W) per channel
           "blur"     of images: Gaussian, σ = 10 pixels
           "noise"    uniform between the least and the largest value, in images per channel
           "inpaint"  of images: each feature filled in smoothly from its surroundings
    Raises InputError if it does not fit the sample, or would replace nothing.
    """
    if isinstance(spec, Tensor):
        return _given(spec.to(sample), sample)
    if isinstance(spec, str):
        return _named(spec, sample, features, seed)[None]
    if not -float("inf") < spec < float("inf"):
        raise InputError(f"baseline={spec!r} is not a finite number")
    return torch.full_like(sample, spec)[None]


def _given(values: Tensor, sample: Tensor) -> Tensor:
    if not torch.isfinite(values).all():
        raise InputError("the baseline holds NaN or infinity: clean it first")
    if values.dim() > sample.dim() and values.shape[1:] == sample.shape and len(values):
        return values
    try:
        return values.expand(sample.shape)[None]
    except RuntimeError as error:
        raise InputError(
            f"a baseline of shape {tuple(values.shape)} does not fit a sample of shape "
            f"{tuple(sample.shape)}: give it that shape, or data (k, …) of such samples"
        ) from error


def _named(spec: str, sample: Tensor, features: Features, seed: int) -> Tensor:
    if spec in ("blur", "inpaint") and sample.dim() != 3:
        raise InputError(
            f"baseline={spec!r} is for images (C, H, W), not for a sample of shape "
            f"{tuple(sample.shape)}: use a number, 'mean', 'noise', a tensor or data"
        )
    if spec == "blur":
        return blurred(sample, BLUR)
    if spec == "noise":
        return _noise(sample, seed)
    if spec == "mean":
        found = _means(sample, features)
    elif spec == "inpaint":
        found = inpainted(sample, _of_pixels(features, sample))
    else:
        raise InputError(
            f"baseline={spec!r} is none: give a number, 'mean', 'blur', 'noise', 'inpaint', a "
            "tensor like the sample, or data"
        )
    if torch.equal(found, sample) and spec == "mean":
        raise InputError(
            "baseline='mean' replaces nothing here: each feature is constant, so its mean is what "
            "it was; use a number, 'noise', a tensor or data, or larger features"
        )
    return found


def _channels(sample: Tensor) -> Tensor:
    """The values of each channel, (C, values); of what is no image, all in one."""
    return sample.reshape(len(sample) if sample.dim() == 3 else 1, -1)


def _noise(sample: Tensor, seed: int) -> Tensor:
    values = _channels(sample)
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(values.shape, generator=generator, dtype=torch.float64).to(values)
    return (low + (high - low) * drawn).reshape(sample.shape)


def _means(sample: Tensor, features: Features) -> Tensor:
    values = _channels(sample).double()
    index = features.mask.expand(sample.shape).reshape(values.shape)
    total = values.new_zeros(len(values), features.count).scatter_add_(1, index, values)
    size = torch.zeros_like(total).scatter_add_(1, index, torch.ones_like(values))
    return (total / size.clamp(min=1)).gather(1, index).to(sample.dtype).reshape(sample.shape)


def _of_pixels(features: Features, sample: Tensor) -> Tensor:
    """The mask, (1, H, W)."""
    mask = features.mask.expand(sample.shape)
    if bool((mask != mask[:1]).any()):
        raise InputError(
            "baseline='inpaint' needs features of whole pixels, all their channels: give a mask "
            f"(1, H, W), not {tuple(features.mask.shape)}"
        )
    return mask[:1]
