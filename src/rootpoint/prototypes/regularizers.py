"""What the objective of a prototype loses, per image: penalties (N, …) → (N,), and likeness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class L2:
    """λ‖x − x̄‖²: a Gaussian expert around x̄ (Simonyan et al. 2013; Montavon et al. 2018)."""

    weight: float
    around: Tensor | float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return self.weight * ((x - self.around) ** 2).flatten(1).sum(1)


@dataclass(frozen=True)
class AlphaNorm:
    """λ Σ|x_i|^α, which bounds single pixels for a large α (Mahendran & Vedaldi 2015)."""

    weight: float
    alpha: float = 6.0

    def __call__(self, x: Tensor) -> Tensor:
        return self.weight * (x.abs() ** self.alpha).flatten(1).sum(1)


@dataclass(frozen=True)
class TotalVariation:
    """λ Σ|x_i − x_j| over neighbours to the right and below (Mahendran & Vedaldi 2015)."""

    weight: float

    def __call__(self, x: Tensor) -> Tensor:
        down = x.diff(dim=-2).abs().flatten(1).sum(1)
        across = x.diff(dim=-1).abs().flatten(1).sum(1)
        return self.weight * (down + across)


def likeness(features: Tensor, count: int) -> Tensor:
    """How alike each image is to the others of its class, (N,), from features (N, C, …).

    The mean cosine between the Gram matrices of the features (their correlations over positions)
    of this and of each other image; successive groups of `count` images are of one class.
    Source: Olah, Mordvintsev, Schubert 2017, Feature Visualization, Distill.
    """
    flat = features.flatten(2)
    gram = (flat @ flat.transpose(1, 2)).flatten(1)
    gram = gram / gram.norm(dim=1, keepdim=True).clamp(min=torch.finfo(gram.dtype).tiny)
    groups = gram.unflatten(0, (-1, count))
    cosine = groups @ groups.transpose(1, 2)
    others = cosine.sum(2) - cosine.diagonal(dim1=1, dim2=2)
    return (others / max(count - 1, 1)).flatten()
