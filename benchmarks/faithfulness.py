"""Which method finds what the default network looks at: perturbation curves over real pictures.

Each method explains the true class of pictures that the network recognizes (see photos.py); then
regions of 9 × 9 pixels become noise, the most relevant first (MoRF, for AOPC), the least relevant
first (LeRF, with MoRF for ABPC). The published order is LRP > deconvolution > sensitivity > random
(Samek et al. 2017), where the maps of deconvolution and sensitivity are norms over the channels;
without the norm, the signs of what these methods project to the pixels cancel within a region. The
objects' masks judge where relevance lies.

What is finished is kept in ~/.cache/rootpoint-benchmarks: an interrupted run goes on, methods or
pictures can be added later, and two processes can share the work (`--methods`). `--fresh` forgets
what was computed with the same settings: needed when the code has changed.

    python benchmarks/faithfulness.py --output docs [--pictures 100] [--repetitions 1]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import rootpoint as rp
from photos import CACHE, Photos, photos
from rootpoint import models
from rootpoint.evaluation.candidates import Judged
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import metric
from rootpoint.evaluation.statistics import bands, difference, estimate
from rootpoint.models import ImageModel

METHODS = (
    "lrp",
    "lrp(composite='epsilon-plus')",
    "norm of deconvnet",
    "norm of guided-backprop",
    "norm of gradient",
    "sensitivity",
    "gradient-times-input",
    "deconvnet",
    "guided-backprop",
    "random",
    "edges",
)
NORM = "norm of "
PUBLISHED = ("lrp", "norm of deconvnet", "norm of gradient", "random")
TOGETHER = 8  # pictures; what an interrupted run loses
PLACES = ("pointing-game", "relevance-mass", "relevance-rank", "outside-inside", "iou")
ABOUT = """# Faithfulness of explanations of {model}

Made by `benchmarks/faithfulness.py`. {pictures} pictures that the network recognizes ({masked} with
the mask of their object), regions of {region} × {region} pixels, {per_step} of them in each of
{steps} steps, uniform noise, {repetitions} × drawn. AOPC and ABPC in units of the score (logit); in
brackets 95 % intervals, by bootstrap over pictures. PyTorch {torch}, {machine}, rootpoint
{version}.

"""


@dataclass(eq=False)
class Kept:
    """What was found, by method and picture, in a file with a line for each finding."""

    path: Path
    found: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                one = json.loads(line)
            except ValueError:  # an interrupted run left half a line
                continue
            self.found[one["method"], one["picture"]] = one

    def add(self, one: dict[str, Any]) -> None:
        self.found[one["method"], one["picture"]] = one
        with self.path.open("a") as file:
            file.write("\n" + json.dumps(one))

    def values(self, method: str, name: str, pictures: Sequence[str]) -> NDArray[np.float64]:
        """One value per picture."""
        return np.array([self.found[method, p]["values"][name] for p in pictures])

    def lines(self, method: str, name: str, pictures: Sequence[str]) -> NDArray[np.float64]:
        """The curve of each picture."""
        return np.array([self.found[method, p]["curves"][name] for p in pictures])


def recognized(model: ImageModel, count: int) -> tuple[Photos, Tensor]:
    """The first of the pictures whose class the model recognizes, well mixed, and their classes."""
    every = photos(model)
    targets, first = every.targets(model.module)
    known = first.nonzero().flatten()
    if count > len(known):
        raise SystemExit(f"the model recognizes {len(known)} pictures of {len(every)}")
    mixed = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))]
    chosen = mixed[:count].tolist()
    return every.take(chosen), targets[chosen]


def measure(
    kept: Kept, model: ImageModel, pictures: Photos, targets: Tensor, options: argparse.Namespace
) -> None:
    """Judge each method on each picture, unless it is kept; some pictures at a time."""
    started, done = perf_counter(), 0
    todo: list[tuple[list[int], list[str]]] = []
    for start in range(0, len(pictures), TOGETHER):
        group = list(range(start, min(start + TOGETHER, len(pictures))))
        missing = [
            m
            for m in options.methods
            if any((m, pictures.names[i]) not in kept.found for i in group)
        ]
        todo.append((group, missing))
    total = sum(len(group) * len(missing) for group, missing in todo)
    for group, missing in todo:
        if not missing:
            continue
        for one in judged(model, pictures.take(group), targets[group], missing, group[0], options):
            kept.add(one)
        done += len(group) * len(missing)
        left = (perf_counter() - started) / done * (total - done)
        print(f"{done} of {total} maps judged, {left / 60:.0f} minutes left", flush=True)


def judged(
    model: ImageModel,
    pictures: Photos,
    targets: Tensor,
    methods: Sequence[str],
    seed: int,
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """All values and curves of each method on each of these pictures."""
    found = evaluate(
        model.module,
        pictures.inputs,
        {method: candidate(method) for method in methods},
        wanted(options),
        target=targets.tolist(),
        masks=pictures.masks,
        seed=seed,
        compile=options.compile,
    )
    if found.failures:
        raise SystemExit(f"failed: {found.failures}")
    for method, result in found.results.items():
        values = {text.partition("(")[0]: each for text, each in result.values.items()}
        lines = next(c.lines for text, c in result.curves.items() if text.startswith("abpc"))
        for i, name in enumerate(pictures.names):
            yield {
                "method": method,
                "picture": name,
                "values": {key: float(each[i]) for key, each in values.items()},
                "curves": {key: np.asarray(line)[i].tolist() for key, line in lines.items()},
            }


def candidate(name: str) -> Judged:
    """A method by its name; "norm of" one: the norm over channels of what it gives a pixel."""
    if name == "random":
        return random
    if not name.startswith(NORM):
        return name
    method = rp.method(name.removeprefix(NORM))

    def norm(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        return method(model, inputs, targets).relevance.norm(dim=1, keepdim=True)

    return norm


def random(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    """Maps that differ between pictures, where the method of this name has one for all."""
    seeds = [crc32(x.numpy().tobytes()) for x in inputs]
    shape = (1, *inputs.shape[2:])
    draws = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws)


def wanted(options: argparse.Namespace) -> list[str]:
    given = {
        "region": options.region,
        "steps": options.steps,
        "per_step": options.per_step,
        "repetitions": options.repetitions,
    }
    return [str(metric(name, **given)) for name in ("aopc", "abpc")] + list(PLACES)


def main_table(kept: Kept, methods: Sequence[str], pictures: Sequence[str]) -> list[str]:
    """Means and intervals of the faithfulness of each method, the best ABPC first."""
    rows = []
    for method in methods:
        aopc, abpc = (kept.values(method, name, pictures) for name in ("aopc", "abpc"))
        cells = [method, str(estimate(aopc))]
        if "random" in methods:
            cells.append(str(difference(aopc, kept.values("random", "aopc", pictures))))
        rows.append((-estimate(abpc).mean, [*cells, str(estimate(abpc))]))
    over = ["AOPC − that of random"] if "random" in methods else []
    return table(["method", "AOPC", *over, "ABPC"], [row for _, row in sorted(rows)])


def places_table(kept: Kept, methods: Sequence[str], pictures: Sequence[str]) -> list[str]:
    rows = [
        [method, *(str(estimate(kept.values(method, name, pictures))) for name in PLACES)]
        for method in methods
    ]
    heads = [f"{name} {'↑' if metric(name).better == 'higher' else '↓'}" for name in PLACES]
    return table(["method", *heads], rows)


def order_table(kept: Kept, methods: Sequence[str], pictures: Sequence[str]) -> list[str]:
    """The paired differences between neighbours in the published order."""
    present = [method for method in PUBLISHED if method in methods]
    rows = []
    for better, worse in pairwise(present):
        cells = [f"{better} − {worse}"]
        for name in ("aopc", "abpc"):
            one = difference(*(kept.values(m, name, pictures) for m in (better, worse)))
            verdict = "holds" if one.low > 0 else "open" if one.high > 0 else "fails"
            cells += [str(one), verdict]
        rows.append(cells)
    return table(["difference", "AOPC", "published order", "ABPC", "published order"], rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def plot(
    kept: Kept, methods: Sequence[str], pictures: Sequence[str], per_step: int, path: Path
) -> None:
    """The mean curves, with their intervals."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    for axis, (name, title) in zip(
        axes, (("morf", "most relevant first"), ("lerf", "least relevant first")), strict=True
    ):
        for method in methods:
            mean, low, high = bands(kept.lines(method, name, pictures))
            gone = [per_step * step for step in range(len(mean))]
            (line,) = axis.plot(gone, mean, label=method, linewidth=1.5)
            axis.fill_between(gone, low, high, alpha=0.12, color=line.get_color())
        axis.set(title=title, xlabel="regions replaced by noise")
    axes[0].set_ylabel(f"score, mean of {len(pictures)} pictures")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def report(kept: Kept, pictures: Photos, options: argparse.Namespace) -> str:
    names, methods = pictures.names, options.methods
    parts = [
        ABOUT.format(
            model=options.model,
            pictures=len(names),
            masked=int(pictures.masks.any((1, 2)).sum()),
            region=options.region,
            steps=options.steps,
            per_step=options.per_step,
            repetitions=options.repetitions,
            torch=torch.__version__,
            machine=platform.machine(),
            version=rp.__version__,
        )
        + "\n".join(main_table(kept, methods, names)),
        "## The published order\n\nPaired differences, and the chance of one so far from zero if "
        "the methods were alike.\n\n" + "\n".join(order_table(kept, methods, names)),
        "## Where relevance lies\n\nOn pictures with a mask; positive relevance, summed over "
        "channels.\n\n" + "\n".join(places_table(kept, methods, names)),
        "![Perturbation curves](faithfulness.png)",
    ]
    return "\n\n".join(parts) + "\n"


def read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default=models.DEFAULT)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=1, help="of the noise; published: 10")
    parser.add_argument("--steps", type=int, default=20, help="published: 100")
    parser.add_argument("--per-step", type=int, default=5, help="regions that go; published: 1")
    parser.add_argument("--region", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="score with a compiled copy")
    parser.add_argument("--fresh", action="store_true", help="compute again what is kept")
    parser.add_argument("--output", type=Path, help="folder for faithfulness.md and .png")
    return parser.parse_args()


def main() -> None:
    options = read()
    torch.set_num_threads(options.threads)
    model = models.load(options.model)
    settings = [options.model, rp.__version__, *wanted(options)]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    path = CACHE / f"faithfulness-{key}.jsonl"
    if options.fresh:
        path.unlink(missing_ok=True)
    print(f"findings are kept in {path}", flush=True)
    kept = Kept(path)
    pictures, targets = recognized(model, options.pictures)
    measure(kept, model, pictures, targets, options)
    text = report(kept, pictures, options)
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "faithfulness.md").write_text(text, encoding="utf-8")
        plot(
            kept,
            options.methods,
            pictures.names,
            options.per_step,
            options.output / "faithfulness.png",
        )


if __name__ == "__main__":
    main()
