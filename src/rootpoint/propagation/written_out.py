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
def _addmm(input: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(input, beta) + _scaled(a @ b, alpha)


@writes_out(torch.baddbmm, torch.Tensor.baddbmm)
def _baddbmm(input: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(input, beta) + _scaled(torch.bmm(a, b), alpha)


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor
