from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import rootpoint.prototypes as rp


class Linear(nn.Module):
    """One score, 3 x_0 + 4 x_1."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ x.new_tensor([[3.0], [4.0]])


@pytest.fixture
def linear() -> nn.Module:
    return Linear().eval()


@pytest.fixture
def network() -> nn.Module:
    """Photos (N, 3, 16, 16) to four scores, with a batch-norm that can be folded."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 64, 4),
    )
    return net.eval()


@pytest.fixture
def search(network: nn.Module) -> Callable[..., rp.Prototype]:
    """Short searches with every random part, of the classes given."""

    def run(target: object = 1, **options: object) -> rp.Prototype:
        given = {
            "start": torch.zeros(3, 16, 16),
            "parametrization": rp.Fourier(),
            "transformation": rp.Transformation(2, 0.2, 10),
            "box": (-2.0, 2.0),
            "steps": 5,
            **options,
        }
        return rp.prototype(network, target, **given)  # type: ignore[arg-type]

    return run
