"""Functions that networks of kernel machines and clusterings are built of, as torch sees its own.

Each can be met by a `TorchFunctionMode`, as any function of torch, and is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function
from torch.utils.weak import WeakIdKeyDictionary


def overridable(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of tensors that function modes meet as one operation, not piece by piece."""

    @wraps(function)
    def met(*args: Any, **kwargs: Any) -> Tensor:
        tensors = tuple(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
        if has_torch_function(tensors):
            return handle_torch_function(met, tensors, *args, **kwargs)
        return function(*args, **kwargs)

    return met


def centered(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of points, the points about it, and their squares; kept as long as the points."""
    kept = _CENTERED.get(points)
    if kept is None or kept[0] != points._version:
        center = points.mean(0)
        about = points - center
        kept = _CENTERED[points] = points._version, (center, about, about.square())
    return kept[1]


_CENTERED: Any = WeakIdKeyDictionary()


@overridable
def distances(
    x: Tensor, points: Tensor, p: float = 2.0, power: float = 2.0, scale: float = 1.0
) -> Tensor:
    """scale · ‖x − u_j‖_p^power of samples x (B, D) from constant points u (M, D): (B, M).

    Squared Euclidean ones by one matrix product, about the points' mean: rounding is that of
    |x − mean|². Others difference by difference. Cost: B · M · D.
    """
    if p == 2 and power == 2:
        center, u, squares = centered(points)
        x = x - center
        near = torch.addmm(squares.sum(1), x, u.T, alpha=-2)
        near = near.add_(x.square().sum(1, keepdim=True)).clamp_(min=0)
        return near if scale == 1 else near * scale
    mode = "donot_use_mm_for_euclid_dist"  # which would lose digits before the root
    found = torch.cdist(x, points, p=p, compute_mode=mode)
    found = found if power == 1 else found**power
    return found if scale == 1 else found * scale


@overridable
def soft_minimum(a: Tensor, offset: Tensor | None = None) -> Tensor:
    """−log Σ_j exp(−(a_j + c_j)) over the last dimension, with constant offsets c (M,)."""
    return -torch.logsumexp(-a if offset is None else -(a + offset), -1)


@overridable
def harmonic_minimum(a: Tensor, weight: Tensor) -> Tensor:
    """1 / Σ_j w_j / (1 + a_j) over the last dimension, with constant weights w (M,)."""
    return 1 / (weight / (1 + a)).sum(-1)


@overridable
def exponential_difference(a: Tensor, b: Tensor) -> Tensor:
    """e^−a − e^−b: the difference of two sums of kernels, from their negative logarithms."""
    return torch.exp(-a) - torch.exp(-b)


@overridable
def columnwise(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function that changes each value by itself, whatever it does, as scalers do."""
    return function(x)
