"""What there is: methods and metrics with their parameters, models, a model's operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from rootpoint.cli.options import AsJson, Download
from rootpoint.cli.terminal import out, print_json, print_table

if TYPE_CHECKING:
    from rootpoint.evaluation.metric import Metric
    from rootpoint.method import Method


def methods(as_json: AsJson = False) -> None:
    """List the attribution methods: what each costs, promises and needs, and its parameters."""
    from rootpoint.method import NEEDS
    from rootpoint.method import methods as known

    if as_json:
        print_json([{**_common(cls), "axioms": list(cls.axioms)} for cls in known().values()])
        return
    for cls in known().values():
        _print(cls, [", ".join(cls.axioms)], NEEDS)


def metrics(as_json: AsJson = False) -> None:
    """List the metrics of explanations: which way is better, what each costs, its parameters."""
    from rootpoint.evaluation.metric import NEEDS
    from rootpoint.evaluation.metric import metrics as known

    if as_json:
        more = ("group", "better", "best")
        print_json(
            [{**_common(cls), **{k: getattr(cls, k) for k in more}} for cls in known().values()]
        )
        return
    for cls in known().values():
        best = "" if cls.best is None else f", {cls.best:g} of a perfect map"
        _print(cls, [f"{cls.group}: {cls.better} is better{best}"], NEEDS)


def models(as_json: AsJson = False) -> None:
    """List the models that can be explained by name."""
    from rootpoint.models import available

    cards = [asdict(card) for card in available()]
    if as_json:
        print_json(cards)
        return
    print_table(
        [
            {
                "model": card["name"],
                "parameters": f"{card['parameters']:.2g} M" if card["parameters"] else "",
                "weights": card["source"],
                "licence": card["licence"],
                "extra": card["needs"],
            }
            for card in cards
        ]
    )


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="See `rootpoint models`.")],
    composite: Annotated[
        str | None,
        typer.Option("--composite", metavar="NAME", help="Which rule where; by default, LRP's."),
    ] = None,
    as_json: AsJson = False,
    download: Download = False,
) -> None:
    """List a model's operations from input to output, and the rule each gets, before any runs."""
    from PIL import Image

    from rootpoint import propagation
    from rootpoint.methods.lrp import LRP
    from rootpoint.models import load

    network = load(model, download=download)
    chosen = propagation.composite(composite or LRP().chosen(network.module).composite)
    grey = network.tensor(Image.new("RGB", (network.size, network.size), "grey"))
    path = propagation.inspect(network.module, grey, chosen)
    rows = [
        {
            "index": index,
            "module": step.module,
            "operation": step.title,
            "shape": list(step.shape) if as_json else " × ".join(map(str, step.shape)),
            "rule": str(step.rule or "moves data"),
        }
        for index, step in enumerate(path, start=1)
    ]
    print_json(rows) if as_json else print_table(rows)


def _print(cls: type[Method] | type[Metric], said: Sequence[str], needs: Mapping[str, str]) -> None:
    """A method or metric with its parameters, for people."""
    console = out()
    console.print(cls.name, style="bold")
    console.print(Padding(f"{cls.summary}. Cost: {cls.cost}.", (0, 0, 0, 4)))
    for line in (*said, "; ".join(f"needs {needs[n]}" for n in cls.needs)):
        if line:
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 4)))
    for f in fields(cls):
        setting = Text(f"{f.name}={f.default}", style="cyan")
        described = ": ".join(filter(None, [f.metadata.get("help"), _bounds(f)]))
        console.print(Padding(setting.append(f"  {described}", style="default"), (0, 0, 0, 4)))


def _common(cls: type[Method] | type[Metric]) -> dict[str, Any]:
    """What is known of a method or metric, as plain values."""
    return {
        "name": cls.name,
        "summary": cls.summary,
        "cost": cls.cost,
        "needs": list(cls.needs),
        "parameters": [{"name": f.name, "default": f.default, **f.metadata} for f in fields(cls)],
    }


def _bounds(f: Field[Any]) -> str:
    """What values a parameter may have, in words; "" if any."""
    if choices := f.metadata.get("choices"):
        return ", ".join(map(str, choices))
    low, high = f.metadata.get("low"), f.metadata.get("high")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}" if high is not None else ""
