"""Speed and memory of LRP against one gradient, and against Zennit, in one process.

Every row is a ratio to the gradient of the same model (forward + backward to the input), 1 thread,
224 × 224 pixels, random weights; the median of interleaved runs. Writes the table to a file.

    python benchmarks/propagation.py [--runs 7] [--output docs/speed.md]
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch
from torch import Tensor, nn

import rootpoint as rp
from measuring import Run, gradient, seconds, torchvision_model

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
