"""Scenes: the same for the same seed, without overlap, and in balance."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import asdict

import numpy as np

from rootpoint.evaluation.scenes.scene import COLOURS, GAP, SHAPES, SIDE, SIZES, draw

SCENES = [draw((7, number)) for number in range(120)]
THINGS = [thing for scene in SCENES for thing in scene.things]


def test_the_same_seed_gives_the_same_scene_and_the_global_state_stays() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    assert [asdict(draw((7, n))) for n in range(20)] == [asdict(s) for s in SCENES[:20]]
    assert np.random.get_state()[1].tolist() == before
    assert len({scene.things for scene in SCENES}) == len(SCENES)


def test_objects_keep_apart_and_inside() -> None:
    for scene in SCENES:
        assert 3 <= len(scene.things) <= 5
        for one, other in itertools.combinations(scene.things, 2):
            distance = math.hypot(one.x - other.x, one.y - other.y)
            assert distance > one.radius + other.radius + GAP
        for thing in scene.things:
            low, high = thing.radius + GAP, SIDE - thing.radius - GAP
            assert low <= min(thing.x, thing.y) <= max(thing.x, thing.y) <= high


def test_every_attribute_is_as_frequent_as_the_others() -> None:
    for name, values in (("shape", SHAPES), ("size", SIZES), ("colour", COLOURS)):
        found = Counter(getattr(thing, name) for thing in THINGS)
        assert set(found) == set(values)
        expected = len(THINGS) / len(values)
        assert all(abs(n - expected) < 4 * math.sqrt(expected) for n in found.values())


def test_sizes_can_be_given() -> None:
    drawn = [draw((3, n), [("large",), ("large", "small")]) for n in range(20)]
    found = {tuple(thing.size for thing in scene.things) for scene in drawn}
    assert found == {("large",), ("large", "small")}
