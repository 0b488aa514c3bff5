"""All methods by all metrics on scenes whose ground truth is known: tables with 95 % intervals.

What is measured of a method is kept in a folder, one file for each, and not measured again as long
as samples, seed, metrics and the method's parameters are the same: it can be stopped at any time.

    python benchmarks/scenes.py [--samples 100] [--only lrp ...] [--output docs/scenes.md]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import rootpoint as rp
from rootpoint.evaluation import scenes
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import metric

METRICS = (
    "relevance-mass",
    "relevance-rank",
    "iou",
    "pointing-game(tolerance=2)",
    "abpc(region=4, steps=50, repetitions=1)",
    "conservation",
    "random-logit",
)
FITTED = 100  # scenes, others than those judged, that methods which need data are fitted to
PLANTS = ("tag", "watermark")  # whose place is known
# Where the defaults are dear, or one name stands for several methods. No softmax: it is over the
# outputs of all questions.
COMPOSITES = (
    "recommended",
    "epsilon",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-gamma-box(low=-1, high=1)",
    "epsilon-alpha2-beta1",
    "alpha1-beta0",
)
VARIANTS = {
    "lrp": tuple(f"lrp(composite={composite!r})" for composite in COMPOSITES),
    "deep-taylor": ("deep-taylor(low=-1, high=1)",),
    "integrated-gradients": ("integrated-gradients(steps=32)",),
    "smoothgrad": ("smoothgrad(samples=16)",),
    "occlusion": ("occlusion(window=8, stride=4)",),
    "lime": ("lime(features='patches(8)', budget=300)",),
    "shapley": ("shapley(features='patches(8)', budget=300)",),
    "prediction-difference": (
        "prediction-difference(window=8, stride=4, samples=4, measure='difference', softmax=False)",
    ),
    "meaningful-perturbation": ("meaningful-perturbation(iterations=60, jitter=1, softmax=False)",),
}
ABOUT = """# Scenes with known answers

Made by `python benchmarks/scenes.py`. {samples} scenes, seed {seed}, each with a question that the
network answers right; the means over samples with 95 % intervals (bootstrap over samples); the best
of each column and all whose interval contains its mean in bold. ↑ higher is better, ↓ lower. Truth
is the object asked about; "union" is all objects the answer depends on. Methods that need data are
fitted to {fitted} other scenes. Seconds are per explanation, 1 thread, {machine}.
Wrong answers are left out; before that, right were: {accuracy}.

"""


def judged(names: list[str]) -> list[str]:
    """What is evaluated of the named methods, or of all that explain networks."""
    known = rp.methods()
    if not names:
        names = [
            name for name, method in known.items() if not {"estimator", "graph"} & set(method.needs)
        ]
    return [text for name in names for text in VARIANTS.get(name, (name,))]


def measured(method: str, samples: int, seed: int, metrics: list[str]) -> dict[str, Any]:
    """The rows of one method: by every metric, by those with masks for the union and the plants."""
    b = scenes.benchmark(samples, seed=seed)
    fitted = fit(method, b.model, scenes.benchmark(FITTED, seed=seed + 1).inputs)
    judge = partial(evaluate, b.model, b.inputs, fitted, target=b.targets)
    found = rows(judge(metrics, masks=b.masks))
    masked = [m for m in metrics if "masks" in metric(m).needs]
    if masked:
        lenient = rows(judge(masked, masks=b.union))
        found |= {f"{name} union": row for name, row in lenient.items()}
    for plant in PLANTS if "relevance-mass" in metrics else ():
        s = scenes.shortcut(plant, samples, seed=seed)
        fitted = fit(method, s.model, scenes.shortcut(plant, FITTED, seed=seed + 1).inputs)
        mass = evaluate(
            s.model, s.inputs, fitted, "relevance-mass", target=s.targets, masks=s.masks
        )
        found[plant] = rows(mass)["relevance-mass"]
    return found


def fit(method: str, model: nn.Module, others: Tensor) -> dict[str, rp.Method]:
    """The method under its name; fitted to other scenes, if it needs data."""
    found = rp.method(method)
    return {method: found.fit(model, others) if "data" in found.needs else found}


def rows(evaluation: Any) -> dict[str, Any]:
    return {row["metric"]: row for row in evaluation.rows()}


def kept(folder: Path, method: str, samples: int, seed: int, metrics: list[str]) -> dict[str, Any]:
    """What was measured of a method, now or in an earlier run."""
    key = {
        "method": repr(rp.method(method)),
        "samples": samples,
        "seed": seed,
        "metrics": metrics,
        "rootpoint": rp.__version__,
    }
    name = "".join(c if c.isalnum() else "-" for c in method).strip("-")
    path = folder / f"{name}.json"
    if path.exists():
        before = json.loads(path.read_text())
        if before["key"] == key:
            return before
    started = time.perf_counter()
    try:
        found = {"key": key, "rows": measured(method, samples, seed, metrics), "failure": None}
    except rp.RootpointError as error:
        found = {"key": key, "rows": {}, "failure": f"{type(error).__name__}: {error}"}
    print(f"{method}: {time.perf_counter() - started:.0f} s", found["failure"] or "", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(found, indent=1))
    unfinished.replace(path)
    return found


def table(found: dict[str, dict[str, Any]], columns: list[str]) -> list[str]:
    """One line for each method, in the order of the first column."""
    direction = {
        column: row["better"] == "higher"
        for method in found.values()
        for column, row in method.items()
    }
    best = {c: leader([m[c] for m in found.values() if c in m], direction[c]) for c in columns}
    lines = ["| method | " + " | ".join(f"{c} {'↑' if direction[c] else '↓'}" for c in columns)]
    lines[0] += " | seconds |"
    lines.append("|---" * (len(columns) + 2) + "|")
    for method in sorted(found, key=lambda m: order(found[m][columns[0]], direction[columns[0]])):
        cells = [cell(found[method][column], best[column]) for column in columns]
        seconds = found[method][columns[0]]["seconds"]
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {seconds:.3f} |")
    return lines


def order(row: dict[str, Any], higher: bool) -> float:
    return math.inf if math.isnan(row["mean"]) else -row["mean"] if higher else row["mean"]


def leader(rows: list[dict[str, Any]], higher: bool) -> float:
    return min(rows, key=lambda row: order(row, higher))["mean"]


def cell(row: dict[str, Any], best: float) -> str:
    if math.isnan(row["mean"]):
        return "–"
    text = f"{row['mean']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
    return f"**{text}**" if row["low"] <= best <= row["high"] else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="these methods")
    parser.add_argument("--metrics", nargs="+", default=list(METRICS))
    parser.add_argument("--folder", type=Path, default=Path("out/scenes"), help="for what was done")
    parser.add_argument("--output", type=Path, help="file for the tables")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    done = {
        method: kept(chosen.folder, method, chosen.samples, chosen.seed, chosen.metrics)
        for method in judged(chosen.only)
    }
    found = {method: one["rows"] for method, one in done.items() if one["rows"]}
    columns = list(next(iter(found.values())))
    accuracy = scenes.benchmark(chosen.samples, seed=chosen.seed).accuracy
    text = ABOUT.format(
        samples=chosen.samples,
        seed=chosen.seed,
        fitted=FITTED,
        accuracy=", ".join(f"{kind} {100 * share:.0f} %" for kind, share in accuracy.items()),
        machine=os.uname().machine,
    )
    text += "\n".join(table(found, [c for c in columns if c not in PLANTS])) + "\n"
    if PLANTS[0] in columns:
        text += "\n## Planted shortcuts\n\nThe share of positive relevance that lies on the plant"
        text += " the network decides by (`relevance-mass`).\n\n"
        text += "\n".join(table(found, list(PLANTS))) + "\n"
    failures = {method: one["failure"] for method, one in done.items() if one["failure"]}
    if failures:
        text += "\n## Not measured\n\n"
        text += "\n".join(f"- {m}: {why.splitlines()[0]}" for m, why in failures.items()) + "\n"
    print(text)
    if chosen.output:
        chosen.output.write_text(text)


if __name__ == "__main__":
    main()
