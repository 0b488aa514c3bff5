"""Gaussian blur, sharp at no edge and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def blurred(images: Tensor, sigma: float) -> Tensor:
    """The last two dimensions of (…, H, W), each value a mean with weights exp(−distance²/2σ²).

    Weights are those of the pixels that exist: nothing is assumed beyond the edges.
    Cost: two matrix products of H × H and W × W.
    """
    height, width = images.shape[-2:]
    return _weights(height, sigma, images) @ images @ _weights(width, sigma, images).mT


def _weights(size: int, sigma: float, like: Tensor) -> Tensor:
    """Row i holds the weights of all positions for the mean at i, (size, size)."""
    position = torch.arange(size, dtype=torch.float64, device=like.device)
    weight = (-((position[:, None] - position) ** 2) / (2 * sigma**2)).exp()
    return (weight / weight.sum(1, keepdim=True)).to(like.dtype)
