"""One record for each operation with a rule: a sample call, and what must hold of it.

In the manner of PyTorch's OpInfo. A call takes a batch h (B, …) of the shape and domain given, and
treats each sample by itself; what it returns is explained, and generic tests do the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Call = Callable[[Tensor], Any]

MATRIX, VECTOR, IMAGE, VOLUME = (4, 4), (4,), (2, 4, 4), (2, 4, 4, 4)


@dataclass(frozen=True)
class Record:
    """A sample call of one operation.

    name     as `torch.overrides` has it
    call     of a batch (B, *shape)
    shape    of one sample
    domain   of its values: "real", "positive" (above 1) or "unit" (between 0 and 1)
    degree   LRP-0 is gradient × input divided by this (2 for a product of two); None: it is not
    batched  samples do not depend on each other
    rounding relative, of its values
    absorbs  what keeps relevance in the books of this call
    """

    name: str
    call: Call
    shape: tuple[int, ...] = MATRIX
    domain: str = "real"
    degree: float | None = None
    batched: bool = True
    rounding: float = 1e-9
    absorbs: frozenset[str] = frozenset()


def each(call: Call) -> Call:
    """A call of single samples, one after the other."""
    return lambda h: torch.stack([call(sample) for sample in h])


def constant(*shape: int) -> Tensor:
    """Numbers of both signs without zeros, the same at every call."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count, dtype=torch.float64) * 0.7 + 0.3).sin() + 0.05).reshape(shape)


def weight(h: Tensor, *shape: int) -> Tensor:
    return constant(*shape).to(h.dtype)


def positive(h: Tensor, *shape: int) -> Tensor:
    return weight(h, *shape).abs() + 0.5


# -- data that moves -------------------------------------------------------------------------------

_MOVED: dict[str, Call] = {
    "__setitem__": lambda h: _set_item(h),
    "_autocast_to_full_precision": lambda h: h._autocast_to_full_precision(False, False),
    "_autocast_to_reduced_precision": lambda h: h._autocast_to_reduced_precision(
        False, False, torch.bfloat16, torch.bfloat16
    ),
    "adjoint": lambda h: h.adjoint(),
    "alias_copy": torch.alias_copy,
    "alpha_dropout": lambda h: F.alpha_dropout(h, training=False),
    "as_strided": lambda h: torch.as_strided(h.contiguous(), (len(h), 3), (16, 2)),
    "as_strided_copy": lambda h: torch.as_strided_copy(h.contiguous(), (len(h), 3), (16, 2)),
    "atleast_1d": torch.atleast_1d,
    "atleast_2d": torch.atleast_2d,
    "atleast_3d": torch.atleast_3d,
    "block_diag": each(lambda s: torch.block_diag(s, s)),
    "broadcast_tensors": lambda h: torch.broadcast_tensors(h, h[:, :1])[1],
    "broadcast_to": lambda h: torch.broadcast_to(h[:, :1], h.shape),
    "cartesian_prod": each(lambda s: torch.cartesian_prod(s[0], s[1])),
    "cat": lambda h: torch.cat([h, h], 1),
    "channel_shuffle": lambda h: F.channel_shuffle(h, 2),
    "chunk": lambda h: torch.chunk(h, 2, 1),
    "clone": torch.clone,
    "column_stack": each(lambda s: torch.column_stack([s, s])),
    "combinations": each(lambda s: torch.combinations(s[0])),
    "concat": lambda h: torch.concat([h, h], 1),
    "concatenate": lambda h: torch.concatenate([h, h], 1),
    "conj": torch.conj,
    "conj_physical": torch.conj_physical,
    "constant_pad_nd": lambda h: torch.constant_pad_nd(h, (1, 1)),
    "contiguous": lambda h: h.mT.contiguous(),
    "copy_": lambda h: torch.zeros_like(h).copy_(h),
    "cpu": lambda h: h.cpu(),
    "diag": each(torch.diag),
    "diag_embed": torch.diag_embed,
    "diagflat": each(torch.diagflat),
    "diagonal": lambda h: torch.diagonal(h, 0, 1, 2),
    "diagonal_copy": lambda h: torch.diagonal_copy(h, 0, 1, 2),
    "diagonal_scatter": lambda h: torch.diagonal_scatter(h, h[:, 0], 0, 1, 2),
    "double": lambda h: h.double(),
    "dropout": lambda h: F.dropout(h, training=False),
    "dsplit": lambda h: torch.dsplit(h, 2),
    "dstack": lambda h: torch.dstack([h, h]),
    "embedding": each(lambda s: F.embedding(torch.tensor([2, 0, 2]), s)),
    "expand": lambda h: h[:, :1].expand(-1, 4, -1),
    "expand_as": lambda h: h[:, :1].expand_as(h),
    "expand_copy": lambda h: torch.expand_copy(h[:, :1], h.shape),
    "feature_alpha_dropout": lambda h: F.feature_alpha_dropout(h, training=False),
    "feature_dropout": lambda h: torch.feature_dropout(h, 0.5, False),
    "fill_": lambda h: h.clone().fill_(2.0) + h,
    "fill_diagonal_": each(lambda s: s.clone().fill_diagonal_(2.0)),
    "flatten": lambda h: torch.flatten(h, 1),
    "flip": lambda h: torch.flip(h, (1,)),
    "fliplr": torch.fliplr,
    "flipud": each(torch.flipud),
    "gather": lambda h: torch.gather(h, 1, _indices(h)),
    "hsplit": lambda h: torch.hsplit(h, 2),
    "hstack": lambda h: torch.hstack([h, h]),
    "index_copy": lambda h: torch.index_copy(h, 1, torch.tensor([0, 2]), h[:, :2]),
    "index_fill": lambda h: torch.index_fill(h, 1, torch.tensor([0, 2]), 1.5),
    "index_put": lambda h: torch.index_put(
        h, (torch.arange(len(h)), torch.zeros(len(h)).long()), h[:, 1]
    ),
    "index_select": lambda h: torch.index_select(h, 1, torch.tensor([2, 0, 2])),
    "linalg_diagonal": torch.linalg.diagonal,
    "masked_fill": lambda h: torch.masked_fill(h, _mask(h), 1.5),
    "masked_scatter": each(lambda s: torch.masked_scatter(s, _mask(s), s.flip(0))),
    "masked_select": each(lambda s: torch.masked_select(s, _mask(s))),
    "meshgrid": each(lambda s: torch.stack(torch.meshgrid(s[0], s[1], indexing="ij"))),
    "moveaxis": lambda h: torch.moveaxis(h, 1, 2),
    "movedim": lambda h: torch.movedim(h, 1, 2),
    "nan_to_num": torch.nan_to_num,
    "narrow": lambda h: torch.narrow(h, 1, 1, 2),
    "narrow_copy": lambda h: torch.narrow_copy(h, 1, 1, 2),
    "native_dropout": lambda h: torch.native_dropout(h, 0.5, False)[0],
    "pad": lambda h: F.pad(h, (1, 2)),
    "permute": lambda h: torch.permute(h, (0, 2, 1)),
    "permute_copy": lambda h: torch.permute_copy(h, (0, 2, 1)),
    "positive": torch.positive,
    "put": each(lambda s: torch.put(s, torch.tensor([0, 5]), s[1, :2])),
    "ravel": each(torch.ravel),
    "real": torch.real,
    "repeat": lambda h: h.repeat(1, 2, 1),
    "repeat_interleave": lambda h: torch.repeat_interleave(h, 2, 1),
    "reshape": lambda h: torch.reshape(h, (-1, 16)),
    "reshape_as": lambda h: h.mT.reshape_as(h.flatten(1)),
    "requires_grad_": lambda h: h.requires_grad_(),
    "resolve_conj": torch.resolve_conj,
    "resolve_neg": torch.resolve_neg,
    "roll": lambda h: torch.roll(h, 1, 1),
    "rot90": lambda h: torch.rot90(h, 1, (1, 2)),
    "row_stack": each(lambda s: torch.row_stack([s, s])),
    "scatter": lambda h: torch.scatter(h, 1, _indices(h)[:, :1], h[:, 2:3]),
    "select": lambda h: torch.select(h, 1, 2),
    "select_copy": lambda h: torch.select_copy(h, 1, 2),
    "select_scatter": lambda h: torch.select_scatter(h, h[:, 0], 1, 2),
    "slice_copy": lambda h: torch.slice_copy(h, 1, 0, 2),
    "slice_scatter": lambda h: torch.slice_scatter(h, h[:, 2:], 1, 0, 2),
    "split": lambda h: torch.split(h, 2, 1),
    "split_copy": lambda h: torch.split_copy(h, 2, 1),
    "split_with_sizes": lambda h: torch.split_with_sizes(h, [1, 3], 1),
    "split_with_sizes_copy": lambda h: torch.split_with_sizes_copy(h, [1, 3], 1),
    "squeeze": lambda h: torch.squeeze(h[:, :1], 1),
    "squeeze_copy": lambda h: torch.squeeze_copy(h[:, :1], 1),
    "stack": lambda h: torch.stack([h, h], 1),
    "swapaxes": lambda h: torch.swapaxes(h, 1, 2),
    "swapdims": lambda h: torch.swapdims(h, 1, 2),
    "t": each(torch.t),
    "t_copy": each(torch.t_copy),
    "take": each(lambda s: torch.take(s, torch.tensor([0, 5, 5]))),
    "take_along_dim": lambda h: torch.take_along_dim(h, _indices(h), 1),
    "tensor_split": lambda h: torch.tensor_split(h, 3, 1),
    "tile": lambda h: torch.tile(h, (1, 2, 1)),
    "to": lambda h: h.to(torch.float64),
    "torch.Tensor.H.__get__": each(lambda s: s.H),
    "torch.Tensor.T.__get__": each(lambda s: s.T),
    "torch.Tensor.__getitem__": lambda h: h[:, 1:3],
    "torch.Tensor.mH.__get__": lambda h: h.mH,
    "torch.Tensor.mT.__get__": lambda h: h.mT,
    "torch.Tensor.real.__get__": lambda h: h.real,
    "transpose": lambda h: torch.transpose(h, 1, 2),
    "transpose_copy": lambda h: torch.transpose_copy(h, 1, 2),
    "tril": torch.tril,
    "triu": torch.triu,
    "type": lambda h: h.type(torch.float64),
    "type_as": lambda h: h.type_as(h.detach()),
    "unbind": lambda h: torch.unbind(h, 1),
    "unbind_copy": lambda h: torch.unbind_copy(h, 1),
    "unflatten": lambda h: torch.unflatten(h, 1, (2, 2)),
    "unfold": lambda h: h.unfold(1, 2, 1),
    "unfold_copy": lambda h: torch.unfold_copy(h, 1, 2, 1),
    "unsafe_chunk": lambda h: torch.unsafe_chunk(h, 2, 1),
    "unsafe_split": lambda h: torch.unsafe_split(h, 2, 1),
    "unsafe_split_with_sizes": lambda h: torch.unsafe_split_with_sizes(h, [1, 3], 1),
    "unsqueeze": lambda h: torch.unsqueeze(h, 1),
    "unsqueeze_copy": lambda h: torch.unsqueeze_copy(h, 1),
    "view": lambda h: h.clone().view(-1, 16),
    "view_as": lambda h: h.clone().view_as(h.detach()),
    "view_copy": lambda h: torch.view_copy(h, (-1, 16)),
    "vsplit": each(lambda s: torch.stack(torch.vsplit(s, 2))),
    "vstack": each(lambda s: torch.vstack([s, s])),
    "where": lambda h: torch.where(_mask(h), h, h.flip(1)),
    "zero_": lambda h: h.clone().zero_() + h,
}


def _set_item(h: Tensor) -> Tensor:
    target = torch.zeros_like(h)
    target[:, 1:] = h[:, :3]
    return target


def _mask(h: Tensor) -> Tensor:
    return (torch.arange(h[0].numel() if h.dim() == 3 else h.numel()) % 3 == 0).reshape(
        h.shape[-2:]
    )


def _indices(h: Tensor) -> Tensor:
    return torch.tensor([[2, 0, 1, 3], [1, 1, 0, 2]]).expand(len(h), 2, 4)


_IMAGES: dict[str, Call] = {
    "dropout1d": lambda h: F.dropout1d(h[:, 0], training=False),
    "dropout2d": lambda h: F.dropout2d(h, training=False),
    "pixel_shuffle": lambda h: torch.pixel_shuffle(torch.cat([h, h], 1), 2),
    "pixel_unshuffle": lambda h: torch.pixel_unshuffle(h, 2),
    "max_unpool1d": lambda h: F.max_unpool1d(h[:, 0], torch.arange(4).expand(len(h), 4, 4) * 2, 2),
    "max_unpool2d": lambda h: F.max_unpool2d(
        h, torch.arange(16).reshape(4, 4).expand(len(h), 2, 4, 4) * 2, 2
    ),
}

_VOLUMES: dict[str, Call] = {
    "dropout3d": lambda h: F.dropout3d(h, training=False),
    "max_unpool3d": lambda h: F.max_unpool3d(
        h, torch.arange(64).reshape(4, 4, 4).expand(len(h), 2, 4, 4, 4) * 2, 2
    ),
}

_ROUNDED: dict[str, Call] = {
    "float": lambda h: h.float(),
    "half": lambda h: h.half(),
    "bfloat16": lambda h: h.bfloat16(),
}

ELSEWHERE = "cuda xpu ipu mtia pin_memory"
"""Movements to devices that a test cannot count on; they are as `to`."""

BY_OTHER_NAMES = "__radd__ __rmul__ spmm dsmm index __reversed__"
"""What torch itself calls by another name: add, mul, mm, __getitem__ and flip."""


# -- averages, maxima, sums ------------------------------------------------------------------------

_AVERAGES: dict[str, Call] = {
    "cumsum": lambda h: torch.cumsum(h, 1),
    "mean": lambda h: torch.mean(h, 1),
    "nanmean": lambda h: torch.nanmean(h, 1),
    "nansum": lambda h: torch.nansum(h, 1),
    "sum": lambda h: torch.sum(h, (1, 2)),
    "sum_to_size": lambda h: h.sum_to_size(len(h), 1, 4),
    "trace": each(torch.trace),
}

_AVERAGES_OF_IMAGES: dict[str, Call] = {
    "adaptive_avg_pool1d": lambda h: F.adaptive_avg_pool1d(h[:, 0], 2),
    "adaptive_avg_pool2d": lambda h: F.adaptive_avg_pool2d(h, 3),
    "avg_pool1d": lambda h: F.avg_pool1d(h[:, 0], 2),
    "avg_pool2d": lambda h: F.avg_pool2d(h, 2, padding=1),
    "fold": lambda h: F.fold(h[:, 0], 3, 2),
    "grid_sample": lambda h: F.grid_sample(h, _grid(h), align_corners=False),
    "grid_sampler": lambda h: torch.grid_sampler(h, _grid(h), 0, 0, False),
    "grid_sampler_2d": lambda h: torch.grid_sampler_2d(h, _grid(h), 0, 0, False),
    "interpolate": lambda h: F.interpolate(h, scale_factor=2, mode="bilinear"),
}

_AVERAGES_OF_VOLUMES: dict[str, Call] = {
    "adaptive_avg_pool3d": lambda h: F.adaptive_avg_pool3d(h, 2),
    "avg_pool3d": lambda h: F.avg_pool3d(h, 2),
    "grid_sampler_3d": lambda h: torch.grid_sampler_3d(
        h, weight(h, 3, 3, 3, 3).expand(len(h), 3, 3, 3, 3), 0, 0, False
    ),
}


def _grid(h: Tensor) -> Tensor:
    return weight(h, 3, 3, 2).expand(len(h), 3, 3, 2)


_MAXIMA: dict[str, Call] = {
    "amax": lambda h: torch.amax(h, 1),
    "amin": lambda h: torch.amin(h, 1),
    "aminmax": lambda h: tuple(torch.aminmax(h, dim=1)),
    "cummax": lambda h: torch.cummax(h, 1)[0],
    "cummin": lambda h: torch.cummin(h, 1)[0],
    "fmax": lambda h: torch.fmax(h, h.flip(1) * 0.5),
    "fmin": lambda h: torch.fmin(h, h.flip(1) * 0.5),
    "kthvalue": lambda h: torch.kthvalue(h, 2, 1)[0],
    "max": lambda h: torch.max(h, 1)[0],
    "maximum": lambda h: torch.maximum(h, h.flip(1) * 0.5),
    "median": lambda h: torch.median(h, 1)[0],
    "min": lambda h: torch.min(h, 1)[0],
    "minimum": lambda h: torch.minimum(h, h.flip(1) * 0.5),
    "mode": lambda h: torch.mode(h, 1)[0],
    "msort": each(torch.msort),
    "nanmedian": lambda h: torch.nanmedian(h, 1)[0],
    "nanquantile": lambda h: torch.nanquantile(h, 0.3, 1),
    "quantile": lambda h: torch.quantile(h, 0.3, 1),
    "sort": lambda h: torch.sort(h, 1)[0],
    "topk": lambda h: torch.topk(h, 2, 1)[0],
}

_SAMPLES = torch.full((2, 2, 2), 0.3, dtype=torch.float64)

_MAXIMA_OF_IMAGES: dict[str, Call] = {
    "adaptive_max_pool1d": lambda h: F.adaptive_max_pool1d(h[:, 0], 2),
    "adaptive_max_pool1d_with_indices": lambda h: F.adaptive_max_pool1d_with_indices(h[:, 0], 2)[0],
    "adaptive_max_pool2d": lambda h: F.adaptive_max_pool2d(h, 2),
    "adaptive_max_pool2d_with_indices": lambda h: F.adaptive_max_pool2d_with_indices(h, 2)[0],
    "fractional_max_pool2d": lambda h: F.fractional_max_pool2d(
        h, 2, 3, _random_samples=_SAMPLES[: len(h)].to(h.dtype)
    ),
    "fractional_max_pool2d_with_indices": lambda h: F.fractional_max_pool2d_with_indices(
        h, 2, 3, _random_samples=_SAMPLES[: len(h)].to(h.dtype)
    )[0],
    "max_pool1d": lambda h: F.max_pool1d(h[:, 0], 2),
    "max_pool1d_with_indices": lambda h: F.max_pool1d_with_indices(h[:, 0], 2)[0],
    "max_pool2d": lambda h: F.max_pool2d(h, 2),
    "max_pool2d_with_indices": lambda h: F.max_pool2d_with_indices(h, 2)[0],
}

_SAMPLES_3D = torch.full((2, 2, 3), 0.3, dtype=torch.float64)

_MAXIMA_OF_VOLUMES: dict[str, Call] = {
    "adaptive_max_pool3d": lambda h: F.adaptive_max_pool3d(h, 2),
    "adaptive_max_pool3d_with_indices": lambda h: F.adaptive_max_pool3d_with_indices(h, 2)[0],
    "fractional_max_pool3d": lambda h: F.fractional_max_pool3d(
        h, 2, 2, _random_samples=_SAMPLES_3D[: len(h)].to(h.dtype)
    ),
    "fractional_max_pool3d_with_indices": lambda h: F.fractional_max_pool3d_with_indices(
        h, 2, 2, _random_samples=_SAMPLES_3D[: len(h)].to(h.dtype)
    )[0],
    "max_pool3d": lambda h: F.max_pool3d(h, 2),
    "max_pool3d_with_indices": lambda h: F.max_pool3d_with_indices(h, 2)[0],
}

_SUMS: dict[str, Call] = {
    "__rsub__": lambda h: 2.0 - h,
    "add": lambda h: torch.add(h, h.flip(1), alpha=2),
    "affine_grid": lambda h: F.affine_grid(h[:, :2, :3], [len(h), 1, 3, 3], align_corners=False),
    "affine_grid_generator": lambda h: torch.affine_grid_generator(
        h[:, :2, :3], [len(h), 1, 3, 3], False
    ),
    "index_add": lambda h: torch.index_add(h, 1, torch.tensor([0, 2]), h[:, 1:3]),
    "index_reduce": lambda h: torch.index_reduce(
        h, 1, torch.tensor([0, 2]), h[:, 1:3], "mean", include_self=True
    ),
    "rsub": lambda h: torch.rsub(h, h.flip(1)),
    "scatter_add": lambda h: torch.scatter_add(h, 1, _indices(h), h[:, :2]),
    "scatter_reduce": lambda h: torch.scatter_reduce(h, 1, _indices(h), h[:, :2], "mean"),
    "sub": lambda h: torch.sub(h, h.flip(1) * 0.3),
    "subtract": lambda h: torch.subtract(h, 2.0),
    "diff": lambda h: torch.diff(h, dim=1),
    "trapezoid": lambda h: torch.trapezoid(h, dx=0.5, dim=1),
    "trapz": lambda h: torch.trapz(h, weight(h, 4).abs().cumsum(0), dim=1),
    "cumulative_trapezoid": lambda h: torch.cumulative_trapezoid(h, dim=1),
}


# -- linear maps and products ----------------------------------------------------------------------

_LINEAR: dict[str, tuple[tuple[int, ...], Call]] = {
    "linear": (VECTOR, lambda h: F.linear(h, weight(h, 3, 4), weight(h, 3))),
    "__rmatmul__": (VECTOR, lambda h: h.mT.__rmatmul__(weight(h, 3, 4)).mT),
    "addmm": (VECTOR, lambda h: torch.addmm(weight(h, 3), h, weight(h, 4, 3), alpha=0.5)),
    "addmv": (VECTOR, each(lambda s: torch.addmv(weight(s, 3), weight(s, 3, 4), s))),
    "mv": (VECTOR, each(lambda s: torch.mv(weight(s, 3, 4), s))),
    "matmul": (MATRIX, lambda h: torch.matmul(h, weight(h, 4, 3))),
    "linalg_matmul": (MATRIX, lambda h: torch.linalg.matmul(h, weight(h, 4, 3))),
    "mm": (VECTOR, lambda h: torch.mm(h, weight(h, 4, 3))),
    "dot": (VECTOR, each(lambda s: torch.dot(s, weight(s, 4)))),
    "vdot": (VECTOR, each(lambda s: torch.vdot(s, weight(s, 4)))),
    "inner": (MATRIX, lambda h: torch.inner(h, weight(h, 3, 4))),
    "outer": (VECTOR, each(lambda s: torch.outer(s, weight(s, 3)))),
    "ger": (VECTOR, each(lambda s: torch.ger(s, weight(s, 3)))),
    "addr": (VECTOR, each(lambda s: torch.addr(weight(s, 4, 3), s, weight(s, 3)))),
    "kron": (MATRIX, each(lambda s: torch.kron(s, weight(s, 2, 2)))),
    "tensordot": (MATRIX, lambda h: torch.tensordot(h, weight(h, 4, 3), 1)),
    "conv_tbc": (
        MATRIX,
        each(lambda s: torch.conv_tbc(s[:, None], weight(s, 3, 4, 2), weight(s, 2))),
    ),
    "conv1d": (MATRIX, lambda h: F.conv1d(h, weight(h, 3, 4, 3), weight(h, 3))),
    "conv2d": (IMAGE, lambda h: F.conv2d(h, weight(h, 3, 2, 3, 3), padding=1)),
    "conv3d": (VOLUME, lambda h: F.conv3d(h, weight(h, 3, 2, 3, 3, 3))),
    "conv_transpose1d": (MATRIX, lambda h: F.conv_transpose1d(h, weight(h, 4, 3, 2))),
    "conv_transpose2d": (IMAGE, lambda h: F.conv_transpose2d(h, weight(h, 2, 3, 2, 2), stride=2)),
    "conv_transpose3d": (VOLUME, lambda h: F.conv_transpose3d(h, weight(h, 2, 2, 2, 2, 2))),
    "convolution": (
        IMAGE,
        lambda h: torch.convolution(
            h, weight(h, 3, 2, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1
        ),
    ),
    "baddbmm": (MATRIX, lambda h: torch.baddbmm(h, h, weight(h, 4, 4).expand(len(h), 4, 4))),
    "addbmm": (MATRIX, each(lambda s: torch.addbmm(s, s[None], weight(s, 1, 4, 4)))),
    "batch_norm": (
        MATRIX,
        lambda h: F.batch_norm(h, weight(h, 4), positive(h, 4), weight(h, 4), weight(h, 4)),
    ),
    "native_batch_norm": (
        MATRIX,
        lambda h: torch.native_batch_norm(
            h, weight(h, 4), None, weight(h, 4), positive(h, 4), False, 0.1, 1e-5
        )[0],
    ),
}


_PRODUCTS: dict[str, Call] = {
    "mul": lambda h: torch.mul(h, h.flip(1)),
    "multiply": lambda h: torch.multiply(h, h.flip(1)),
    "bmm": lambda h: torch.bmm(h, h.mT),
    "einsum": lambda h: torch.einsum("bij,bkj->bik", h, h.flip(1)),
    "cross": lambda h: torch.cross(h[:, :3], h[:, 1:], 1),
    "linalg_cross": lambda h: torch.linalg.cross(h[:, :3], h[:, 1:], dim=1),
    "linalg_vecdot": lambda h: torch.linalg.vecdot(h, h.flip(1)),
    "bilinear": lambda h: F.bilinear(h, h.flip(1), weight(h, 2, 4, 4)),
    "chain_matmul": each(lambda s: torch.chain_matmul(s, s.T)),
    "linalg_multi_dot": each(lambda s: torch.linalg.multi_dot([s[0], s])),
    "linalg_matrix_power": lambda h: torch.linalg.matrix_power(h, 2),
    "matrix_power": lambda h: torch.matrix_power(h, 2),
    "cov": each(torch.cov),
    "var": lambda h: torch.var(h, 1),
    "addcmul": lambda h: torch.addcmul(torch.zeros_like(h), h, h.flip(1), value=0.5),
    "embedding_bag": each(
        lambda s: F.embedding_bag(
            torch.tensor([[2, 0], [1, 1]]), s, mode="sum", per_sample_weights=s[:2, :2]
        )
    ),
    "square": torch.square,
}

_HOMOGENEOUS: dict[str, Call] = {
    "neg": torch.neg,
    "negative": torch.negative,
    "div": lambda h: torch.div(h, positive(h, 4)),
    "divide": lambda h: torch.divide(h, 3.0),
    "true_divide": lambda h: torch.true_divide(h, 3.0),
    "logcumsumexp": lambda h: torch.logcumsumexp(h, 1),
    "logsumexp": lambda h: torch.logsumexp(h, 1),
    "special_logsumexp": lambda h: torch.special.logsumexp(h, 1),
    "logaddexp": lambda h: torch.logaddexp(h, h.flip(1)),
    "logaddexp2": lambda h: torch.logaddexp2(h, h.flip(1)),
    "softmax": lambda h: torch.softmax(h, 1),
    "special_softmax": lambda h: torch.special.softmax(h, 1),
    "log_softmax": lambda h: torch.log_softmax(h, 1),
    "special_log_softmax": lambda h: torch.special.log_softmax(h, 1),
    "softmin": lambda h: F.softmin(h, 1),
    "std": lambda h: torch.std(h, (1, 2)),
    "ldexp": lambda h: torch.ldexp(h, weight(h, 4)),
    "lerp": lambda h: torch.lerp(h, h.flip(1), weight(h, 4)),
    "deg2rad": torch.deg2rad,
    "rad2deg": torch.rad2deg,
    "xlogy": lambda h: torch.xlogy(h, positive(h, 4)),
    "special_xlogy": lambda h: torch.special.xlogy(h, positive(h, 4)),
    "special_xlog1py": lambda h: torch.special.xlog1py(h, positive(h, 4)),
    "copysign": lambda h: torch.copysign(h, weight(h, 4)),
    "abs": torch.abs,
    "absolute": torch.absolute,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda h: F.prelu(h, weight(h, 4)),
    "rrelu": F.rrelu,
    "clamp_min": lambda h: torch.clamp_min(h, 0),
    "clamp_max": lambda h: torch.clamp_max(h, 0),
    "floor": torch.floor,
    "ceil": torch.ceil,
    "fix": torch.fix,
    "round": torch.round,
    "special_round": torch.special.round,
    "trunc": torch.trunc,
    "sign": torch.sign,
    "sgn": torch.sgn,
}

_DRAWN: dict[str, Call] = {
    "bernoulli": lambda h: torch.bernoulli(h) + h,
    "binomial": lambda h: torch.binomial(torch.full_like(h, 3.0), h) + h,
    "poisson": lambda h: torch.poisson(h) + h,
    "bernoulli_": lambda h: h.clone().bernoulli_(0.5) + h,
    "uniform_": lambda h: h.clone().uniform_() + h,
    "normal_": lambda h: h.clone().normal_() + h,
    "random_": lambda h: h.clone().random_(0, 3) + h,
    "exponential_": lambda h: h.clone().exponential_() + h,
    "cauchy_": lambda h: h.clone().cauchy_() + h,
    "geometric_": lambda h: h.clone().geometric_(0.5) + h,
    "log_normal_": lambda h: h.clone().log_normal_() + h,
    "gumbel_softmax": F.gumbel_softmax,
}


# -- activations -----------------------------------------------------------------------------------

_OF_REALS = """
    arctan asinh arcsinh atan celu cos cosh elu erf erfc exp exp2 expm1 gelu hardtanh i0 mish
    selu sigmoid silu sin sinc sinh softplus softsign tan tanh tanhshrink frac hardshrink softshrink
    relu6
"""
_OF_POSITIVES = """
    acosh arccosh log log10 log1p log2 lgamma digamma rsqrt sqrt reciprocal local_response_norm
"""
_OF_UNITS = "acos arccos arcsin arctanh asin atanh erfinv logit"
_SPECIAL_OF_REALS = """
    erf erfc erfcx exp2 expit expm1 i0 i0e i1 i1e log_ndtr ndtr sinc airy_ai bessel_j0 bessel_j1
    modified_bessel_i0 modified_bessel_i1 spherical_bessel_j0
"""
_SPECIAL_OF_POSITIVES = """
    digamma entr gammaln log1p psi bessel_y0 bessel_y1 modified_bessel_k0 modified_bessel_k1
    scaled_modified_bessel_k0 scaled_modified_bessel_k1
"""
_SPECIAL_OF_UNITS = "erfinv logit ndtri"
_POLYNOMIALS = """
    chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w
    hermite_polynomial_h hermite_polynomial_he laguerre_polynomial_l legendre_polynomial_p
    shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v
    shifted_chebyshev_polynomial_w
"""

_ACTIVATIONS: dict[str, Call] = {
    "__floordiv__": lambda h: h // 0.3,
    "floor_divide": lambda h: torch.floor_divide(h, 0.3),
    "heaviside": lambda h: torch.heaviside(h, h.detach()) + h,
    "_threshold": lambda h: F.threshold(h, 0.2, 0.1),
    "threshold": lambda h: torch.threshold(h, 0.2, 0.1),
    "log_sigmoid": F.logsigmoid,
    "clamp": lambda h: torch.clamp(h, -0.5, 0.5),
    "clip": lambda h: torch.clip(h, -0.5, 0.5),
    "fmod": lambda h: torch.fmod(h, 0.7),
    "remainder": lambda h: torch.remainder(h, 0.7),
    "atan2": lambda h: torch.atan2(h, positive(h, 4)),
    "arctan2": lambda h: torch.arctan2(h, positive(h, 4)),
    "nextafter": lambda h: torch.nextafter(h, torch.zeros_like(h)),
    "fake_quantize_per_tensor_affine": lambda h: torch.fake_quantize_per_tensor_affine(
        h, 0.1, 0, -128, 127
    ),
    "fake_quantize_per_channel_affine": lambda h: torch.fake_quantize_per_channel_affine(
        h, torch.full((4,), 0.1), torch.zeros(4), 1, -128, 127
    ),
    "pow": lambda h: torch.pow(h, 3),
    "__rpow__": lambda h: 2.0**h,
}

_ACTIVATIONS_OF_POSITIVES: dict[str, Call] = {
    "__rdiv__": lambda h: 2.0 / h,
    "__rmod__": lambda h: 5.0 % h,
    "__rfloordiv__": lambda h: 9.0 // h + h,
    "float_power": lambda h: torch.float_power(h, 1.5),
    "igamma": lambda h: torch.igamma(positive(h, 4), h),
    "igammac": lambda h: torch.igammac(positive(h, 4), h),
    "special_gammainc": lambda h: torch.special.gammainc(positive(h, 4), h),
    "special_gammaincc": lambda h: torch.special.gammaincc(positive(h, 4), h),
    "special_zeta": lambda h: torch.special.zeta(h + 1.0, 1.5),
    "polygamma": lambda h: torch.polygamma(1, h),
    "special_polygamma": lambda h: torch.special.polygamma(1, h),
    "mvlgamma": lambda h: torch.mvlgamma(h, 1),
    "special_multigammaln": lambda h: torch.special.multigammaln(h, 1),
}


# -- norms, distances, what is normalized ----------------------------------------------------------

_WITHOUT_GRADIENT: dict[str, Call] = {
    "as_strided_scatter": lambda h: torch.as_strided_scatter(
        h.contiguous(), h[:, 0, :3], (len(h), 3), (16, 1)
    ),
    "native_channel_shuffle": lambda h: torch.native_channel_shuffle(h.unflatten(1, (4, 1)), 2),
}
"""Operations for which torch has no gradient, or a wrong one."""

_NORMS: dict[str, Call] = {
    "linalg_norm": lambda h: torch.linalg.norm(h, 2, dim=1),
    "linalg_vector_norm": lambda h: torch.linalg.vector_norm(h, 2, 1),
    "norm": lambda h: torch.norm(h, 2, 1),
    "frobenius_norm": lambda h: torch.frobenius_norm(h, (1, 2)),
    "norm_except_dim": each(lambda s: torch.norm_except_dim(s, 2, 0)),
    "hypot": lambda h: torch.hypot(h, h.flip(1) * 2),
    "dist": each(lambda s: torch.dist(s, s.flip(0) * 2)),
    "cdist": lambda h: torch.cdist(h, weight(h, 3, 4)),
    "pdist": each(F.pdist),
    "pairwise_distance": lambda h: F.pairwise_distance(h[:, 0], h[:, 1] * 2),
    "cosine_similarity": lambda h: F.cosine_similarity(h, weight(h, 4, 4), dim=2),
    "corrcoef": each(torch.corrcoef),
    "normalize": lambda h: F.normalize(h, dim=1),
    "renorm": lambda h: torch.renorm(h, 2, 0, 1.0),
    "std_mean": lambda h: torch.std_mean(h, 1),
    "var_mean": lambda h: torch.var_mean(h, 1),
    "layer_norm": lambda h: F.layer_norm(h, (4,), weight(h, 4), weight(h, 4)),
    "native_layer_norm": lambda h: torch.native_layer_norm(h, [4], weight(h, 4), None, 1e-5)[0],
    "rms_norm": lambda h: F.rms_norm(h, (4,), weight(h, 4)),
    "group_norm": lambda h: F.group_norm(h, 2, weight(h, 4)),
    "native_group_norm": lambda h: torch.native_group_norm(
        h.contiguous(), weight(h, 4), None, len(h), 4, 4, 2, 1e-5
    )[0],
    "instance_norm": lambda h: F.instance_norm(h),
    "mse_loss": each(lambda s: F.mse_loss(s, weight(s, 4, 4))),
    "l1_loss": each(lambda s: F.l1_loss(s, weight(s, 4, 4))),
    "huber_loss": each(lambda s: F.huber_loss(s, weight(s, 4, 4))),
    "smooth_l1_loss": each(lambda s: F.smooth_l1_loss(s, weight(s, 4, 4))),
    "glu": lambda h: F.glu(h, 1),
    "addcdiv": lambda h: torch.addcdiv(h, h.flip(1), positive(h, 4), value=0.5),
    "scaled_dot_product_attention": lambda h: F.scaled_dot_product_attention(h, h, h),
    "multi_head_attention_forward": lambda h: F.multi_head_attention_forward(
        h.transpose(0, 1),
        h.transpose(0, 1),
        h.transpose(0, 1),
        4,
        2,
        weight(h, 12, 4),
        None,
        None,
        None,
        False,
        0.0,
        weight(h, 4, 4),
        None,
        training=False,
        need_weights=False,
    )[0].transpose(0, 1),
}

_NORMS_OF_IMAGES: dict[str, Call] = {
    "lp_pool1d": lambda h: F.lp_pool1d(h[:, 0], 2, 2),
    "lp_pool2d": lambda h: F.lp_pool2d(h, 2, 2),
}

_RECURRENT: dict[str, Call] = {
    "lstm": lambda h: torch.lstm(
        h, _states(h, 2), _recurrent(h, 4), False, 1, 0.0, False, False, True
    )[0],
    "gru": lambda h: torch.gru(
        h, _states(h, 1)[0], _recurrent(h, 3), False, 1, 0.0, False, False, True
    )[0],
    "rnn_tanh": lambda h: torch.rnn_tanh(
        h, _states(h, 1)[0], _recurrent(h, 1), False, 1, 0.0, False, False, True
    )[0],
    "rnn_relu": lambda h: torch.rnn_relu(
        h, _states(h, 1)[0], _recurrent(h, 1), False, 1, 0.0, False, False, True
    )[0],
    "lstm_cell": lambda h: torch.lstm_cell(
        h[:, 0], tuple(s[0] for s in _states(h, 2)), *_recurrent(h, 4)
    )[0],
    "gru_cell": lambda h: torch.gru_cell(h[:, 0], _states(h, 1)[0][0], *_recurrent(h, 3)),
    "rnn_tanh_cell": lambda h: torch.rnn_tanh_cell(h[:, 0], _states(h, 1)[0][0], *_recurrent(h, 1)),
    "rnn_relu_cell": lambda h: torch.rnn_relu_cell(h[:, 0], _states(h, 1)[0][0], *_recurrent(h, 1)),
}


def _states(h: Tensor, count: int) -> list[Tensor]:
    return [h.new_zeros(1, len(h), 3) for _ in range(count)]


def _recurrent(h: Tensor, gates: int) -> list[Tensor]:
    return [weight(h, gates * 3, 4), weight(h, gates * 3, 3)]


# -- all of them -----------------------------------------------------------------------------------


def _all() -> Iterator[Record]:
    for calls, shape in ((_MOVED, MATRIX), (_IMAGES, IMAGE), (_VOLUMES, VOLUME)):
        for name, call in calls.items():
            yield Record(name, call, shape, degree=1)
    for name, call in _ROUNDED.items():
        yield Record(name, call, rounding=0.01)
    for calls, shape in (
        *((_AVERAGES, MATRIX), (_AVERAGES_OF_IMAGES, IMAGE), (_AVERAGES_OF_VOLUMES, VOLUME)),
        *((_MAXIMA, MATRIX), (_MAXIMA_OF_IMAGES, IMAGE), (_MAXIMA_OF_VOLUMES, VOLUME)),
        *((_SUMS, MATRIX), (_HOMOGENEOUS, MATRIX)),
    ):
        for name, call in calls.items():
            yield Record(name, call, shape, degree=1)
    for name, (shape, call) in _LINEAR.items():
        yield Record(name, call, shape, degree=1)
    for name, call in _PRODUCTS.items():
        yield Record(name, call, degree=2)
    yield Record("prod", lambda h: torch.prod(h, 1), degree=4)
    yield Record("cumprod", lambda h: torch.cumprod(h, 1)[:, 2], degree=3)
    for name, call in _DRAWN.items():
        yield Record(name, call, domain="unit", batched=False)
    yield from _activations()
    for name, call in _NORMS.items():
        yield Record(name, call)
    for name, call in _NORMS_OF_IMAGES.items():
        yield Record(name, call, IMAGE)
    for name, call in _WITHOUT_GRADIENT.items():
        yield Record(name, call)
    yield Record("lp_pool3d", lambda h: F.lp_pool3d(h, 2, 2), VOLUME)
    for name, call in _RECURRENT.items():
        yield Record(name, call)


def _activations() -> Iterator[Record]:
    for names, space, domain in (
        (_OF_REALS, torch, "real"),
        (_OF_POSITIVES, torch, "positive"),
        (_OF_UNITS, torch, "unit"),
        (_SPECIAL_OF_REALS, torch.special, "real"),
        (_SPECIAL_OF_POSITIVES, torch.special, "positive"),
        (_SPECIAL_OF_UNITS, torch.special, "unit"),
    ):
        for name in names.split():
            function: Any = getattr(space, name, None) or getattr(F, name)
            called = f"special_{name}" if space is torch.special else name
            if name == "local_response_norm":
                yield Record(name, lambda h: F.local_response_norm(h, 2), domain=domain)
            else:
                yield Record(called, function, domain=domain)
    for name in _POLYNOMIALS.split():
        polynomial: Any = getattr(torch.special, name)
        yield Record(f"special_{name}", lambda h, f=polynomial: f(h, 2), domain="unit")
    for name, call in _ACTIVATIONS.items():
        yield Record(name, call)
    for name, call in _ACTIVATIONS_OF_POSITIVES.items():
        yield Record(name, call, domain="positive")


_ABSORBING = {
    "constant": """
        fill_ fill_diagonal_ index_fill masked_fill __rsub__ subtract floor ceil fix round
        special_round trunc sign sgn addmm addmv addr bernoulli binomial poisson bernoulli_ uniform_
        normal_ random_ exponential_ cauchy_ geometric_ log_normal_ __floordiv__ floor_divide
        heaviside __rfloordiv__ special_zeta cdist pairwise_distance mse_loss l1_loss huber_loss
        smooth_l1_loss gumbel_softmax
    """,
    "softmax": """
        logcumsumexp logsumexp special_logsumexp logaddexp logaddexp2 softmax special_softmax
        log_softmax special_log_softmax softmin gumbel_softmax
    """,
    "bias": "linear conv_tbc conv1d batch_norm native_batch_norm layer_norm",
}
"""By cause: calls that bring values of their own, take a step, draw, or are a softmax."""


def _absorbed_by(name: str) -> frozenset[str]:
    return frozenset(cause for cause, names in _ABSORBING.items() if name in names.split())


RECORDS = tuple(replace(record, absorbs=_absorbed_by(record.name)) for record in _all())


# -- in place --------------------------------------------------------------------------------------

ARGUMENTS: dict[str, Callable[[Tensor], tuple[Any, ...]]] = {
    "as_strided": lambda s: ((3,), (2,)),
    "index_copy": lambda s: (0, torch.tensor([0, 2]), s[2:]),
    "index_fill": lambda s: (0, torch.tensor([0, 2]), 1.5),
    "index_put": lambda s: ((torch.tensor([0, 2]),), s[2:]),
    "masked_fill": lambda s: (_mask(s), 1.5),
    "masked_scatter": lambda s: (_mask(s), s.flip(0)),
    "put": lambda s: (torch.tensor([0, 5]), s[1, :2]),
    "scatter": lambda s: (0, torch.tensor([[2, 1, 0, 3]]), s[1:2]),
    **dict.fromkeys(("swapaxes", "swapdims", "transpose"), lambda s: (0, 1)),
    "unsqueeze": lambda s: (1,),
    **dict.fromkeys(("add", "mul", "multiply", "sub", "subtract"), lambda s: (s.flip(0) * 0.5,)),
    **dict.fromkeys(("div", "divide", "true_divide"), lambda s: (positive(s, 4),)),
    **dict.fromkeys(("atan2", "arctan2", "igamma", "igammac"), lambda s: (positive(s, 4),)),
    **dict.fromkeys(("clamp", "clip"), lambda s: (-0.5, 0.5)),
    **dict.fromkeys(("clamp_max", "clamp_min"), lambda s: (0.1,)),
    **dict.fromkeys(("fmod", "remainder", "floor_divide"), lambda s: (0.7,)),
    **dict.fromkeys(("float_power", "pow"), lambda s: (2.0,)),
    **dict.fromkeys(("mvlgamma", "polygamma"), lambda s: (1,)),
    **dict.fromkeys(("cumsum", "cumprod"), lambda s: (0,)),
    **dict.fromkeys(("nextafter", "copysign"), lambda s: (weight(s, 4),)),
    "index_add": lambda s: (0, torch.tensor([0, 2]), s[2:]),
    "index_reduce": lambda s: (0, torch.tensor([0, 2]), s[2:], "amax"),
    "scatter_add": lambda s: (0, torch.tensor([[2, 1, 0, 3]]), s[1:2]),
    "scatter_reduce": lambda s: (0, torch.tensor([[2, 1, 0, 3]]), s[1:2], "sum"),
    "addbmm": lambda s: (s[None], weight(s, 1, 4, 4)),
    **dict.fromkeys(("addcdiv", "addcmul"), lambda s: (s.flip(0), positive(s, 4))),
    "addmm": lambda s: (s, weight(s, 4, 4)),
    "hypot": lambda s: (s.flip(0),),
    "ldexp": lambda s: (weight(s, 4),),
    "lerp": lambda s: (s.flip(0), 0.3),
    "renorm": lambda s: (2, 0, 1.0),
    "xlogy": lambda s: (positive(s, 4),),
}
"""By name, what an operation is called with beside a sample (4, 4), in place and out of place."""

OF_OTHER_SHAPES = "addmv_ addr_ baddbmm_ heaviside_ requires_grad_ squeeze_ copy_"
"""Operations in place whose targets have other shapes than (4, 4), or that change nothing."""
