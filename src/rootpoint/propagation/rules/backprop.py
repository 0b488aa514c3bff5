"""Rules of the methods between gradient and relevance: deconvnet, guided and excitation backprop,
contribution propagation. The rest of each is a rule that others use too (`z_plus`, `zero`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from rootpoint.propagation.call import Back, Call, nonzero
from rootpoint.propagation.operations import LINEAR, SUMS
from rootpoint.propagation.rules import rule
from rootpoint.propagation.rules.linear import share

_RECTIFIERS = (
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "threshold"),
    *("gelu", "silu", "mish", "hardswish", "softplus"),
)


def _rectifies(call: Call) -> bool:
    """ReLU, what is shaped like it, and clamping at zero from below (ReLU6 is a hardtanh)."""
    name = call.step.name
    if name in ("hardtanh", "clamp", "clip", "clamp_min"):
        given = call.step.bound(call.tensors, "input", "min")
        low = given.get("min", given.get("min_val"))
        return isinstance(low, int | float) and low == 0
    return name in _RECTIFIERS


@rule("deconvnet", kinds=("activation",))
def deconvnet(call: Call, m: Tensor) -> Tensor | Back:
    """m_in = m⁺: the multipliers are rectified, whatever the activation let through.

    For a composite that carries gradients. Rectifiers are ReLU, ReLU6, clamping at zero and the
    smooth or leaky kin of ReLU (GELU, SiLU, ELU, …); other activations go back by their gradient.
    Source: Zeiler, Fergus 2014, ECCV.
    """
    return m.clamp(min=0) if _rectifies(call) else Back(native=m)


@rule("guided", kinds=("activation",))
def guided(call: Call, m: Tensor) -> Back:
    """m_in = m⁺ · f′(z), which for ReLU is m⁺ · 1[z > 0].

    For a composite that carries gradients. Rectifiers are those of `deconvnet`: smooth ones have
    their own slope f′ in place of ReLU's step. Source: Springenberg et al. 2015, ICLR workshop.
    """
    return Back(native=m.clamp(min=0) if _rectifies(call) else m)


@rule("excitation", kinds=("addition",))
def excitation(call: Call, m: Tensor) -> Tensor | Back:
    """Branches of a sum share by their positive parts, R_a = a⁺ / (a⁺ + b⁺) · R: z⁺ for sums.

    A constant operand counts as a bias and gets nothing. Conserves where a branch is positive.
    Source: Zhang et al. 2016, ECCV.
    """
    step, r = call.step, call.relevance(m)
    if step.name not in SUMS.split():
        return Back(native=m)
    if len(step.live) == 1:
        return (r / nonzero(call.input)).sum_to_size(call.input.shape)
    factors = [1.0, float(step.kwargs.get("alpha", 1))]
    factors[1] *= -1.0 if step.name in ("sub", "subtract", "rsub", "__rsub__") else 1.0
    if step.name in ("rsub", "__rsub__"):
        factors.reverse()
    branches = [call.tensors[slot] for slot in step.live]
    a, b = ((f * branch).clamp(min=0) for f, branch in zip(factors, branches, strict=True))
    s = share(r, a + b)
    return Back(
        multiplier=[
            (s * f * (f * branch > 0)).sum_to_size(branch.shape)
            for f, branch in zip(factors, branches, strict=True)
        ]
    )


@rule("contrast", kinds=LINEAR)
def contrast(call: Call, m: Tensor) -> Tensor:
    """z⁺ less z⁺ with negated weights: R_i = Σ_j (z_ij⁺ / Σ_i z_ij⁺ − z_ij⁻ / Σ_i z_ij⁻) · R_j.

    What speaks for the output less what speaks against it, each summing to R_j, so that the whole
    sums to zero. The bias is ignored.
    Cost: two forwards, two backwards; twice that if a may be negative.
    Source: Zhang et al. 2016, ECCV.
    """
    r = call.relevance(m)
    return _winning(call, r, "positive", "negative") - _winning(call, r, "negative", "positive")


def _winning(call: Call, r: Tensor, part: str, other: str) -> Tensor:
    """Multipliers by the contributions of one sign: of w's `part` where a ≥ 0, else of `other`."""
    a = call.input
    if call.step.nonneg:
        return call.spread(share(r, call.sum([a], (part,))), (part,))[0]
    z = call.sum([a.clamp(min=0), a.clamp(max=0)], (part, other))
    above, below = call.spread(share(r, z), (part, other))
    return torch.where(a < 0, below, above)


@rule("spread-bias", kinds=LINEAR)
def spread_bias(call: Call, m: Tensor) -> Back:
    """LRP-0 with the bias shared equally: R_i = Σ_j (z_ij + b_j / n_j) / z_j · R_j.

    n_j counts the inputs of j that are not zero; zeros get nothing. Conserves where there is one.
    Cost: one forward, two backwards. Source: Landecker et al. 2013, IEEE CIDM.
    """
    a, b = call.input, call.bias
    if b is None:
        return Back(native=m)
    b = b if call.step.name == "linear" else b.reshape(-1, *[1] * (m.dim() - 2))
    present = (a != 0).to(a.dtype)
    s = share(m * b, call.sum([present], ("ones",)))
    return Back(native=m, multiplier=present * call.spread(s, ("ones",))[0] / nonzero(a))
