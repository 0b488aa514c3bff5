from __future__ import annotations

import numpy as np
import pytest
import torch

from rootpoint.errors import InputError
from rootpoint.visualize import colorize, highlighted, highlighted_html

WORDS = ["free", "<money>", "the", "patch"]


def colours(picture: object) -> set[tuple[int, ...]]:
    return {tuple(c) for c in np.asarray(picture).reshape(-1, 3).tolist()}


def test_words_stand_on_the_colours_of_their_relevance() -> None:
    found = colours(highlighted(WORDS, torch.tensor([2.0, 1.0, 0.0, -2.0])))
    for share in (1.0, 0.5, -1.0):
        assert tuple(colorize(np.array(share)).tolist()) in found


def test_words_without_relevance_have_no_colour() -> None:
    found = colours(highlighted(WORDS, [0.0] * 4))
    assert all(max(c) - min(c) <= 8 for c in found)  # white, ink, and what lies between


def test_the_limit_sets_the_full_colour() -> None:
    halved = colours(highlighted(["free"], [1.0], limit=2.0))
    assert tuple(colorize(np.array(0.5)).tolist()) in halved
    assert tuple(colorize(np.array(1.0)).tolist()) not in halved


def test_long_texts_and_long_words_are_broken_into_lines() -> None:
    one = highlighted(["word"], [1.0], width=300)
    many = highlighted(["word"] * 30, [1.0] * 30, width=300)
    long = highlighted(["w" * 100], [1.0], width=300)
    assert one.width == many.width == long.width == 300
    assert many.height > one.height < long.height
    edge = np.asarray(long)[:, -10:]
    assert (edge == 255).all()  # nothing stands outside


def test_a_text_without_words_is_an_empty_picture() -> None:
    assert colours(highlighted([], [])) == {(255, 255, 255)}
    assert "span" not in highlighted_html([], [])


def test_html_holds_each_word_escaped_with_its_colour_and_number() -> None:
    page = highlighted_html(WORDS, [2.0, 1.0, 0.0, -2.0])
    assert "&lt;money&gt;" in page
    assert "<money>" not in page
    red = "#{:02x}{:02x}{:02x}".format(*colorize(np.array(1.0)).tolist())
    assert f'title="+2" style="background:{red};color:#ffffff">free' in page
    assert '<span title="+0">the</span>' in page


@pytest.mark.parametrize(
    ("words", "relevance", "problem"),
    [
        (WORDS, [1.0], "for 4 words"),
        ("free", [1.0] * 4, "for one text"),
        (WORDS, [1.0, 2.0, float("nan"), 0.0], "NaN"),
    ],
)
def test_what_is_no_relevance_of_words_is_an_error(
    words: list[str], relevance: list[float], problem: str
) -> None:
    for draw in (highlighted, highlighted_html):
        with pytest.raises(InputError, match=problem):
            draw(words, relevance)
