"""The score as a game of features: what a coalition of them is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rootpoint.perturbation.features import Features
from rootpoint.scoring import Evaluator


class Game(Protocol):
    """v(S), the score with the features S present and the others replaced.

    count   of features
    cost    evaluations of the model for one coalition
    names   of the features, if any
    """

    count: int
    cost: int
    names: tuple[str, ...] | None

    def __call__(self, coalitions: Tensor) -> Tensor:
        """The worth (n,) of coalitions (n, count), bool: True is present."""
        ...


@dataclass(eq=False)
class TensorGame:
    """The game of one sample's features; several replacements count by their mean score."""

    sample: Tensor
    features: Features
    replacements: Tensor
    evaluate: Evaluator

    def __post_init__(self) -> None:
        self.count, self.names = self.features.count, self.features.names
        self.cost = len(self.replacements)

    def __call__(self, coalitions: Tensor) -> Tensor:
        k = self.cost
        mask = self.features.mask

        def make(start: int, stop: int) -> Tensor:
            index = torch.arange(start, stop, device=self.sample.device)
            present = coalitions.to(self.sample.device)[index // k][:, mask]
            return torch.where(present, self.sample, self.replacements[index % k])

        return self.evaluate(len(coalitions) * k, make).reshape(-1, k).mean(1)


@dataclass(eq=False)
class TextGame:
    """The game of a text's words: absent ones are left out; the model scores a list of texts."""

    words: Sequence[str]
    evaluate: Evaluator

    def __post_init__(self) -> None:
        self.count, self.cost = len(self.words), 1
        self.names: tuple[str, ...] | None = tuple(self.words)

    def __call__(self, coalitions: Tensor) -> Tensor:
        def make(start: int, stop: int) -> list[str]:
            chosen = coalitions[start:stop].tolist()
            return [
                " ".join(w for w, kept in zip(self.words, row, strict=True) if kept)
                for row in chosen
            ]

        return self.evaluate(len(coalitions), make)
