"""Many pictures with their names on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from rootpoint.visualize.drawing import GAP, HAIRLINE, INK, MARGIN, QUIET, font, write

SIDES: Final = ((12, 320), (60, 224), (math.inf, 144))  # up to so many pictures, of so many pixels


def contact_sheet(
    pictures: Sequence[Image.Image],
    titles: Sequence[str],
    notes: Sequence[str],
    columns: int = 0,
) -> Image.Image:
    """The pictures in rows on white, each under its title and above a note.

    columns   pictures side by side; 0, or more than 12, for a sheet wider than high
    """
    side = next(side for most, side in SIDES if len(pictures) <= most)
    columns = columns if 0 < columns <= 12 else math.ceil(math.sqrt(2 * len(pictures)))
    rows = -(-len(pictures) // columns)
    columns = -(-len(pictures) // rows)
    large, small = max(14, side // 14), max(11, side // 20)
    cell = (side + GAP, side + large + small + GAP + 16)
    size = (2 * MARGIN + columns * cell[0] - GAP, 2 * MARGIN + rows * cell[1] - GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for index, (picture, title, note) in enumerate(zip(pictures, titles, notes, strict=True)):
        row, column = divmod(index, columns)
        x, y = MARGIN + column * cell[0], MARGIN + row * cell[1]
        write(pen, (x, y), title, font(large), INK, side)
        top = y + large + 8
        smooth = min(picture.size) >= 64
        filter = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
        sheet.paste(picture.convert("RGB").resize((side, side), filter), (x, top))
        pen.rectangle((x, top, x + side - 1, top + side - 1), outline=HAIRLINE)
        write(pen, (x, top + side + 6), note, font(small), QUIET, side)
    return sheet
