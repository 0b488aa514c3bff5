"""The main job: `explain` photos or tables of one's own."""

from __future__ import annotations

from collections.abc import Sequence
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
from rootpoint.cli.terminal import complain, each, free, out, print_json, save
from rootpoint.errors import InputError

if TYPE_CHECKING:
    from rootpoint.cli.answer import Answer

TABLES = (".csv", ".tsv")

Rows = Annotated[
    str | None,
    typer.Option(
        "--rows", metavar="START:STOP", help="Rows of a table, counted from 0; by default, all."
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust", metavar="TYPE", help="A type that a skops file may hold; may be repeated."
    ),
]
Unpickle = Annotated[
    bool,
    typer.Option("--unpickle", help="Load a pickle, which runs the code in it, as an estimator."),
]


def explain(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO|TABLE", help="Image files; or tables (CSV) for an estimator."
        ),
    ],
    model: ModelName = None,
    target: TargetText = "predicted",
    method: MethodName = "lrp",
    settings: Settings = None,
    data: Data = None,
    output: Output = Path("out"),
    as_json: AsJson = False,
    download: Download = False,
    rows: Rows = None,
    trust: Trust = None,
    unpickle: Unpickle = False,
) -> None:
    """Say which pixels of each photo spoke for a class, in numbers and a picture.

    Writes one sheet per photo: the photo, its relevance, both together, and what was relevant.
    A photo that cannot be used is reported; the others are explained all the same.

    With --model FILE.skops, a fitted estimator of scikit-learn, say which columns spoke for the
    score of each row of a table. Writes the contributions of all rows (CSV), and bars for the first
    20. Columns that the estimator was not fitted to are ignored if it knows names.
    """
    from rootpoint.models.estimators import is_estimator

    if is_estimator(model or ""):
        from rootpoint.cli.tables import explain_tables

        explain_tables(
            photos,
            model=model or "",
            target=target,
            method=method,
            parameters=parameters(settings),
            data=data,
            output=output,
            as_json=as_json,
            rows=rows,
            trust=trust or (),
            unpickle=unpickle,
        )
        return
    _check_photos(photos, rows, trust, unpickle)
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
        path = free(output / f"{photo.stem}-{chosen.name}.png", answers)
        answers[path] = explained
        save(draw(explained.sheet), path)
        if not as_json:
            print_answer(explained, path)
    if as_json:
        documents = [{**a.to_dict(), "sheet": str(path)} for path, a in answers.items()]
        print_json({"model": network.name, "method": chosen.name, "photos": documents})
    if len(answers) < len(photos):
        raise typer.Exit(InputError.exit_code)


def print_answer(answer: Answer, path: Path) -> None:
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


def _check_photos(
    photos: Sequence[Path], rows: str | None, trust: Sequence[str] | None, unpickle: bool
) -> None:
    """Raise InputError for tables without an estimator, or options of tables without a table."""
    table = next((path for path in photos if path.suffix.lower() in TABLES), None)
    if table is not None:
        raise InputError(
            f"{table} is a table: give a fitted estimator that reads it, --model FILE.skops"
        )
    if rows is not None or trust or unpickle:
        raise InputError("--rows, --trust and --unpickle are for tables, with --model FILE.skops")
