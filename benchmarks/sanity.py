"""Sanity checks of methods on real networks: which maps change with the model and the class?

Each method is judged on the bundled photos: by parameter randomization, by a random class, and by
the convergence of maps of random relevance (Adebayo et al. 2018; Sixt et al. 2020). What is found
for a network, method and seed is kept in a file, so that a run that was stopped goes on.

    python benchmarks/sanity.py [--photos 4] [--seeds 2] [--output docs/sanity.md]
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rootpoint import data, models
from rootpoint.errors import InputError
from rootpoint.evaluation.convergence import starts
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import metric

METHODS = {
    "gradient": "gradient",
    "gradient × input": "gradient-times-input",
    "LRP-ε": "lrp(composite='epsilon')",
    "DeepLIFT": "deeplift",
    "LRP ε-γ-box": "lrp(composite='epsilon-gamma-box')",
    "Grad-CAM": "grad-cam",
    "LRP ε-plus-flat": "lrp(composite='epsilon-plus-flat')",
    "LRP α1β0 (z⁺)": "lrp(composite='alpha1-beta0')",
    "deep Taylor": "deep-taylor",
    "excitation backprop": "excitation-backprop",
    "guided backprop": "guided-backprop",
    "deconvnet": "deconvnet",
    "edges": "edges",
}
"""Those that follow the network, those that multiply non-negative numbers, one that knows none."""

COLUMNS = {
    "parameters": "parameter-randomization",
    "signed": "parameter-randomization(similarity='signed-spearman')",
    "SSIM": "parameter-randomization(similarity='ssim')",
    "HOG": "parameter-randomization(similarity='hog')",
    "class": "random-logit",
    "class, SSIM": "random-logit(similarity='ssim')",
    "convergence": "cosine-convergence(layers=0)",
    "at positions": "cosine-convergence(over='positions', layers=0)",
}
CASCADE = "parameter-randomization"
INNER = "cosine-convergence(over='positions', layers=0, at='{}')"
LAYERS = 10

ABOUT = """# Sanity checks

Made by `benchmarks/sanity.py`: {photos} bundled photos, {seeds} draws of every random number, the
predicted class, PyTorch {torch}. Means; lower is better; 1 is a map that stays the same.

- **parameters**: layers drawn anew from the top down, rank correlation of |R| with the map of the
  trained network, mean over {layers} layers (all of them drawn anew in brackets); **signed**, of R;
  **SSIM**; **HOG**, the Pearson correlation of histograms of oriented gradients.
- **class**: rank correlation of |R|, and SSIM, with the map of another class at random.
- **convergence**: |cosine| of the maps of two random relevances at the output, over the map;
  **at positions**: over the three channels of each pixel, the median.
"""


def tables(found: dict[str, Any]) -> str:
    lines: list[str] = []
    for network, methods in found.items():
        lines += [f"\n## {network}\n", "| method | " + " | ".join(COLUMNS) + " |"]
        lines.append("|---" * (len(COLUMNS) + 1) + "|")
        for method, seeds in methods.items():
            cells = [_mean([seed["values"][name] for seed in seeds]) for name in COLUMNS.values()]
            last = _mean([[row[-1] for row in seed["cascade"]] for seed in seeds])
            texts = [f"{cell:.2f}" for cell in cells[:-2]] + [f"{c:.3f}" for c in cells[-2:]]
            texts[0] += f" ({last:.2f})"
            lines.append(f"| {method} | " + " | ".join(texts) + " |")
        undefined = np.mean(
            [np.isnan(seed["cascade"]).mean() for seeds in methods.values() for seed in seeds]
        )
        lines.append(f"\nUndefined, for maps that are zero: {undefined:.0%} of the comparisons.")
    return "\n".join(lines) + "\n"


def _mean(values: Any) -> float:
    """The mean of what is defined; NaN if nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(np.asarray(values, dtype=np.float64)))


def judge(network: str, method: str, x: Tensor, seed: int) -> dict[str, Any]:
    """All that is measured of a method on a network, as plain values."""
    model = models.load(network).module
    found = evaluate(model, x, {"it": method}, list(COLUMNS.values()), batch=4, seed=seed)
    curve = found.results["it"].curves[CASCADE]
    inner = list(starts(model, x, LAYERS).values())
    return {
        "values": {name: found.values(name, "it").tolist() for name in COLUMNS.values()},
        "layers": list(curve.x),
        "cascade": curve.lines["similarity"].tolist(),
        "inner": inner,
        "convergence": _inner(model, method, x, seed, inner),
    }


def _inner(model: Any, method: str, x: Tensor, seed: int, paths: list[str]) -> list[list[float]]:
    """Convergence at each inner module; NaN of methods that explain inputs only."""
    metrics = [metric(INNER.format(path)) for path in paths]
    try:
        found = evaluate(model, x, {"it": method}, metrics, batch=4, seed=seed)
    except InputError:
        return [[float("nan")] * len(x)] * len(paths)
    return [found.values(str(m), "it").tolist() for m in metrics]


def plot(found: dict[str, Any], file: Path) -> None:
    """Both curves of each network: the cascade, and convergence on the way down."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(found), 2, figsize=(13, 4.6 * len(found)), squeeze=False, layout="constrained"
    )
    colors = mpl.colormaps["tab20"]
    for row, (network, methods) in zip(axes, found.items(), strict=True):
        for i, (method, seeds) in enumerate(methods.items()):
            of: dict[str, Any] = {"color": colors(i), "marker": "o", "ms": 3, "label": method}
            row[0].plot(_names(seeds[0]["layers"]), _line(seeds, "cascade"), **of)
            inputs = [seed["values"][COLUMNS["at positions"]] for seed in seeds]
            line = [*_line([_turned(seed) for seed in seeds], "convergence"), _mean(inputs)]
            row[1].plot([*_names(seeds[0]["inner"]), "input"], line, **of)
        row[0].set(title=f"{network}: drawn anew from the top down to …", ylabel="Spearman of |R|")
        row[1].set(title=f"{network}: random relevance from the output to …", ylabel="|cosine|")
        for axis in row:
            axis.tick_params(axis="x", rotation=60)
            axis.grid(alpha=0.3)
        row[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=120)


def _turned(seed: dict[str, Any]) -> dict[str, Any]:
    return {"convergence": np.asarray(seed["convergence"]).T}


def _line(seeds: Sequence[dict[str, Any]], key: str) -> NDArray[np.float64]:
    lines = np.concatenate([np.asarray(seed[key], dtype=np.float64) for seed in seeds])
    return np.asarray([_mean(lines[:, k]) for k in range(lines.shape[1])])


def _names(layers: Sequence[str]) -> list[str]:
    return [layer.rpartition(" … ")[2] for layer in layers]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["mobilenet-v2", "squeezenet1.1"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--kept", type=Path, default=Path("out/sanity"), help="folder of results")
    parser.add_argument("--output", type=Path, help="file for the tables; the plot lies beside it")
    chosen = parser.parse_args()
    chosen.kept.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    found: dict[str, Any] = {network: {} for network in chosen.networks}
    for seed in range(chosen.seeds):
        for network in chosen.networks:
            model = models.load(network)
            photos = [data.open_photo(p.path) for p in data.photos()[: chosen.photos]]
            x = torch.cat([model.tensor(photo) for photo in photos])
            for number, method in enumerate(METHODS):
                if method not in chosen.methods:
                    continue
                kept = chosen.kept / f"{network}-{number}-{seed}-{len(x)}.json"
                if not kept.exists():
                    kept.write_text(json.dumps(judge(network, METHODS[method], x, seed)))
                    print(network, method, seed, flush=True)
                found[network].setdefault(method, []).append(json.loads(kept.read_text()))
    print(tables(found))
    if chosen.output:
        about = ABOUT.format(
            photos=chosen.photos, seeds=chosen.seeds, torch=torch.__version__, layers=LAYERS
        )
        chosen.output.write_text(about + tables(found))
        plot(found, chosen.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
