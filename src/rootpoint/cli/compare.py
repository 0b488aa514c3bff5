"""Several methods on one photo, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rootpoint.cli.options import AsJson, Download, ModelName, Output, TargetText
from rootpoint.cli.terminal import complain, out, print_json, print_table, progress, save
from rootpoint.errors import UnsupportedModelError

if TYPE_CHECKING:
    from rootpoint.cli.answer import Answer
    from rootpoint.visualize import Sheet


def compare(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="An image file.")],
    names: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="NAME", help="See `rootpoint methods`; repeat it."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Compare every method.")] = False,
    model: ModelName = None,
    target: TargetText = "predicted",
    output: Output = Path("out"),
    as_json: AsJson = False,
    download: Download = False,
) -> None:
    """Explain one decision by several methods: one sheet, all maps on one colour scale.

    A method that cannot explain this model is reported; the others are compared all the same.
    """
    from rootpoint.cli.answer import answer
    from rootpoint.method import method, methods
    from rootpoint.models import DEFAULT, load
    from rootpoint.visualize import draw

    wanted = methods() if everything else dict.fromkeys(names or ())
    if not wanted:
        raise typer.BadParameter("name the methods to compare with --method, or take --all")
    chosen = [method(name) for name in wanted]
    network = load(model or DEFAULT, download=download)
    answers: list[Answer] = []
    with progress(chosen, "Comparing") as each:
        for one in each:
            try:
                answers.append(answer(photo, network, one.bind(network.module), target))
            except UnsupportedModelError as error:
                complain(error)
    if not answers:
        raise typer.Exit(UnsupportedModelError.exit_code)
    path = output / f"{photo.stem}-compared.png"
    save(draw(_sheet(answers)), path)
    documents = [{"method": a.explanation.method.name, **a.to_dict()} for a in answers]
    if as_json:
        print_json({"model": network.name, "sheet": str(path), "methods": documents})
    else:
        columns = ("method", "score", "relevance", "seconds")
        print_table(
            [{c: d[c] if c == "method" else f"{d[c]:.4g}" for c in columns} for d in documents]
        )
        out().print(f"sheet: {path}", markup=False, soft_wrap=True)
    if len(answers) < len(chosen):
        raise typer.Exit(UnsupportedModelError.exit_code)


def _sheet(answers: Sequence[Answer]) -> Sheet:
    from rootpoint.visualize import Candidate, compared

    first = answers[0]
    candidates = [
        Candidate(a.explanation.method.name, a.explanation.relevance[0], a.seconds) for a in answers
    ]
    facts = (*first.facts[:2], first.model.name)
    return compared(first.view, candidates, title=first.photo.name, facts=facts)
