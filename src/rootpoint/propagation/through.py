"""The two nodes that the engine puts into autograd's graph."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from rootpoint.propagation.call import Back, Call, Weights, nonzero, widened
from rootpoint.propagation.step import Step

_LARGE = 1 << 22  # bytes: allocators give larger blocks back to the system, and get them slowly


def saving_hooks() -> Any:
    """The hooks, if any, by which autograd saves values now: of a checkpoint, or to the CPU."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True)  # pyright: ignore[reportAttributeAccessIssue]


class Box:
    """A value kept for the way back."""

    __slots__ = ("__weakref__", "output", "value")

    def __init__(self, value: Tensor, *, output: bool) -> None:
        self.value, self.output = value.detach(), output


class Memory:
    """Values kept for the way back, safe from in-place operations on their storage.

    A value is shared with the model until an operation is about to overwrite it (`release`); only
    then is it copied.
    """

    def __init__(self) -> None:
        self._boxes: dict[int, list[ref[Box]]] = {}

    def keep(self, tensor: Tensor, *, output: bool = False) -> Box:
        """A box that holds this value from now on."""
        box = Box(tensor, output=output)
        self._boxes.setdefault(tensor.untyped_storage().data_ptr(), []).append(ref(box))
        return box

    def release(self, tensor: Tensor, *, by_relu: bool = False) -> None:
        """Copy what is kept of this tensor's storage, which is about to be overwritten.

        An output rectified in place stays as it is: where ReLU changes it, no multiplier arrives.
        """
        for kept in self._boxes.pop(tensor.untyped_storage().data_ptr(), ()):
            box = kept()
            if box is not None and not (by_relu and box.output):
                box.value = box.value.clone()


@dataclass(frozen=True)
class ByHooks:
    """In place of Memory: autograd saves values by hooks of the model's (`saving_hooks`).

    copies   of them, as hooks may keep storages that are overwritten later
    """

    copies: bool

    def keep(self, tensor: Tensor) -> Tensor:
        return tensor.clone() if self.copies else tensor


class Through(torch.autograd.Function):
    """The operation's own output, with the way back of its rule.

    value     the output; where it has a graph of its own (linear maps), rules may use its backward
    tensors   the operation's tensors, for the rule and to receive multipliers
    memory    where values are kept; None: with the compiler, which keeps values, not storages
    reads     what any rule may need of its "input" and "output": memory keeps no more
    """

    @staticmethod
    def forward(
        ctx: Any,
        step: Step,
        weights: Weights,
        memory: Memory | ByHooks | None,
        reads: Any,
        value: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        ctx.step, ctx.weights = step, weights
        ctx.set_materialize_grads(False)
        if memory is None:
            ctx.save_for_backward(value, *tensors)
            return value.clone()
        if isinstance(memory, ByHooks):
            inputs: list[Tensor | None] = list(tensors)
            for slot in step.live:
                inputs[slot] = memory.keep(tensors[slot]) if "input" in reads else None
            ctx.save_for_backward(memory.keep(value) if "output" in reads else None, *inputs)
            return value.detach()
        kept = step.live if "input" in reads else ()
        ctx.live = [(slot, memory.keep(tensors[slot])) for slot in kept]
        ctx.tensors = [None if i in step.live else t for i, t in enumerate(tensors)]
        ctx.output = memory.keep(value, output=True) if "output" in reads else None
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *multipliers: Tensor | None) -> Any:
        step: Step = ctx.step
        if saved := ctx.saved_tensors:
            output, *tensors = saved
        else:
            output, tensors = ctx.output and ctx.output.value, list(ctx.tensors)
            for slot, box in ctx.live:
                tensors[slot] = box.value
        (m,) = multipliers
        if m is None:
            return (None,) * (5 + len(tensors))
        if saved:
            m = m.contiguous()  # traced gradients of matrix products view what autograd reshapes
        assert step.rule is not None
        m, call = widened(m), Call(step, tensors, output, ctx.weights)
        if not (step.rule.exact or step.rule.native) and _is_large(call):
            return None, None, None, None, *_settle_each_sample(call, m)
        return None, None, None, None, *_settle(call, step.rule(call, m))


def _is_large(call: Call) -> bool:
    """Whether a convolution's outputs are too large to be reused memory, taken all at once."""
    if call.step.kind != "convolution":
        return False
    several = call.output.shape[0] > 1 and call.input.dim() == call.output.dim()
    on_cpu = call.output.device.type == "cpu" and not torch.compiler.is_compiling()
    return several and on_cpu and call.output.nbytes > _LARGE


def _settle_each_sample(call: Call, m: Tensor) -> list[Tensor | None]:
    """`_settle` sample by sample: what a rule makes on its way stays small and in the cache."""
    step, results = call.step, []
    assert step.rule is not None
    for b in range(len(m)):
        sample = copy(call)
        sample.tensors = [*call.tensors]
        sample.tensors[step.live[0]] = call.input[b : b + 1]
        sample.output = call.output[b : b + 1]
        found = _settle(sample, step.rule(sample, m[b : b + 1]))
        if not results:
            results = [None if r is None else r.new_empty(len(m), *r.shape[1:]) for r in found]
        for result, r in zip(results, found, strict=True):
            if result is not None and r is not None:
                result[b] = r[0]
    return results


def _settle(call: Call, back: Tensor | Back) -> list[Tensor | None]:
    """What a rule returned, as multipliers for the operation's own backward and for each tensor."""
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
    return [back.native, *multipliers]


class Portion(torch.autograd.Function):
    """Identity that passes on only the operand's portion of what arrives (`portion`)."""

    @staticmethod
    def forward(ctx: Any, step: Step, slot: int, a: Tensor) -> Tensor:
        ctx.step, ctx.slot = step, slot
        ctx.set_materialize_grads(False)
        return a.clone() if torch.compiler.is_compiling() else a.detach()

    @staticmethod
    def backward(ctx: Any, *multipliers: Tensor | None) -> Any:
        (m,) = multipliers
        portion = ctx.step.rule.portion(ctx.step, ctx.slot)
        return None, None, None if m is None or portion == 0 else m * portion


class Same(torch.autograd.Function):
    """The value of an operation's own kernel, with the way back of what it is written as."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, written: Tensor) -> Tensor:
        if value.shape != written.shape:
            raise AssertionError(f"{tuple(written.shape)} is no way to write {tuple(value.shape)}")
        return value.clone() if torch.compiler.is_compiling() else value.detach()

    @staticmethod
    def backward(ctx: Any, *multipliers: Tensor) -> Any:
        return None, multipliers[0]


class Overwrite(torch.autograd.Function):
    """An activation in place, with the way back of a rule that needs its input alone."""

    @staticmethod
    def forward(ctx: Any, step: Step, memory: Memory, tensors: list[Any], target: Tensor) -> Tensor:
        ctx.step, ctx.tensors, ctx.input = step, tensors[1:], memory.keep(target)
        memory.release(target)
        step.overwrite([target, *ctx.tensors])
        ctx.mark_dirty(target)
        return target

    @staticmethod
    def backward(ctx: Any, *multipliers: Tensor) -> Any:
        step: Step = ctx.step
        assert step.rule is not None
        call = Call(step, [ctx.input.value, *ctx.tensors], ctx.input.value, {})
        return None, None, None, step.rule(call, multipliers[0])


class Refuse(torch.autograd.Function):
    """The output of an operation without a rule: an error if relevance arrives at it."""

    @staticmethod
    def forward(ctx: Any, error: Exception, value: Tensor) -> Tensor:
        ctx.error = error
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *multipliers: Tensor) -> Any:
        raise ctx.error


class Leave(torch.autograd.Function):
    """Identity that gives nothing to zeros: for operations whose shares are proportional to a,
    where tensors elsewhere may carry relevance at zeros (`nonzero`).
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a == 0)
        return a.clone() if torch.compiler.is_compiling() else a.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (zero,) = ctx.saved_tensors
        return grads[0].masked_fill(zero, 0)
