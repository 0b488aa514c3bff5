"""A perfect explanation scores perfectly: every metric that applies, on models of known truth."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rootpoint as rp
from rootpoint.evaluation import planted
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.planted import Planted
from rootpoint.evaluation.result import Evaluation

PIXELS = "features='values', replacement=0.0, repetitions=1"
APPLYING = {
    "abpc": f"abpc({PIXELS}, steps=16, per_step=4)",
    "aopc": f"aopc({PIXELS}, steps=16, per_step=4)",
    "selectivity": f"selectivity({PIXELS}, steps=16)",
    "deletion": f"deletion({PIXELS}, steps=16, output='score')",
    "insertion": f"insertion({PIXELS}, steps=16, output='score')",
    "irof": f"irof({PIXELS}, output='score')",
    "sensitivity-n": "sensitivity-n(features='values', repetitions=40, sizes=4)",
    "infidelity": "infidelity(samples=40)",
    "conservation": "conservation",
    "completeness": "completeness",
    "pointing-game": "pointing-game(tolerance=1)",
    "relevance-mass": "relevance-mass",
    "relevance-rank": "relevance-rank",
    "outside-inside": "outside-inside",
    "iou": "iou",
    "road": "road(replacement=0.0, output='score')",
}
NOT_APPLYING = {
    "boundedness": "asks how much relevance cancels, and true relevance may; see below",
    "positivity": "asks for one sign, and true relevance may have both; see below",
    "continuity": "asks whether neighbours have like maps: constant maps are the best",
    "max-sensitivity": "asks whether neighbours have like maps: constant maps are the best",
    "input-invariance": "asks for maps that a shift leaves alone, and w·x is not one",
    "implementation-invariance": "asks whether two networks have one map; see below",
    "parameter-randomization": "asks whether maps depend on the model: noise passes, too",
    "label-randomization": "asks whether maps depend on the model: noise passes, too",
    "random-logit": "asks whether maps depend on the class: noise passes, too",
    "cosine-convergence": "asks whether maps depend on the class: noise passes, too",
}
NOISE = (0.0, 1.0, 4.0)
CASES: dict[str, Callable[[], Planted]] = {
    "linear": lambda: planted.linear(24, seed=1),
    "additive": lambda: planted.additive(24, seed=1),
    "convolutional": lambda: planted.convolutional(24, 8, seed=1),
}
INEXACT = {
    ("additive", "infidelity"): "noise on x meets the cube and the kink at 0",
    ("convolutional", "infidelity"): "noise on x wakes patterns that ReLU keeps silent",
    ("convolutional", "sensitivity-n"): "a part of a patch taken away wakes other patterns",
}
"""Where the truth of f alone cannot tell what changes do, as f is not a sum over input values."""


def noisy(p: Planted, noise: float) -> Callable[..., Tensor]:
    """The truth with noise of so many of its standard deviations; ∞ is noise alone."""

    def explain(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        truth = p.truth(model, inputs, targets)
        drawn = torch.Generator().manual_seed(len(inputs))
        random = torch.randn(truth.shape, generator=drawn, dtype=truth.dtype) * truth.std()
        return random if noise == np.inf else truth + noise * random

    return explain


@pytest.fixture(scope="module", params=CASES)
def judged(request: pytest.FixtureRequest) -> tuple[str, Evaluation]:
    p = CASES[request.param]()
    maps = {str(noise): noisy(p, noise) for noise in (*NOISE, np.inf)}
    metrics = list(APPLYING.values())
    found = evaluate(p.model, p.inputs, maps, metrics, target=p.targets, masks=p.masks)
    return request.param, found


def means(found: Evaluation, name: str) -> dict[str, float]:
    """By noise; the less the better."""
    sign = -1 if rp.metrics()[name].better == "higher" else 1
    text = str(rp.metric(APPLYING[name]))
    return {m: sign * found.mean(text, m).mean for m in found.methods}


def test_every_metric_is_here() -> None:
    ours = [n for n, m in rp.metrics().items() if m.__module__.startswith("rootpoint.evaluation.")]
    assert sorted([*APPLYING, *NOT_APPLYING]) == ours


@pytest.mark.parametrize("name", APPLYING)
def test_the_truth_is_better_than_random_maps(judged: tuple[str, Evaluation], name: str) -> None:
    found = means(judged[1], name)
    assert found["0.0"] < found["inf"]


@pytest.mark.parametrize("name", APPLYING)
def test_growing_noise_makes_it_worse(judged: tuple[str, Evaluation], name: str) -> None:
    found = means(judged[1], name)
    ordered = [found[str(noise)] for noise in NOISE]
    assert ordered[0] <= ordered[1] < ordered[2]
    assert ordered[0] < ordered[1] or name == "pointing-game"  # whose maximum little noise keeps


@pytest.mark.parametrize("name", [n for n in APPLYING if rp.metrics()[n].best is not None])
def test_the_truth_reaches_the_best_value(judged: tuple[str, Evaluation], name: str) -> None:
    case, found = judged
    values = found.values(str(rp.metric(APPLYING[name])), "0.0")
    perfect = values == pytest.approx(rp.metrics()[name].best, abs=1e-9)
    assert perfect == ((case, name) not in INEXACT)


@pytest.mark.parametrize(
    "name", ["abpc", "road", "sensitivity-n", "relevance-mass", "relevance-rank"]
)
def test_random_maps_have_the_value_of_chance(judged: tuple[str, Evaluation], name: str) -> None:
    case, found = judged
    values = found.values(str(rp.metric(APPLYING[name])), "inf")
    if name.startswith("relevance"):
        values = values - CASES[case]().masks.flatten(1).double().mean(1).numpy()
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5


def test_where_all_evidence_speaks_for_the_target_nothing_cancels() -> None:
    p = CASES["convolutional"]()
    maps = {"truth": p.truth, "random": noisy(p, np.inf)}
    found = evaluate(p.model, p.inputs, maps, ["positivity", "boundedness"], target=p.targets)
    assert (found.values("positivity", "truth") == 0).all()
    assert found.values("boundedness", "truth") == pytest.approx(1, abs=1e-12)
    assert found.mean("positivity", "random").low > 0.4


@pytest.mark.parametrize("case", CASES)
def test_the_truth_of_two_networks_of_one_function_is_one(case: str) -> None:
    p = CASES[case]()
    other = deepcopy(p.model)
    drawn = torch.Generator().manual_seed(0)

    def anew(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.randn(inputs.shape, generator=drawn)

    metric = rp.metric("implementation-invariance", other=other)
    found = evaluate(p.model, p.inputs, {"truth": p.truth, "anew": anew}, metric, target=p.targets)
    assert (found.values("implementation-invariance", "truth") == 0).all()
    assert found.mean("implementation-invariance", "anew").low > 0.5
