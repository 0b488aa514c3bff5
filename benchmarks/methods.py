"""Speed of the methods that run a model many times, against Captum, in one process.

Both libraries explain the same image of the same network with the same features and the same number
of model evaluations, 1 thread; Captum at the best of several `perturbations_per_eval`. Then: how
many evaluations Shapley values need for the same error. Writes the tables to a file.

    python benchmarks/methods.py [--runs 3] [--output docs/speed-methods.md]
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import rootpoint as rp
from measuring import Run, gradient, seconds, torchvision_model
from rootpoint import data, models

STEPS = 50
GRID = (3, 4)  # features of the sampling methods: few enough for exact Shapley values
SAMPLES = 8  # permutations
BATCHES = (1, 4, 16)  # perturbations_per_eval
BOUNDS = {
    "integrated-gradients": "1.05",
    "deeplift": "2.0",
    "occlusion": "0.6",
    "shapley, permutation": "0.6",
    "shapley, kernel": "0.6",
    "lime": "0.6",
}
ABOUT = """# Speed of the other methods

Made by `make bench` (`benchmarks/methods.py`). One image, 1 thread, each timed {runs} × in turns
after a warm-up, PyTorch {torch}, {machine}. Captum runs at the best of {batches} perturbations per
evaluation. The bound is ours: for backward methods on the ratio to a plain gradient (times the
steps), for sampling methods on the ratio to Captum at the same number of model evaluations.

| model | method | evaluations | seconds | Captum | ratio | bound |
|---|---|---|---|---|---|---|
"""
ERRORS = """
## Evaluations for the same error

The root mean square error of {features} Shapley values of a photo's score on mobilenet-v2, against
the exact ones, for an equal number of evaluations (mean over {seeds} seeds), and how many
evaluations each needs for the error of Captum's permutation sampling: the error falls with the root
of their number.

| estimator | evaluations | error | evaluations for the same error |
|---|---|---|---|
"""


def grid(height: int, width: int) -> Tensor:
    """A feature mask (1, 1, H, W) of GRID rectangles."""
    rows = torch.arange(height) * GRID[0] // height
    columns = torch.arange(width) * GRID[1] // width
    return (rows[:, None] * GRID[1] + columns)[None, None]


def fastest(name: str, runs: dict[str, Run], x: Tensor, repeats: int) -> float:
    taken = seconds({n: r for n, r in runs.items() if n.startswith(name)}, x, repeats)
    return min(taken.values())


def backward_rows(name: str, model: nn.Module, x: Tensor, repeats: int) -> list[str]:
    """Integrated gradients per step, and DeepLIFT, in gradients."""
    from captum.attr import DeepLift, IntegratedGradients

    integrated = rp.IntegratedGradients(steps=STEPS).bind(model)
    lift = rp.DeepLift().bind(model)
    captum_lift = DeepLift(model)
    runs: dict[str, Run] = {
        "gradient": gradient(model),
        "deeplift": lambda x: lift.attribute(x, target=0),
        "integrated": lambda x: integrated.attribute(x, target=0),
        "Captum integrated": lambda x: IntegratedGradients(model).attribute(
            x, target=0, n_steps=STEPS, internal_batch_size=4
        ),
    }
    if all(not isinstance(m, nn.ReLU | nn.ReLU6) or not m.inplace for m in model.modules()):
        runs["Captum deeplift"] = lambda x: captum_lift.attribute(x, target=0)
    taken = seconds(runs, x, repeats)
    one = taken["gradient"]
    rows = []
    for method, key, passes in (
        ("integrated-gradients", "integrated", STEPS),
        ("deeplift", "deeplift", 1),
    ):
        captum = taken.get(f"Captum {key}")
        other = "" if captum is None else f"{captum / one / passes:.2f} gradients"
        ours = f"{taken[key] / one / passes:.2f}"
        rows.append(row(name, method, passes, taken[key], other, f"{ours} gradients", method))
    return rows


def sampling_rows(name: str, model: nn.Module, x: Tensor, repeats: int) -> list[str]:
    """Occlusion, Shapley values and LIME at equal numbers of evaluations."""
    from captum import attr

    mask = grid(*x.shape[-2:])
    features = GRID[0] * GRID[1]
    budget = SAMPLES * features
    size = (3, 32, 32)
    windows = (x.shape[-1] // 32) ** 2

    def shapley(estimator: str) -> Run:
        method = rp.Shapley(features=mask[0], baseline=0.0, estimator=estimator, budget=budget)
        bound = method.bind(model)
        return lambda x: bound.attribute(x, target=0)

    occlusion = rp.Occlusion(window=32, stride=32, baseline=0.0).bind(model)
    lime = rp.LIME(features=mask[0], baseline=0.0, budget=budget).bind(model)
    ours: dict[str, tuple[int, Run]] = {
        "occlusion": (windows, lambda x: occlusion.attribute(x, target=0)),
        "shapley, permutation": (budget, shapley("permutation")),
        "shapley, kernel": (budget, shapley("kernel")),
        "lime": (budget, lambda x: lime.attribute(x, target=0)),
    }
    peers: dict[str, Callable[[int], Run]] = {
        "occlusion": lambda n: (
            lambda x: attr.Occlusion(model).attribute(
                x, size, strides=size, target=0, perturbations_per_eval=n
            )
        ),
        "shapley, permutation": lambda n: (
            lambda x: attr.ShapleyValueSampling(model).attribute(
                x, target=0, feature_mask=mask, n_samples=SAMPLES, perturbations_per_eval=n
            )
        ),
        "shapley, kernel": lambda n: (
            lambda x: attr.KernelShap(model).attribute(
                x, target=0, feature_mask=mask, n_samples=budget, perturbations_per_eval=n
            )
        ),
        "lime": lambda n: (
            lambda x: attr.Lime(model).attribute(
                x, target=0, feature_mask=mask, n_samples=budget, perturbations_per_eval=n
            )
        ),
    }
    rows = []
    for method, (evaluations, run) in ours.items():
        runs = {"ours": run} | {f"Captum {n}": peers[method](n) for n in BATCHES}
        with torch.no_grad():
            taken = seconds(runs, x, repeats)
        captum = min(t for n, t in taken.items() if n != "ours")
        ratio = f"{taken['ours'] / captum:.2f}"
        rows.append(row(name, method, evaluations, taken["ours"], f"{captum:.2f} s", ratio, method))
    return rows


def row(
    name: str, method: str, evaluations: int, taken: float, captum: str, ratio: str, key: str
) -> str:
    cells = (name, method, evaluations, f"{taken:.2f}", captum, ratio, BOUNDS[key])
    line = "| " + " | ".join(map(str, cells)) + " |"
    print(line, flush=True)
    return line


def error_rows(seeds: int) -> list[str]:
    """How far from the exact Shapley values each estimator is after the same evaluations."""
    from captum.attr import KernelShap, ShapleyValueSampling

    network = models.load()
    x = network.tensor(data.open_photo(data.photos()[0].path))
    mask, features = grid(*x.shape[-2:]), GRID[0] * GRID[1]
    target = int(network.module(x).argmax())
    budget = SAMPLES * features
    sizes = torch.bincount(mask.flatten()) * x.shape[1]

    def values(relevance: Tensor) -> Tensor:
        return torch.zeros(features).index_add_(0, mask.flatten(), relevance.sum(1).flatten())

    def ours(estimator: str, seed: int) -> Tensor:
        method = rp.Shapley(
            features=mask[0], baseline=0.0, estimator=estimator, budget=budget, seed=seed
        )
        return values(method.bind(network.module).attribute(x, target))

    def captum(kind: type, seed: int, samples: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            found = kind(network.module).attribute(
                x, target=target, feature_mask=mask, n_samples=samples, perturbations_per_eval=4
            )
        return values(found / sizes[mask])

    exact = ours("exact", 0)
    estimators: dict[str, Callable[[int], Tensor]] = {
        "Captum ShapleyValueSampling": lambda s: captum(ShapleyValueSampling, s, SAMPLES),
        "Captum KernelShap": lambda s: captum(KernelShap, s, budget),
        "Rootpoint permutation": lambda s: ours("permutation", s),
        "Rootpoint kernel": lambda s: ours("kernel", s),
    }
    errors = {
        name: torch.stack([(run(s) - exact).square().mean() for s in range(seeds)]).mean().sqrt()
        for name, run in estimators.items()
    }
    reference = errors["Captum ShapleyValueSampling"]
    rows = []
    for name, error in errors.items():
        share = float((error / reference) ** 2)
        rows.append(f"| {name} | {budget} | {error:.3f} | {100 * share:.0f} % |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each")
    parser.add_argument("--seeds", type=int, default=8, help="of the errors")
    parser.add_argument("--models", nargs="+", default=["mobilenet-v2", "resnet50"])
    parser.add_argument("--output", type=Path, help="file for the tables")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in chosen.models:
        own = name == models.DEFAULT
        model = models.load().module if own else torchvision_model(name)
        torch.manual_seed(0)
        x = torch.randn(1, 3, 224, 224)
        rows += backward_rows(name, model, x, chosen.runs)
        rows += sampling_rows(name, model, x, chosen.runs)
    errors = error_rows(chosen.seeds)
    if chosen.output:
        about = ABOUT.format(
            runs=chosen.runs,
            torch=torch.__version__,
            machine=platform.machine(),
            batches=", ".join(map(str, BATCHES)),
        )
        about_errors = ERRORS.format(features=GRID[0] * GRID[1], seeds=chosen.seeds)
        lines = about + "\n".join(rows) + "\n" + about_errors + "\n".join(errors) + "\n"
        chosen.output.write_text(lines)


if __name__ == "__main__":
    main()
