"""Distances behind a linear map: PCA before a kernel machine, explained in one step.

Through the components the relevance of a distance would have to be divided by components near
zero. ‖C(x − u′)‖² is a quadratic form in x itself, which Euler's theorem shares out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rootpoint.neuralize.kernels import Distances
from rootpoint.propagation.call import Back, Call, nonzero
from rootpoint.propagation.functions import columnwise, distances, overridable
from rootpoint.propagation.rules import rule

_BLOCK = 1 << 22  # values of single pairs held at once


@overridable
def projected_distances(
    x: Tensor, matrix: Tensor, points: Tensor, preimages: Tensor, power: float, scale: float
) -> Tensor:
    """scale · ‖C x − u_j‖^power of samples x (B, D), for C (K, D) and points u (M, K): (B, M).

    preimages   u′ (M, D), for which C u′ = u
    """
    return distances(linear(x, matrix), points, 2.0, power, scale)


@rule("projected-distance", operation=projected_distances, exact=True)
def projected_distance(call: Call, m: Tensor) -> Back:
    """R_i = Σ_j (x − u′_j)_i [Cᵀ(C x − u_j)]_i / ‖C x − u_j‖² · R_j: the root point is u′_j.

    Conserves. Cost: four matrix products.
    """
    names = ("x", "matrix", "points", "preimages", "power", "scale")
    given = call.step.bound(call.tensors, *names)
    x, matrix, points, u = (given[name] for name in names[:4])
    slope, slopes = linear(x, matrix) @ matrix, points @ matrix
    r = call.relevance(m)
    squared = (call.output / given["scale"]) ** (2 / given["power"])
    size = (x * slope).sum(1, keepdim=True).abs() + points.square().sum(1).max()
    close = squared <= 1e-6 * size
    q = (r / nonzero(squared)).masked_fill(close, 0)
    found = x * slope * q.sum(1, keepdim=True) - x * (q @ slopes) - slope * (q @ u)
    found += q @ (u * slopes)
    samples, near = close.nonzero(as_tuple=True)
    parts = (t.split(max(1, _BLOCK // x.shape[1])) for t in (samples, near))
    for b, j in zip(*parts, strict=True):
        shares = (x[b] - u[j]) * (slope[b] - slopes[j])
        total = shares.sum(1, keepdim=True)
        even = torch.full_like(shares, 1 / shares.shape[1])
        shares = torch.where(total == 0, even, shares / nonzero(total))
        found.index_add_(0, b, shares * r[b, j].unsqueeze(1))
    return Back(relevance=found)


class ProjectedDistances(nn.Module):
    """The distances of C (x − mean) to points, from x."""

    mean: Tensor
    matrix: Tensor
    points: Tensor
    preimages: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor, before: Distances) -> None:
        super().__init__()
        self.scale, self.power = before.scale, before.power
        for name, value in (("mean", mean), ("matrix", matrix), ("points", before.points)):
            self.register_buffer(name, value)
        self.register_buffer("preimages", before.points @ torch.linalg.pinv(matrix).T)

    def forward(self, x: Tensor) -> Tensor:
        x = columnwise(x, lambda t: t - self.mean)
        given = self.matrix, self.points, self.preimages, self.power, self.scale
        return projected_distances(x, *given)


def through(mean: Tensor, matrix: Tensor, inner: Any) -> ProjectedDistances | None:
    """The distances behind a linear map as distances before it, if they are Euclidean."""
    if not isinstance(inner, Distances) or inner.p != 2:
        return None
    return ProjectedDistances(mean, matrix, inner)
