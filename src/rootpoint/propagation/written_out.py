"""Operations written as others, for those that are made of operations with rules.

An operation listed here is met piece by piece, with the value of its own kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Any]] = {}
"""By torch function, a function of the same parameters that computes the same by others."""


def writes_out(*functions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Register the decorated function as what these torch functions are made of."""

    def register(written: Callable[..., Any]) -> Callable[..., Any]:
        WRITTEN_OUT.update(dict.fromkeys(functions, written))
        return written

    return register


@writes_out(torch.addmm, torch.Tensor.addmm)
def _addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return _scaled(input, beta) + _scaled(mat1 @ mat2, alpha)


@writes_out(torch.baddbmm, torch.Tensor.baddbmm)
def _baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return _scaled(input, beta) + _scaled(torch.bmm(batch1, batch2), alpha)


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


@writes_out(torch.nn.functional.grouped_mm, torch._grouped_mm)
def _grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Any = None, **_: Any
) -> Tensor:
    """One matrix product for each group of rows, as experts have them."""
    if offs is None or mat_a.dim() != 2 or mat_b.dim() != 3:
        product = torch.matmul(mat_a, mat_b)
    else:
        ends = offs.tolist()
        sizes = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        groups = mat_a[: ends[-1]].split(sizes)
        each = [rows @ weight for rows, weight in zip(groups, mat_b, strict=True)]
        rest = mat_a[ends[-1] :] @ mat_b[-1] * 0
        product = torch.cat([*each, rest])
    return product if bias is None else product + bias
