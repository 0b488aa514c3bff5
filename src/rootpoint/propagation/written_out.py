"""Operations written as others, for those that are made of operations with rules.

An operation listed here is met piece by piece, with the value of its own kernel. Larger families
stand beside this file: `recurrent`, `multilinear` (products of many), `deviations` (differences:
spreads, distances, losses).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Function = Callable[..., Any]

WRITTEN_OUT: dict[Function, Function] = {}
"""By torch function, a function of the same parameters that computes the same by others."""

IN_PLACE: dict[Function, Function] = {}
"""By function in place, the one listed here that does the same out of place."""


def writes_out(*functions: Function) -> Callable[[Function], Any]:
    """Register the decorated function as what these torch functions are made of.

    Their forms in place, `name_`, are met as these.
    """

    def register(written: Function) -> Function:
        WRITTEN_OUT.update(dict.fromkeys(functions, written))
        for function in functions:
            for space in (torch, torch.Tensor):
                in_place = getattr(space, f"{function.__name__}_", None)
                if in_place is not None and in_place not in IN_PLACE:
                    IN_PLACE[in_place] = function
        return written

    return register


def scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


# -- gates and elementwise operations --------------------------------------------------------------


@writes_out(F.glu, torch._C._nn.glu)  # pyright: ignore[reportAttributeAccessIssue]
def _glu(input: Tensor, dim: int = -1) -> Tensor:
    """a · σ(b) of the two halves."""
    signal, gate = input.chunk(2, dim)
    return signal * torch.sigmoid(gate)


@writes_out(torch.lerp, torch.Tensor.lerp)
def _lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    return input * (1 - weight) + end * weight


@writes_out(torch.addcmul, torch.Tensor.addcmul)
def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return input + scaled(tensor1 * tensor2, value)


@writes_out(torch.addcdiv, torch.Tensor.addcdiv)
def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return input + scaled(tensor1 / tensor2, value)


@writes_out(torch.xlogy, torch.Tensor.xlogy, torch.special.xlogy)
def _xlogy(input: Any, other: Any) -> Tensor:
    """x log y, and 0 where x = 0."""
    return input * torch.log(_one_where(input == 0, other))


@writes_out(torch.special.xlog1py)
def _xlog1py(input: Any, other: Any) -> Tensor:
    return input * torch.log1p(_one_where(input == 0, other))


def _one_where(mask: Any, x: Any) -> Tensor:
    x, mask = (t if isinstance(t, Tensor) else torch.tensor(t) for t in (x, mask))
    return torch.where(mask, torch.ones_like(x), x)


@writes_out(torch.ldexp, torch.Tensor.ldexp)
def _ldexp(input: Tensor, other: Tensor) -> Tensor:
    return input * torch.exp2(other)


@writes_out(torch.copysign, torch.Tensor.copysign)
def _copysign(input: Tensor, other: Any) -> Tensor:
    """|x| times a sign, which is a constant."""
    sign = other.detach() if isinstance(other, Tensor) else input.new_tensor(other)
    return torch.abs(input) * torch.copysign(torch.ones_like(sign), sign)


@writes_out(torch.hypot, torch.Tensor.hypot)
def _hypot(input: Tensor, other: Tensor) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch.broadcast_tensors(input, other)), dim=0)


@writes_out(torch.floor_divide, torch.Tensor.floor_divide)
def _floor_divide(input: Any, other: Any) -> Tensor:
    return torch.floor(input / other)


@writes_out(torch.heaviside, torch.Tensor.heaviside)
def _heaviside(input: Tensor, values: Tensor) -> Tensor:
    """A step, which carries nothing; at zero, the values given."""
    return torch.where(input == 0, values, torch.heaviside(input.detach(), values.detach()))


@writes_out(torch.binomial)
def _binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """A draw, which carries nothing."""
    return count.detach() * prob.detach()


@writes_out(torch.as_strided_scatter, torch.Tensor.as_strided_scatter)
def _as_strided_scatter(
    input: Tensor,
    src: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    storage_offset: int | None = None,
) -> Tensor:
    """Values put at places; torch's own gradient of it is wrong (2.13: gradcheck fails)."""
    places = torch.empty_strided(input.shape, input.stride(), dtype=torch.long, device=input.device)
    places.copy_(torch.arange(input.numel(), device=input.device).reshape(input.shape))
    offset = storage_offset or 0
    return torch.put(input, places.as_strided(list(size), list(stride), offset), src)


# -- convolutions by other names -------------------------------------------------------------------


@writes_out(torch.convolution)
def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    dims = weight.dim() - 2
    if transposed:
        up: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
        return up(input, weight, bias, stride, padding, output_padding, groups, dilation)
    conv: Any = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    return conv(input, weight, bias, stride, padding, dilation, groups)


@writes_out(torch.conv_tbc, F.conv_tbc)
def _conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """A convolution over time of (time, batch, channels), with weights (time, in, out)."""
    moved = F.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return moved.permute(2, 0, 1)


@writes_out(torch.native_channel_shuffle)
def _native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    return torch.channel_shuffle(input, groups)


@writes_out(F.grid_sample)
def _grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """A mean of neighbours; where it is taken is a constant, as an index would be."""
    modes = {"bilinear": 0, "nearest": 1, "bicubic": 2}[mode]
    padding = {"zeros": 0, "border": 1, "reflection": 2}[padding_mode]
    return torch.grid_sampler(input, grid.detach(), modes, padding, bool(align_corners))


# -- normalizations by other names -----------------------------------------------------------------


@writes_out(torch.native_layer_norm)
def _native_layer_norm(
    input: Tensor, normalized_shape: list[int], weight: Any, bias: Any, eps: float
) -> tuple[Tensor, ...]:
    """The norm, then mean and 1/σ as constants."""
    rest = torch.native_layer_norm(input.detach(), normalized_shape, None, None, eps)[1:]
    return F.layer_norm(input, normalized_shape, weight, bias, eps), *rest


@writes_out(torch.native_group_norm)
def _native_group_norm(
    input: Tensor, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, ...]:
    rest = torch.native_group_norm(input.detach(), None, None, N, C, HxW, group, eps)[1:]
    return F.group_norm(input, group, weight, bias, eps), *rest


@writes_out(torch.native_batch_norm)
def _native_batch_norm(
    input: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, ...]:
    """The norm with its own statistics; those of a batch are returned as constants."""
    rest = (input.new_empty(0), input.new_empty(0))
    given = (weight, bias, training, momentum, eps)
    return F.batch_norm(input, running_mean, running_var, *given), *rest


@writes_out(torch.renorm, torch.Tensor.renorm)
def _renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """x times a scale that is a constant, as in every normalization."""
    others = [d for d in range(input.dim()) if d != dim % input.dim()]
    norms = torch.linalg.vector_norm(input.detach(), p, others, keepdim=True)
    return input * torch.where(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)


# -- sums of neighbours ----------------------------------------------------------------------------


@writes_out(torch.diff, torch.Tensor.diff)
def _diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    given = [t for t in (prepend, input, append) if t is not None]
    x = input if len(given) == 1 else torch.cat(given, dim)
    for _ in range(n):
        length = max(x.shape[dim] - 1, 0)
        x = x.narrow(dim, x.shape[dim] - length, length) - x.narrow(dim, 0, length)
    return x


@writes_out(torch.trapezoid, torch.trapz)
def _trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    return _trapezoids(y, x, dx, dim).sum(dim)


@writes_out(torch.cumulative_trapezoid)
def _cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1
) -> Tensor:
    return _trapezoids(y, x, dx, dim).cumsum(dim)


def _trapezoids(y: Tensor, x: Tensor | None, dx: float, dim: int) -> Tensor:
    """Widths times mean heights; a grid of one dimension goes along `dim`."""
    length = y.shape[dim] - 1
    heights = (y.narrow(dim, 1, length) + y.narrow(dim, 0, length)) / 2
    if x is None:
        return scaled(heights, dx)
    if x.dim() == 1:
        widths = torch.diff(x)
        return heights * widths.reshape(-1, *[1] * (y.dim() - 1 - dim % y.dim()))
    return heights * torch.diff(x, dim=dim)


# -- sparse matrices -------------------------------------------------------------------------------


@writes_out(torch.sparse.mm)
def _sparse_mm(sparse: Tensor, dense: Tensor) -> Tensor:
    return sparse @ dense
