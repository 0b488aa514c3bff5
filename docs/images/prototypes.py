"""Make the pictures of prototypes: python docs/images/prototypes.py"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from rootpoint import models
from rootpoint.prototypes import prototype

HERE = Path(__file__).parent
CLASSES = [
    "goldfish",
    "pineapple",
    "strawberry",
    "daisy",
    "monarch",
    "zebra",
    "school bus",
    "Egyptian cat",
]
WIDTH = 1086


def make_prototypes() -> Image.Image:
    """What the default network takes for some classes, in 256 colours to keep the file small."""
    sheet = prototype(models.load(), CLASSES).sheet()
    size = (WIDTH, WIDTH * sheet.height // sheet.width)
    return sheet.resize(size, Image.Resampling.LANCZOS).quantize(256)


if __name__ == "__main__":
    make_prototypes().save(HERE / "prototypes.png", optimize=True)
