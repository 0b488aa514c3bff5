"""Two inputs side by side, the pairs of their parts that belong together joined by lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from rootpoint.errors import InputError
from rootpoint.visualize.colors import colorize
from rootpoint.visualize.drawing import INK, MARGIN, QUIET, font, legible, write
from rootpoint.visualize.maps import PIXELS_SHOWN

Index: TypeAlias = tuple[int, ...]
Point: TypeAlias = tuple[float, float]

SIDE: Final = 560  # the longer side of an image, in pixels
BETWEEN: Final = 180
LINE: Final = 36
SPACE: Final = 14  # between a word and its line
HEADER: Final = 60
FINE: Final = 4  # lines are drawn so many times larger, then scaled down
THICK: Final = 5.0  # the strongest line, in pixels
FAINT: Final = 0.25  # the thickness of the weakest, as a share of the strongest's
OPAQUE: Final = (0.25, 0.9)  # the weakest line, the strongest
DOT: Final = 1.3  # radius at the ends, as a share of the line's thickness
COLOUR: Final = 0.72  # of the full colour: the scale's darkest is too near to black for a line
WASHED: Final = 0.3  # how far photos are faded, so that lines stand out
STEPS: Final = 48  # of a curve


@dataclass(frozen=True, eq=False)
class Half:
    """One input as a picture, and where in it each of its features is."""

    image: Image.Image
    places: Mapping[Index, Point]


def of_photo(photo: Image.Image, extent: tuple[int, int] | Index, patch: int) -> Half:
    """A photo, faded, with the centres of its patches.

    extent  (H, W) of what was explained, stretched over the photo
    patch   the size of a patch, in the units of the extent
    """
    height, width = extent
    scale = SIDE / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    smooth = min(photo.size) >= PIXELS_SHOWN
    filter = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    image = photo.convert("RGB").resize(size, filter)
    pale = Image.blend(image, Image.new("RGB", size, "white"), WASHED)
    rows, columns = _centres(height, patch), _centres(width, patch)
    places = {
        (i, j): (x * size[0], y * size[1])
        for i, y in enumerate(rows)
        for j, x in enumerate(columns)
    }
    return Half(pale, places)


def of_words(words: Sequence[str], *, left: bool) -> Half:
    """Words below each other, lines beginning at their inner edge."""
    if not words:
        raise InputError("there are no words to draw")
    face = font(24)
    texts = [legible(word) for word in words]
    width = round(max(face.getlength(text) for text in texts)) + SPACE + 2
    image = Image.new("RGB", (width, LINE * len(texts)), "white")
    pen = ImageDraw.Draw(image)
    edge = width - SPACE if left else SPACE
    for i, text in enumerate(texts):
        pen.text((edge, (i + 0.5) * LINE), text, font=face, fill=INK, anchor="rm" if left else "lm")
    inner = width if left else 0
    return Half(image, {(i,): (inner, (i + 0.5) * LINE) for i in range(len(texts))})


def connected(
    first: Half,
    second: Half,
    pairs: Sequence[tuple[Index, Index, float]],
    facts: Sequence[str] = (),
) -> Image.Image:
    """Both halves, and a line for each pair (of the first, of the second, relevance).

    Red lines speak for the similarity, blue ones against it; the stronger, the thicker and the less
    transparent, on top of the weaker. Raises InputError for relevance that is not finite.
    """
    strengths = np.array([relevance for *_, relevance in pairs], dtype=np.float64)
    if not np.isfinite(strengths).all():
        raise InputError("the relevance holds NaN or infinity: there is no line for that")
    inner = max(first.image.height, second.image.height)
    width = first.image.width + BETWEEN + second.image.width
    canvas = Image.new("RGB", (max(width, 640) + 2 * MARGIN, inner + HEADER + 2 * MARGIN), "white")
    left = (canvas.width - width) // 2
    top = MARGIN + HEADER
    corners = []
    for half, x in ((first, left), (second, left + first.image.width + BETWEEN)):
        y = top + (inner - half.image.height) // 2
        canvas.paste(half.image, (x, y))
        corners.append((x, y))
    pen = ImageDraw.Draw(canvas)
    space = canvas.width - 2 * MARGIN
    write(pen, (MARGIN, MARGIN - 8), "   ·   ".join(facts), font(24), INK, space)
    legend = "red pairs make them alike, blue ones unlike"
    write(pen, (MARGIN, MARGIN + 24), legend, font(19), QUIET, space)
    limit = float(np.abs(strengths).max(initial=0.0)) or 1.0
    for at in np.argsort(np.abs(strengths), kind="stable"):
        start, end = (
            (half.places[index][0] + x, half.places[index][1] + y)
            for half, index, (x, y) in zip((first, second), pairs[at][:2], corners, strict=True)
        )
        _line(canvas, start, end, float(strengths[at]) / limit)
    return canvas


def _centres(length: int, patch: int) -> list[float]:
    """The middles of patches as shares of the length; the last one may be smaller."""
    starts = range(0, length, patch)
    return [(start + min(start + patch, length)) / 2 / length for start in starts]


def _line(canvas: Image.Image, start: Point, end: Point, strength: float) -> None:
    """One curve from a feature to another with a dot at each end, blended onto the canvas.

    strength  in [-1, 1]: the sign gives the colour, the rest thickness and opacity
    """
    thick = THICK * (FAINT + (1 - FAINT) * abs(strength))
    points = _curve(start, end)
    low, high = np.floor(points.min(0) - 2 * THICK), np.ceil(points.max(0) + 2 * THICK)
    width, height = (high - low).astype(int).tolist()
    mask = Image.new("L", (width * FINE, height * FINE))
    pen = ImageDraw.Draw(mask)
    path = [(float(x), float(y)) for x, y in (points - low) * FINE]
    opaque = round(255 * (OPAQUE[0] + (OPAQUE[1] - OPAQUE[0]) * abs(strength)))
    pen.line(path, fill=opaque, width=max(1, round(thick * FINE)), joint="curve")
    radius = DOT * thick * FINE
    for x, y in (path[0], path[-1]):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=opaque)
    red, green, blue = colorize(np.array(np.sign(strength) * COLOUR)).tolist()
    smooth = mask.resize((width, height), Image.Resampling.LANCZOS)
    canvas.paste((red, green, blue), (int(low[0]), int(low[1])), smooth)


def _curve(start: Point, end: Point) -> np.ndarray:
    """Points of a cubic Bézier that leaves and arrives level, (STEPS + 1, 2)."""
    t = np.linspace(0.0, 1.0, STEPS + 1)[:, None]
    a, d = np.array(start), np.array(end)
    level = np.array([0.42 * (d[0] - a[0]), 0.0])
    b, c = a + level, d - level
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
