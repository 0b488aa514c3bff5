"""A question in a file, as the page saves it: `ask`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rootpoint.cli.options import AsJson, Output
from rootpoint.cli.serve import web_installed
from rootpoint.cli.terminal import out, print_json, print_table, save
from rootpoint.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from rootpoint.web.config import Kind
    from rootpoint.web.requests import Answer
    from rootpoint.web.served import Explained


BEST = 5  # classes listed

READ: dict[str, Kind] = {"text": "text", "row": "table", "drawing": "digits"}
"""What a model reads, by the kind of the input; others read pictures."""


def ask(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON of a request, as the page saves it; - is standard input."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="TOML file of models, as of `serve`."),
    ] = None,
    output: Output = Path("out"),
    as_json: AsJson = False,
) -> None:
    """Answer what a file asks: the request that the page and its API take.

    Makes again what was seen on the page, with contrast, edited rules and what was erased. Writes a
    picture, but of texts, whose words are printed.
    """
    with web_installed():
        from rootpoint.web.answering import answered
        from rootpoint.web.config import of_model, read_config
        from rootpoint.web.requests import read_request
        from rootpoint.web.served import explain_one, load_one

    name = "answer" if file == Path("-") else file.stem
    request = read_request(sys.stdin.read() if file == Path("-") else _text(file))
    kind = READ.get(request.input.kind, "image")
    served = load_one(of_model(read_config(config), request.model, kind))
    found = explain_one({request.model: served}, request)
    answer = answered(found)
    picture = _drawn(found, answer, name)
    path = output / f"{name}.png"
    if picture is not None:
        save(picture, path)
    if as_json:
        print_json({"request": request.model_dump(), "answer": answer.model_dump()})
    else:
        _print(answer, None if picture is None else path)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text: {error}") from error


def _drawn(found: Explained, answer: Answer, title: str) -> Image | None:
    """A sheet of a picture, bars of a row; None for texts."""
    from rootpoint.visualize import draw, explained
    from rootpoint.web.answering import relevance_of

    if found.served.kind == "text":
        return None
    if found.seen.view is None:
        return found.explanation.plot()
    scores = [(one.name, one.score) for one in answer.best[:BEST]]
    sheet = explained(
        found.seen.view, relevance_of(found), title=title, facts=_facts(answer), scores=scores
    )
    return draw(sheet)


def _facts(answer: Answer) -> tuple[str, ...]:
    from rootpoint.visualize import number

    other = f" rather than {answer.contrast.name}" if answer.contrast else ""
    gap = () if answer.gap is None else (f"gap {number(answer.gap)}",)
    return (
        f"explained: {answer.target.name}{other}",
        f"score {number(answer.score)}",
        f"sum of relevance {number(answer.relevance_sum)}",
        *gap,
        answer.method,
        answer.model,
    )


def _print(answer: Answer, picture: Path | None) -> None:
    """What was explained; of texts their words."""
    console = out()
    console.print(" · ".join(_facts(answer)), markup=False)
    if picture is not None:
        console.print(f"picture: {picture}", markup=False, soft_wrap=True)
    elif answer.relevance.kind == "words":
        pairs = zip(answer.relevance.words, answer.relevance.values, strict=True)
        print_table([{"word": word, "relevance": f"{value:+.4g}"} for word, value in pairs])
