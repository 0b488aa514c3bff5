"""Speed and memory of perturbation analysis, against the network's forward and Quantus.

The default network, 1 thread, in one process: images per second of plain batched forwards at the
best batch size, measured before and after; of perturbed images that `evaluate` scores; and of those
that Quantus scores. Memory is the peak of a process of its own. Writes the tables to a file.

    python benchmarks/evaluation.py [--images 64] [--steps 100] [--output docs/speed-evaluation.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from measuring import torchvision_models
from rootpoint import models
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import metric
from rootpoint.perturbation.frozen import frozen

BATCHES = (1, 2, 4, 8, 16, 32)
OWN_BOUND, QUANTUS_BOUND = 0.8, 10.0
PIXELS = 224 * 224
ABOUT = """# Speed of perturbation analysis

Made by `make bench` (`benchmarks/evaluation.py`): {images} images of 224 × 224 pixels, {steps}
steps each, 1 thread, PyTorch {torch}, {machine}, load average {load:.1f} at the end. The network's
own forward is the fastest of batches of {batches}, before and after the rest. Our
bound on flipping is {own} of it.

| what | images per second | of the network's own forward |
|---|---|---|
"""
PEERS = """
## Against Quantus

Quantus {version}, {few} images in one batch, without warnings and normalization; ours are the pixels
above, {steps} steps. Its PixelFlipping takes the channels of a pixel one by one, and by default one
of all {values} values in each step: that time is the one measured, multiplied. Our bound on the last
column is {bound:.0f}.

| metric | perturbed images per second | seconds per image, as many steps | ours is faster | seconds per image, at its defaults | ours is faster |
|---|---|---|---|---|---|
"""  # noqa: E501
MEMORY = """
## Memory

Linux only: how far the peak of a process rises above that of one forward when it evaluates {few}
images by ABPC, with noise.

| batch | MiB |
|---|---|
"""


def rate(run: Callable[[], Any], count: int) -> float:
    """Images per second."""
    start = time.perf_counter()
    run()
    return count / (time.perf_counter() - start)


def forward_rate(model: nn.Module, x: Tensor) -> float:
    """At the best batch size."""
    rates = []
    with torch.inference_mode():
        for size in BATCHES:
            batch = x[:1].repeat(size, 1, 1, 1)
            times = max(1, 32 // size)
            model(batch)  # warms up
            rates.append(rate(lambda b=batch, n=times: [model(b) for _ in range(n)], size * times))
    return max(rates)


def maps(model: Any, inputs: Tensor, targets: Any) -> Tensor:
    """Relevance that costs nothing."""
    drawn = torch.rand(224, 224, generator=torch.Generator().manual_seed(0))
    return drawn.expand(len(inputs), 1, 224, 224)


def flipping(
    model: nn.Module, x: Tensor, steps: int, *, compile: bool = False, **given: Any
) -> Any:
    one = metric("aopc", steps=steps, repetitions=1, **given)
    return evaluate(model, x, {"maps": maps}, one, compile=compile)


def own_rows(model: nn.Module, x: Tensor, steps: int) -> tuple[list[str], float]:
    """Forwards and flipping, and the rate of the latter."""
    contestants = {"the network's own forward": model, "the same, frozen": frozen(model, x)}
    before = {name: forward_rate(each, x) for name, each in contestants.items()}
    count = len(x) * steps
    flipping(model, x[:1], 1)  # warms up
    pixels = {"region": 1, "per_step": max(1, PIXELS // steps)}
    ours = {
        "flipping of regions, 9 × 9": rate(lambda: flipping(model, x, steps), count),
        "flipping of pixels": rate(lambda: flipping(model, x, steps, **pixels), count),
        "flipping of regions, compile=True": rate(
            lambda: flipping(model, x, steps, compile=True), count
        ),
    }
    rates = {name: max(before[name], forward_rate(each, x)) for name, each in contestants.items()}
    own = rates["the network's own forward"]
    rows = [f"| {name} | {each:.1f} | {each / own:.2f} |" for name, each in (rates | ours).items()]
    return rows, ours["flipping of pixels"]


def quantus_rows(model: nn.Module, x: Tensor, steps: int, ours: float) -> list[str]:
    torchvision_models()
    import quantus

    width = next(w for w in range(3 * PIXELS // steps, PIXELS) if PIXELS % w == 0)
    values = 3 * PIXELS
    common: dict[str, Any] = {
        "abs": False,
        "normalise": False,
        "return_aggregate": False,
        "disable_warnings": True,
    }
    judges = {
        "PixelFlipping": (
            quantus.PixelFlipping(features_in_step=width, **common),
            values // width,
            values,
        ),
        "RegionPerturbation": (
            quantus.RegionPerturbation(regions_evaluation=steps, patch_size=8, **common),
            steps,
            100,
        ),
    }
    targets = model(x).argmax(1).numpy()
    rows = []
    for name, (judge, evaluations, default) in judges.items():
        given = {"x_batch": x.numpy(), "y_batch": targets, "a_batch": maps(model, x, None).numpy()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            speed = rate(
                lambda judge=judge, given=given: judge(
                    model=model, **given, device="cpu", softmax=False, batch_size=len(x)
                ),
                len(x) * evaluations,
            )
        mine, equal, usual = steps / ours, steps / speed, default / speed
        cells = (
            name,
            f"{speed:.1f}",
            f"{equal:.2f}",
            f"{equal / mine:.1f} ×",
            f"{usual:.2f}",
            f"{usual / mine:.1f} ×",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def peak() -> float:
    """MiB that this process held at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure_peak(batch: int, images: int, steps: int) -> None:
    """Print the rise of the peak, in a process of its own."""
    model, x = models.load().module, pictures(images)
    with torch.inference_mode():
        model(x[:1])
    before = peak()
    evaluate(model, x, {"maps": maps}, metric("abpc", steps=steps, repetitions=2), batch=batch)
    print(peak() - before)


def memory_rows(images: int, steps: int) -> list[str]:
    rows = []
    for batch in (1, 4, 16):
        command = [sys.executable, __file__, "--peak", str(batch)]
        sizes = ["--images", str(images), "--steps", str(steps)]
        found = subprocess.run([*command, *sizes], check=True, capture_output=True, text=True)
        rows.append(f"| {batch} | {float(found.stdout):.0f} |")
    return rows


def pictures(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3, 224, 224))).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--few", type=int, default=16, help="images for Quantus and for memory")
    parser.add_argument("--output", type=Path, help="file for the tables")
    parser.add_argument("--peak", type=int, help="only print the memory of this batch")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.peak:
        measure_peak(chosen.peak, chosen.images, chosen.steps)
        return
    few = min(chosen.few, chosen.images)
    model, x = models.load().module, pictures(chosen.images)
    rows, speed = own_rows(model, x, chosen.steps)
    peers = quantus_rows(model, x[:few], chosen.steps, speed)
    memory = memory_rows(few, min(10, chosen.steps))
    import quantus

    about = ABOUT.format(
        images=chosen.images,
        steps=chosen.steps,
        torch=torch.__version__,
        machine=platform.machine(),
        load=os.getloadavg()[0],
        batches=", ".join(map(str, BATCHES)),
        own=OWN_BOUND,
    )
    about_peers = PEERS.format(
        version=quantus.__version__,
        few=few,
        values=3 * PIXELS,
        steps=chosen.steps,
        bound=QUANTUS_BOUND,
    )
    parts = [about, rows, about_peers, peers, MEMORY.format(few=few), memory]
    text = "".join(part if isinstance(part, str) else "\n".join(part) + "\n" for part in parts)
    print(text)
    if chosen.output:
        chosen.output.write_text(text)


if __name__ == "__main__":
    main()
