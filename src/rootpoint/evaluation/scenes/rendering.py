"""Pictures of scenes, and which pixels each object has."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rootpoint.evaluation.scenes.scene import CORNERS, INNER, SIDE, Scene, Thing

Floats = NDArray[np.float32]
NOISE = 0.02  # standard deviation of a pixel's noise, of a range of 1
TURNS = {"square": math.pi / 4, "triangle": -math.pi / 2, "star": -math.pi / 2}  # of one corner
_AXIS = np.arange(SIDE, dtype=np.float32) + 0.5


def render(scene: Scene) -> Floats:
    """The picture (3, H, W) in [0, 1].

    Each object covers its pixels of the background by its share of them (antialiased); it is
    brighter on its upper left side. It casts no shadow: what it changes is its mask, and no more.
    """
    random = np.random.default_rng((*scene.seed, 1))
    picture = _background(random)
    for thing in scene.things:
        covered = _coverage(thing)
        picture += covered * (_surface(thing) - picture)
    picture += random.standard_normal(picture.shape, dtype=np.float32) * NOISE
    return picture.clip(0, 1)


def masks(scene: Scene) -> NDArray[np.bool_]:
    """The pixels (objects, H, W) that each object covers, be it in part."""
    return np.stack([_coverage(thing) > 0 for thing in scene.things])


def _background(random: np.random.Generator) -> Floats:
    """Grey with a slope, faint waves and a faint tint."""
    x, y = _AXIS[None, :] / SIDE, _AXIS[:, None] / SIDE
    plane = np.float32(random.uniform(0.4, 0.6)) + np.zeros((SIDE, SIDE), np.float32)
    slope = random.uniform(-0.1, 0.1, 2).astype(np.float32)
    plane += slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
    for _ in range(4):
        across, down = random.uniform(-4, 4, 2).astype(np.float32)
        phase, strength = random.uniform(0, 2 * math.pi), random.uniform(0, 0.03)
        wave = np.cos(2 * math.pi * (across * x + down * y) + np.float32(phase))
        plane += np.float32(strength) * wave
    tint = random.uniform(-0.03, 0.03, (3, 1, 1)).astype(np.float32)
    return plane + tint


def _coverage(thing: Thing) -> Floats:
    """The share of each pixel that the object covers, to first order: 1/2 − distance to its edge.

    A polygon is folded onto half of one of its corners, where its edge is one straight line.
    """
    x, y = _AXIS[None, :] - np.float32(thing.x), _AXIS[:, None] - np.float32(thing.y)
    far = np.hypot(x, y)
    if thing.shape == "circle":
        return (0.5 + np.float32(thing.radius) - far).clip(0, 1)
    half = math.pi / CORNERS[thing.shape]
    angle = np.arctan2(y, x) - np.float32(thing.turn + TURNS[thing.shape])
    folded = np.abs((angle + half) % (2 * half) - half)
    outer = thing.radius
    inner = outer * INNER[thing.shape]
    along = np.array([inner * math.cos(half) - outer, inner * math.sin(half)], np.float32)
    along /= np.hypot(*along)
    distance = along[1] * (far * np.cos(folded) - outer) - along[0] * far * np.sin(folded)
    return (0.5 - distance).clip(0, 1)


def _surface(thing: Thing) -> Floats:
    """The object's colour, lit from the upper left, (3, H, W)."""
    x, y = _AXIS[None, :] - np.float32(thing.x), _AXIS[:, None] - np.float32(thing.y)
    light = 0.92 - 0.16 * (x + y) / np.float32(thing.radius)
    return np.array(thing.hue, np.float32)[:, None, None] * light.astype(np.float32)
