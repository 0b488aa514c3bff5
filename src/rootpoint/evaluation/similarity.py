"""How alike two explanations of the same samples are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import InputError, MissingExtraError

CLIPPED = 0.99
"""The quantile of a map that is shown as its highest value, as published."""

_WINDOW = 11  # of SSIM, in pixels, and the width of its Gaussian
_SIGMA = 1.5
_CELL = 16  # of HOG, in pixels; smaller where the map has no three of them


def similarity(kind: str, a: Any, b: Any) -> Tensor:
    """How alike the maps a and b of each sample are, (B,) in float64; 1 for equal ones.

    kind   "spearman": rank correlation of |R|; "signed-spearman": of R; "cosine": a·b / ‖a‖‖b‖ of
           all values; "ssim", "hog": of maps of |R| as images
    a, b   relevance (B, …), or lists of tensors (words,) for texts
    The channels of images (B, C, H, W) are added up first, their absolute values where |R| is
    compared; only the cosine takes them one by one. NaN where a map is constant (for the cosine:
    zero), so that it has no order. Raises InputError if ssim or hog is asked for what is no image,
    or of less than 11 × 11 pixels for ssim and 3 × 3 for hog.
    """
    if isinstance(a, list):
        return torch.cat(
            [similarity(kind, one[None], other[None]) for one, other in zip(a, b, strict=True)]
        )
    return SIMILARITIES[kind](a.double(), b.double())


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """a·b / (‖a‖ ‖b‖) of maps (B, …), (B,) in float64; NaN if one is zero."""
    return _cosine(a.flatten(1).double(), b.flatten(1).double())


def ranks(values: Tensor) -> Tensor:
    """Ranks 1 … n of the values in each row (B, n), in float64; equals share their mean rank."""
    ordered = values.sort(1).values
    before = torch.searchsorted(ordered, values.contiguous())
    until = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (before + until + 1).double() / 2


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of images (B, H, W) with values in [0, 1], (B,).

    The mean over windows of ((2 μ_a μ_b + C₁)(2 σ_ab + C₂)) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² +
    C₂)): Gaussian windows of 11 × 11 with σ = 1.5 that lie in the image, C₁ = 0.01², C₂ = 0.03².
    Raises InputError for images that are smaller. Source: Wang et al. 2004, IEEE TIP 13:4.
    """
    if min(a.shape[1:]) < _WINDOW:
        raise InputError(
            f"ssim looks through windows of {_WINDOW} × {_WINDOW} pixels, and the maps have "
            f"{a.shape[1]} × {a.shape[2]}: choose similarity='spearman'"
        )
    steps = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    weights = (-(steps**2) / (2 * _SIGMA**2)).exp()
    weights = weights / weights.sum()

    def mean(x: Tensor) -> Tensor:
        rows = F.conv2d(x[:, None], weights[None, None, :, None])
        return F.conv2d(rows, weights[None, None, None, :])

    mean_a, mean_b = mean(a), mean(b)
    both = mean(a * b) - mean_a * mean_b
    spread = mean(a * a) - mean_a.square() + mean(b * b) - mean_b.square()
    c1, c2 = 0.01**2, 0.03**2
    means = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return (means * (2 * both + c2) / (spread + c2)).flatten(1).mean(1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of rows (B, n). Scaled first: the squares of tiny values would be zero."""
    a, b = (x / x.abs().amax(1, keepdim=True) for x in (a, b))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).clamp(-1, 1)


def _spearman(a: Tensor, b: Tensor) -> Tensor:
    return _pearson(ranks(a.flatten(1)), ranks(b.flatten(1)))


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Of rows (B, n); 0/0 = NaN for constant rows."""
    return _cosine(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))


def _absolute(a: Tensor, b: Tensor) -> Tensor:
    return _spearman(_size(a), _size(b))


def _signed(a: Tensor, b: Tensor) -> Tensor:
    return _spearman(*(x.sum(1) if x.dim() == 4 else x for x in (a, b)))


def _size(x: Tensor) -> Tensor:
    """|R|, of images added up over the channels."""
    return x.abs().sum(1) if x.dim() == 4 else x.abs()


def _shown(kind: str, x: Tensor) -> Tensor:
    """Maps of |R| (B, H, W) from 0 to 1, as they are shown; NaN if constant."""
    if x.dim() != 4:
        raise InputError(
            f"similarity={kind!r} compares images (B, C, H, W), not relevance of shape "
            f"{tuple(x.shape)}: choose spearman, signed-spearman or cosine"
        )
    size = _size(x)
    values = size.flatten(1)
    low = values.amin(1)[:, None, None]
    position = round(CLIPPED * (values.shape[1] - 1)) + 1
    high = values.kthvalue(position, 1).values[:, None, None]
    high = torch.where(high > low, high, values.amax(1)[:, None, None])
    return ((size - low) / (high - low)).clamp(0, 1)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    return ssim(_shown("ssim", a), _shown("ssim", b))


def _hog(a: Tensor, b: Tensor) -> Tensor:
    """The Pearson correlation of histograms of oriented gradients (Dalal and Triggs 2005)."""
    a, b = _shown("hog", a), _shown("hog", b)
    if min(a.shape[1:]) < 3:
        raise InputError(
            f"hog compares maps of at least 3 × 3 pixels, not {a.shape[1]} × {a.shape[2]}: choose "
            "similarity='spearman'"
        )
    defined = ~(a.isnan() | b.isnan()).flatten(1).any(1)
    found = a.new_full((len(a),), float("nan"))
    if defined.any():
        found[defined] = _pearson(_histograms(a[defined]), _histograms(b[defined]))
    return found


def _histograms(maps: Tensor) -> Tensor:
    """The histograms of each map (B, H, W), in a row."""
    try:
        from skimage.feature import hog
    except ImportError as error:
        raise MissingExtraError("the similarity hog", "superpixels") from error
    cell = min(_CELL, min(maps.shape[1:]) // 3)
    found = [torch.from_numpy(hog(one.numpy(), pixels_per_cell=(cell, cell))) for one in maps.cpu()]
    return torch.stack(found).to(maps)


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "spearman": _absolute,
    "signed-spearman": _signed,
    "ssim": _ssim,
    "hog": _hog,
    "cosine": cosine,
}
