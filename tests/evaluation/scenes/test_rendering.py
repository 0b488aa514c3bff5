"""Pictures of scenes: exact masks, true areas, no trace of an object outside its mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from rootpoint.evaluation.scenes.rendering import masks, render
from rootpoint.evaluation.scenes.scene import (
    CORNERS,
    INNER,
    SHAPES,
    SIDE,
    SIZES,
    Scene,
    Thing,
    draw,
)

FINE = 8


def outline(thing: Thing) -> np.ndarray:
    """The corners (n, 2), written out; the inner corners of a star, the middles of other sides."""
    count = CORNERS[thing.shape]
    first = {"square": np.pi / 4, "triangle": -np.pi / 2, "star": -np.pi / 2}[thing.shape]
    points = []
    for i in range(2 * count):
        radius = thing.radius * (1 if i % 2 == 0 else INNER[thing.shape])
        angle = first + thing.turn + i * np.pi / count
        points.append((thing.x + radius * np.cos(angle), thing.y + radius * np.sin(angle)))
    return np.array(points)


def drawn_by_pillow(thing: Thing) -> np.ndarray:
    """The share of each pixel that is covered, by drawing at eight times the size."""
    image = Image.new("L", (SIDE * FINE, SIDE * FINE))
    pen = ImageDraw.Draw(image)
    if thing.shape == "circle":
        x, y, r = (FINE * v for v in (thing.x, thing.y, thing.radius))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    else:
        pen.polygon([tuple(p) for p in outline(thing) * FINE], fill=255)
    return np.asarray(image.reduce(FINE), dtype=np.float64) / 255


def test_the_same_scene_gives_the_same_picture() -> None:
    scene = draw((1, 2))
    picture = render(scene)
    assert picture.shape == (3, SIDE, SIDE)
    assert picture.dtype == np.float32
    assert 0 <= picture.min() < picture.max() <= 1
    np.testing.assert_array_equal(picture, render(draw((1, 2))))


def test_an_object_changes_its_mask_and_nothing_else() -> None:
    for number in range(20):
        scene = draw((11, number))
        picture = render(scene)
        for i, mask in enumerate(masks(scene)):
            rest = Scene(scene.things[:i] + scene.things[i + 1 :], scene.seed)
            changed = (render(rest) != picture).any(0)
            assert not (changed & ~mask).any()
            assert changed.sum() > 0.95 * mask.sum()


def test_masks_of_a_scene_do_not_overlap() -> None:
    for number in range(20):
        assert masks(draw((12, number))).sum(0).max() == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_where_pillow_draws_the_object(shape: str) -> None:
    for number in range(6):
        thing = replace(draw((13, number)).things[0], shape=shape, size="large", area=190.0)
        thing = replace(thing, x=32 + number / 7, y=31 - number / 9)
        (mask,) = masks(Scene((thing,), (0,)))
        covered = drawn_by_pillow(thing)
        assert mask[covered > 0.1].all()
        image = Image.fromarray((covered > 0).astype(np.uint8) * 255)
        near = np.asarray(image.filter(ImageFilter.MaxFilter(3))) > 0
        assert near[mask].all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_is_larger_than_another(shape: str, size: str) -> None:
    thing = replace(draw((14, 0)).things[0], shape=shape, size=size, area=SIZES[size], x=32, y=32)
    assert drawn_by_pillow(thing).sum() == pytest.approx(SIZES[size], rel=0.08)
    assert masks(Scene((thing,), (0,)))[0].sum() == pytest.approx(SIZES[size], rel=0.65)
