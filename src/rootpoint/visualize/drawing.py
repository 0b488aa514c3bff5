"""A sheet as one picture: title, facts, panels in rows, and the colour bar with its numbers."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rootpoint.visualize.colors import colorize
from rootpoint.visualize.sheets import Panel, Sheet, number

INK: Final = (28, 30, 33)
QUIET: Final = (105, 110, 117)
HAIRLINE: Final = (222, 224, 228)
MARGIN: Final = 48
GAP: Final = 24
ROW: Final = 4  # at most so many panels side by side, half as many again where there are many
MANY: Final = 12
BAR: Final = (420, 18)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(sheet: Sheet) -> Image.Image:
    """The sheet as an RGB picture on white."""
    width, height = sheet.panels[0].image.size
    rows = -(-len(sheet.panels) // (ROW if len(sheet.panels) <= MANY else ROW + ROW // 2))
    columns = -(-len(sheet.panels) // rows)
    cell = (max(width, 260) + GAP, height + 96)
    inner = max(columns * cell[0] - GAP, BAR[0] + 420)
    top = MARGIN + 112
    picture = Image.new(
        "RGB", (inner + 2 * MARGIN, top + rows * cell[1] + 64 + MARGIN), color="white"
    )
    pen = ImageDraw.Draw(picture)
    write(pen, (MARGIN, MARGIN), sheet.title, font(38), INK, inner)
    write(pen, (MARGIN, MARGIN + 54), "   ·   ".join(sheet.facts), font(22), QUIET, inner)
    for index, panel in enumerate(sheet.panels):
        row, column = divmod(index, columns)
        _panel(picture, (MARGIN + column * cell[0], top + row * cell[1]), panel, cell[0] - GAP)
    _bar(picture, (MARGIN, top + rows * cell[1]), sheet)
    return picture


def colour_bar(size: tuple[int, int] = BAR) -> Image.Image:
    """The colour scale from -1 to 1, left to right."""
    width, height = size
    return Image.fromarray(np.tile(colorize(np.linspace(-1.0, 1.0, width)), (height, 1, 1)))


@lru_cache
def font(size: int) -> Font:
    """The font that Pillow carries, at this size."""
    return ImageFont.load_default(size=size)


def _panel(picture: Image.Image, at: tuple[int, int], panel: Panel, width: int) -> None:
    pen = ImageDraw.Draw(picture)
    x, y = at
    write(pen, (x, y), panel.title, font(24), INK, width)
    write(pen, (x, y + 32), panel.note, font(19), QUIET, width)
    picture.paste(panel.image, (x, y + 64))
    right, bottom = x + panel.image.width - 1, y + 64 + panel.image.height - 1
    pen.rectangle((x, y + 64, right, bottom), outline=HAIRLINE)


def _bar(picture: Image.Image, at: tuple[int, int], sheet: Sheet) -> None:
    pen = ImageDraw.Draw(picture)
    (x, y), (width, height) = at, BAR
    picture.paste(colour_bar(), at)
    pen.rectangle((x, y, x + width - 1, y + height - 1), outline=HAIRLINE)
    limit = number(sheet.limit)
    ticks = ((x, f"-{limit}", "la"), (x + width // 2, "0", "ma"), (x + width, f"+{limit}", "ra"))
    for position, label, anchor in ticks:
        pen.text((position, y + height + 8), label, font=font(19), fill=INK, anchor=anchor)
    space = picture.width - MARGIN - (x + width + GAP)
    write(pen, (x + width + GAP, y - 4), sheet.legend, font(19), QUIET, space)


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    font: Font,
    colour: tuple[int, int, int],
    width: int,
) -> None:
    """Text in one line, shortened with an ellipsis to fit the width."""
    text = legible(text)
    if pen.textlength(text, font=font) > width:
        while text and pen.textlength(text + "…", font=font) > width:
            text = text[:-1]
        text = text.rstrip() + "…"
    pen.text(at, text, font=font, fill=colour)


def legible(text: str) -> str:
    """The text in letters that the font has: accents dropped, other scripts as question marks."""
    plain = unicodedata.normalize("NFKD", text.replace("·", "\0"))
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return letters.encode("ascii", "replace").decode("ascii").replace("\0", "·")
