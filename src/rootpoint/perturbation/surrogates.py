"""Linear models of a score around one sample: who is near, which features, which weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FORWARD_AT_MOST = 6
"""Features that are selected one by one; more are selected by their weight."""


@dataclass(frozen=True, eq=False)
class Surrogate:
    """g(z) = intercept + Σ coefficients · z, fitted to the score; `fit` is its weighted R².

    standard_error   of the coefficients (d,), from the samples' scatter about g
    """

    intercept: float
    coefficients: Tensor
    standard_error: Tensor
    fit: float


def nearness(coalitions: Tensor, width: float, *, cosine: bool, scale: float = 1.0) -> Tensor:
    """√exp(−D²/width²) of coalitions (n, d), D their distance from the one of all features.

    D   scale · (1 − cosine of the angle), 1 · scale for none; or the Euclidean distance, the root
        of the number of absent features
    """
    d, size = coalitions.shape[1], coalitions.sum(1).double()
    distance = scale * (1 - (size / d).sqrt()) if cosine else (d - size).sqrt()
    return (-(distance**2) / width**2).exp().sqrt()


def ridge(x: Tensor, y: Tensor, weight: Tensor, alpha: float) -> Surrogate:
    """argmin_{b, w} Σ_n weight_n (y_n − b − x_n·w)² + α ‖w‖²; the intercept b is free."""
    share = weight / weight.sum()
    center, mean = share @ x, share @ y
    row, rest = x - center, y - mean
    penalty = alpha * torch.eye(x.shape[1], dtype=x.dtype)
    inverse = torch.linalg.pinv(row.T @ (weight[:, None] * row) + penalty, hermitian=True)
    w = inverse @ (row.T @ (weight * rest))
    residual = rest - row @ w
    leverage = weight * ((row @ inverse) * row).sum(1) + share
    scatter = weight * residual / (1 - leverage).clamp(min=0.01).sqrt()
    error = (scatter[:, None] * row @ inverse).square().sum(0).sqrt()
    total = float((weight * rest**2).sum())
    fit = 1 - float((weight * residual**2).sum()) / total if total > 0 else 1.0
    return Surrogate(float(mean - center @ w), w, error, fit)


def selected(x: Tensor, y: Tensor, weight: Tensor, number: int) -> list[int]:
    """The features, so many, of the best surrogate: LIME's published choice.

    Up to six are added one by one, each the one that raises the weighted R² most; more are those of
    the largest weights of a ridge regression (α = 0.01) on all features.
    """
    if number > FORWARD_AT_MOST:
        size = ridge(x, y, weight, 0.01).coefficients.abs()
        return sorted(size.topk(min(number, len(size))).indices.tolist())
    chosen: list[int] = []
    for _ in range(min(number, x.shape[1])):
        others = [i for i in range(x.shape[1]) if i not in chosen]
        chosen.append(max(others, key=lambda i: ridge(x[:, [*chosen, i]], y, weight, 0.0).fit))
    return sorted(chosen)


def surrogate(
    coalitions: Tensor, y: Tensor, weight: Tensor, *, alpha: float = 1.0, number: int | None = None
) -> Surrogate:
    """The ridge regression of scores y (n,) on the features, all or `number`, of coalitions (n, d).

    Features that are not selected have the coefficient 0.
    """
    x = coalitions.double()
    if number is None:
        return ridge(x, y, weight, alpha)
    chosen = selected(x, y, weight, number)
    found = ridge(x[:, chosen], y, weight, alpha)
    zeros = torch.zeros(x.shape[1], dtype=x.dtype)
    index = torch.tensor(chosen)
    return Surrogate(
        found.intercept,
        zeros.scatter(0, index, found.coefficients),
        zeros.scatter(0, index, found.standard_error),
        found.fit,
    )
