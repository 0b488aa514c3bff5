"""Rules of kernel machines and clusterings: distances, soft minima, and what scales columns.

The layers of "deep Taylor decomposition for kernel models". Sources: Kauffmann, Müller, Montavon
2020, Pattern Recognition 101:107198 (arXiv 1805.06230); for clusterings Kauffmann et al. 2022,
IEEE TNNLS (arXiv 1906.07633).
"""

from __future__ import annotations

import torch
from torch import Tensor

from rootpoint.propagation.call import Back, Call, nonzero
from rootpoint.propagation.functions import centered
from rootpoint.propagation.rules import rule

_BLOCK = 1 << 25  # values of the differences that are held at once


@rule("distance", kinds=("distance",), exact=True)
def distance(call: Call, m: Tensor) -> Back:
    """R_i = Σ_j |x_i − u_ij|^p / ‖x − u_j‖_p^p · R_j: the root point of neuron j is u_j.

    On the way to u_j the gradient points along x − u_j, so the Taylor expansion is exact. At x =
    u_j all inputs share equally. Conserves. Cost: two matrix products for squared distances.
    """
    given = call.step.bound(call.tensors, "x", "points", "p", "power", "scale")
    x, points, p = call.input, given["points"], given.get("p", 2.0)
    if p != 2:
        return Back(relevance=_by_difference(x, points, call.relevance(m), p))
    power, scale = given.get("power", 2.0), given.get("scale", 1.0)
    return Back(relevance=_euclidean(x, points, call.output, m, power, scale))


def _euclidean(
    x: Tensor, points: Tensor, d: Tensor, m: Tensor, power: float, scale: float
) -> Tensor:
    """Σ_j q_j (x − u_j)² for q = R / ‖x − u_j‖², as x² Σq − 2x (qU) + qU².

    Where x nearly meets a point these sums would cancel: such pairs are added one by one.
    """
    center, u, squares = centered(points)
    x = x - center
    size = x.square().sum(1, keepdim=True) + squares.sum(1).max()
    close = d <= scale * (1e-6 * size) ** (power / 2)
    q = m if power == 2 else m * (d / scale) ** (1 - 2 / power)  # as R = d · m; below times scale
    samples, near = close.nonzero(as_tuple=True)
    if len(samples):
        q = q.masked_fill(close, 0)
    found = torch.addcmul(q @ squares, x, q @ u, value=-2)
    found.addcmul_(x.square(), q.sum(1, keepdim=True)).mul_(scale)
    for b, j in zip(*(t.split(max(1, _BLOCK // x.shape[1])) for t in (samples, near)), strict=True):
        shares = _normalized((x[b] - u[j]).square_())
        found.index_add_(0, b, shares * (nonzero(d[b, j]) * m[b, j]).unsqueeze(1))
    return found


def _by_difference(x: Tensor, points: Tensor, r: Tensor, p: float) -> Tensor:
    size = max(1, _BLOCK // points.numel())
    parts = []
    for some, given in zip(x.split(size), r.split(size), strict=True):
        apart = (some.unsqueeze(1) - points).abs_().pow_(p)
        parts.append(torch.einsum("bmd,bm->bd", _normalized(apart), given))
    return torch.cat(parts)


def _normalized(shares: Tensor) -> Tensor:
    """Shares that sum to one over the last dimension, equal ones if all are zero."""
    total = shares.sum(-1, keepdim=True)
    return torch.where(total == 0, 1 / shares.shape[-1], shares / total.masked_fill(total == 0, 1))


@rule("soft-minimum", kinds=("soft-minimum",), exact=True)
def soft_minimum(call: Call, m: Tensor, *, rooted: bool = False) -> Back:
    """R_j = p_j · R with p = softmin(a + c): the pool o falls with all its inputs at the same rate.

    rooted   take off what no input can explain, D_j⁺ = max(0, p_j (o − a_j)): what neuron j would
             keep at x = u_j, where its distance a_j ≥ 0 is zero. Then R_j = p_j · min(o, a_j)
    Conserves, but for D⁺, which is booked as constant. The rule of the deck, R_j = (a_j + c_j +
    ε_j) p_j, is this one: a_j + c_j + log p_j = o for all j. `rooted` is the variant of the first
    version of the paper, the other that of its authors' later code.
    """
    given = call.step.bound(call.tensors, "a", "offset")
    a, offset, o = call.input, given.get("offset"), call.output.unsqueeze(-1)
    p = (-a if offset is None else (a + offset).neg_()).add_(o).exp_()
    p /= p.sum(-1, keepdim=True)  # it is 1 but for the rounding of large a
    if rooted:
        p = p * torch.minimum(o, a) / nonzero(o)
    return Back(relevance=p.mul_(call.relevance(m).unsqueeze(-1)))


@rule("harmonic-minimum", kinds=("harmonic-minimum",), exact=True)
def harmonic_minimum(call: Call, m: Tensor, *, rooted: bool = False) -> Back:
    """R_j = p_j · R with p_j = w_j / (1 + a_j) · o: the pool is homogeneous of degree one.

    rooted   take off what neuron j would keep where a_j = 0: R_j = p_j · a_j / (1 + a_j) · R
    """
    weight = call.step.bound(call.tensors, "a", "weight")["weight"]
    a = call.input
    p = weight / (1 + a) * call.output.unsqueeze(-1)
    if rooted:
        p = p * a / (1 + a)
    return Back(relevance=p * call.relevance(m).unsqueeze(-1))


@rule("exponential-difference", kinds=("exponential-difference",))
def exponential_difference(call: Call, m: Tensor) -> Back:
    """R_b = b·M·m, R_a = −a·M·m: e^−a − e^−b = M · (b − a), M the logarithmic mean, held constant.

    So the difference of two sums of kernels is explained as that of their pools. Conserves.
    """
    given = call.step.bound(call.tensors, "a", "b")
    low, gap = torch.minimum(given["a"], given["b"]), (given["b"] - given["a"]).abs()
    mean = torch.exp(-low) * torch.where(gap == 0, 1, -torch.expm1(-gap) / nonzero(gap))
    both = (-mean * m, mean * m)
    return Back(multiplier=[both[slot] for slot in call.step.live])


@rule("columnwise", kinds=("columnwise",), exact=True)
def columnwise(call: Call, m: Tensor) -> Back:
    """Relevance stays in its column: R_in = R_out, also where a value is zero. Conserves."""
    return Back(relevance=call.relevance(m))
