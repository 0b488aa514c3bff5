"""Speed and memory of LRP against one gradient, and against Zennit, in one process.

Every row is a ratio to the gradient of the same model (forward + backward to the input), 1 thread,
224 × 224 pixels, random weights; the median of interleaved runs. Writes the table to a file.

    python benchmarks/propagation.py [--runs 7] [--output docs/speed.md]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import rootpoint as rp

COMPOSITES = {
    "epsilon": "epsilon",
    "epsilon-plus": "epsilon-plus",
    "epsilon-gamma-box": "epsilon-gamma-box(low=-3.0, high=3.0)",
    "epsilon-alpha2-beta1": "epsilon-alpha2-beta1",
}
BOUNDS = {
    ("vgg16", "epsilon"): 1.15,
    ("resnet50", "epsilon"): 1.15,
    ("vgg16", "epsilon-plus"): 1.6,
    ("resnet50", "epsilon-plus"): 1.6,
    ("vgg16", "epsilon-gamma-box"): 1.6,
    ("resnet50", "epsilon-gamma-box"): 1.8,
    ("vgg16", "epsilon-alpha2-beta1"): 2.2,
    ("resnet50", "epsilon-alpha2-beta1"): 2.2,
}
ABOUT = """# Speed

Made by `make bench` (`benchmarks/propagation.py`). Seconds; the ratio to one gradient (forward and
backward to the input) of the same model in the same process; the bound we hold ourselves to; the
peak memory of tensors as a ratio to the gradient's. Median of {runs} interleaved runs, 1 thread,
224 × 224 pixels, random weights, PyTorch {torch}, {machine}; Zennit at the first batch size only.

| model | batch | method | seconds | × gradient | bound | × memory |
|---|---|---|---|---|---|---|
"""
Run = Callable[[Tensor], Tensor]


def torchvision_model(name: str) -> nn.Module:
    library = torch.library.Library("torchvision", "FRAGMENT")  # operators a CPU build may lack
    for op in ("nms", "qnms"):
        if not torch._C._dispatch_has_kernel(f"torchvision::{op}"):
            library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import models

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


def rootpoint(model: nn.Module, composite: str) -> Run:
    bound = rp.LRP(composite=composite).bind(model)
    return lambda x: bound.attribute(x, target=0)


def zennit(name: str, model: nn.Module, composite: str) -> Run:
    from zennit import composites
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer

    canonizers = [ResNetCanonizer() if name.startswith("resnet") else VGGCanonizer()]
    made = {
        "epsilon-plus": lambda: composites.EpsilonPlus(canonizers=canonizers),
        "epsilon-gamma-box": lambda: composites.EpsilonGammaBox(
            low=-3.0, high=3.0, canonizers=canonizers
        ),
        "epsilon-alpha2-beta1": lambda: composites.EpsilonAlpha2Beta1(canonizers=canonizers),
    }[composite]()

    def run(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        with made.context(model) as modified:
            out = modified(x)
            start = torch.zeros_like(out)
            start[:, 0] = out.detach()[:, 0]
            return torch.autograd.grad(out, x, start)[0]

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


def peak_bytes(run: Run, x: Tensor) -> int:
    """The most bytes of tensors alive at once above those alive before, as torch allocates them."""
    from torch.profiler import ProfilerActivity, profile

    run(x)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run(x)
    events = recorded.profiler.kineto_results.events()  # pyright: ignore
    peak = total = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak


def measure(name: str, batch: int, repeats: int, *, peers: bool) -> list[str]:
    model = torchvision_model(name)
    x = torch.randn(batch, 3, 224, 224)
    runs = {"gradient": gradient(model)}
    runs |= {composite: rootpoint(model, full) for composite, full in COMPOSITES.items()}
    if peers:
        runs |= {f"Zennit {c}": zennit(name, model, c) for c in COMPOSITES if c != "epsilon"}
    taken = seconds(runs, x, repeats)
    peak = {n: peak_bytes(run, x) for n, run in runs.items()}
    rows = []
    for n in runs:
        ratio, memory = taken[n] / taken["gradient"], peak[n] / peak["gradient"]
        bound = BOUNDS.get((name, n), "")
        cells = (name, batch, n, f"{taken[n]:.3f}", f"{ratio:.2f}", bound, f"{memory:.2f}")
        rows.append("| " + " | ".join(map(str, cells)) + " |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each")
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet50"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--no-peers", action="store_true", help="leave Zennit out")
    parser.add_argument("--output", type=Path, help="file for the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row
        for name in chosen.models
        for batch in chosen.batches
        for row in measure(
            name, batch, chosen.runs, peers=not chosen.no_peers and batch == chosen.batches[0]
        )
    ]
    if chosen.output:
        about = ABOUT.format(runs=chosen.runs, torch=torch.__version__, machine=platform.machine())
        chosen.output.write_text(about + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
