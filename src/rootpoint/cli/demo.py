"""`demo`: the bundled photos explained, or models that are right for a wrong reason."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rootpoint.cli.explain import print_answer
from rootpoint.cli.options import Output
from rootpoint.cli.terminal import each, out, save, talk

if TYPE_CHECKING:
    from rootpoint.evaluation.shortcuts.notice import Misled
    from rootpoint.evaluation.shortcuts.tag import Reader


class Story(StrEnum):
    """What is demonstrated."""

    PHOTOS = "photos"
    CLEVER_HANS = "clever-hans"


def demo(
    story: Annotated[
        Story,
        typer.Argument(help="The bundled photos, or models that are right for a wrong reason."),
    ] = Story.PHOTOS,
    output: Output = Path("out"),
) -> None:
    """Explain the bundled photos with the built-in network: a sheet for each, and one HTML page.

    `clever-hans` shows shortcuts instead: a notice that makes the network see a carton, and a
    source tag that one of two equally good models reads. It takes a minute, and the extra "fisher".
    """
    if story is Story.CLEVER_HANS:
        _clever_hans(output)
    else:
        _photos(output)


def _photos(output: Path) -> None:
    from rootpoint.cli.answer import answer
    from rootpoint.data import photos
    from rootpoint.method import method
    from rootpoint.models import load
    from rootpoint.visualize import draw, page

    network = load()
    bound = method("lrp").bind(network.module)
    sheets = []
    for photo in each(photos(), "Explaining"):
        explained = answer(photo.path, network, bound, "predicted")
        sheets.append(explained.sheet)
        path = output / f"{photo.path.stem}.png"
        save(draw(explained.sheet), path)
        print_answer(explained, path)
    index = output / "index.html"
    save(page(sheets, title="Which pixels spoke for the class"), index)
    talk(f"All on one page, which works offline: {index}")


def _clever_hans(output: Path) -> None:
    from rootpoint.data import open_photo, photos
    from rootpoint.evaluation.shortcuts import notice, tag
    from rootpoint.models import load
    from rootpoint.visualize import draw, page

    network = load()
    misled = [
        notice.mislead(network, open_photo(photo.path), photo.name)
        for photo in each(photos(), "Hanging up notices")
    ]
    train, test = tag.faces()
    readers = [tag.fisher_reader(train, test), tag.network_reader(train, test, network)]
    sheets = [notice.sheet(misled), tag.sheet(readers, test)]
    for name, sheet in zip(("clever-hans-notice", "clever-hans-tag"), sheets, strict=True):
        save(draw(sheet), output / f"{name}.png")
    index = output / "clever-hans.html"
    save(page(sheets, title="Right for the wrong reason"), index)
    _print_notice(misled)
    _print_tag(readers)
    talk(f"The pictures are in {index}, which works offline")


def _print_notice(misled: list[Misled]) -> None:
    from rich.table import Table

    table = Table("photo", "seen as", "with a notice", "on the writing", title="A notice")
    for one in misled:
        table.add_row(
            one.name,
            f"{one.before[0]} {one.before[1]:.2f}",
            f"{one.after[0]} {one.after[1]:.2f}",
            f"{one.inside[1]:.0%} of what speaks for carton (area {one.area:.0%})",
        )
    out().print(table)


def _print_tag(readers: list[Reader]) -> None:
    from rich.table import Table

    table = Table("new photos, share right", *(r.name for r in readers), title="A source tag")
    rows = ("as they come", "without tags", "a tag on each")
    for row, title in enumerate(rows):
        table.add_row(title, *(str(r.accuracy[row]) for r in readers))
    table.add_row("no face, made one by a tag", *(str(r.flipped) for r in readers))
    table.add_row("relevance for a face on the tag", *(str(r.inside) for r in readers))
    table.add_row("relevance outside / on the tag", *(str(r.ratio) for r in readers))
    out().print(table)
