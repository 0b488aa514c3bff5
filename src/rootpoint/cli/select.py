"""The method that explains a model best, searched on the photos of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rootpoint.cli.options import AsJson, Download, ModelName, TargetText, bounds
from rootpoint.cli.terminal import out, print_json, print_table, written

if TYPE_CHECKING:
    from rootpoint.evaluation.selection import Selection

SHOWN = 5  # trials of each round in the table


def select(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of images.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="A candidate; repeat it. By default all presets and quick methods.",
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", metavar="METRIC", help="What decides.")
    ] = "abpc(region=16, steps=12, per_step=16, repetitions=1)",
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--bound",
            metavar="METRIC=VALUE",
            help="The worst that another metric's mean may be, or that of cost; repeat it.",
        ),
    ] = None,
    model: ModelName = None,
    target: TargetText = "predicted",
    held_out: Annotated[
        float, typer.Option(min=0, max=1, help="The share of photos to judge by at the end.")
    ] = 0.5,
    width: Annotated[
        int, typer.Option(min=0, help="Composites to begin with; 0: only candidates.")
    ] = 32,
    samples: Annotated[int, typer.Option(min=1, help="Photos of the first round.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the split, the search and the metric.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where the winner is written.")
    ] = Path("best.json"),
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="From which an interrupted search goes on."),
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Score by torch.compile: faster, after a while.")
    ] = False,
    as_json: AsJson = False,
    download: Download = False,
) -> None:
    """Search the method, and the rule for each range of layers, that explains a model best.

    Composites and methods compete on one half of the photos; on the other half the winner is
    compared with all of them. It is written as JSON, for `--method FILE`. With the default model
    and 50 photos this takes some ten minutes.
    """
    import torch

    from rootpoint.cli.answer import images
    from rootpoint.data import open_photo
    from rootpoint.evaluation.selection import select as search
    from rootpoint.evaluation.space import SPACE
    from rootpoint.models import DEFAULT, load

    if output.suffix != ".json":
        raise typer.BadParameter(f"--output {output}: a method's file ends in .json")
    with written(output):  # before the search, not after it
        output.parent.mkdir(parents=True, exist_ok=True)
    criteria: dict[Any, str | float] = {metric: "best", **bounds("--bound", limits)}
    network = load(model or DEFAULT, download=download)
    photos = torch.cat([network.tensor(open_photo(path)) for path in images(folder)])
    found = search(
        network.module,
        photos,
        candidates=names or None,
        space=SPACE if width else None,
        criteria=criteria,
        target=network.target(target),
        held_out=held_out,
        samples=samples,
        width=max(width, 1),
        seed=seed,
        compile=compile,
        checkpoint=checkpoint,
    )
    with written(output):
        found.method.save(output)
    if as_json:
        print_json({"model": network.name, "seed": seed, "file": str(output), **document(found)})
        return
    talk = out().print
    talk(f"training: {len(found.split[0])} photos, by {metric}", markup=False)
    print_table(_training(found))
    talk(f"\nheld out: {len(found.split[1])} photos", markup=False)
    print_table(_held_out(found))
    for name, why in found.failures.items():
        talk(f"without {name}: {why}", markup=False, soft_wrap=True)
    talk(f"winner: {found.winner}", markup=False, soft_wrap=True)
    talk(f"file: {output}", markup=False, soft_wrap=True)


def _training(found: Selection) -> list[dict[str, str]]:
    """The best of each round; methods come last, where long text folds."""
    rows = []
    for number in sorted({trial.round for trial in found.training}):
        trials = [trial for trial in found.training if trial.round == number]
        rows += [
            {
                "round": f"{number}",
                "photos": f"{trial.samples}",
                "rank": f"{rank} of {len(trials)}",
                "mean [95 %]": str(trial.estimate),
                **{name: f"{value:.3g}" for name, value in trial.bounded.items()},
                "method": trial.method,
            }
            for rank, trial in enumerate(trials[:SHOWN], 1)
        ]
    return rows


def _held_out(found: Selection) -> list[dict[str, str]]:
    """Every method on the held-out photos, the best first, and the winner's lead over it."""
    leads = found.differences
    return [
        {
            "rank": f"{rank}",
            "mean [95 %]": str(found.held_out.mean(found.metric, name)),
            "winner − it": "" if name == found.winner else str(leads[name]),
            "seconds": f"{found.held_out.results[name].seconds:.2f}",
            "method": f"{name} (winner)" if name == found.winner else name,
        }
        for rank, name in enumerate(found.held_out.ranking(found.metric), 1)
    ]


def document(found: Selection) -> dict[str, Any]:
    """A selection as plain values, ready for JSON: undefined numbers are null."""
    from rootpoint.evaluation.result import plain

    training = [
        {
            "round": trial.round,
            "method": trial.method,
            **plain(trial.estimate._asdict()),
            "bounded": plain(trial.bounded),
            "met": trial.met,
        }
        for trial in found.training
    ]
    return {
        "winner": found.winner,
        "finalists": list(found.finalists),
        "split": {"training": list(found.split[0]), "held_out": list(found.split[1])},
        "training": training,
        "held_out": [plain(row) for row in found.held_out.rows()],
        "differences": {
            name: plain(difference._asdict()) for name, difference in found.differences.items()
        },
        "metric": found.metric,
        "failures": dict(found.failures),
        "configuration": dict(found.held_out.configuration),
    }
