"""Rules for products of live operands."""

from __future__ import annotations

from torch import Tensor

from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.rules import rule


@rule("uniform", kinds=("product",))
def uniform(call: Call, m: Tensor) -> Back:
    """The operands of a product share its relevance equally: R_a = R_b = R / 2. Conserves.

    As multipliers m_a = m·b / 2. Cost: one backward.
    Source: Achtibat et al. 2024, ICML (Prop. 3.2).
    """
    return Back(native=m / len(call.step.live))
