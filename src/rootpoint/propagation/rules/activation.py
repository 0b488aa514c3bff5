"""Rules for activations y = f(x), element by element."""

from __future__ import annotations

from torch import Tensor

from rootpoint.propagation.call import Back, Call, nonzero
from rootpoint.propagation.rules import rule


@rule("pass", kinds=("activation", "shift"), reads=("input",))
def passing(call: Call, m: Tensor) -> Tensor | Back:
    """Relevance passes an activation unchanged: R_in = R_out, so m_in = m_out · y / x.

    In closed form y / x is the mask of ReLU, σ(x) of SiLU, Φ(x) of GELU. At x = 0 nothing passes:
    what f(0) ≠ 0 makes of it is absorbed. Values that share an input (broadcasting) give it their
    sum. Cost: y once more, rather than the memory to keep it.
    Source: Bach et al. 2015; for GELU and SiLU: Achtibat et al. 2024, ICML.
    """
    x = call.input
    y = call.function(x)
    if any(call.step.exact):
        return Back(relevance=(nonzero(y) * m).sum_to_size(x.shape))
    return y.div_(x).masked_fill_(x == 0, 0).mul_(m).sum_to_size(x.shape)
