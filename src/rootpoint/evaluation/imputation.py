"""Missing pixels filled in linearly from all that surround them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.perturbation.inpainting import solved


def imputed(images: Tensor, missing: Tensor) -> Tensor:
    """The images (n, C, H, W) with each missing pixel the weighted mean of its eight neighbours.

    Weights are 1/6 across an edge and 1/12 across a corner, divided by their sum at the borders;
    neighbours that are missing too count with what they become: all are solved for at once, by
    conjugate gradients that begin at the solution for a smaller image. An image without a known
    pixel becomes its mean, channel by channel.

    missing   bool, (n, 1, H, W)
    Source: Rong et al. 2022, ICML, arXiv 2202.00449.
    """
    mean = images.mean((2, 3), keepdim=True)
    unknown = missing.all(3, keepdim=True).all(2, keepdim=True)
    return _solution(torch.where(missing, mean, images), missing & ~unknown)


def _solution(images: Tensor, missing: Tensor) -> Tensor:
    """Solved at half the size first, until nothing is missing: a pixel is known in each image."""
    if not bool(missing.any()):
        return images
    known = (~missing).to(images)
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    total = F.avg_pool2d(images * known, 2, ceil_mode=True)
    smaller = _solution(total / share.clamp(min=0.25), share == 0)
    coarse = F.interpolate(smaller, images.shape[2:], mode="bilinear")
    start = torch.where(missing, coarse, images)
    inside, weight = missing.to(images), _around(torch.ones_like(images[:1, :1]))

    def difference(values: Tensor) -> Tensor:
        return inside * (weight * values - _around(values))

    return start + solved(difference, -difference(start))


def _around(values: Tensor) -> Tensor:
    """The weighted sum of each value's neighbours."""
    total = values
    for d in (2, 3):
        total, one = 2 * total, total
        size = values.shape[d] - 1
        total.narrow(d, 0, size).add_(one.narrow(d, 1, size))
        total.narrow(d, 1, size).add_(one.narrow(d, 0, size))
    return (total - 4 * values) / 12
