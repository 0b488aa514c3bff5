"""In which order features are taken away: the most or the least relevant first, or at random."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Order = Literal["morf", "lerf", "random"]

# What draws are for: each kind has random numbers of its own.
TIES, SHUFFLE, NOISE = range(3)


def generator(seed: int, kind: int, number: int, repetition: int) -> torch.Generator:
    """Random numbers that depend on nothing but these, whatever the batch."""
    entropy = np.random.SeedSequence([seed, kind, number, repetition]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy[0]))


def ranks(relevance: Tensor, order: Order, *, seed: int, number: int, repetition: int) -> Tensor:
    """When each feature (n,) is taken away, 0 … n−1.

    Features of the same relevance come in random order, so that a constant map has no order of its
    own; "lerf" is the reverse of "morf".
    """
    count = len(relevance)
    kind = SHUFFLE if order == "random" else TIES
    drawn = torch.randperm(count, generator=generator(seed, kind, number, repetition))
    drawn = drawn.to(relevance.device)
    if order != "random":
        drawn = drawn[relevance[drawn].argsort(descending=True, stable=True)]
    position = torch.arange(count, device=relevance.device)
    if order == "lerf":
        position = position.flip(0)
    return torch.empty_like(drawn).scatter_(0, drawn, position)
