"""A text whose words are marked by their relevance, as a picture or as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from rootpoint.errors import InputError
from rootpoint.visualize.colors import colorize
from rootpoint.visualize.drawing import INK, font, legible

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Vector: TypeAlias = "Tensor | NDArray[Any] | Sequence[float]"
Colour: TypeAlias = tuple[int, int, int]

SIZE: Final = 22  # of the letters, in pixels
LINE: Final = 34
PADDING: Final = 4  # of a word's colour, on both sides
BORDER: Final = 24
DARK: Final = 0.6  # of the full colour: beyond it letters are white
WHITE: Final = (255, 255, 255)


def highlighted(
    words: Sequence[str], relevance: Vector, *, limit: float | None = None, width: int = 900
) -> Image.Image:
    """The words as running text, each on its colour: red speaks for the target, blue against it.

    words, relevance  as many of both: `text.split()`, `explanation.relevance[0]`
    limit   the value of the full colour; by default the largest |R|. Zero has no colour
    width   of the picture, in pixels; words that are longer than a line are cut into several
    Raises InputError if their numbers differ, or one of the values is not finite.
    """
    face = font(SIZE)
    placed: list[tuple[int, int, int, str, float]] = []
    x = y = BORDER
    for word, share in _shares(words, relevance, limit):
        for part in _parts(legible(word), width - 2 * BORDER):
            length = _length(part)
            if x > BORDER and x + length > width - BORDER:
                x, y = BORDER, y + LINE
            placed.append((x, y, length, part, share))
            x += length + PADDING
    picture = Image.new("RGB", (width, y + LINE + BORDER), "white")
    pen = ImageDraw.Draw(picture)
    for x, y, length, part, share in placed:
        ground, ink = _colours(share)
        if share:
            pen.rectangle((x, y + 1, x + length - 1, y + LINE - 3), fill=ground)
        pen.text((x + PADDING, y + LINE // 2), part, font=face, fill=ink, anchor="lm")
    return picture


def highlighted_html(words: Sequence[str], relevance: Vector, *, limit: float | None = None) -> str:
    """The same as spans in a paragraph; a word's relevance is shown where the mouse rests on it."""
    spans: list[str] = []
    scale = _limit(_values(words, relevance), limit)
    for word, share in _shares(words, relevance, limit):
        ground, ink = ("#{:02x}{:02x}{:02x}".format(*colour) for colour in _colours(share))
        style = f' style="background:{ground};color:{ink}"' if share else ""
        spans.append(f'<span title="{share * scale:+.3g}"{style}>{escape(word)}</span>')
    return f'<p class="rootpoint-text">{" ".join(spans)}</p>'


def _shares(
    words: Sequence[str], relevance: Vector, limit: float | None
) -> Iterator[tuple[str, float]]:
    """Each word and its relevance, as a share of the full colour's."""
    values = _values(words, relevance)
    return zip(words, (values / _limit(values, limit)).tolist(), strict=True)


def _limit(values: NDArray[np.float64], limit: float | None) -> float:
    return limit or float(np.abs(values).max(initial=0.0)) or 1.0


def _values(words: Sequence[str], relevance: Vector) -> NDArray[np.float64]:
    given: Any = relevance
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    values = np.asarray(given, dtype=np.float64)
    if isinstance(words, str) or values.shape != (len(words),):
        count = "one text" if isinstance(words, str) else f"{len(words)} words"
        raise InputError(
            f"relevance of shape {values.shape} for {count}: give a list of words, text.split(), "
            "and one value for each"
        )
    if not np.isfinite(values).all():
        raise InputError("the relevance holds NaN or infinity: there is no colour for that")
    return values


def _colours(share: float) -> tuple[Colour, Colour]:
    """The ground of a word, and the ink on it."""
    red, green, blue = colorize(np.array(share)).tolist()
    return (red, green, blue), (WHITE if abs(share) > DARK else INK)


def _length(part: str) -> int:
    return round(font(SIZE).getlength(part)) + 2 * PADDING


def _parts(word: str, width: int) -> Iterator[str]:
    """A word in pieces that fit a line."""
    while _length(word) > width and len(word) > 1:
        fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or _length(word[:n]) <= width)
        yield word[:fits]
        word = word[fits:]
    yield word
