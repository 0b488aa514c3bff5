"""Several methods on one photo, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rootpoint.cli.options import AsJson, Data, Download, ModelName, Output, TargetText
from rootpoint.cli.terminal import complain, each, out, print_json, print_table, save, talk
from rootpoint.errors import MissingExtraError, RootpointError, UnsupportedModelError

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
    data: Data = None,
    output: Output = Path("out"),
    as_json: AsJson = False,
    download: Download = False,
) -> None:
    """Explain one decision by several methods: one sheet, with what each of them cost.

    A method that cannot explain this model is reported; the others are compared all the same. With
    --all that is no failure, nor are methods whose extra is not installed, or that need --data.
    """
    from rootpoint.cli.answer import answer, fitted
    from rootpoint.data import open_photo
    from rootpoint.method import method
    from rootpoint.models import DEFAULT, load
    from rootpoint.visualize import draw

    wanted = applicable(data) if everything else tuple(dict.fromkeys(names or ()))
    if not wanted:
        raise typer.BadParameter("name the methods to compare with --method, or take --all")
    chosen = [method(name) for name in wanted]
    network = load(model or DEFAULT, download=download)
    network.tensor(open_photo(photo))  # an unreadable photo is wrong for every method: say so once
    network.target(target)
    answers: list[Answer] = []
    failures: list[RootpointError] = []
    for one in each(chosen, "Comparing"):
        try:
            bound = fitted(one, network, data).bind(network.module)
            answers.append(answer(photo, network, bound, target))
        except RootpointError as error:
            complain(error, one.name)
            if not (everything and isinstance(error, UnsupportedModelError | MissingExtraError)):
                failures.append(error)
    if not answers:
        raise typer.Exit(UnsupportedModelError.exit_code)
    path = output / f"{photo.stem}-compared.png"
    save(draw(_sheet(answers)), path)
    documents = [{"method": a.explanation.method.name, **a.to_dict()} for a in answers]
    if as_json:
        print_json({"model": network.name, "sheet": str(path), "methods": documents})
    else:
        print_table([_row(a) for a in answers])
        out().print(f"sheet: {path}", markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def applicable(data: Path | None) -> tuple[str, ...]:
    """The methods for a network and a photo; the others are named on stderr, with the reason."""
    from rootpoint.method import NEEDS, methods

    missing = {"estimator", "graph"} | ({"data"} if data is None else set())
    lacking = {name: missing & set(cls.needs) for name, cls in methods().items()}
    for name, needs in lacking.items():
        for need in needs:
            hint = ": give a folder of images with --data" if need == "data" else ""
            talk(f"without {name}, which needs {NEEDS[need]}{hint}")
    return tuple(name for name, needs in lacking.items() if not needs)


def _row(answer: Answer) -> dict[str, str]:
    """What a method found and what it cost, for a table."""
    passes = answer.explanation.passes
    return {
        "method": answer.explanation.method.name,
        "relevance": f"{answer.total:.4g}",
        "gap": "" if answer.gap is None else f"{answer.gap:.2g}",
        "forward": "" if passes is None else str(passes.forward),
        "backward": "" if passes is None else str(passes.backward),
        "seconds": f"{answer.seconds:.2f}",
        "notes": " ".join(answer.explanation.notes),
    }


def _sheet(answers: Sequence[Answer]) -> Sheet:
    from rootpoint.visualize import Candidate, compared

    first = answers[0]
    candidates = [
        Candidate(a.explanation.method.name, a.explanation.relevance[0], _cost(a)) for a in answers
    ]
    facts = (*first.facts[:2], first.model.name)
    return compared(first.view, candidates, title=first.photo.name, facts=facts)


def _cost(answer: Answer) -> str:
    """Time, passes and gap in a few words."""
    facts = (f"{answer.seconds:.2f} s", answer.explanation.passes, answer.missing)
    return ", ".join(str(fact) for fact in facts if fact is not None)
