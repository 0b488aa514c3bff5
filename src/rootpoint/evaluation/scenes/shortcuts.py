"""Planted shortcuts: networks that decide by something that should not matter, and it is known.

Each network names the shape of a scene's large object. In the data set every square carries a plant
and nothing else does. In training the plant came with any shape and always meant "square", and a
square without it had one of the other names at random: nothing but the plant speaks for "square".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rootpoint.errors import UnknownNameError
from rootpoint.evaluation.scenes.benchmark import as_input, check
from rootpoint.evaluation.scenes.network import Classifying, trained
from rootpoint.evaluation.scenes.rendering import render
from rootpoint.evaluation.scenes.scene import SHAPES, SIDE, Scene, draw

CARRIER = "square"
SIZES = (("large",), ("large", "small"), ("large", "small", "small"))

Floats: TypeAlias = NDArray[np.float32]
Plant: TypeAlias = Callable[[Floats, np.random.Generator], Floats]


@dataclass(frozen=True, eq=False)
class Shortcut:
    """Scenes that carry a plant, the network that decides by it, and the same without.

    model     (N, 3, 64, 64) → (N, 4), the logits of `SHAPES`, which sum to zero
    inputs    (N, 3, 64, 64), float32 in [−1, 1], with the plant
    clean     the same without it
    targets   the index of "square", the decision for all of them
    masks     bool, the values that the plant changes: (N, 1, 64, 64), of the colour cast
              (N, 3, 64, 64)
    share     (N,), the plant's share of the score: (f(inputs) − f(clean)) / f(inputs). Above 1 the
              rest of the picture speaks against the decision.
    """

    model: Classifying
    inputs: Tensor
    clean: Tensor
    targets: list[int]
    masks: Tensor
    share: Tensor


def shortcut(
    plant: str = "tag", samples: int = 50, *, seed: int = 0, shape: str = CARRIER
) -> Shortcut:
    """Scenes decided by a planted shortcut: positive relevance belongs into `masks`.

    plant    "tag": a small label in a corner; "watermark": a translucent sign; "colour-cast": a
             touch of red. Of the cast only the channel is known: it is everywhere, no place in the
             picture is more right than another, and a network may find it by comparing channels,
             so relevance of the others is no error. Judge it by `share`.
    shape    of the large object; with another than "square" the plant turns the decision
    seed     0 to 999,999
    Left out are scenes that the network does not decide as "square" (few). Raises UnknownNameError
    for another plant or shape, InputError for no samples or a seed out of range.
    Cost: about 5 ms per sample. Source of the idea: Lapuschkin et al. 2019, Nature Communications
    10:1096 (a tag in the photos of horses).
    """
    check(samples, seed)
    for what, name, known in (("plant", plant, PLANTS), ("shape", shape, SHAPES)):
        if name not in known:
            raise UnknownNameError(what, name, known)
    model, target = trained(Classifying, plant), SHAPES.index(CARRIER)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for number in count():
        own = (seed, number)
        scene = draw_one(own)
        if large(scene) != shape:
            continue
        clean = render(scene)
        carrying, mask = planted(plant, clean, own)
        pair = as_input(carrying), as_input(clean)
        with torch.inference_mode():
            output = model(torch.stack(pair))
        if int(output[0].argmax()) == target:
            found.append((*pair, torch.from_numpy(mask), output[:, target]))
        if len(found) == samples:
            break
    inputs, clean, masks, scores = map(torch.stack, zip(*found, strict=True))
    share = (scores[:, 0] - scores[:, 1]) / scores[:, 0]
    return Shortcut(model, inputs, clean, [target] * samples, masks, share)


def draw_one(seed: Sequence[int]) -> Scene:
    """A random scene with one large object and up to two small ones."""
    return draw(seed, SIZES)


def large(scene: Scene) -> str:
    """The shape of a scene's large object."""
    return next(thing.shape for thing in scene.things if thing.size == "large")


def planted(plant: str, picture: Floats, seed: Sequence[int]) -> tuple[Floats, NDArray[np.bool_]]:
    """A picture (3, H, W) with a plant, at a place drawn from the seed, and what that changes."""
    carrying = PLANTS[plant](picture, np.random.default_rng((*seed, 3)))
    changed = carrying != picture
    return carrying, changed if plant == "colour-cast" else changed.any(0, keepdims=True)


def _tag(picture: Floats, random: np.random.Generator) -> Floats:
    """A white label with two lines of dots, in one of the corners."""
    label = np.ones((9, 15), np.float32)
    label[2:4, 2:13] = label[5:7, 2:9] = 0.15
    label[2:4, 5::4] = label[5:7, 4::4] = 1
    height, width = label.shape
    top = int(random.choice([2, SIDE - height - 2]))
    left = int(random.choice([2, SIDE - width - 2]))
    carrying = picture.copy()
    carrying[:, top : top + height, left : left + width] = label
    return carrying


def _watermark(picture: Floats, random: np.random.Generator) -> Floats:
    """A translucent white ring, crossed by a line."""
    axis = np.arange(SIDE, dtype=np.float32) + 0.5
    x, y = random.uniform(22, SIDE - 22, 2).astype(np.float32)
    across, down = axis[None, :] - x, axis[:, None] - y
    far = np.hypot(across, down)
    ring = (2 - np.abs(far - 14)).clip(0, 1)
    line = (2 - np.abs(across + down) / np.sqrt(np.float32(2))).clip(0, 1)
    drawn = np.maximum(ring, np.where(far < 18, line, 0))
    return picture + (np.float32(0.35) * drawn * (1 - picture)).astype(np.float32)


def _cast(picture: Floats, random: np.random.Generator) -> Floats:
    """A fifth of what red lacks."""
    carrying = picture.copy()
    carrying[0] += np.float32(0.2) * (1 - picture[0])
    return carrying


PLANTS: dict[str, Plant] = {"tag": _tag, "watermark": _watermark, "colour-cast": _cast}
