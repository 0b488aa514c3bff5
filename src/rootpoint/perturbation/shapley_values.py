"""Shapley values of a game: exact, by sampled orders, or by weighted least squares.

All three share v(all) − v(none) without remainder. Sources: Shapley 1953; Castro et al. 2009,
Computers & OR 36:1726 (sampled orders); Lundberg & Lee 2017, NeurIPS (least squares);
Covert & Lee 2021, AISTATS (pairs of coalitions).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.perturbation.coalitions import (
    Pairs,
    Worth,
    all_coalitions,
    passed_through,
    reached,
    rounds,
    shared_out,
)

MOST_EXACT = 16
"""Features whose coalitions are all evaluated, at most: 65,536 of them."""


@dataclass(frozen=True, eq=False)
class ShapleyValues:
    """values (d,), their standard errors (d,) if they were sampled, and by which estimator."""

    values: Tensor
    standard_error: Tensor | None
    estimator: str


def exact(v: Worth) -> ShapleyValues:
    """φ_i = Σ_S |S|! (d − |S| − 1)! / d! · [v(S ∪ i) − v(S)] over all S without i.

    Cost: 2^d − 1 coalitions. Raises InputError for more than 16 features.
    """
    d = v.count
    if d > MOST_EXACT:
        raise InputError(
            f"exact Shapley values of {d} features need {2**d:,} coalitions; they are computed for "
            f"at most {MOST_EXACT} features: use estimator='kernel', or fewer, larger features"
        )
    coalitions = all_coalitions(d)
    worth = v(coalitions) - v.empty
    size = coalitions.sum(1)
    weight = torch.tensor([1 / (d * comb(d - 1, s)) for s in range(d)], dtype=torch.float64)
    joined, alone = worth * weight[size - 1], worth * weight[size.clamp(max=d - 1)]
    present = coalitions.double()
    return ShapleyValues(joined @ present - alone @ (1 - present), None, "exact")


def by_permutation(
    v: Worth, *, budget: int, accuracy: float | None = None, seed: int = 0
) -> ShapleyValues:
    """Mean of what each feature adds when features come in one by one, over random orders.

    Orders are drawn in blocks of four: an order, its turn by half, and the reverse of both, so
    that each feature comes early as often as late. The blocks are independent: their spread gives
    the standard error (rough for few blocks, NaN for a single one). Unbiased.

    budget    in evaluations; a block takes 4 (d − 1) coalitions, fewer where they are known already
    accuracy  stops when every standard error is as small as that
    Raises InputError if the budget does not suffice for one block.
    """
    d, affordable = v.count, budget // v.cost
    if d == 1:
        return exact(v)
    block = 4 * (d - 1)
    _check_budget("sampled orders", budget, (block + 1) * v.cost, d)
    generator = torch.Generator().manual_seed(seed)
    found = torch.empty(0, d, dtype=torch.float64)
    error = torch.full((d,), torch.nan, dtype=torch.float64)
    empty = v.empty
    while not reached(error, accuracy):
        number = min((affordable - v.spent) // block, affordable - len(found))
        if accuracy is not None:
            number = min(number, max(8, len(found) // 2))
        if number <= 0:
            break
        orders = torch.rand(number, d, generator=generator).argsort(1)
        found = torch.cat([found, _blocks(v, orders, empty)])
        if len(found) > 1:
            error = found.std(0) / len(found) ** 0.5
    return ShapleyValues(found.mean(0), error, "permutation")


def _blocks(v: Worth, orders: Tensor, empty: float) -> Tensor:
    """What each feature adds (n, d), mean of the four orders of each block."""
    number, d = orders.shape
    turned = orders.roll(d // 2, 1)
    four = torch.stack([orders, orders.flip(1), turned, turned.flip(1)], 1).reshape(-1, d)
    worth = v(passed_through(four).reshape(-1, d)).reshape(-1, d - 1)
    ends = torch.tensor([[empty, v.full]], dtype=torch.float64).expand(len(four), 2)
    added = torch.cat([ends[:, :1], worth, ends[:, 1:]], 1).diff(dim=1)
    return added.gather(1, four.argsort(1)).reshape(number, 4, d).mean(1)


def by_kernel(
    v: Worth, *, budget: int, accuracy: float | None = None, seed: int = 0
) -> ShapleyValues:
    """argmin_φ Σ_S π(S) [v(S) − v(∅) − Σ_{i∈S} φ_i]²  with  Σ φ = v(all) − v(∅)  (kernel SHAP).

    Coalitions come in pairs with their complement, without repetition, a number of each size; sizes
    that the budget covers are enumerated, and with all coalitions the values are exact. Differences
    v(S) − v(not S) are compared within a size: how the score depends on the mere number of features
    is no noise then. Standard errors are those of the regression, with unequal variances and
    stratified sampling without replacement. No feature is left out.

    budget    in evaluations; at least 4 d coalitions, or all
    accuracy  stops when every standard error is as small as that
    Raises InputError if the budget is too small.
    """
    d = v.count
    if d == 1:
        return exact(v)
    every = 2 ** (d - 1) - 1
    least = min(2 * d, every)
    _check_budget("kernel SHAP", budget, (2 * least + 1) * v.cost, d)
    generator = torch.Generator().manual_seed(seed)
    pairs = [Pairs(d, size, generator) for size in range(1, d // 2 + 1)]
    values = error = torch.empty(0)
    for number in rounds(least, min((budget // v.cost - 1) // 2, every), accuracy):
        for pair, share in zip(pairs, shared_out(pairs, number), strict=True):
            pair.extend(share)
        values, error = _regression(v, pairs)
        if reached(error, accuracy):
            break
    return ShapleyValues(values, error, "kernel")


def _regression(v: Worth, pairs: list[Pairs]) -> tuple[Tensor, Tensor]:
    """φ and its standard errors from the pairs drawn: v(S) − v(not S) ≈ Σ_{in S} φ − Σ_{others} φ.

    With φ = Δ/d + Q ψ, where the columns of Q sum to zero, the constraint holds for every ψ.
    """
    d, gain = v.count, v.full - v.empty
    ones_first = torch.eye(d, dtype=torch.float64)
    ones_first[:, 0] = 1
    basis = torch.linalg.qr(ones_first).Q[:, 1:]
    rows, rests, weights, leverages, unseen = [], [], [], [], []
    for pair in pairs:
        number = len(pair.drawn)
        if not number:
            continue
        sides = 2 * pair.drawn.double() - 1
        row = sides @ basis
        rest = v(pair.drawn) - v(~pair.drawn) - sides.sum(1) * gain / d
        if not pair.halves:
            row, rest = row - row.mean(0), rest - rest.mean()
        rows.append(row)
        rests.append(rest)
        weights.append(row.new_full((number,), pair.mass / number))
        leverages.append(row.new_full((number,), 0 if pair.halves else 1 / number))
        unseen.append(row.new_full((number,), 1 - number / pair.total))
    x, y, weight = torch.cat(rows), torch.cat(rests), torch.cat(weights)
    inverse = torch.linalg.pinv(x.T @ (weight[:, None] * x), hermitian=True)
    psi = inverse @ (x.T @ (weight * y))
    leverage = weight * ((x @ inverse) * x).sum(1) + torch.cat(leverages)
    residual = (y - x @ psi) / (1 - leverage).clamp(min=0.01).sqrt()
    influence = (weight * residual * torch.cat(unseen).sqrt())[:, None] * x @ inverse @ basis.T
    return gain / d + basis @ psi, influence.square().sum(0).sqrt()


def _check_budget(what: str, budget: int, least: int, count: int) -> None:
    if budget < least:
        raise InputError(
            f"{what} of {count} features need a budget of at least {least} evaluations, "
            f"not {budget}: raise it, or use fewer, larger features"
        )
