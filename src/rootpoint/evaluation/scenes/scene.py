"""Scenes: what they hold, where, and how one is drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SIDE = 64  # pixels
SHAPES = ("circle", "square", "triangle", "star")
SIZES = {"small": 58.0, "large": 190.0}  # area in pixels: no shape is larger than another
COLOURS = {
    "red": (0.86, 0.17, 0.16),
    "green": (0.20, 0.66, 0.24),
    "blue": (0.17, 0.34, 0.86),
    "yellow": (0.95, 0.83, 0.18),
    "purple": (0.62, 0.22, 0.74),
    "cyan": (0.20, 0.78, 0.84),
}
CORNERS = {"square": 4, "triangle": 3, "star": 5}
# From the centre to an inner corner, as a share of that to an outer one. An inner corner of a
# regular polygon is the middle of its side.
INNER = {"square": math.cos(math.pi / 4), "triangle": 0.5, "star": 0.45}
OBJECTS = (3, 5)  # fewest and most
GAP = 2.0  # pixels between objects, and to the border


@dataclass(frozen=True)
class Thing:
    """An object of a scene: its attributes, its centre and its turn, in pixels and radians."""

    shape: str
    size: str
    colour: str
    x: float
    y: float
    turn: float
    area: float
    hue: tuple[float, float, float]

    @property
    def radius(self) -> float:
        """From the centre to the outermost point."""
        if self.shape == "circle":
            return math.sqrt(self.area / math.pi)
        corners = CORNERS[self.shape]
        return math.sqrt(self.area / (corners * INNER[self.shape] * math.sin(math.pi / corners)))


@dataclass(frozen=True)
class Scene:
    """Objects that do not touch, before a background drawn from `seed`."""

    things: tuple[Thing, ...]
    seed: tuple[int, ...]


def draw(seed: Sequence[int], sizes: Sequence[Sequence[str]] | None = None) -> Scene:
    """A random scene; the same for the same seed, on every machine.

    sizes   of its objects, one such sequence drawn at random; otherwise 3 to 5 of either size
    """
    random = np.random.default_rng(seed)
    if sizes is None:
        count = int(random.integers(OBJECTS[0], OBJECTS[1] + 1))
        wanted = [str(random.choice(list(SIZES))) for _ in range(count)]
    else:
        wanted = list(sizes[int(random.integers(len(sizes)))])
    while True:
        things = _placed(random, sorted(wanted))  # large objects first: they need the room
        if things is not None:
            return Scene(things, tuple(seed))


def _placed(random: np.random.Generator, sizes: Sequence[str]) -> tuple[Thing, ...] | None:
    """Objects of these sizes that fit, or None if one found no place."""
    things: list[Thing] = []
    for size in sizes:
        thing = _thing(random, size)
        low, high = thing.radius + GAP, SIDE - thing.radius - GAP
        for x, y in random.uniform(low, high, (50, 2)).tolist():
            thing = replace(thing, x=x, y=y)
            if all(_apart(thing, other) for other in things):
                things.append(thing)
                break
        else:
            return None
    return tuple(things)


def _thing(random: np.random.Generator, size: str) -> Thing:
    """An object without a place yet."""
    shape = SHAPES[int(random.integers(len(SHAPES)))]
    colour = list(COLOURS)[int(random.integers(len(COLOURS)))]
    area = SIZES[size] * random.uniform(0.88, 1.12)
    red, green, blue = np.clip(np.array(COLOURS[colour]) + random.uniform(-0.05, 0.05, 3), 0, 1)
    turn = random.uniform(-0.35, 0.35)
    return Thing(shape, size, colour, 0.0, 0.0, turn, area, (red, green, blue))


def _apart(one: Thing, other: Thing) -> bool:
    return math.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius + GAP
