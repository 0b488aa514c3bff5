"""The breadth of a difference, beside the difference itself: what RevealCancel adds to Rescale.

A linear map's difference Δz = Δz⁺ + Δz⁻ is made of what rises, Δz⁺ = Σ_i max(0, w_i Δa_i), and what
falls, Δz⁻. Their breadth Δz⁺ − Δz⁻ = Σ_i |w_i| |Δa_i| is a second value beside z, with a multiplier
of its own; autograd takes it back, sign(0) = 0: inputs that did not change get the mean of both
signs (Shrikumar et al. 2017, section 3.5.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rootpoint.propagation.call import Call
from rootpoint.propagation.operations import SUMS
from rootpoint.propagation.step import Step, collect

_PRODUCTS = ("mul", "multiply", "__rmul__", "neg", "negative", "div", "divide", "true_divide")
_ELEMENTWISE = (*SUMS.split(), *_PRODUCTS, "batch_norm")


def breadth_of_map(call: Call) -> Tensor:
    """Σ_i |w_i| |Δa_i|, where a linear map begins: what came before is one difference."""
    with torch.no_grad():
        weight = call.parts(("absolute",))
    return call.run((call.input - call.reference[call.step.live[0]]).abs(), weight)


def pass_breadths(step: Step, tensors: list[Tensor], breadths: Sequence[Tensor]) -> list[Tensor]:
    """The breadths of an operation's results from those of its operands.

    Empty where the operation does more than add up with fixed factors: from there the difference
    counts as one.
    """
    if step.kind == "movement":
        still = _replaced(step, tensors, [torch.zeros_like(b) for b in breadths])
        moved = _replaced(step, tensors, breadths)
        return [m.masked_fill(s != 0, 0) for m, s in zip(moved, still, strict=True)]  # constants
    if step.kind == "average" and "bicubic" not in (*step.args, step.kwargs.get("mode")):
        return _replaced(step, tensors, breadths)
    one_factor = step.kind in ("scaling", "quotient", "batch-norm", "shift") and len(step.live) == 1
    if step.name in _ELEMENTWISE and (step.kind == "addition" or one_factor):
        first, *others = (
            f.abs() * b for f, b in zip(_factors(step, tensors), breadths, strict=True)
        )
        return [sum(others, first)]
    return []


def _factors(step: Step, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """By how much the result grows with each live operand, element by element."""
    shape = None
    if step.name != "batch_norm":
        shape = torch.broadcast_shapes(*(t.shape for t in tensors))
    leaves = [
        a.expand(shape or a.shape).detach().clone().requires_grad_()
        for a in (tensors[slot] for slot in step.live)
    ]
    (out,) = _replaced(step, tensors, leaves)
    return torch.autograd.grad(out.sum(), leaves)


def _replaced(step: Step, tensors: list[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
    """The results of a step with these values in place of its live operands."""
    operands = list(tensors)
    for slot, value in zip(step.live, values, strict=True):
        operands[slot] = value
    outputs: list[Tensor] = []
    collect(step.run(operands), outputs)
    return outputs
