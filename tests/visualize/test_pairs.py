"""Two inputs side by side, joined by lines."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rootpoint.errors import InputError
from rootpoint.visualize.pairs import BETWEEN, SIDE, connected, of_photo, of_words

PHOTO = Image.new("RGB", (100, 100), "white")
GREY = 60  # colours differ less than this in what is neither red nor blue


def between(*pairs: tuple[tuple[int, ...], tuple[int, ...], float]) -> NDArray[np.int_]:
    """The strip between two photos of 2 × 2 patches that pairs of them are drawn on."""
    half = of_photo(PHOTO, (10, 10), 5)
    picture = np.asarray(connected(half, half, pairs), dtype=np.int_)
    middle = picture.shape[1] // 2
    return picture[120:, middle - BETWEEN // 3 : middle + BETWEEN // 3]


def red(strip: NDArray[np.int_]) -> NDArray[np.bool_]:
    return strip[..., 0] - strip[..., 2] > GREY


def blue(strip: NDArray[np.int_]) -> NDArray[np.bool_]:
    return strip[..., 2] - strip[..., 0] > GREY


def test_positive_pairs_are_red_and_negative_ones_blue() -> None:
    speaking = between(((0, 0), (0, 0), 1.0))
    against = between(((0, 0), (0, 0), -1.0))
    assert red(speaking).any()
    assert not blue(speaking).any()
    assert blue(against).any()
    assert not red(against).any()


def test_the_stronger_of_two_lines_is_the_thicker_whatever_their_unit() -> None:
    strip = between(((0, 0), (0, 0), 2e-9), ((1, 1), (1, 1), -1e-9))
    assert red(strip).sum() > blue(strip).sum() > 0


def test_the_stronger_line_lies_on_top() -> None:
    crossing = between(((0, 0), (1, 1), 0.5), ((1, 1), (0, 0), -1.0))
    column = crossing[:, crossing.shape[1] // 2]
    assert blue(column).any()
    assert not red(column).any()


def test_places_are_the_middles_of_patches_also_of_smaller_last_ones() -> None:
    places = of_photo(PHOTO, (10, 10), 4).places
    assert len(places) == 9
    assert places[0, 1] == pytest.approx((0.6 * SIDE, 0.2 * SIDE))
    assert places[2, 2] == pytest.approx((0.9 * SIDE, 0.9 * SIDE))


def test_photos_keep_their_proportions() -> None:
    assert of_photo(Image.new("RGB", (200, 100)), (4, 8), 2).image.size == (SIDE, SIDE // 2)


def test_lines_leave_words_at_their_inner_edge() -> None:
    left, right = (of_words(["a", "longer"], left=side) for side in (True, False))
    assert left.places[0,][0] == left.image.width
    assert right.places[1,][0] == 0
    assert left.places[0,][1] < left.places[1,][1]


def test_photos_and_words_can_stand_side_by_side() -> None:
    picture = connected(
        of_photo(PHOTO, (2, 2), 1), of_words(["white"], left=False), [((0, 1), (0,), 1.0)]
    )
    assert red(np.asarray(picture, dtype=np.int_)).any()


def test_nothing_but_zeros_is_drawn_without_an_error() -> None:
    between(((0, 0), (1, 1), 0.0))


def test_relevance_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        between(((0, 0), (0, 0), float("nan")))


def test_no_words_are_refused() -> None:
    with pytest.raises(InputError, match="no words"):
        of_words([], left=True)
