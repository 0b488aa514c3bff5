"""Spreads, distances, similarities and losses of differences, written as these differences.

A difference is a sum of two branches, a square passes its relevance, a norm shares in proportion to
sizes (`proportional`), and a denominator is a constant, as that of every normalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import UnsupportedModelError
from rootpoint.propagation.written_out import writes_out

Dims = int | Sequence[int] | None

# -- spreads ---------------------------------------------------------------------------------------


def _var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Σ (x − mean)² / (n − correction): as a quadratic form, half of gradient × input."""
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    dims = _dims(input, dim)
    count = 1
    for d in dims:
        count *= input.shape[d]
    taken = float(unbiased) if correction is None else correction
    deviations = input - input.mean(dims, keepdim=True)
    return deviations.square().sum(dims, keepdim=keepdim) / max(count - taken, 0)


def _dims(x: Tensor, dim: Dims) -> tuple[int, ...]:
    if isinstance(dim, int):
        return (dim,)
    return tuple(dim) if dim else tuple(range(x.dim()))


@writes_out(torch.var, torch.Tensor.var)
def _variance(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return _var(input, *args, **kwargs)


@writes_out(torch.std, torch.Tensor.std)
def _deviation(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return torch.sqrt(_var(input, *args, **kwargs))


@writes_out(torch.var_mean)
def _variance_and_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    return _var(input, *args, **kwargs), _mean(input, *args, **kwargs)


@writes_out(torch.std_mean)
def _deviation_and_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    return torch.sqrt(_var(input, *args, **kwargs)), _mean(input, *args, **kwargs)


def _mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **_: Any
) -> Tensor:
    return input.mean(_dims(input, None if isinstance(dim, bool) else dim), keepdim=keepdim)


@writes_out(torch.cov, torch.Tensor.cov)
def _cov(
    input: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    if fweights is not None or aweights is not None:
        raise UnsupportedModelError("torch.cov with weights has no rule")
    rows = torch.atleast_2d(input)
    about = rows - rows.mean(1, keepdim=True)
    return (about @ about.mT / (rows.shape[1] - correction)).squeeze()


@writes_out(torch.corrcoef, torch.Tensor.corrcoef)
def _corrcoef(input: Tensor) -> Tensor:
    """Covariances over standard deviations, which are constants."""
    rows = torch.atleast_2d(input)
    about = rows - rows.mean(1, keepdim=True)
    directions = about / torch.linalg.vector_norm(about, dim=1, keepdim=True)
    return (directions @ directions.mT).squeeze()


# -- norms and distances ---------------------------------------------------------------------------


@writes_out(torch.frobenius_norm)
def _frobenius_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return torch.linalg.vector_norm(input, 2, _dims(input, dim), keepdim=keepdim)


@writes_out(torch.norm_except_dim)
def _norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    dims = [d for d in range(v.dim()) if d != dim]
    return torch.linalg.vector_norm(v, pow, dims if dim != -1 else None, keepdim=dim != -1)


@writes_out(torch.dist, torch.Tensor.dist)
def _dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    return torch.linalg.vector_norm(input - other, p)


@writes_out(F.pairwise_distance)
def _pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    return torch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim=keepdim)


@writes_out(torch.cdist)
def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "") -> Tensor:
    """Cost: B · P · R · M, as every difference is made."""
    return torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@writes_out(F.pdist)
def _pdist(input: Tensor, p: float = 2.0) -> Tensor:
    first, second = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return torch.linalg.vector_norm(input[first] - input[second], p, -1)


@writes_out(F.cosine_similarity)
def _cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The product of two directions, whose lengths are constants."""
    a, b = (
        x / torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp_min(eps)
        for x in torch.broadcast_tensors(x1, x2)
    )
    return (a * b).sum(dim)


# -- losses of a difference ------------------------------------------------------------------------


def _reduced(loss: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    if weight is not None:
        if reduction == "mean":
            return (loss * weight).sum() / weight.sum()
        loss = loss * weight
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


@writes_out(F.mse_loss)
def _mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    return _reduced((input - target).square(), reduction, weight)


@writes_out(F.l1_loss)
def _l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    return _reduced((input - target).abs(), reduction, weight)


@writes_out(F.huber_loss)
def _huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    size = (input - target).abs()
    loss = torch.where(size < delta, size.square() * 0.5, (size - 0.5 * delta) * delta)
    return _reduced(loss, reduction, weight)


@writes_out(F.smooth_l1_loss)
def _smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    size = (input - target).abs()
    if beta == 0:
        return _reduced(size, reduction)
    loss = torch.where(size < beta, size.square() * (0.5 / beta), size - 0.5 * beta)
    return _reduced(loss, reduction)
