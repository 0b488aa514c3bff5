"""What a call is: its kind, given which operands are live; its weights; the sign of its result."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.propagation.composites import Composite
from rootpoint.propagation.operations import LINEAR, SUMS
from rootpoint.propagation.step import Slot, Step

_MATRIX_PRODUCTS = {"matmul", "mm", "bmm", "mv", "dot", "vdot", "inner", "outer", "einsum"} | {
    *("ger", "vecdot", "kron", "tensordot"),
}
_ELEMENT_BY_ELEMENT = {*SUMS.split(), "mul", "multiply", "__rmul__", "neg", "negative"}

_FILLING = {
    *("pad", "constant_pad_nd", "masked_fill", "masked_scatter", "where", "scatter"),
    *("index_put", "index_fill", "index_copy", "__setitem__", "fill_", "fill_diagonal_"),
}
"""Operations that move data and bring values of their own."""

_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
"""Layouts of sparse matrices: a product with one, as of a graph's edges, is LRP-0 for all rules."""

_REDUCTIONS = ("scatter_reduce", "index_reduce", "segment_reduce")
"""Operations whose kind depends on the reduction they are called with."""

_TOTALS = ("sum", "nansum", "sum_to_size", "cumsum", "fold", "trace")
"""Averages that do not divide by what they sum over."""

ADDING = ("movement", "addition", "average", "shift")
"""Kinds of which the results of exponentials are sums of exponentials."""

_RECIPROCALS = ("rsqrt", "reciprocal")

_STATISTICS = ("running_mean", "running_var", "weight", "bias")
BATCH_NORM = ("input", *_STATISTICS, "training", "momentum", "eps")
"""The parameters of batch-norm, in order."""


def folded_tensors(
    norm: Step, tensors: list[Tensor], own: list[Tensor]
) -> tuple[list[Tensor], tuple[int, ...]]:
    """A linear map's own tensors and those of the batch-norm behind it, and the latter's slots."""
    given = norm.bound(tensors, *BATCH_NORM)
    together, slots = list(own), []
    for name in _STATISTICS:
        tensor = given.get(name)
        slots.append(-1 if tensor is None else len(together))
        together += [] if tensor is None else [tensor]
    return together, tuple(slots)


def with_constants(step: Step, tensors: list[Tensor]) -> list[Tensor]:
    return [t.detach() if i in step.constant else t for i, t in enumerate(tensors)]


def specify(step: Step, tensors: list[Tensor], *, entry: bool) -> None:
    """Refine the kind by which operands are live, and find weights."""
    kind, name = step.kind, step.name
    floating = [i for i, t in enumerate(tensors) if t.is_floating_point()]
    if any(tensors[i].is_complex() for i in step.live):
        step.kind = "refused"
    elif kind in LINEAR:
        names = ("input", "weight", "bias")
        given = dict(zip(names, step.args, strict=False)) | step.kwargs
        places = [place.index if isinstance(place := given.get(n), Slot) else None for n in names]
        if len(step.live) == 1 and step.live[0] == places[0] and places[1] is not None:
            step.roles = (places[1], places[2])
        else:
            step.kind = "product"
    elif (
        kind == "product"
        and name in _MATRIX_PRODUCTS
        and len(step.live) == 1
        and len(floating) == 2
        and not any(t.is_sparse or t.layout in _COMPRESSED for t in tensors)
    ):
        step.kind = "dense"
        step.roles = (next(i for i in floating if i not in step.live), None)
    elif kind == "product" and len(step.live) == 1:
        step.kind = "scaling"
    elif kind == "quotient" and step.kwargs.get("rounding_mode"):
        step.kind = "piecewise-constant"
    elif kind == "average" and step.live != (0,):
        step.kind = "refused"  # as where to sample depends on the input
    elif name in _REDUCTIONS:
        step.kind = _reduction(step)
    elif kind == "quotient" and (name.startswith("__r") or step.args[:1] != (Slot(step.live[0]),)):
        step.kind = "activation"  # a reciprocal
    elif kind == "activation" and len(step.live) > 1:
        step.kind = "maximum" if name in ("clamp", "clip", "clamp_min", "clamp_max") else "refused"
    if step.linear:
        step.persistent = isinstance(tensors[step.roles[0]], nn.Parameter)
    elementwise = step.kind in ("quotient", "batch-norm") or name in _ELEMENT_BY_ELEMENT
    if entry and len(step.live) == 1 and elementwise:
        step.kind = "shift"


def _reduction(step: Step) -> str:
    """The kind of a reduction by its name: sums and means add, extremes select."""
    given = [a for a in (*step.args, *step.kwargs.values()) if isinstance(a, str)]
    if given[:1] in (["sum"], ["mean"]):
        return "addition"
    return "maximum" if given[:1] in (["amax"], ["amin"], ["max"], ["min"]) else "refused"


_NATIVE = {
    *("maximum", "addition", "scaling", "quotient", "batch-norm", "softmax"),
    *("piecewise-constant", "concept"),
}


def runs_natively(step: Step, composite: Composite) -> bool:
    """Whether the operation's own gradient is its rule, so that nothing needs to be added."""
    if step.kind == "movement":
        return True
    if composite.carries != "relevance":
        return not composite.touches(step.kind)
    if step.rectifies or step.kind == "average":
        return not any(step.exact) and not composite.touches(step.kind)
    return step.kind in _NATIVE and not composite.touches(step.kind)


def leaves_zeros(step: Step) -> bool:
    """Whether operands of zero get nothing, though they may carry relevance elsewhere."""
    return any(step.exact) and step.kind not in ("movement", "maximum")


def has_own_graph(step: Step, composite: Composite) -> bool:
    """Whether the rule of this step may use the operation's own backward."""
    if composite.carries == "difference":
        return False
    without = ("activation", "shift", "normalization", "p-norm")
    return step.kind not in without or composite.touches(step.kind)


def is_nonneg(step: Step, tensors: list[Tensor], inputs: bool) -> bool:
    """Whether the result is known to be non-negative, given whether the live inputs are."""
    sign, name = step.operation.sign, step.name
    if sign == "always":
        return True
    if name in ("hardtanh", "clamp", "clip", "clamp_min"):
        given = step.bound(tensors, "input", "min")
        low = given.get("min", given.get("min_val"))
        return isinstance(low, int | float) and low >= 0
    if sign != "kept" or not inputs:
        return False
    if any(t.is_floating_point() for i, t in enumerate(tensors) if i not in step.live):
        return False  # constants of unknown sign
    if step.kind in ("average", "maximum") or (step.kind == "movement" and name not in _FILLING):
        return "bicubic" not in (*step.args, step.kwargs.get("mode"))
    numbers = (*step.args, *step.kwargs.values())
    return not any(isinstance(n, int | float) and n < 0 for n in numbers)


def is_gate(step: Step, inputs: bool) -> bool:
    """Whether the result lies in [0, 1] and weighs another branch, given whether the inputs do."""
    complement = step.name in ("rsub", "__rsub__") and 1 in step.args[1:]
    mean = step.kind == "average" and step.name not in _TOTALS
    moved = step.kind == "movement" and not (step.name in _FILLING and _fills_outside(step))
    return step.operation.gate or (inputs and (moved or complement or mean))


def _fills_outside(step: Step) -> bool:
    """Whether a number that it fills in may lie outside [0, 1]."""
    numbers = (n for n in (*step.args, *step.kwargs.values()) if isinstance(n, int | float))
    return not all(0 <= n <= 1 for n in numbers)


def is_scale(step: Step, inputs: bool) -> bool:
    """Whether the result is a reciprocal, which scales what it is multiplied with."""
    if step.kind == "activation":
        power = step.args[1:2] if step.name in ("pow", "__pow__", "float_power") else ()
        negative = any(isinstance(p, int | float) and p < 0 for p in power)
        return negative or step.operation.kind == "quotient" or step.name in _RECIPROCALS
    return inputs and step.kind in ("movement", "scaling", "product", "shift")


def zero_padding(step: Step) -> tuple[int, ...]:
    """The zeros that this step puts around its input, as `torch.nn.functional.pad` counts them."""
    if step.name not in ("pad", "constant_pad_nd"):
        return ()
    given = step.bound([None], "input", "pad", "mode", "value")
    constant = given.get("mode", "constant") == "constant" and not given.get("value")
    return tuple(given["pad"]) if constant else ()


def out_of_place_form(
    step: Step,
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None:
    """For an operation in place: the function and arguments that do the same out of place."""
    if step.operation.functional is not None:
        return step.operation.functional, step.args, step.kwargs
    if step.name == "__setitem__":
        return _set_item, step.args, step.kwargs
    if step.name == "copy_":
        return _copy, step.args, step.kwargs
    position = _inplace_position(step.function)
    if position is None:
        return None
    if position < len(step.args) and step.args[position] is True:
        return (
            step.function,
            (*step.args[:position], False, *step.args[position + 1 :]),
            step.kwargs,
        )
    if step.kwargs.get("inplace") is True:
        return step.function, step.args, {**step.kwargs, "inplace": False}
    return None


def _set_item(target: Tensor, index: Any, value: Any) -> Tensor:
    result = target.clone()
    result[index] = value
    return result


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return target.detach().clone().copy_(source, non_blocking=non_blocking)


@cache
def _inplace_position(function: Any) -> int | None:
    """The position of a Python function's parameter `inplace`, if it has one."""
    if getattr(function, "__module__", None) != "torch.nn.functional":
        return None
    names = list(signature(function).parameters)
    return names.index("inplace") if "inplace" in names else None
