"""How good explanations of photos are: tables, a report, and a check for CI."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rootpoint import errors
from rootpoint.cli.compare import applicable
from rootpoint.cli.options import AsJson, Data, Download, ModelName, TargetText, bounds
from rootpoint.cli.terminal import out, print_json, print_table, talk, written
from rootpoint.errors import InputError, MissingExtraError, RootpointError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.evaluation.metric import Metric
    from rootpoint.evaluation.result import Evaluation
    from rootpoint.method import Method
    from rootpoint.models import ImageModel

FORMS = (".html", ".json", ".csv")


def evaluate(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO_OR_DIR...", help="Images, or folders of them.")
    ],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--method", metavar="NAME", help="See `rootpoint methods`; repeat it. By default lrp."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Judge every method.")] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="See `rootpoint metrics`; repeat it."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            metavar="DIR",
            help="What each photo's decision depends on: images named and sized as the photos "
            "are, black outside.",
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            metavar="METRIC=VALUE",
            help="Exit with 5 if the mean of the first --method is worse; repeat it.",
        ),
    ] = None,
    model: ModelName = None,
    target: TargetText = "predicted",
    batch: Annotated[int, typer.Option(min=1, help="Inputs at once, at most.")] = 32,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    output: Annotated[
        Path,
        typer.Option(
            "--output", metavar="DIR", help="Where evaluation.html, .json and .csv are written."
        ),
    ] = Path("out"),
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="From which an interrupted evaluation goes on."),
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Score by torch.compile: faster, after a while.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
    download: Download = False,
) -> None:
    """Judge how well methods explain a model's decisions on photos: tables and a report.

    --fail-under compares the mean over photos: worse is less than VALUE of a metric where higher is
    better, and more where lower is better. One that is defined for no photo fails, too. A method
    that cannot be judged is reported, and the others are judged all the same; with --all that is no
    failure.
    """
    from rootpoint.evaluation.evaluate import METRICS
    from rootpoint.evaluation.evaluate import evaluate as judge
    from rootpoint.evaluation.metric import metric
    from rootpoint.method import method
    from rootpoint.models import DEFAULT, load

    if fail_under and everything and not names:
        raise typer.BadParameter("--fail-under checks the first --method: name it beside --all")
    chosen = [metric(text) for text in metrics or METRICS]
    wanted = _wanted(fail_under, chosen)
    listed = [*(names or ()), *(applicable(data) if everything else ())]
    methods = list(dict.fromkeys(method(name) for name in listed or ["lrp"]))
    with written(output):  # before the evaluation, not after it
        output.mkdir(parents=True, exist_ok=True)
    network = load(model or DEFAULT, download=download)
    files, goal = _files(photos), network.target(target)
    inputs, inside = _read(files, masks, network)
    fit, unfit = _fitted(methods, network, data)
    found = judge(
        network.module,
        inputs,
        fit,
        chosen,
        target=goal,
        masks=inside,
        batch=batch,
        seed=seed,
        compile=compile,
        checkpoint=checkpoint,
    )
    command = _command(files, masks, network, methods, chosen, target, seed)
    about = {"photos": [str(path) for path in files], "command": command}
    found = replace(
        found,
        failures={**unfit, **found.failures},
        configuration={**found.configuration, "model": network.name, **about},
    )
    _pictured(found, network)
    _told(found, _saved(found, output), as_json)
    _checked(found, wanted, str(methods[0]), everything)


# -- what is judged -------------------------------------------------------------------------------


def _wanted(given: Sequence[str] | None, chosen: list[Metric]) -> dict[str, float]:
    """The bounds of --fail-under by the metrics' texts; a metric not yet chosen is added."""
    from rootpoint.evaluation.metric import metric

    found: dict[str, float] = {}
    for text, value in bounds("--fail-under", given).items():
        one = metric(text)
        meant = [m for m in chosen if m == one] or [m for m in chosen if m.name == text]
        if len(meant) > 1:
            raise InputError(
                f"--fail-under {text}: could be {' or '.join(map(str, meant))}; write it like that"
            )
        if not meant:
            chosen.append(one)
        found[str((meant or [one])[0])] = value
    return found


def _files(given: Sequence[Path]) -> list[Path]:
    """The photos named, and those in the folders named, once each."""
    from rootpoint.cli.answer import images

    found = [file for path in given for file in (images(path) if path.is_dir() else [path])]
    return list(dict.fromkeys(found))


def _read(
    files: Sequence[Path], folder: Path | None, network: ImageModel
) -> tuple[Tensor, Tensor | None]:
    """The photos (N, 3, S, S) as the network is fed them, and their masks (N, S, S)."""
    import torch

    from rootpoint.cli.masks import mask, mask_files
    from rootpoint.data import open_photo

    paths = None if folder is None else mask_files(folder, files)
    inputs: list[Tensor] = []
    masks: list[Tensor] = []
    for number, file in enumerate(files):
        photo = open_photo(file)
        inputs.append(network.tensor(photo))
        if paths is not None:
            masks.append(mask(paths[number], file, photo.size, network.preprocessing))
    return torch.cat(inputs), torch.stack(masks) if masks else None


def _fitted(
    methods: Sequence[Method], network: ImageModel, data: Path | None
) -> tuple[dict[str, Method], dict[str, str]]:
    """The methods by their names, fitted where they need data, and what those raised that fail."""
    from rootpoint.cli.answer import fitted

    found: dict[str, Method] = {}
    failures: dict[str, str] = {}
    for one in methods:
        try:
            found[str(one)] = fitted(one, network, data)
        except RootpointError as error:
            if len(methods) == 1:
                raise
            failures[str(one)] = f"{type(error).__name__}: {error}"
    return found, failures


# -- what was found -------------------------------------------------------------------------------


def _pictured(found: Evaluation, network: ImageModel) -> None:
    """Turn the inputs of examples into pictures, with values from 0 to 1."""
    low, high = network.low, network.high
    for result in found.results.values():
        result.examples = [
            (((given - low) / (high - low)).clamp(0, 1), relevance)
            for given, relevance in result.examples
        ]


def _saved(found: Evaluation, folder: Path) -> list[Path]:
    paths = [folder / f"evaluation{form}" for form in FORMS]
    for path in paths:
        found.save(path)
    return paths


def _told(found: Evaluation, paths: Sequence[Path], as_json: bool) -> None:
    from rootpoint.evaluation.result import plain

    for name, why in found.failures.items():
        talk(f"{name}: {why}")
    if as_json:
        document = {
            "model": found.configuration["model"],
            "files": [str(path) for path in paths],
            "means": [plain(row) for row in found.rows()],
            "failures": dict(found.failures),
            "configuration": plain(found.configuration),
        }
        print_json(document)
        return
    for text, metric in found.metrics.items():
        out().print(f"{text}: {metric.better} is better", style="bold", markup=False)
        print_table(_ranked(found, text))
        out().print()
    out().print(f"report: {paths[0]}", markup=False, soft_wrap=True)


def _ranked(found: Evaluation, metric: str) -> list[dict[str, str]]:
    """The methods, the best first, and the best one's lead; long names fold in the last column."""
    best, *_ = ranking = found.ranking(metric)
    leads = {name: found.difference(metric, best, name) for name in ranking[1:]}
    return [
        {
            "rank": f"{rank}",
            "mean [95 %]": str(found.mean(metric, name)),
            "best − it": leads[name].interval if name in leads else "",
            "p": f"{leads[name].p:.2g}" if name in leads else "",
            "method": name,
        }
        for rank, name in enumerate(ranking, 1)
    ]


def _checked(found: Evaluation, wanted: Mapping[str, float], first: str, everything: bool) -> None:
    """Exit as the first method's failure does, or a failed check, or that of another method."""
    kinds = {name: _kind(why) for name, why in found.failures.items()}
    if wanted and first in kinds:
        raise typer.Exit(kinds[first].exit_code)
    if wanted:
        found.check(wanted, first)
    excused = (UnsupportedModelError, MissingExtraError) if everything else ()
    counted = [kind for kind in kinds.values() if not issubclass(kind, excused)]
    if counted:
        raise typer.Exit(counted[0].exit_code)


def _kind(why: str) -> type[RootpointError]:
    """The class of an error from its text, which begins with its name."""
    found: Any = getattr(errors, why.partition(":")[0], UnsupportedModelError)
    return found


def _command(
    files: Sequence[Path],
    masks: Path | None,
    network: ImageModel,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    target: str,
    seed: int,
) -> str:
    """The command that gives the same values."""
    words = ["rootpoint", "evaluate", *map(str, files), "--model", network.name]
    words += [word for one in methods for word in ("--method", str(one))]
    words += [word for one in metrics for word in ("--metric", str(one))]
    words += [] if masks is None else ["--masks", str(masks)]
    return " ".join(map(_quoted, [*words, "--target", target, "--seed", str(seed)]))


def _quoted(word: str) -> str:
    """A word for a shell: names of methods, which hold single quotes, in double ones."""
    return f'"{word}"' if "'" in word and not set(word) & set('"\\$`!') else shlex.quote(word)
