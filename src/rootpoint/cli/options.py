"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="See `rootpoint models`, by default the first; or FILE.skops, an estimator.",
    ),
]
MethodName = Annotated[
    str, typer.Option("--method", metavar="NAME", help="See `rootpoint methods`.")
]
TargetText = Annotated[
    str,
    typer.Option("--target", metavar="TARGET", help="predicted, a class index, or a class name."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PARAMETER=VALUE",
        help="A parameter of the method, see `rootpoint methods`; may be repeated.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR|TABLE",
        help="A folder of images, or a table, for methods that are fitted to data.",
    ),
]
Output = Annotated[
    Path, typer.Option("--output", metavar="DIR", help="Where pictures are written.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Let torchvision or timm fetch missing weights.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def parameters(settings: Sequence[str] | None) -> dict[str, str]:
    """The `parameter=value` pairs of `--set` as a mapping."""
    pairs = [setting.partition("=") for setting in settings or ()]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise typer.BadParameter(f"--set {name!r}: write it as parameter=value")
    return {name.strip(): value.strip() for name, _, value in pairs}


def bounds(option: str, given: Sequence[str] | None) -> dict[str, float]:
    """The `METRIC=VALUE` pairs of an option as a mapping."""
    found: dict[str, float] = {}
    for text in given or ():
        name, _, value = text.rpartition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            name = ""
        if not name.strip():
            raise typer.BadParameter(f"{option} {text!r}: write it as METRIC=VALUE, a number")
    return found
