"""Sanity checks: who passes, who fails, and that the samples' batches do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import metric, metrics

NAMES = ("parameter-randomization", "label-randomization", "random-logit", "cosine-convergence")
FORGETFUL = ("guided-backprop", "deconvnet", "lrp(composite='alpha1-beta0')", "deep-taylor")
FAITHFUL = ("gradient", "lrp(composite='epsilon')", "deeplift")


def network(depth: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(8 if i else 3, 8, 3, padding=1), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)]
    return nn.Sequential(*layers).eval()


def slope(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    x = inputs.detach().clone().requires_grad_()
    chosen = model(x).gather(1, targets[:, None])
    return torch.autograd.grad(chosen.sum(), x)[0]


def the_input(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    return inputs


def value(candidate: Any, name: Any, model: nn.Module, x: Tensor, **given: Any) -> np.ndarray:
    found = evaluate(model, x, {"it": candidate}, name, **given)
    return found.values(str(metric(name) if isinstance(name, str) else name), "it")


@pytest.mark.parametrize("name", NAMES)
def test_they_say_what_they_are(name: str) -> None:
    cls = metrics()[name]
    assert cls.group == "sanity"
    assert cls.better == "lower"
    assert "Source:" in (cls.__doc__ or "")


@pytest.mark.parametrize(
    "name",
    [
        "parameter-randomization",
        "parameter-randomization(order='independent', layers=2)",
        "random-logit",
        "cosine-convergence",
    ],
)
def test_values_do_not_depend_on_the_batches(name: str) -> None:
    model, x = network().double(), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    kwargs = {"model": model, "x": x, "target": [1, 4, 2]}
    together, alone = (value("gradient", name, batch=batch, **kwargs) for batch in (3, 1))
    assert together == pytest.approx(alone, abs=1e-9)
    other = value("gradient", name, seed=1, **kwargs)
    assert other != pytest.approx(together, abs=1e-3)


def test_a_map_of_the_model_is_gone_with_its_parameters_and_one_of_the_input_stays() -> None:
    """f = w·x with the map w: drawn anew it is unrelated, ± 1/√n."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 20, 4)).eval()
    x = torch.randn(4, 3, 20, 20)
    target = [0, 1, 2, 3]  # else two samples share a row of weights
    for kind, bound in (("spearman", 0.15), ("signed-spearman", 0.15), ("cosine", 0.1)):
        name = f"parameter-randomization(similarity='{kind}')"
        assert float(abs(value(slope, name, model, x, target=target)).max()) < bound
        assert value(the_input, name, model, x) == pytest.approx(np.ones(4), abs=1e-9)


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_less_a_map_says_of_the_model_the_higher_the_value(name: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
    x = torch.rand(4, 3, 16, 16)

    def mixed(share: float) -> Any:
        def explain(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
            found = slope(model, inputs, targets)
            return (1 - share) * found / found.std() + share * inputs / inputs.std()

        return explain

    judge = metrics()[name](**({"other": other} if name == "label-randomization" else {}))
    means = [value(mixed(share), judge, model, x).mean() for share in (0, 0.3, 0.6, 0.9, 1)]
    assert means == sorted(means)
    assert means[0] < 0.1
    assert means[-1] == pytest.approx(1.0)


def test_full_is_the_end_of_the_cascade_and_the_value_the_mean_of_the_curve() -> None:
    model, x = network(), torch.randn(2, 3, 8, 8)
    names = ["parameter-randomization", "parameter-randomization(order='full')"]
    found = evaluate(model, x, "gradient", names)
    curve = found.results["gradient"].curves[names[0]]
    assert list(curve.x) == ["8", "4", "2", "0"]
    lines = curve.lines["similarity"]
    assert found.values(names[0], "gradient") == pytest.approx(lines.mean(1))
    assert found.values(str(metric(names[1])), "gradient") == pytest.approx(lines[:, -1])


def test_similarities_share_the_maps() -> None:
    model, x, calls = network(), torch.randn(2, 3, 16, 16), []

    def counted(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(inputs))
        return slope(model, inputs, targets)

    kinds = ("spearman", "ssim", "cosine")
    evaluate(model, x, counted, [f"parameter-randomization(similarity='{k}')" for k in kinds])
    assert len(calls) == 1 + 4


def test_a_score_without_slope_is_not_defined_and_left_out_of_the_mean() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2), nn.ReLU())
    with torch.no_grad():
        model[3].bias.fill_(10.0)
    x = torch.randn(3, 3, 2, 2)
    seeds = [
        evaluate(model.eval(), x, "gradient", "parameter-randomization", target=0, seed=s)
        for s in range(4)
    ]
    lines = np.concatenate(
        [s.results["gradient"].curves["parameter-randomization"].lines["similarity"] for s in seeds]
    )
    values = np.concatenate([s.values("parameter-randomization", "gradient") for s in seeds])
    assert bool(np.isnan(lines).any())
    some = ~np.isnan(lines).all(1)
    assert values[some] == pytest.approx(np.nanmean(lines[some], 1))
    assert bool(np.isnan(values[~some]).all())


def test_a_sample_whose_changed_score_is_refused_is_not_defined_alone() -> None:
    model, x = network(), torch.randn(3, 3, 8, 8)

    def picky(given: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        if given is not model and bool((inputs == x[1]).flatten(1).all(1).any()):
            raise InputError("the score is zero")
        return slope(given, inputs, targets)

    together, alone = (
        value(picky, "parameter-randomization", model, x, batch=batch) for batch in (3, 1)
    )
    assert together == pytest.approx(alone, abs=1e-5, nan_ok=True)
    assert np.isnan(together).tolist() == [False, True, False]


def test_a_map_that_does_not_look_at_the_class_fails_random_logit() -> None:
    model, x = network(), torch.randn(4, 3, 8, 8)
    seen: list[list[int]] = []

    def listed(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(targets.tolist())
        return inputs

    assert value(listed, "random-logit", model, x, target=2) == pytest.approx(np.ones(4))
    assert seen[0] == [2] * 4
    assert all(c in range(6) and c != 2 for c in seen[1])
    assert len(set(seen[1])) > 1


@pytest.mark.parametrize("target", [lambda output: output[:, 0], (0,)])
def test_random_logit_needs_a_class(target: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).eval()
    with pytest.raises(InputError, match="needs class indices as target"):
        evaluate(model, torch.rand(2, 3, 2, 2), "gradient", "random-logit", target=target)


def test_a_model_of_the_same_function_fails_label_randomization() -> None:
    model, x = network(), torch.randn(3, 3, 8, 8)
    same = metrics()["label-randomization"](other=network())
    assert value("gradient", same, model, x) == pytest.approx(np.ones(3))
    other = metrics()["label-randomization"](other=network(seed=1))
    assert bool((value("gradient", other, model, x) < 0.9).all())


def test_maps_of_what_was_learnt_come_back_with_the_labels_and_not_with_random_ones() -> None:
    """The class is the sign of the first of 20 values."""
    data = torch.randn(200, 20)
    labels = (data[:, 0] > 0).long()

    def trained(labels: Tensor, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Linear(20, 2)
        for _ in range(60):
            loss = nn.functional.cross_entropy(model(data), labels)
            slopes = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for parameter, slope in zip(model.parameters(), slopes, strict=True):
                    parameter -= slope
        return model.eval()

    judge, model = metrics()["label-randomization"], trained(labels, 0)
    again, permuted = trained(labels, 1), trained(labels[torch.randperm(200)], 1)
    values = [
        value("gradient", judge(other=other, similarity="cosine"), model, data).mean()
        for other in (again, permuted)
    ]
    assert values[0] > 0.8
    assert abs(values[1]) < 0.4


def test_label_randomization_needs_the_other_model() -> None:
    with pytest.raises(InputError, match="other=None is no model"):
        evaluate(network(), torch.rand(1, 3, 8, 8), "gradient", "label-randomization")


def test_texts_are_judged_too() -> None:
    def model(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(t)), float(t.count("a"))] for t in texts])

    def words(model: Any, inputs: list[str], targets: Any) -> list[Tensor]:
        at = targets.tolist()
        return [
            torch.tensor([float((len(w), -w.count("a"))[c]) for w in t.split()])
            for t, c in zip(inputs, at, strict=True)
        ]

    texts = ["a bb aaac", "banana is a fruit"]
    found = evaluate(model, texts, words, "random-logit(similarity='signed-spearman')", target=0)
    values = found.values("random-logit", "words")
    assert values.shape == (2,)
    assert bool((values < 0).all())


def test_a_text_that_is_refused_is_not_defined_alone() -> None:
    def model(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(t)), float(t.count("a"))] for t in texts])

    def words(model: Any, inputs: list[str], targets: Any) -> list[Tensor]:
        if "banana" in inputs[-1] and bool((targets == 1).any()):
            raise InputError("the score is zero")
        return [torch.tensor([float(len(w)) for w in t.split()]) for t in inputs]

    texts = ["a bb aaac", "a banana is"]
    found = evaluate(model, texts, words, "random-logit", target=0)
    values = found.values("random-logit", "words")
    assert values == pytest.approx([1, np.nan], nan_ok=True)


@pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
def test_a_function_has_no_parameters_to_randomize(name: str) -> None:
    with pytest.raises(InputError, match=r"needs an nn\.Module"):
        evaluate(lambda x: x.flatten(1), torch.rand(1, 3, 2, 2), "occlusion", name)


def test_the_curve_of_convergence_begins_at_the_output_and_may_be_left_out() -> None:
    model, x = network(), torch.randn(2, 3, 8, 8)
    names = ["cosine-convergence", "cosine-convergence(layers=0)"]
    found = evaluate(model, x, "gradient", names)
    values = found.values(names[0], "gradient")
    assert found.values(names[1], "gradient") == pytest.approx(values)
    result = found.results["gradient"]
    curve = result.curves[names[0]]
    assert list(curve.x) == ["output", "4", "2", "0"]
    assert curve.lines["convergence"][:, 0] == pytest.approx(values)
    assert names[1] not in result.curves


@pytest.fixture(scope="module")
def squeezenet() -> tuple[nn.Module, Tensor]:
    """SqueezeNet and small squares of two photos."""
    from rootpoint import models
    from rootpoint.data import open_photo, photos

    model = models.load("squeezenet1.1")
    x = torch.cat([model.tensor(open_photo(p.path)) for p in photos()[:2]])
    return model.module, nn.functional.interpolate(x, size=(95, 95), mode="area")


@pytest.fixture(scope="module")
def published(squeezenet: tuple[nn.Module, Tensor]) -> Any:
    return evaluate(
        *squeezenet,
        [*FAITHFUL, *FORGETFUL],
        [
            "parameter-randomization(layers=3)",
            "random-logit",
            "cosine-convergence(layers=0)",
            "cosine-convergence(layers=0, over='positions')",
        ],
        target="predicted",
    )


def means(found: Any, name: str, methods: tuple[str, ...]) -> list[float]:
    return [found.mean(str(metric(name)), str(rp.method(m))).mean for m in methods]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "faithful", "forgetful"),
    [
        ("parameter-randomization(layers=3)", 0.72, 0.78),
        ("random-logit", 0.8, 0.9),
        ("cosine-convergence(layers=0)", 0.4, 0.6),
        ("cosine-convergence(layers=0, over='positions')", 0.92, 0.999),
    ],
)
def test_published_shapes(published: Any, name: str, faithful: float, forgetful: float) -> None:
    """Guided backprop, deconvnet, z⁺ and DTD say what they say of any network; others do not."""
    assert max(means(published, name, FAITHFUL)) < faithful
    assert min(means(published, name, FORGETFUL)) > forgetful


def test_published_convergence_at_an_inner_layer(squeezenet: tuple[nn.Module, Tensor]) -> None:
    """Three blocks below the output z⁺ and DTD have forgotten it, at each position."""
    name = "cosine-convergence(layers=0, over='positions', at='features.10')"
    found = evaluate(*squeezenet, [*FAITHFUL[:2], *FORGETFUL], name)
    assert max(means(found, name, FAITHFUL[:2])) < 0.5
    assert min(means(found, name, FORGETFUL)) > 0.99
    assert not found.failures
