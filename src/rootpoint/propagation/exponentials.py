"""A softmax that is written out, exp(x) / Σ exp(x), is known for what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rootpoint.propagation.facts import Facts
from rootpoint.propagation.step import Slot, Step


def exponent_of(step: Step, tensors: list[Tensor]) -> tuple[Tensor, int] | None:
    """The x of exp(x), and its version."""
    x = tensors[step.live[0]]
    return (x, x._version) if step.name == "exp" else None


def total_of(
    step: Step, tensors: list[Tensor], facts: Callable[[Tensor], Facts]
) -> tuple[Tensor, tuple[int, ...]] | None:
    """The exponential that a step sums over some of its dimensions, and these; moved, the same."""
    operand = tensors[step.live[0]]
    if step.kind == "movement":
        return facts(operand).total
    if step.name != "sum" or facts(operand).exponent is None:
        return None
    dim = step.bound(tensors, "input", "dim").get("dim")
    dims = (dim,) if isinstance(dim, int) else tuple(dim or range(operand.dim()))
    return operand, dims


def written_softmax(
    packed: tuple[Any, Any], tensors: list[Tensor], facts: Callable[[Tensor], Facts]
) -> Callable[..., Tensor] | None:
    """What computes a quotient of two live tensors as a softmax; None if it is no such."""
    if packed != ((Slot(0), Slot(1)), {}):
        return None
    top, bottom = tensors
    exponent, total = facts(top).exponent, facts(bottom).total
    if exponent is None or total is None:
        return None
    x, version = exponent
    if total[0] is not top or len(total[1]) != 1 or x._version != version:
        return None
    return lambda *_: torch.softmax(x, total[1][0])
