"""Windows that slide over a sample, and maps of what each of them is worth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

Window = tuple[slice, ...]


def windows(
    shape: Sequence[int], size: Sequence[int], stride: Sequence[int], *, whole: bool = False
) -> list[Window]:
    """Windows of a size (one number per dimension) at every multiple of the stride.

    The last ones reach the end: there they are cut off, or, if they must be whole, moved back.
    Strides that do not exceed the size leave no value out.
    """
    ranges: list[list[slice]] = []
    for length, extent, step in zip(shape, size, stride, strict=True):
        last = max(0, length - extent)
        starts = range(0, last + step, step) if last else [0]
        begin = [min(s, last) if whole else s for s in starts]
        ranges.append([slice(b, min(b + extent, length)) for b in begin])
    return list(product(*ranges))


def averaged(at: Sequence[Window], values: Tensor, like: Tensor) -> Tensor:
    """A map like the sample: the mean of the values (n,) of the windows that cover each place."""
    total = torch.zeros(like.shape, dtype=torch.float64, device=like.device)
    number = torch.zeros_like(total)
    for window, value in zip(at, values.double().tolist(), strict=True):
        total[window] += value
        number[window] += 1
    return (total / number.clamp(min=1)).to(like.dtype)
