"""The operation's own backward, for kinds whose gradient is already the rule."""

from __future__ import annotations

from torch import Tensor

from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.rules import rule


@rule("gradient", native=True)
def gradient(call: Call, m: Tensor) -> Back:
    """Multipliers follow the gradient: m_i = Σ_j ∂z_j/∂a_i · m_j.

    For additions and averages this is LRP-0; for a maximum the winner takes all (of equal values
    the one torch picks). Cost: one backward.
    """
    return Back(native=m)
