"""Features of an image filled in from what surrounds them, each as if it alone were missing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rootpoint.errors import InputError

TOLERANCE = 1e-6  # of the residual, relative to the first one


def inpainted(image: Tensor, mask: Tensor) -> Tensor:
    """The image (C, H, W) with each feature replaced by the solution of Laplace's equation in it.

    In a feature each value is the mean of its neighbours above, below, left and right; those that
    belong to other features are the image's. So values pass smoothly from edge to edge and stay
    within the range of those around. All features are solved at once, by conjugate gradients.

    mask   the feature of each pixel, (1, H, W)
    Raises InputError if there is only one feature: it has no surroundings.
    """
    if bool((mask == mask.flatten()[0]).all()):
        raise InputError(
            "baseline='inpaint' fills features from their surroundings, but there is only one "
            "feature, the whole image: use smaller features or another baseline"
        )
    x = image.double()
    everywhere = [torch.ones_like(mask.narrow(d, 1, mask.shape[d] - 1)) for d in (1, 2)]
    within = [
        mask.narrow(d, 1, mask.shape[d] - 1) == mask.narrow(d, 0, mask.shape[d] - 1) for d in (1, 2)
    ]
    number = _neighbours(torch.ones_like(x[:1]), everywhere)
    residual = _neighbours(x, everywhere) - number * x
    return (x + solved(lambda v: number * v - _neighbours(v, within), residual)).to(image.dtype)


def _neighbours(values: Tensor, links: list[Tensor]) -> Tensor:
    """The sum of each value's neighbours, of those that are linked downwards and to the right."""
    total = torch.zeros_like(values)
    for d, linked in zip((1, 2), links, strict=True):
        size = values.shape[d] - 1
        total.narrow(d, 0, size).add_(values.narrow(d, 1, size) * linked)
        total.narrow(d, 1, size).add_(values.narrow(d, 0, size) * linked)
    return total


def solved(operator: Callable[[Tensor], Tensor], wanted: Tensor) -> Tensor:
    """v (…, H, W) of operator(v) = wanted, each channel alone, for a positive definite operator."""

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((-2, -1), keepdim=True)

    found, residual, direction = torch.zeros_like(wanted), wanted, wanted
    size = first = product(wanted, wanted)
    for _ in range(wanted.shape[-2] * wanted.shape[-1]):
        if bool((size <= TOLERANCE**2 * first).all()):
            break
        image = operator(direction)
        step = (size / product(direction, image)).nan_to_num(0.0, 0.0, 0.0)
        found = found + step * direction
        residual = residual - step * image
        before, size = size, product(residual, residual)
        direction = residual + (size / before).nan_to_num(0.0, 0.0, 0.0) * direction
    return found
