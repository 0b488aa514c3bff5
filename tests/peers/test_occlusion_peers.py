"""The same occlusion as Captum's, which averages in single precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.methods.occlusion import Occlusion

captum = pytest.importorskip("captum.attr")

TARGETS = torch.tensor([1, 3])


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 15 * 10, 5)).to(dtype).eval()


def theirs(model: nn.Module, x: Tensor, window: Any, stride: Any, baseline: Any = 0) -> Tensor:
    return captum.Occlusion(model).attribute(
        x, window, strides=stride, target=TARGETS, baselines=baseline, perturbations_per_eval=3
    )


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    ("window", "stride"), [((3, 7, 7), (3, 7, 7)), ((3, 7, 7), (3, 3, 3)), ((1, 5, 4), (1, 2, 4))]
)
def test_equal_windows_give_equal_maps(
    dtype: torch.dtype, tolerance: float, window: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    model, x = network(dtype), torch.randn(2, 3, 30, 21, dtype=dtype)
    found = Occlusion(window=window, stride=stride)(model, x, TARGETS).relevance
    assert close(found, theirs(model, x, window, stride), tolerance)


def test_equal_baselines_give_equal_maps() -> None:
    model, x = network(torch.float64), torch.randn(2, 3, 30, 21, dtype=torch.float64)
    baseline = torch.randn(3, 30, 21, dtype=torch.float64)
    found = Occlusion(window=6, stride=4, baseline=baseline)(model, x, TARGETS).relevance
    assert close(found, theirs(model, x, (3, 6, 6), (3, 4, 4), baseline[None]), 1e-6)


def test_windows_of_a_table() -> None:
    model = nn.Sequential(nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 4)).double().eval()
    x = torch.randn(2, 9, dtype=torch.float64)
    found = Occlusion(window=4, stride=2)(model, x, TARGETS).relevance
    assert close(found, theirs(model, x, (4,), (2,)), 1e-6)
