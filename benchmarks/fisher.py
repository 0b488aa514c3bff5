"""Fisher vectors and a deep network on the same photos: who is right, and who looks at the object?

The 110 stamps of photos.py, set at random places on gravel, grass and water, are animals, food or
things. Fisher vectors are trained on them from nothing; MobileNetV2, which has seen ImageNet, gets
a new last layer. Stamps that a model is tested on it has not seen in training.

    python benchmarks/fisher.py --output docs
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from photos import BACKGROUNDS, CANVAS, OPAQUE, SHOWN, _labels, _object, _stamps, background
from rootpoint import models
from rootpoint.evaluation.statistics import difference, estimate
from rootpoint.method import method
from rootpoint.models import ImageModel
from rootpoint.neuralize.fisher import Design, fit_visual_words
from rootpoint.visualize import Panel, Sheet, draw, heatmap

GROUPS = ("animal", "food", "thing")
TRAINING = (4, 12, 12)  # placements of a stamp of each group, so that groups are about as large
TESTED = 4
SIZES = (100, 160)  # the longer side of an object, in pixels of 256
SIDE = 160  # of the grey pictures that the Fisher vectors see
DESIGN = Design(components=16, dimensions=24, step=6, radius=9)
PANEL = 224


@dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures of 256², masks of their objects, their groups, and the numbers of their stamps."""

    pictures: list[Image.Image]
    masks: list[Image.Image]
    labels: Tensor
    stamps: NDArray[np.int_]

    def take(self, chosen: Sequence[int]) -> Scenes:
        pictures, masks = ([given[i] for i in chosen] for given in (self.pictures, self.masks))
        return Scenes(pictures, masks, self.labels[list(chosen)], self.stamps[list(chosen)])


@dataclass(frozen=True, eq=False)
class Reader:
    """A trained model: what it sees of pictures, and their masks so."""

    name: str
    module: nn.Module
    tensors: Callable[[list[Image.Image]], Tensor]

    @torch.no_grad()
    def right(self, test: Scenes) -> NDArray[np.float64]:
        """Of each stamp the share of its pictures that are taken for what they are."""
        found = torch.cat([self.module(part) for part in self.tensors(test.pictures).split(16)])
        right = (found.argmax(1) == test.labels).double().numpy()
        return np.array([right[test.stamps == s].mean() for s in np.unique(test.stamps)])

    def maps(self, scenes: Scenes) -> Tensor:
        """(N, H, W): relevance for the true group."""
        bound = method("lrp").bind(self.module)
        parts = zip(self.tensors(scenes.pictures).split(8), scenes.labels.split(8), strict=True)
        return torch.cat([bound(x, label).relevance.sum(1).double() for x, label in parts])


class Retrained(nn.Module):
    """A network whose last layer is fitted anew, by logistic regression, to several groups."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor) -> None:
        from sklearn.linear_model import LogisticRegression

        super().__init__()
        self.features: Any = network.features
        self.rootpoint_composite = network.rootpoint_composite
        with torch.no_grad():
            pooled = torch.cat([self.pooled(part) for part in images.split(16)])
        fitted = LogisticRegression(C=0.01, max_iter=2000).fit(pooled.numpy(), labels.numpy())
        self.classifier = nn.Linear(pooled.shape[1], len(fitted.classes_))
        self.classifier.weight.data = torch.from_numpy(fitted.coef_).float()
        self.classifier.bias.data = torch.from_numpy(fitted.intercept_).float()

    def pooled(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pooled(x))


def group(stamp: str) -> int:
    """ImageNet's ids up to 397 are animals; its food ends the list of things, from 924 on."""
    first = _labels("stamps")[stamp][0]
    return 0 if first < 398 else 1 if 924 <= first <= 969 or first >= 984 else 2


def scenes(seed: int) -> tuple[Scenes, Scenes]:
    """To train on and to test on; variants of one object ("rabbit-2.png") are on one side."""
    rng = np.random.default_rng(seed)
    objects = sorted({_object(name) for name in _labels("stamps")})
    held = set(rng.permutation(objects)[: len(objects) * 2 // 5].tolist())
    parts: tuple[list[Any], list[Any]] = ([], [])
    for number, name in enumerate(_labels("stamps")):
        side, kind = _object(name) in held, group(name)
        for _ in range(TESTED if side else TRAINING[kind]):
            parts[side].append((*placed(name, rng), kind, number))
    train, test = (_scenes(*zip(*part, strict=True)) for part in parts)
    return train, test


def _scenes(pictures: Any, masks: Any, labels: Any, stamps: Any) -> Scenes:
    return Scenes(list(pictures), list(masks), torch.tensor(labels), np.array(stamps))


def placed(name: str, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A stamp somewhere in the middle 224² of a photographic background, and its mask."""
    stamp = Image.open(_stamps() / name, formats=["PNG"]).convert("RGBA")
    rows, columns = (np.asarray(stamp.getchannel("A")) >= OPAQUE).nonzero()
    stamp = stamp.crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    scale = rng.integers(*SIZES) / max(stamp.size)
    size = max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))
    stamp = stamp.resize(size, Image.Resampling.BICUBIC)
    margin = (CANVAS - SHOWN) // 2
    left, top = (margin + int(rng.integers(0, SHOWN - side + 1)) for side in size)
    picture = background(BACKGROUNDS[rng.integers(1, len(BACKGROUNDS))])
    picture = picture.rotate(90 * int(rng.integers(4)))
    mask = Image.new("L", picture.size)
    picture.paste(stamp, (left, top), stamp)
    mask.paste(stamp.getchannel("A"), (left, top))
    return picture, mask


def readers(train: Scenes, base: ImageModel, seed: int) -> list[Reader]:
    def grey(pictures: list[Image.Image]) -> Tensor:
        views = [base.view(picture).convert("L").resize((SIDE, SIDE)) for picture in pictures]
        return torch.from_numpy(np.stack([np.asarray(v) for v in views])).double()[:, None] / 255

    def tensors(pictures: list[Image.Image]) -> Tensor:
        return torch.cat([base.tensor(picture) for picture in pictures])

    words = fit_visual_words(grey(train.pictures), train.labels, DESIGN, seed=seed)
    network = Retrained(base.module, tensors(train.pictures), train.labels).eval()
    return [Reader("Fisher vectors", words, grey), Reader("MobileNetV2", network, tensors)]


def masks(test: Scenes, base: ImageModel, side: int) -> Tensor:
    """(N, side, side), bool."""
    views = [
        base.view(mask.convert("RGB")).convert("L").resize((side, side)) for mask in test.masks
    ]
    return torch.from_numpy(np.stack([np.asarray(view) for view in views])) >= OPAQUE


def inside(maps: Tensor, on: Tensor) -> NDArray[np.float64]:
    """Of each picture's positive relevance the share on its object."""
    positive = maps.clamp(min=0)
    return ((positive * on).sum((1, 2)) / positive.sum((1, 2))).numpy()


def figure(test: Scenes, base: ImageModel, maps: dict[str, Tensor], shares: Any) -> Image.Image:
    kinds = test.labels.numpy()
    members = [np.flatnonzero(kinds == kind) for kind in range(len(GROUPS))]
    chosen = [of[len(of) * third // 3] for of in members for third in (1, 2)]
    panels = []
    for i in chosen:
        kind = GROUPS[int(test.labels[i])]
        photo = base.view(test.pictures[i]).resize((PANEL, PANEL))
        panels.append(Panel("Photo", f"its group: {kind}", photo))
        for name, found in maps.items():
            note = f"{shares[name][i]:.0%} inside the object"
            panels.append(Panel(name, note, heatmap(found[i], size=(PANEL, PANEL))))
    facts = ("the score of the true group", "LRP", "unseen stamps")
    title = "What speaks for the group"
    return draw(Sheet(title, facts, tuple(panels), 100.0, "% of each map's own full colour"))


def measured(seed: int) -> tuple[str, Image.Image]:
    base = models.load(models.DEFAULT)
    train, test = scenes(seed)
    found = readers(train, base, seed)
    right = {reader.name: reader.right(test) for reader in found}
    numbers, first = np.unique(test.stamps, return_index=True)
    one = test.take(first.tolist())  # one picture of each stamp is explained
    maps = {reader.name: reader.maps(one) for reader in found}
    on = {name: masks(one, base, given.shape[-1]) for name, given in maps.items()}
    shares = {name: inside(given, on[name]) for name, given in maps.items()}
    kinds = one.labels.numpy()
    lines = [
        f"{len(train.pictures)} pictures of {len(np.unique(train.stamps))} stamps to train on, "
        f"{len(test.pictures)} of {len(numbers)} others to test on.",
        "",
        f"| | {' | '.join(right)} | difference |",
        "|---|---|---|---|",
        _row("right, all", right["Fisher vectors"], right["MobileNetV2"]),
    ]
    for kind, name in enumerate(GROUPS):
        part = kinds == kind
        label = f"right, {name} ({part.sum()} stamps)"
        lines.append(_row(label, *(values[part] for values in right.values())))
    lines.append(_row("positive relevance inside the object", *shares.values()))
    area = estimate(on["MobileNetV2"].double().mean((1, 2)).numpy())
    lines.append(f"| area of the object | {area} | {area} | |")
    return "\n".join(lines), figure(one, base, maps, shares)


def _row(label: str, a: NDArray[np.float64], b: NDArray[np.float64]) -> str:
    return f"| {label} | {estimate(a)} | {estimate(b)} | {difference(a, b)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    table, picture = measured(chosen.seed)
    picture.save(chosen.output / "images" / "fisher.png", optimize=True)
    print(f"{table}\n\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
