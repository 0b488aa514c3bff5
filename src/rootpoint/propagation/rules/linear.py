"""Rules for linear maps with weights: convolutions, dense layers, products with a constant.

Notation: a input, w weights, b bias, z_ij = a_i w_ij, z_j = Σ_i z_ij + b_j, R_j relevance at output
j; x⁺ = max(0, x), x⁻ = min(0, x). Costs count forwards F of the map itself, beside the model's own;
a backward costs one F. `bias="absorb"` puts b into the denominators, where it takes its share;
`bias="ignore"` shares everything among the inputs. `epsilon` is added to denominators with their
sign, sign(0) = +1; without it 0/0 = 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import InputError
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.operations import LINEAR
from rootpoint.propagation.rules import rule


def share(r: Tensor, z: Tensor, epsilon: float = 0.0) -> Tensor:
    """R / z, the relevance per unit of z; 0/0 = 0. Overwrites `z`: fresh memory is slow."""
    if epsilon:
        return torch.div(r, z.add_(torch.where(z < 0, -epsilon, epsilon)), out=z)
    return torch.div(r, z.masked_fill_(z == 0, torch.inf), out=z)


def share_positive(r: Tensor, z: Tensor, epsilon: float = 0.0) -> Tensor:
    """R / z where z > 0, else 0. Overwrites `z`."""
    return torch.div(r, z.add_(epsilon) if epsilon else torch.threshold_(z, 0.0, torch.inf), out=z)


def _absorbs(bias: str) -> bool:
    if bias not in ("absorb", "ignore"):
        raise InputError(f"bias={bias!r}; choose 'absorb' or 'ignore'")
    return bias == "absorb"


def _bias(call: Call, z: Tensor) -> Tensor | None:
    """The bias, shaped to be added to the output."""
    b = call.bias
    return b if b is None or call.step.name == "linear" else b.reshape(-1, *[1] * (z.dim() - 2))


def _positive(call: Call, bias: str, factor: float = 1.0) -> Tensor:
    """Σ_i z_ij⁺, the positive contributions to each output (b⁺ if it absorbs), times a factor."""
    a, b = call.input, call.bias if _absorbs(bias) else None
    b = None if b is None else b.clamp(min=0).mul_(factor)
    if call.step.nonneg:
        return call.sum([a], ("positive",), b, factor)
    return call.sum([a.clamp(min=0), a.clamp(max=0)], ("positive", "negative"), b, factor)


def _negative(call: Call, positive: Tensor, bias: str) -> Tensor:
    """−Σ_i z_ij⁻, from z = Σ_i z_ij⁺ + Σ_i z_ij⁻ (+ b).

    Lowered by the rounding of this difference, so that an empty side is not positive.
    """
    rounding = 8 * torch.finfo(positive.dtype).eps
    negative = torch.sub(positive, call.unrounded, alpha=1 + rounding)
    b = None if _absorbs(bias) else _bias(call, negative)
    return negative if b is None else negative.add_(b * (1 + rounding) - rounding * b.abs())


def _back(call: Call, s: Tensor, part: str, factor: float = 1.0) -> Tensor:
    """Multipliers of the positive (or negative) contributions, times a factor.

    A positive contribution comes by w⁺ where a ≥ 0, by w⁻ where a < 0; a negative one otherwise.
    """
    if call.step.nonneg:
        return call.spread(s, (part,), factor)[0]
    other = "negative" if part == "positive" else "positive"
    above, below = call.spread(s, (part, other), factor)
    return torch.where(call.input < 0, below, above)


@rule("zero", kinds=LINEAR, native=True, reads=())
def zero(call: Call, m: Tensor) -> Back:
    """LRP-0: R_i = Σ_j z_ij / z_j · R_j; the bias absorbs its share.

    The root point is the rescaled activation, ã = a − t·a. Cost: one backward.
    Source: Bach et al. 2015, PLOS ONE 10(7):e0130140.
    """
    return Back(native=m)


@rule("epsilon", kinds=LINEAR, native=True, reads=("output",))
def epsilon(call: Call, m: Tensor, *, epsilon: float = 1e-6) -> Back:
    """LRP-ε: R_i = Σ_j z_ij / (z_j + ε·sign z_j) · R_j; bias and ε absorb their shares.

    As multipliers: m_i = Σ_j w_ij m_j |z_j| / (|z_j| + ε). Cost: one backward.
    Source: Bach et al. 2015, PLOS ONE 10(7):e0130140.
    """
    if epsilon == 0:
        return Back(native=m)
    size = call.output.abs().add_(epsilon)
    return Back(native=torch.addcdiv(m, m, size, value=-epsilon, out=size))


@rule("z-plus", kinds=LINEAR)
def z_plus(call: Call, m: Tensor, *, bias: str = "ignore", epsilon: float = 0.0) -> Tensor:
    """LRP-z⁺: R_i = Σ_j z_ij⁺ / Σ_i z_ij⁺ · R_j, z_ij⁺ the positive part of a_i w_ij.

    The root point is the rescaled excitations, ã = a − t·a⊙1[w>0]. Conserves where an output has a
    positive contribution. Cost: one forward, one backward; twice that if a may be negative.
    Source: Montavon et al. 2017, Pattern Recognition 65:211; α1β0 of Bach et al. 2015.
    """
    s = share_positive(call.relevance(m), _positive(call, bias), epsilon)
    return _back(call, s, "positive")


@rule("alpha-beta", kinds=LINEAR)
def alpha_beta(
    call: Call,
    m: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 1.0,
    bias: str = "ignore",
    epsilon: float = 0.0,
    guard: bool = False,
) -> Tensor:
    """LRP-αβ: R_i = Σ_j (α z_ij⁺ / Σ_i z_ij⁺ − β z_ij⁻ / Σ_i z_ij⁻) · R_j, α − β = 1.

    Conserves where an output has contributions of both signs; elsewhere the sum is multiplied by α
    (or −β), unless `guard` gives such outputs α1β0. Cost: one forward, two backwards; twice the
    forward and the backwards if a may be negative. Source: Bach et al. 2015.
    """
    if abs(alpha - beta - 1) > 1e-9 or beta < 0:
        raise InputError(f"alpha-beta needs α − β = 1 and β ≥ 0, not α={alpha}, β={beta}")
    positive = _positive(call, bias)
    if beta == 0:
        return _back(call, share_positive(call.relevance(m), positive, epsilon), "positive")
    negative = _negative(call, positive, bias)
    up = down = call.relevance(m)
    if guard:  # α1β0 where only positive, and all to the negative where only negative
        both = (positive > 0) & (negative > 0)
        up = torch.where(both, up, up / alpha)
        down = torch.where(both, down, down / -beta).masked_fill_(negative <= 0, 0)
    rise = _back(call, share_positive(up, positive, epsilon), "positive", alpha)
    fall = _back(call, share_positive(down, negative, epsilon), "negative", beta)
    return rise.add_(fall)


@rule("gamma", kinds=LINEAR)
def gamma(
    call: Call, m: Tensor, *, gamma: float = 0.25, bias: str = "absorb", epsilon: float = 0.0
) -> Tensor | Back:
    """LRP-γ: R_i = Σ_j (z_ij + γ z_ij^s) / Σ_i (z_ij + γ z_ij^s) · R_j, s the sign of z_j.

    Favours contributions of the output's own sign; for a ≥ 0 and z > 0 these are the weights
    w + γw⁺. γ = 0 is LRP-0, γ → ∞ is z⁺. Cost: one forward, one backward if a ≥ 0 and only ReLUs
    follow; else one backward more (and twice the forward if a may be negative).
    Source: Montavon et al. 2019, LNCS 11700, ch. 10; for either sign: Andéol et al. 2021.
    """
    absorbs = _absorbs(bias)
    if call.step.nonneg and call.step.rectified:
        raised = call.modified(("gamma", gamma), lambda w: w.clamp(min=0).mul_(gamma).add_(w))
        b = call.bias if absorbs else None
        b = None if b is None else b + gamma * b.clamp(min=0)
        z = call.run(call.input, raised, b)
        r = call.relevance(m)
        s = share_positive(r, z, epsilon) if absorbs else share(r, z, epsilon)
        return call.transpose(s, raised)
    # With σ the sign of z, the weights w + γw⁺ (σ = 1) and w + γw⁻ = (1+γ)w − γw⁺ (σ = −1) give
    # z' = cz + σγz⁺, c = 1 or 1+γ: so R/z' = u σ|z| with u = m / (c|z| + γz⁺), without a branch.
    z = call.output
    steep = F.leaky_relu(z, -(1 + gamma))  # c|z|
    whole = _positive(call, bias, gamma).add_(steep)
    if not absorbs and (b := _bias(call, z)) is not None:
        whole.sub_(torch.where(z > 0, b, -(1 + gamma) * b))
    u = share(m, whole, epsilon)
    return Back(native=steep.mul_(u), multiplier=_back(call, u.mul_(z), "positive", gamma))


@rule("box", kinds=LINEAR, exact=True)
def box(
    call: Call, m: Tensor, *, low: float | Tensor | None = None, high: float | Tensor | None = None
) -> Back:
    """LRP-zᴮ, for inputs known to lie in a box l ≤ x ≤ h, such as pixels:

    R_i = Σ_j (x_i w_ij − l_i w_ij⁺ − h_i w_ij⁻) / Σ_i (…) · R_j.

    low, high   numbers, one per channel (C, 1, 1), or like the input; None: the least and greatest
                value of each sample's own input
    The bias cancels. Conserves. Cost: three forwards, three backwards, of the first layer only.
    Source: Montavon et al. 2017, Pattern Recognition 65:211.
    """
    x = call.input
    low, high = _bound(low, x, torch.amin), _bound(high, x, torch.amax)
    low, high = low * call.taps, high * call.taps
    z = call.unrounded - call.sum([low, high], ("positive", "negative"), call.bias)
    s = share(call.relevance(m), z)
    whole, positive, negative = call.spread(s, ("whole", "positive", "negative"))
    return Back(relevance=x * whole - low * positive - high * negative)


def _bound(bound: float | Tensor | None, x: Tensor, extreme: Callable[..., Tensor]) -> Tensor:
    if bound is None:
        bound = extreme(x, dim=tuple(range(1, x.dim())), keepdim=True)
    bound = torch.as_tensor(bound, dtype=x.dtype, device=x.device)
    try:
        return bound.expand_as(x)
    except RuntimeError as error:
        raise InputError(
            f"a box bound of shape {tuple(bound.shape)} does not fit the input {tuple(x.shape)}"
        ) from error


@rule("w-square", kinds=LINEAR, exact=True)
def w_square(call: Call, m: Tensor) -> Back:
    """LRP-w²: R_i = Σ_j w_ij² / Σ_i w_ij² · R_j, whatever the input.

    The root point is the nearest root, ã = a − t·w, for inputs without bounds. Conserves.
    Cost: one forward, one backward. Source: Montavon et al. 2017, Pattern Recognition 65:211.
    """
    return _by_weights(call, m, "squared")


@rule("flat", kinds=LINEAR, exact=True)
def flat(call: Call, m: Tensor) -> Back:
    """LRP-flat: R_i = Σ_j 1 / (number of inputs of j) · R_j; padding is no input. Conserves.

    Says where in the input the decision lies, not in which values. Cost: one forward, one backward.
    Source: Lapuschkin et al. 2019, Nature Communications 10:1096.
    """
    return _by_weights(call, m, "ones")


def _by_weights(call: Call, m: Tensor, part: str) -> Back:
    """R_i = Σ_j v_ij / Σ_i v_ij · R_j for a part v of the weights, whatever the input."""
    z = call.sum([call.taps], (part,))
    s = share(call.relevance(m), z)
    return Back(relevance=call.taps * call.spread(s, (part,))[0])
