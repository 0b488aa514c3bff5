"""Rules for differences from a reference: multipliers that are exact between two points.

Notation: a, z input and output of the operation, a₀, z₀ those at the reference, Δa = a − a₀,
Δz = z − z₀; a multiplier m carries the relevance R = Δa · m. All conserve: Σ Δa m_a = Δz m_z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.rules import rule

NEAR = 1e-7
"""Differences below this are none: their quotient would be rounding."""


_BLOCK = 1 << 17
"""Values taken at once on the CPU: what a rule makes on its way stays in the cache."""


@rule("rescale", kinds=("activation",))
def rescale(call: Call, m: Tensor) -> Tensor:
    """m_in = m · Δz / Δa: the slope between the two points; at the reference where |Δa| < 1e-7.

    Source: Shrikumar et al. 2017, ICML (DeepLIFT).
    """
    return _rescaled(call, m)


def _rescaled(call: Call, m: Tensor) -> Tensor:
    a, b = call.input, call.reference[call.step.live[0]]
    if len(call.tensors) > 1 or not all(t.is_contiguous() for t in (a, b, m)):
        return (m * between(call.function, a, b)).sum_to_size(a.shape)
    result = torch.empty_like(m)
    block = _BLOCK if m.device.type == "cpu" else max(m.numel(), 1)
    flat = [t.view(-1).split(block) for t in (result, m, a, b)]
    for out, m_, a_, b_ in zip(*flat, strict=True):
        torch.mul(m_, between(call.function, a_, b_), out=out)
    return result


def between(f: Callable[[Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """The slope of f, element by element, between two points."""
    return slope(f, b, f(a) - f(b), a - b)


def slope(f: Callable[[Tensor], Tensor], b: Tensor, rise: Tensor, run: Tensor) -> Tensor:
    """Rise / run; where run ≈ 0, the slope of f at b. Overwrites `rise`."""
    near = run.abs()
    if near.amin() >= NEAR:
        return rise.div_(run)
    near = near.lt_(NEAR)  # 1 or 0, as numbers: masks take several times as long
    with torch.enable_grad():
        b = b.expand_as(rise).detach().requires_grad_()
        (there,) = torch.autograd.grad(f(b).sum(), b)
    there = there.nan_to_num(0.0, 0.0, 0.0)  # a root at zero: nothing differs
    return rise.lerp_(there, near).div_(run + near)


@rule("reveal-cancel", kinds=("activation",))
def reveal_cancel(call: Call, m: Tensor) -> Tensor | Back:
    """The parts Δa⁺ and Δa⁻ each get what they add to f, on average over which of them comes first:

    Δz⁺ = ½ [f(a₀ + Δa⁺) − f(a₀) + f(a) − f(a₀ + Δa⁻)], Δz⁻ likewise, m± = m · Δz± / Δa±. The parts
    of a linear map are Δa⁺ = Σ_i max(0, w_i Δx_i) and Δa⁻ = Σ_i min(0, w_i Δx_i). Where they are
    not known, as Rescale.
    Source: Shrikumar et al. 2017, ICML (DeepLIFT).
    """
    if len(call.step.live) == 1:
        return _rescaled(call, m)
    f, (b, _) = call.function, (call.reference[slot] for slot in call.step.live)
    run, breadth = call.input - b, call.tensors[call.step.live[1]]
    up, down = (breadth + run).div_(2).clamp_(min=0), (run - breadth).div_(2).clamp_(max=0)
    start, end, risen, fallen = f(b), f(call.input), f(b + up), f(b + down)
    rise = slope(f, b, (risen - start + end - fallen) / 2, up)
    fall = slope(f, b, (fallen - start + end - risen) / 2, down)
    # m⁺ Δa⁺ + m⁻ Δa⁻ as a share of the difference Δa⁺ + Δa⁻ and one of the breadth Δa⁺ − Δa⁻
    return Back(multiplier=[m * (rise + fall) / 2, m * (rise - fall) / 2])


@rule("midpoint", kinds=("product",))
def midpoint(call: Call, m: Tensor) -> Back:
    """The gradient halfway between the two points: Δ(ab) = b̄ Δa + ā Δb with ā = (a + a₀) / 2.

    Exact for products of two operands (of whatever kind: matmul, einsum, a convolution with weights
    that depend on the input). Cost: one forward, one backward of the product.
    """
    middle = list(call.tensors)
    for slot in call.step.live:
        middle[slot] = (call.tensors[slot] + call.reference[slot]) / 2
    return Back(multiplier=_slopes(call, middle, [m])[0])


@rule("winners", kinds=("maximum",))
def winners(call: Call, m: Tensor) -> Back:
    """Δz goes to the winner at the point whose maximum is greater, which moved at least as far.

    So m_i = m · Δz / Δa_i lies between 0 and m. Where Δa_i = 0, the gradient at the reference.
    Minima likewise. Cost: two forwards, two backwards of the operation.
    Source: Lundberg and Lee 2017 (DeepSHAP), who split max-pooling the same way.
    """
    reference, live = call.reference, call.step.live
    rise = call.output - _value(call.step.run(reference))
    mine = rise < 0 if _is_minimum(call) else rise > 0
    (here,) = _slopes(call, call.tensors, [m * rise * mine])
    there, gradient = _slopes(call, reference, [m * rise * ~mine, m])
    found = []
    for slot, r, s, g in zip(live, here, there, gradient, strict=True):
        run = call.tensors[slot] - reference[slot]
        found.append(torch.where(run == 0, g, (r + s) / run))
    return Back(multiplier=found)


def _is_minimum(call: Call) -> bool:
    name = call.step.name
    if name in ("clamp", "clip"):
        given = call.step.bound(call.tensors, "input", "min", "max")
        return given.get("max") is not None
    return name in ("amin", "min", "minimum", "fmin", "clamp_max")


def _value(result: Any) -> Tensor:
    """The values of an operation that may return indices beside them."""
    return result if isinstance(result, Tensor) else result[0]


def _slopes(
    call: Call, tensors: Sequence[Any], multipliers: Sequence[Tensor]
) -> list[tuple[Tensor, ...]]:
    """Multipliers of the live inputs by the gradient at these tensors, for each of several m."""
    with torch.enable_grad():
        operands = list(tensors)
        leaves = [tensors[slot].detach().requires_grad_() for slot in call.step.live]
        for slot, leaf in zip(call.step.live, leaves, strict=True):
            operands[slot] = leaf
        z = _value(call.step.run(operands))
    return [
        torch.autograd.grad(z, leaves, m, retain_graph=True, materialize_grads=True)
        for m in multipliers
    ]
