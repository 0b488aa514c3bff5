"""Relevance against the truth: both by position, where a position is a pixel of all channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import InputError

if TYPE_CHECKING:
    from rootpoint.evaluation.metric import Case


@dataclass(frozen=True, eq=False)
class Located:
    """Relevance at least 0 and the truth, by position, in float64: (B, positions).

    inside     1 where the decision depends on the position, 0 elsewhere
    judgeable  (B,): something is relevant, and the truth is neither nothing nor everything
    """

    relevance: Tensor
    inside: Tensor
    judgeable: Tensor

    def values(self, values: Tensor) -> Tensor:
        """The values (B,), NaN for samples that cannot be judged."""
        return torch.where(self.judgeable, values, torch.nan)


def located(case: Case, pooling: str) -> Located:
    """The relevance of a case and its masks by position; tables have no channels to pool."""
    assert case.masks is not None
    shape = case.inputs.shape
    relevance, masks = case.relevance.double(), case.masks
    if len(shape) > 2:
        relevance, masks = pooled(relevance, pooling), masks.any(1)
        shape = (shape[0], *shape[2:])
    else:
        relevance = pooled(relevance[:, None], pooling)
    relevance = relevance.expand(shape).flatten(1)
    inside = masks.expand(shape).flatten(1)
    judgeable = inside.any(1) & ~inside.all(1) & (relevance > 0).any(1)
    return Located(relevance, inside.double(), judgeable)


def pooled(relevance: Tensor, pooling: str) -> Tensor:
    """One value, at least 0, for the channels (dimension 1) of each position."""
    if pooling == "sum-positive":
        return relevance.sum(1).clamp(min=0)
    if pooling == "max-norm":
        return relevance.abs().amax(1)
    squared = relevance.square().sum(1)
    return squared.sqrt() if pooling == "l2-norm" else squared


def hits(relevance: Tensor, counts: Tensor, inside: Tensor) -> Tensor:
    """How many of the `counts` (B,) most relevant positions of each sample are inside, (B,).

    Of equals that cannot all be among them, as many as there are on average over all choices.
    """
    last = relevance.sort(1, descending=True).values.gather(1, counts[:, None] - 1)
    above, equal = (relevance > last).double(), (relevance == last).double()
    left = counts - above.sum(1)
    return (above * inside).sum(1) + left * (equal * inside).sum(1) / equal.sum(1)


def near(case: Case, tolerance: int) -> Tensor:
    """1 where a pixel of the mask is closer than `tolerance` pixels, (B, H · W), float64."""
    inputs, masks = case.inputs, case.masks
    if not isinstance(inputs, Tensor) or inputs.dim() != 4:
        raise InputError(
            "pointing-game: distances need images (B, C, H, W); for other inputs judge by "
            "relevance-rank"
        )
    assert masks is not None
    height, width = inputs.shape[2:]
    masks = masks.any(1, keepdim=True).expand(-1, -1, height, width)
    reach = min(tolerance, max(height, width)) - 1
    steps = torch.arange(-reach, reach + 1, device=masks.device)
    disc = (steps[:, None] ** 2 + steps**2 < tolerance**2).float()
    counts = F.conv2d(masks.float(), disc[None, None], padding=reach)
    return (counts > 0.5).double().flatten(1)
