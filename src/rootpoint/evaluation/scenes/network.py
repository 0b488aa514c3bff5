"""The networks that look at scenes."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rootpoint.evaluation.scenes.questions import OUTPUTS

N = TypeVar("N", bound=nn.Module)
WEIGHTS = Path(__file__).parent / "weights"
REACH = 7  # cells that an object is looked for on either side: the whole map


class Answering(nn.Module):
    """Answers every question about a picture (B, 3, 64, 64) in [−1, 1] at once: (B, OUTPUTS).

    A trunk of convolutions sees what is in each of 8 × 8 cells; `across` and `along` see what is
    beside, above and below it; 1 × 1 convolutions combine the two in each cell, and the answers are
    linear in the mean over cells. The outputs of a question are relative to the mean of its
    answers: they sum to zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_block(3, 16, 5, stride=2),
            *_block(16, 32, 3, stride=2),
            *_block(32, 48, 3),
            *_block(48, 64, 3, stride=2),
        )
        self.narrow = nn.Sequential(*_block(64, 32, 1))
        self.across = nn.Conv2d(32, 64, (1, 2 * REACH + 1), padding=(0, REACH), groups=32)
        self.along = nn.Conv2d(32, 64, (2 * REACH + 1, 1), padding=(REACH, 0), groups=32)
        self.combine = nn.Sequential(*_block(192, 128, 1), *_block(128, 256, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(256, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.answers(self.trunk(x))

    def answers(self, seen: Tensor) -> Tensor:
        """The outputs from what the trunk saw, (B, 64, 8, 8)."""
        narrow = self.narrow(seen)
        around = torch.cat([seen, self.across(narrow), self.along(narrow)], 1)
        return self.head(self.pool(self.combine(around)).flatten(1))


class Classifying(nn.Sequential):
    """Names the shape of a picture's large object: (B, 3, 64, 64) in [−1, 1] → (B, 4)."""

    def __init__(self) -> None:
        super().__init__(
            *_block(3, 16, 5, stride=2),
            *_block(16, 24, 3, stride=2),
            *_block(24, 32, 3),
            *_block(32, 32, 3, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 4),
        )


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2), nn.ReLU()


def trained(kind: type[N], name: str) -> N:
    """A network with the weights that tools/train_scenes.py made, in eval mode."""
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and then replaced
        network = kind()
    network.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    return network.eval()
