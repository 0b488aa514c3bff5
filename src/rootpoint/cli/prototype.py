"""What a model takes for a class: pictures that maximize it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rootpoint.cli.options import AsJson, Download, ModelName, Output
from rootpoint.cli.terminal import out, print_json, print_table, save
from rootpoint.errors import InputError

if TYPE_CHECKING:
    from rootpoint.models import ImageModel
    from rootpoint.prototypes import Prototype


def prototype(
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="TARGET", help="A class index or a class name; repeat it."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every class of the model.")] = False,
    model: ModelName = None,
    count: Annotated[int, typer.Option(min=1, help="Different prototypes per class.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the noise and the random movements.")] = 0,
    output: Output = Path("out"),
    as_json: AsJson = False,
    download: Download = False,
) -> None:
    """Search the picture that a class's score is highest for: what the model takes for the class.

    Writes one picture per prototype and a contact sheet of all. A prototype takes as many forward
    and backward passes as there are steps: with the default model some ten seconds.
    """
    from rootpoint.models import DEFAULT, load
    from rootpoint.prototypes import prototype as search

    if not (targets or everything):
        raise typer.BadParameter("name the classes with --target, or take --all")
    network = load(model or DEFAULT, download=download)
    chosen = _classes(network, None if everything else targets)
    found = search(
        network, chosen, count=count, diversity=DIVERSITY * (count > 1), steps=steps, seed=seed
    )
    paths = _save(found, output)
    sheet = output / "prototypes.png"
    save(found.sheet(), sheet)
    rows = [
        {"index": i, "name": name, "score": score, "probability": probability, "picture": str(path)}
        for i, name, score, probability, path in zip(
            found.targets,
            found.names,
            found.score.tolist(),
            _probabilities(found),
            paths,
            strict=True,
        )
    ]
    if as_json:
        document = {"model": network.name, "steps": steps, "seed": seed, "sheet": str(sheet)}
        print_json({**document, "notes": list(found.notes), "prototypes": rows})
        return
    print_table([{**r, "score": f"{r['score']:.2f}", **_rounded(r)} for r in rows])
    for note in found.notes:
        out().print(f"note: {note}", markup=False)
    out().print(f"sheet: {sheet}", markup=False, soft_wrap=True)


DIVERSITY = 20.0  # logits that one prototype loses when it is the same as the others


def _classes(network: ImageModel, targets: list[str] | None) -> list[int]:
    """The indices of the classes wanted, each once."""
    if targets is None:
        if network.classes is None:
            raise InputError(f"{network.name} does not list its classes: name them by --target")
        return list(range(len(network.classes)))
    indices = [network.target(text) for text in targets]
    if "predicted" in indices:
        raise InputError("a prototype needs a class: nothing is predicted without a photo")
    return list(dict.fromkeys(int(i) for i in indices))


def _save(found: Prototype, output: Path) -> list[Path]:
    """Write each picture, named by its class and numbered within it."""
    paths: list[Path] = []
    for index, name, picture in zip(found.targets, found.names, found.pictures, strict=True):
        slug = re.sub(r"\W+", "-", name).strip("-").lower()
        number = 1 + sum(p.name.startswith(f"prototype-{index}-") for p in paths)
        paths.append(output / f"prototype-{index}-{slug}-{number}.png")
        save(picture, paths[-1])
    return paths


def _probabilities(found: Prototype) -> list[float | None]:
    return [None] * len(found.names) if found.probability is None else found.probability.tolist()


def _rounded(row: dict[str, Any]) -> dict[str, str]:
    p = row["probability"]
    return {"probability": "" if p is None else f"{p:.3f}"}
