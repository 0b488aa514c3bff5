"""Rules for sums of two branches."""

from __future__ import annotations

from torch import Tensor

from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.rules import rule
from rootpoint.propagation.rules.linear import share


@rule("magnitude", kinds=("addition",))
def magnitude(call: Call, m: Tensor) -> Tensor | Back:
    """Branches share by size: R_a = |a| / (|a| + |b|) · R, which stays bounded where they cancel.

    Only for sums of two live operands; a constant absorbs as with the gradient. Conserves.
    Source: Otsuki et al. 2024; Chefer et al. 2021 for skip connections.
    """
    if len(call.step.live) != 2:
        return Back(native=m)
    branches = [call.tensors[slot] for slot in call.step.live]
    a, b = (branch.expand_as(call.output) for branch in branches)
    s = share(call.relevance(m), a.abs() + b.abs())
    return Back(multiplier=[(s * branch.sign()).sum_to_size(branch.shape) for branch in branches])
