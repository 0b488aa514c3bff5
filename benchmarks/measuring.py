"""What the benchmarks share: networks without a download, and fair timing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]


def torchvision_models() -> ModuleType:
    library = torch.library.Library("torchvision", "FRAGMENT")  # operators a CPU build may lack
    for op in ("nms", "qnms"):
        if not torch._C._dispatch_has_kernel(f"torchvision::{op}"):
            library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import models

    return models


def torchvision_model(name: str) -> nn.Module:
    models = torchvision_models()
    torch.manual_seed(0)
    model = models.get_model(name, weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval().requires_grad_(False)


def gradient(model: nn.Module) -> Run:
    def run(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(model(x)[:, 0].sum(), x)[0]

    return run


def seconds(runs: dict[str, Run], x: Tensor, repeats: int) -> dict[str, float]:
    """The median seconds of each, taken in turns so that all see the same machine."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, run in runs.items():
            start = time.perf_counter()
            run(x)
            if repeat:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in taken.items()}
