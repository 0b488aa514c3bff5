"""Rules for sums of two branches."""

from __future__ import annotations

from torch import Tensor

from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.operations import SUMS
from rootpoint.propagation.rules import rule
from rootpoint.propagation.rules.linear import share


@rule("magnitude", kinds=("addition",))
def magnitude(call: Call, m: Tensor) -> Tensor | Back:
    """Branches share by size: R_a = |a| / (|a| + |b|) · R, which stays bounded where they cancel.

    Only for sums of two live operands; a constant absorbs as with the gradient. Conserves.
    Source: Otsuki et al. 2024; Chefer et al. 2021 for skip connections.
    """
    if len(call.step.live) != 2 or call.step.name not in SUMS.split():
        return Back(native=m)
    branches = [call.tensors[slot] for slot in call.step.live]
    factors = [1.0, float(call.step.kwargs.get("alpha", 1))]
    if call.step.name in ("rsub", "__rsub__"):
        factors.reverse()
    a, b = (f * branch for f, branch in zip(factors, branches, strict=True))
    s = share(call.relevance(m), a.abs() + b.abs())
    return Back(
        multiplier=[
            (s * abs(f) * branch.sign()).sum_to_size(branch.shape)
            for f, branch in zip(factors, branches, strict=True)
        ]
    )
