"""Several methods on one photo, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rootpoint.cli.options import AsJson, Download, ModelName, Output, TargetText
from rootpoint.cli.terminal import complain, out, print_json, print_table, progress, save
from rootpoint.errors import UnsupportedModelError


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
    from rootpoint.cli.answer import Answer, answer
    from rootpoint.method import method, methods
    from rootpoint.models import DEFAULT, load
    from rootpoint.visualize import Candidate, compared, draw

    wanted = methods() if everything else dict.fromkeys(names or ())
    if not wanted:
        raise typer.BadParameter("name the methods to compare with --method, or take --all")
    chosen = [method(name) for name in wanted]
    network = load(model or DEFAULT, download=download)
    answers: list[Answer] = []
    for each in progress(chosen, "Comparing"):
        try:
            answers.append(answer(photo, network, each.bind(network.module), target))
        except UnsupportedModelError as error:
            complain(error)
    if answers:
        candidates = [
            Candidate(a.explanation.method.name, a.explanation.relevance[0], a.seconds)
            for a in answers
        ]
        facts = (*answers[0].facts[:2], network.name)
        path = output / f"{photo.stem}-compared.png"
        sheet = compared(answers[0].view, candidates, title=photo.name, facts=facts)
        save(draw(sheet), path)
        if as_json:
            documents = [{"method": a.explanation.method.name, **a.to_dict()} for a in answers]
            print_json({"model": network.name, "sheet": str(path), "methods": documents})
        else:
            rows = [
                {
                    "method": a.explanation.method.name,
                    "score": f"{a.score:.4g}",
                    "sum of relevance": f"{a.total:.4g}",
                    "seconds": f"{a.seconds:.2f}",
                }
                for a in answers
            ]
            print_table(rows)
            out().print(f"sheet: {path}", markup=False, soft_wrap=True)
    if len(answers) < len(chosen):
        raise typer.Exit(UnsupportedModelError.exit_code)
