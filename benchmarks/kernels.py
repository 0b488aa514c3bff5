"""Speed and memory of explaining kernel machines, against scoring with the same network.

A one-class machine with Gaussian kernel in double precision. Each row of the first table doubles
one size: cost grows linearly in each. Memory is the peak of a process above that of its start, the
inputs and the network.

    python benchmarks/kernels.py [--output docs/speed-kernels.md]
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

import rootpoint as rp
from rootpoint.neuralize.kernels import Gaussian
from rootpoint.neuralize.one_class import Outlierness

ABOUT = """# Speed of explaining kernel machines

Made by `make bench` (`benchmarks/kernels.py`): a one-class machine with Gaussian kernel, {device},
double precision, {threads} threads, PyTorch {torch}, {machine}. Medians of {repeats} runs.

| points | features | inputs | scoring, s | explaining, s | ratio |
|---|---|---|---|---|---|
"""
SIZES = ((10_000, 1_000, 1_000), (5_000, 1_000, 1_000), (10_000, 500, 1_000), (10_000, 1_000, 500))


def case(points: int, features: int, inputs: int, device: str) -> tuple[Outlierness, Tensor]:
    generator = torch.Generator().manual_seed(0)
    near = torch.randn(points, features, generator=generator, dtype=torch.float64)
    weights = torch.full((points,), 1 / points, dtype=torch.float64)
    x = torch.randn(inputs, features, generator=generator, dtype=torch.float64)
    network = Outlierness(near, weights, Gaussian(1 / features)).eval()
    return network.to(device), x.to(device)


def seconds(call: Callable[[], object], device: str, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first warms up
        start = perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def rows(device: str, repeats: int) -> Iterator[str]:
    for sizes in SIZES:
        network, x = case(*sizes, device)
        with torch.no_grad():
            scored = seconds(lambda: network(x), device, repeats)  # noqa: B023
        bound = rp.LRP().bind(network)
        explained = seconds(lambda: bound(x), device, repeats)  # noqa: B023
        cells = " | ".join(f"{size:,}" for size in sizes)
        yield f"| {cells} | {scored:.2f} | {explained:.2f} | {explained / scored:.2f} |"


def peak(points: int, features: int, inputs: int) -> int:
    """MiB by which explaining raises the peak of this process."""
    network, x = case(points, features, inputs, "cpu")
    rp.explain(network, x[:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rp.explain(network, x)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="file for the table")
    parser.add_argument("--peak", type=int, help="only print the memory for so many inputs")
    chosen = parser.parse_args()
    if chosen.peak:
        print(peak(10_000, 1_000, chosen.peak))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = ABOUT.format(
        device=device,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        machine=platform.machine(),
        repeats=chosen.repeats,
    )
    text += "\n".join(rows(device, chosen.repeats)) + "\n"
    text += "\n10,000 points × 1,000 features; memory above network and inputs (Linux):\n\n"
    text += "| inputs | MiB |\n|---|---|\n"
    for inputs in (1_000, 4_000):
        command = [sys.executable, __file__, "--peak", str(inputs)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        text += f"| {inputs:,} | {found.strip()} |\n"
    print(text)
    if chosen.output:
        chosen.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
