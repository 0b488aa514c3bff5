"""Which composite explains the default network best: found on one half of the pictures, judged on
the other, against every preset and every other method.

Half of the pictures of photos.py (by object, so that none is on both sides) choose the composite;
on the other half it is compared with all others, picture by picture. All are perturbed with the
same noise. Methods that take hundreds of evaluations are compared on some of these pictures only.
Writes a report and the winner; what was measured is kept, so that an interrupted run goes on.

    python benchmarks/selection.py [--width 32] [--output docs/selection.md] [--method best.json]
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

import rootpoint as rp
from photos import CACHE, Photos, photos
from rootpoint import models
from rootpoint.evaluation.selection import DEAR, Selection, contestants, select
from rootpoint.evaluation.statistics import difference, estimate

METRIC = str(rp.metric("abpc", region=16, steps=14, per_step=14, repetitions=1))
DEARER = {*DEAR, "integrated-gradients", "occlusion", "smoothgrad"}
ABOUT = """# The composite for {model}, chosen by evidence

Made by `benchmarks/selection.py` from {pictures} pictures of `benchmarks/photos.py`: {train} to
search on, {held} held out; no object is on both sides. The explained class is that of the labels
that the network prefers. Seed {seed}, PyTorch {torch}, {machine}.

    {winner}

ABPC is the area between the curves of least and of most relevant first, in logits: more is better.
`{metric}` puts uniform noise in place of 16 × 16 pixels at a
time, until the whole picture is gone, as ABPC (SRG) is published. Intervals are 95 %, by bootstrap
over pictures; p is of the sign-flip test, on paired differences. The winner was chosen on the
training pictures alone.

## On held-out pictures

| method | ABPC | winner − method | p | seconds |
|---|---|---|---|---|
"""
SOME = """
## Methods that take dozens to hundreds of evaluations, on {count} of the held-out pictures

| method | ABPC | winner − method | p | seconds |
|---|---|---|---|---|
"""
ROUNDS = """
## The search

The best of each round, on its pictures: successive halving, in which the best composites have
children that differ in one range.

| round | pictures | of | ABPC | method |
|---|---|---|---|---|
"""


def search(
    model: models.ImageModel, pictures: Photos, held: Sequence[int], chosen: argparse.Namespace
) -> Selection:
    return select(
        model.module,
        pictures.inputs,
        criteria=METRIC,
        candidates=[m for m in contestants() if m.name not in DEARER],
        target=pictures.targets(model.module)[0],
        held_out=held,
        samples=chosen.samples,
        width=chosen.width,
        generations=chosen.generations,
        seed=chosen.seed,
        compile=chosen.compile,
        checkpoint=chosen.checkpoint,
    )


def held_out(found: Selection) -> Iterator[str]:
    leads = found.differences
    for name in found.held_out.ranking(found.metric):
        mean = found.held_out.mean(found.metric, name)
        lead = leads.get(name)
        difference = " | " if lead is None else f"{lead.mean:+.2f} {ends(lead)} | {lead.p:.1g}"
        seconds = found.held_out.results[name].seconds
        label = "**the winner**" if name == found.winner else f"`{name}`"
        yield f"| {label} | {mean.mean:.2f} {ends(mean)} | {difference} | {seconds:.2f} |"


def ends(found: rp.Estimate | rp.Difference) -> str:
    return f"[{found.low:.2f}, {found.high:.2f}]"


def dear(
    model: models.ImageModel, pictures: Photos, found: Selection, chosen: argparse.Namespace
) -> Iterator[str]:
    """The dear methods on the first held-out pictures, whose noise is that of the comparison."""
    some = pictures.take(found.split[1][: chosen.dear])
    winner = found.held_out.values(found.metric, found.winner)[: len(some)]
    targets = some.targets(model.module)[0]
    known = pictures.take(found.split[0]).inputs
    for name in sorted(DEARER):
        method = rp.method(name).fit(model.module, known)  # itself, unless it learns from data
        judged = rp.evaluate(
            model.module, some.inputs, {name: method}, METRIC, target=targets, seed=chosen.seed
        )
        values = judged.values("abpc", name)
        mean, lead = estimate(values), difference(winner, values)
        yield (
            f"| `{name}` | {mean.mean:.2f} {ends(mean)} | {lead.mean:+.2f} {ends(lead)} | "
            f"{lead.p:.1g} | {judged.results[name].seconds:.1f} |"
        )
        print(name, lead, file=sys.stderr, flush=True)


def rounds(found: Selection, best: int = 3) -> Iterator[str]:
    for number in sorted({trial.round for trial in found.training}):
        trials = [trial for trial in found.training if trial.round == number]
        for rank, trial in enumerate(trials[:best], 1):
            mean = trial.estimate
            yield (
                f"| {number} | {trial.samples} | {rank} of {len(trials)} | "
                f"{mean.mean:.2f} {ends(mean)} | `{trial.method}` |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default=models.DEFAULT)
    parser.add_argument("--pictures", type=int, help="only so many of them, for a trial")
    parser.add_argument("--samples", type=int, default=20, help="pictures of the first round")
    parser.add_argument("--width", type=int, default=12, help="composites of the first round")
    parser.add_argument("--generations", type=int, default=1)
    parser.add_argument("--dear", type=int, default=5, help="pictures for dear methods")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="score by torch.compile")
    parser.add_argument("--checkpoint", type=Path, default=CACHE / "select.jsonl")
    parser.add_argument("--output", type=Path, default=Path("docs/selection.md"))
    parser.add_argument("--method", type=Path, default=Path("out/best.json"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = models.load(chosen.model)
    pictures = photos(model)
    if chosen.pictures:
        step = len(pictures) / chosen.pictures
        pictures = pictures.take([int(i * step) for i in range(chosen.pictures)])
    kept = set(pictures.split()[1].names)
    held = [number for number, name in enumerate(pictures.names) if name in kept]
    found = search(model, pictures, held, chosen)
    print(found.winner, file=sys.stderr, flush=True)
    chosen.method.parent.mkdir(parents=True, exist_ok=True)
    found.method.save(chosen.method)
    lines = list(held_out(found))
    if chosen.dear:
        lines.append(SOME.format(count=min(chosen.dear, len(held))).rstrip("\n"))
        lines += dear(model, pictures, found, chosen)
    lines += [ROUNDS.rstrip("\n"), *rounds(found)]
    lines += [f"\nNot judged: {name}. {why}" for name, why in found.failures.items()]
    about = ABOUT.format(
        model=model.name,
        pictures=len(pictures),
        train=len(found.split[0]),
        held=len(held),
        seed=chosen.seed,
        torch=torch.__version__,
        machine=platform.machine(),
        winner=found.winner,
        metric=METRIC,
    )
    chosen.output.write_text(about + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
