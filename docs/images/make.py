"""Make the pictures of the documentation: python docs/images/make.py"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import rootpoint as rp
from rootpoint import data, models, visualize
from rootpoint.cli import main
from rootpoint.evaluation.shortcuts import notice, tag

HERE = Path(__file__).parent
WIDTH = 260
SHEET = 1600


def why() -> Image.Image:
    """Each sample photo above its heatmap and the photo with its irrelevant pixels greyed out."""
    model = models.load()
    columns = []
    for photo in data.photos():
        image = data.open_photo(photo.path)
        relevance = rp.explain(model.module, model.tensor(image)).relevance[0]
        view = model.view(image)
        size = (WIDTH, WIDTH)
        panels = view, visualize.heatmap(relevance), visualize.focus(view, relevance)
        columns.append([panel.resize(size, Image.Resampling.LANCZOS) for panel in panels])
    gap, rows = 12, len(columns[0])
    sheet = Image.new(
        "RGB", (len(columns) * (WIDTH + gap) - gap, rows * (WIDTH + gap) - gap), "white"
    )
    for x, column in enumerate(columns):
        for y, panel in enumerate(column):
            sheet.paste(panel, (x * (WIDTH + gap), y * (WIDTH + gap)))
    return sheet


def methods() -> Image.Image:
    """`rootpoint compare --all` on the first sample photo, fitted to all of them."""
    photo = data.photos()[0].path
    with TemporaryDirectory() as folder:
        options = ["--all", "--data", str(photo.parent), "--output", folder]
        assert main(["compare", str(photo), *options]) == 0
        with Image.open(Path(folder) / f"{photo.stem}-compared.png") as sheet:
            size = (SHEET, SHEET * sheet.height // sheet.width)
            return sheet.resize(size, Image.Resampling.LANCZOS)


def clever_hans() -> None:
    """Both sheets of `rootpoint demo clever-hans`; the notice without the photo that resists it."""
    model = models.load()
    shown = data.photos()[:3]
    misled = [notice.mislead(model, data.open_photo(p.path), p.name) for p in shown]
    train, test = tag.faces()
    readers = [tag.fisher_reader(train, test), tag.network_reader(train, test, model)]
    for name, sheet in (("notice", notice.sheet(misled)), ("tag", tag.sheet(readers, test))):
        whole = visualize.draw(sheet)
        size = (SHEET, SHEET * whole.height // whole.width)
        smaller = whole.resize(size, Image.Resampling.LANCZOS)
        smaller.save(HERE / f"clever-hans-{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    clever_hans()
    methods().save(HERE / "methods.jpg", quality=92, optimize=True)
    why().save(HERE / "why.png", optimize=True)
