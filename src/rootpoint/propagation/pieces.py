"""Operations written as others: normalizations, norms and quotients as sums, products and roots.

Each piece has an exact rule for differences, so the whole has one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.propagation.introspection import without_override_check
from rootpoint.propagation.step import Step, unpack

Pieces = Callable[[], Tensor]


def pieces(step: Step, tensors: list[Tensor]) -> Pieces | None:
    """A function that computes this step by others; None if it is not known to be made of any."""
    if step.operation.kind == "quotient":
        return _quotient(step, tensors)
    if step.name == "local_response_norm":
        function: Any = without_override_check(F.local_response_norm)
        return lambda: function(*unpack(step.args, tensors), **unpack(step.kwargs, tensors))
    if step.kind == "normalization":
        return lambda: _NORMALIZATIONS[step.name](step, tensors)
    return _p_norm(step, tensors) if step.kind == "p-norm" else None


def _quotient(step: Step, tensors: list[Tensor]) -> Pieces | None:
    """a / b = a · b⁻¹, where the denominator depends on the input."""
    given = step.bound(tensors, "input", "other")
    top, bottom = given["input"], given["other"]
    if step.name in ("__rdiv__", "__rtruediv__"):
        top, bottom = bottom, top
    if not any(tensors[slot] is bottom for slot in step.live) or given.get("rounding_mode"):
        return None
    return lambda: bottom.pow(-1) * top


# -- normalizations ----------------------------------------------------------------------------


def _standardized(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred * centred).mean(dims, keepdim=True).add(eps).pow(-0.5)


def _affine(y: Tensor, weight: Any, bias: Any = None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _per_channel(y: Tensor, given: dict[str, Any]) -> Tensor:
    shape = (-1, *[1] * (y.dim() - 2))
    weight, bias = given.get("weight"), given.get("bias")
    return _affine(
        y,
        None if weight is None else weight.reshape(shape),
        None if bias is None else bias.reshape(shape),
    )


def _layer(step: Step, tensors: list[Tensor]) -> Tensor:
    given = step.bound(tensors, "input", "normalized_shape", "weight", "bias", "eps")
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    y = _standardized(given["input"], dims, given.get("eps", 1e-5))
    return _affine(y, given.get("weight"), given.get("bias"))


def _rms(step: Step, tensors: list[Tensor]) -> Tensor:
    given = step.bound(tensors, "input", "normalized_shape", "weight", "eps")
    x, eps = given["input"], given.get("eps")
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine(x * (x * x).mean(dims, keepdim=True).add(eps).pow(-0.5), given.get("weight"))


def _group(step: Step, tensors: list[Tensor]) -> Tensor:
    given = step.bound(tensors, "input", "num_groups", "weight", "bias", "eps")
    x = given["input"]
    grouped = x.reshape(x.shape[0], given["num_groups"], -1)
    y = _standardized(grouped, (2,), given.get("eps", 1e-5)).reshape(x.shape)
    return _per_channel(y, given)


def _instance(step: Step, tensors: list[Tensor]) -> Tensor:
    names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats")
    given = step.bound(tensors, *names, "momentum", "eps")
    x, eps = given["input"], given.get("eps", 1e-5)
    if given.get("use_input_stats", True):
        return _per_channel(_standardized(x, tuple(range(2, x.dim())), eps), given)
    shape = (-1, *[1] * (x.dim() - 2))
    scale = (given["running_var"] + eps).rsqrt().reshape(shape)
    return _per_channel((x - given["running_mean"].reshape(shape)) * scale, given)


_NORMALIZATIONS: dict[str, Callable[[Step, list[Tensor]], Tensor]] = {
    "layer_norm": _layer,
    "rms_norm": _rms,
    "group_norm": _group,
    "instance_norm": _instance,
}


# -- norms -------------------------------------------------------------------------------------


def _p_norm(step: Step, tensors: list[Tensor]) -> Pieces | None:
    """(Σ |x|^p)^(1/p) over dimensions or windows; None for norms of matrices."""
    if step.name.startswith("lp_pool"):
        return lambda: _lp_pool(step, tensors)
    given = step.bound(tensors, "input", "p", "dim", "keepdim")
    x = tensors[step.live[0]]
    p = given.get("p", given.get("ord"))
    dim, keep = given.get("dim"), given.get("keepdim", False)
    matrix = step.function is torch.linalg.norm and (
        x.dim() == 2 if dim is None else isinstance(dim, tuple | list) and len(dim) == 2
    )
    p = 2 if p is None or p == "fro" else p
    if isinstance(p, str) or p == 0 or (matrix and p != 2) or len(step.live) > 1:
        return None
    dims = tuple(range(x.dim())) if dim is None else dim
    if p == inf:
        return lambda: x.abs().amax(dims, keepdim=keep)
    if p == -inf:
        return lambda: x.abs().amin(dims, keepdim=keep)
    return lambda: x.abs().pow(p).sum(dims, keepdim=keep).pow(1 / p)


def _lp_pool(step: Step, tensors: list[Tensor]) -> Tensor:
    given = step.bound(tensors, "input", "norm_type", "kernel_size", "stride", "ceil_mode")
    dims, p = int(step.name[-2]), float(given["norm_type"])
    kernel = given["kernel_size"]
    size = kernel**dims if isinstance(kernel, int) else torch.Size(kernel).numel()
    pool: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dims - 1]
    ceil = given.get("ceil_mode", False)
    mean = pool(given["input"].pow(p), kernel, given.get("stride"), 0, ceil)
    return (mean * size).pow(1 / p)
