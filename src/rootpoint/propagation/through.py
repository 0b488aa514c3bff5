"""The two nodes that the engine puts into autograd's graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rootpoint.propagation.call import Back, Cache, Call, nonzero
from rootpoint.propagation.step import Step


class Memory:
    """Tensors kept for the way back, safe from in-place operations on their storage.

    A tensor is shared with the model until an operation is about to overwrite it (`release`); only
    then is it copied.
    """

    def __init__(self) -> None:
        self._kept: dict[int, list[tuple[list[Tensor], bool]]] = {}

    def keep(self, tensor: Tensor, *, output: bool = False) -> list[Tensor]:
        """A box that holds this value from now on."""
        box = [tensor.detach()]
        self._kept.setdefault(tensor.untyped_storage().data_ptr(), []).append((box, output))
        return box

    def release(self, tensor: Tensor, *, by_relu: bool = False) -> None:
        """Copy what is kept of this tensor's storage, which is about to be overwritten.

        An output rectified in place stays as it is: where ReLU changes it, no multiplier arrives.
        """
        kept = self._kept.pop(tensor.untyped_storage().data_ptr(), [])
        for box, output in kept:
            if not (by_relu and output):
                box[0] = box[0].clone()


class Through(torch.autograd.Function):
    """The operation's own output, with the way back of its rule.

    value     the output; where it has a graph of its own (linear maps), rules may use its backward
    tensors   the operation's tensors, for the rule and to receive multipliers
    """

    @staticmethod
    def forward(ctx: Any, step: Step, cache: Cache, memory: Memory | None, value: Tensor, *tensors: Tensor) -> Tensor:  # fmt: skip
        ctx.step, ctx.cache = step, cache
        ctx.set_materialize_grads(False)
        if memory is None:  # compiled: tracing keeps values, not storages
            ctx.save_for_backward(value, *tensors)
            return value.clone()
        ctx.boxes = [memory.keep(value, output=True), *map(memory.keep, tensors)]
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        (m,) = grads
        step: Step = ctx.step
        if hasattr(ctx, "boxes"):
            output, *tensors = (box[0] for box in ctx.boxes)
        else:
            output, *tensors = ctx.saved_tensors
        if m is None:
            return (None,) * (4 + len(tensors))
        assert step.rule is not None
        call = Call(step, tensors, output, ctx.cache)
        native, multipliers = _settle(call, step.rule(call, m))
        return None, None, None, native, *multipliers


def _settle(call: Call, back: Tensor | Back) -> tuple[Tensor | None, list[Tensor | None]]:
    """What a rule returned, as multipliers for the native backward and for each tensor."""
    step = call.step
    if isinstance(back, Tensor):
        back = Back(multiplier=back)
    multipliers: list[Tensor | None] = [None] * len(call.tensors)
    if back.relevance is not None:
        multipliers[step.live[0]] = back.relevance / nonzero(call.input)
    elif back.multiplier is not None:
        given = [back.multiplier] if isinstance(back.multiplier, Tensor) else back.multiplier
        for slot, exact, m in zip(step.live, step.exact, given, strict=True):
            if exact and m is not None:
                m = m.masked_fill(call.tensors[slot] == 0, 0)
            multipliers[slot] = m
    return back.native, multipliers


class Leave(torch.autograd.Function):
    """Identity that gives nothing to zeros: for operations whose shares are proportional to a,
    where tensors elsewhere may carry relevance at zeros (`nonzero`)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a == 0)
        return a.clone() if torch.compiler.is_compiling() else a.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (zero,) = ctx.saved_tensors
        return grads[0].masked_fill(zero, 0)
