"""What the benchmarks share: networks without a download, fair timing, and tables of means."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rootpoint.evaluation.statistics import difference, estimate

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


@contextmanager
def constant_norms(model: nn.Module, under: str = "") -> Iterator[None]:
    """Layer norms under a path divide by a constant, as gradients see it; outputs are the same."""

    def held(norm: nn.LayerNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        centred = inputs[0] - inputs[0].mean(-1, keepdim=True)
        divisor = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach()
        return output.detach() + norm.weight * (centred - centred.detach()) / divisor

    norms = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(held) for name, norm in norms if name.startswith(under)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


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


def compared(found: dict[str, NDArray[np.float64]], measure: str) -> str:
    """A table of means over samples, and by how much the first of them leads, sample by sample."""
    first = next(iter(found))
    lines = [f"| ranked by | {measure} | `{first}` leads by |", "|---|---|---|"]
    for name, values in found.items():
        lead = "–" if name == first else difference(found[first], values)
        lines.append(f"| {name} | {estimate(values)} | {lead} |")
    return "\n".join(lines)
