"""The main job: `explain` photos of one's own, or the bundled ones with `demo`."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rootpoint.cli.options import (
    AsJson,
    Data,
    Download,
    MethodName,
    ModelName,
    Output,
    Settings,
    TargetText,
    parameters,
)
from rootpoint.cli.terminal import complain, each, out, print_json, save, talk
from rootpoint.errors import InputError

if TYPE_CHECKING:
    from rootpoint.cli.answer import Answer


def explain(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Image files.")],
    model: ModelName = None,
    target: TargetText = "predicted",
    method: MethodName = "lrp",
    settings: Settings = None,
    data: Data = None,
    output: Output = Path("out"),
    as_json: AsJson = False,
    download: Download = False,
) -> None:
    """Say which pixels of each photo spoke for a class, in numbers and a picture.

    Writes one sheet per photo: the photo, its relevance, both together, and what was relevant.
    A photo that cannot be used is reported; the others are explained all the same.
    """
    from rootpoint.cli.answer import answer, fitted
    from rootpoint.method import method as by_name
    from rootpoint.models import DEFAULT, load
    from rootpoint.visualize import draw

    chosen = by_name(method, **parameters(settings))
    network = load(model or DEFAULT, download=download)
    network.target(target)  # a wrong target is wrong for every photo: say so once
    bound = fitted(chosen, network, data).bind(network.module)
    answers: dict[Path, Answer] = {}
    for photo in each(photos, "Explaining"):
        try:
            explained = answer(photo, network, bound, target)
        except InputError as error:
            complain(error)
            continue
        path = _free(output / f"{photo.stem}-{chosen.name}.png", answers)
        answers[path] = explained
        save(draw(explained.sheet), path)
        if not as_json:
            _print(explained, path)
    if as_json:
        documents = [{**a.to_dict(), "sheet": str(path)} for path, a in answers.items()]
        print_json({"model": network.name, "method": chosen.name, "photos": documents})
    if len(answers) < len(photos):
        raise typer.Exit(InputError.exit_code)


def demo(output: Output = Path("out")) -> None:
    """Explain the bundled photos with the built-in network: a sheet for each, and one HTML page."""
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
        _print(explained, path)
    index = output / "index.html"
    save(page(sheets, title="Which pixels spoke for the class"), index)
    talk(f"All on one page, which works offline: {index}")


def _print(answer: Answer, path: Path) -> None:
    """The best classes with their scores as bars, and what was explained."""
    console = out()
    console.print(answer.photo.name, style="bold", markup=False)
    width = max(len(answer.label(index)) for index, _ in answer.best)
    highest = answer.best[0][1]
    for index, score in answer.best:
        bar = "━" * round(24 * score / highest) if score > 0 else ""
        style = "red" if index == answer.index else "dim"
        console.print(
            f"  {answer.label(index):<{width}}  {score:6.2f}  {bar}", style=style, markup=False
        )
    console.print(f"  {' · '.join(answer.facts)}", markup=False)
    console.print(f"  sheet: {path}\n", markup=False, soft_wrap=True)


def _free(path: Path, taken: Container[Path]) -> Path:
    """The path, numbered if this run has written it already."""
    candidate, count = path, 2
    while candidate in taken:
        candidate = path.with_stem(f"{path.stem}-{count}")
        count += 1
    return candidate
