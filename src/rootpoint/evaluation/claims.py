"""What relevance says the score will lose when inputs change, and what it does lose."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.balance import ROUNDING, baseline
from rootpoint.evaluation.displacement import movable
from rootpoint.evaluation.metric import Case
from rootpoint.evaluation.orders import generator
from rootpoint.evaluation.perturbing import OUTPUTS, Parts, Removal, parts_of

# What draws are for, beside those of `orders` and `displacement`.
SUBSET, CHANGE = 20, 21


# -- sensitivity-n --------------------------------------------------------------------------------


def correlations(
    case: Case, removal: Removal, sizes: int, share: float
) -> tuple[Tensor, list[int] | None]:
    """For each n the correlation, over random sets of n features, of claimed and real loss.

    removal   whose repetitions are the number of sets of each size
    sizes, share   n goes from 1 to this share of all features, in so many geometric steps
    Returns correlations (B, k) in float64, NaN where either loss is the same for all sets, or past
    a sample's own number of sizes; and the k sizes, if all samples share them.
    """
    parts = parts_of(case, removal)
    levels = [subset_sizes(total, sizes, share) for total in parts.totals]
    claimed, lost = _losses(case, removal, parts, levels)
    precision = ROUNDING * torch.finfo(case.score.dtype).eps
    lines = torch.full((len(levels), max(map(len, levels))), torch.nan, dtype=torch.float64)
    for sample, (claims, losses) in enumerate(zip(claimed, lost, strict=True)):
        first, rest = losses[0], losses[1:].reshape(claims.shape)
        found = pearson(
            claims,
            first - rest,
            1e-12 * float(parts.relevance(sample).abs().sum()),
            precision * float(losses.abs().max()),
        )
        lines[sample, : len(found)] = found
    return lines, None if parts.ragged else levels[0]


def subset_sizes(total: int, sizes: int, share: float) -> list[int]:
    """From 1 to this share of `total`, in at most so many geometric steps."""
    most = max(1, int(share * total))
    return sorted({round(most ** (k / (sizes - 1))) for k in range(sizes)}) if total else []


def _losses(
    case: Case, removal: Removal, parts: Parts, levels: list[list[int]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Of each sample Σ_S R (sizes, sets), and f(x) followed by all f(x without S)."""
    count = removal.repetitions
    claimed = [torch.zeros(len(of), count, dtype=torch.float64) for of in levels]
    plan = [
        (sample, level, draw)
        for sample, of in enumerate(levels)
        for level in range(-1, len(of))  # at −1 nothing is gone
        for draw in range(1 if level < 0 else count)
    ]

    @lru_cache(maxsize=2)  # sets of one size follow each other
    def sets(sample: int, level: int) -> Tensor:
        relevance = parts.relevance(sample).double()
        if level < 0:
            return relevance.new_zeros(1, len(relevance), dtype=torch.bool)
        source = generator(case.seed, SUBSET, case.numbers[sample], level)
        drawn = torch.rand(count, len(relevance), generator=source, dtype=torch.float64)
        gone = drawn <= drawn.kthvalue(levels[sample][level], dim=1, keepdim=True).values
        claimed[sample][level] = gone.double() @ relevance.cpu()
        return gone.to(relevance.device)

    def make(start: int, stop: int) -> Any:
        made = []
        for (sample, level), entries in groupby(plan[start:stop], key=lambda one: one[:2]):
            draws = [one[2] for one in entries]
            made.append(parts.without(sample, max(level, 0), sets(sample, level)[draws]))
        return parts.joined(made)

    scores = case.scores(make, [one[0] for one in plan], OUTPUTS[removal.output])
    lengths = [1 + of.numel() for of in claimed]
    return claimed, list(scores.double().cpu().split(lengths))


def pearson(a: Tensor, b: Tensor, rounding_a: float, rounding_b: float) -> Tensor:
    """The correlation of each row of a with that of b; NaN where one varies by rounding only."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    found = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    varies = (a.abs().amax(1) > rounding_a) & (b.abs().amax(1) > rounding_b)
    return found.clamp(-1, 1).where(varies, torch.nan)


# -- infidelity -----------------------------------------------------------------------------------


def claims(
    case: Case, kind: str, size: float, samples: int, local: bool, spec: Any
) -> tuple[Tensor, Tensor]:
    """Iᵀφ and f(x) − f(x − I) of random changes I of each sample, (B, samples) in float64.

    kind   "noise": I = (x − x̃) ⊙ ε, ε normal with standard deviation `size`; "square": I = x − x̃
           in a random square of `size` pixels, else 0
    local  φ = R is per unit of input, and noise is I = ε; else φ = R / (x − x̃)
    spec   of the baseline x̃, see `balance.baseline`
    Channels of images change together. Raises InputError for texts, and for squares that do not
    fit the inputs.
    """
    inputs = movable("infidelity", case.inputs)
    span = inputs - baseline(spec, inputs)
    relevance = _spread(case.relevance, inputs)
    claimed = torch.zeros(len(inputs) * samples, dtype=torch.float64, device=inputs.device)

    def make(start: int, stop: int) -> Tensor:
        sample = torch.arange(start, stop, device=inputs.device) // samples
        share = torch.stack([
            _share(inputs, kind, size, generator(case.seed, CHANGE, case.numbers[one], draw))
            for one, draw in (divmod(index, samples) for index in range(start, stop))
        ]).to(inputs)  # fmt: skip
        change = share if local and kind == "noise" else share * span[sample]
        weight = change if local else share
        terms = weight.double() * relevance[sample]
        claimed[start:stop] = terms.reshape(len(terms), -1).sum(1)
        return inputs[sample] - change

    index = [i // samples for i in range(len(claimed))]
    scores = case.scores(make, index).double().reshape(-1, samples)
    lost = case.score.double()[:, None] - scores
    return claimed.reshape(-1, samples).cpu(), lost.cpu()


def _spread(relevance: Tensor, inputs: Tensor) -> Tensor:
    """Relevance like the inputs: of one channel, it is shared equally among all."""
    times = inputs[0].numel() / relevance[0].numel()
    return (relevance.double() / times).expand(inputs.shape)


def _share(inputs: Tensor, kind: str, size: float, source: torch.Generator) -> Tensor:
    """The random share of the way to the baseline, the same for all channels of images."""
    image, shape = inputs.dim() == 4, list(inputs.shape[1:])
    if image:
        shape[0] = 1
    if kind == "noise":
        return size * torch.randn(shape, generator=source, dtype=torch.float64)
    width = int(size)
    if not image or width > min(shape[1:]):
        raise InputError(
            f"infidelity: squares of {width} pixels do not fit inputs of shape "
            f"{tuple(inputs.shape)}: use smaller ones on images (B, C, H, W), or "
            "perturbation='noise'"
        )
    mask = torch.zeros(shape, dtype=torch.float64)
    top, left = (int(torch.randint(side - width + 1, (), generator=source)) for side in shape[1:])
    mask[:, top : top + width, left : left + width] = 1
    return mask


def infidelity(claimed: Tensor, lost: Tensor, *, scaled: bool) -> Tensor:
    """The mean of (Iᵀφ − loss)² over changes (B, samples); `scaled` by the best factor for φ."""
    if scaled:
        size = claimed.square().sum(1, keepdim=True)
        factor = ((claimed * lost).sum(1, keepdim=True) / size).where(size > 0, 0.0)
        claimed = factor * claimed
    return (claimed - lost).square().mean(1)
