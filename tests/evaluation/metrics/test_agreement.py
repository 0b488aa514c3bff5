"""Agreement: linear models, chance, order, constant maps, texts, and the best scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as sampled
from hypothesis import strategies as st
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.evaluation.claims import subset_sizes
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import Metric, metric, metrics

CHANGES = (
    {"perturbation": "noise"},
    {"perturbation": "square", "size": 2},
    {"perturbation": "noise", "local": True},
    {"perturbation": "square", "size": 2, "local": True},
)


def linear(weight: Tensor, bias: float = 0.0) -> Callable[[Tensor], Tensor]:
    return lambda x: ((weight * x).reshape(len(x), -1).sum(1) + bias)[:, None]


def fixed(relevance: Any) -> Callable[..., Any]:
    return lambda model, inputs, targets: relevance


def value(model: Any, x: Any, candidate: Any, name: str | Metric, **options: Any) -> Any:
    one = metric(name) if isinstance(name, str) else name
    found = evaluate(model, x, {"it": candidate}, one, target=0, **options)
    return found.values(str(one), "it")


def rand(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


# -- sensitivity-n --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12,), (3, 5), (2, 4, 4)])
def test_the_true_map_of_a_linear_model_has_correlation_one(shape: tuple[int, ...]) -> None:
    weight, x = rand(*shape), rand(3, *shape)
    found = value(linear(weight, 0.7), x, fixed(weight * x), "sensitivity-n(repetitions=20)")
    np.testing.assert_allclose(found, 1, atol=1e-12)
    opposite = value(linear(weight), x, fixed(-weight * x), "sensitivity-n(repetitions=20)")
    np.testing.assert_allclose(opposite, -1, atol=1e-12)


def test_gradient_times_input_has_correlation_one_for_a_linear_network() -> None:
    model = nn.Linear(10, 3).double().eval()
    found = evaluate(model, rand(4, 10), ["gradient-times-input", "random"], "sensitivity-n")
    np.testing.assert_allclose(found.values("sensitivity-n", "gradient-times-input"), 1, atol=1e-12)
    assert found.ranking("sensitivity-n")[0] == "gradient-times-input"


def test_an_additive_model_is_as_good_as_a_linear_one() -> None:
    x = rand(3, 9)

    def model(x: Tensor) -> Tensor:
        return (x**2 + x.sin()).sum(1, keepdim=True)

    found = value(model, x, fixed(x**2 + x.sin()), "sensitivity-n")
    np.testing.assert_allclose(found, 1, atol=1e-12)


def test_maps_of_one_channel_are_compared_by_pixels() -> None:
    weight, x = rand(3, 5, 5), rand(2, 3, 5, 5)
    pooled = (weight * x).sum(1)
    for one in (pooled, pooled[:, None]):
        found = value(linear(weight), x, fixed(one), "sensitivity-n(repetitions=20)")
        np.testing.assert_allclose(found, 1, atol=1e-12)
    by_patch = value(linear(weight), x, fixed(pooled), "sensitivity-n(features='patches(2)')")
    np.testing.assert_allclose(by_patch, 1, atol=1e-12)


def test_noise_lowers_the_correlation_down_to_chance() -> None:
    torch.manual_seed(0)
    weight, x, noise = rand(20), rand(32, 20), rand(32, 20)
    few = "sensitivity-n(repetitions=30, sizes=4)"
    means = [
        value(linear(weight), x, fixed(weight * x + s * noise), few).mean()
        for s in (0.0, 0.5, 2.0, 8.0)
    ]
    assert (np.diff(means) < 0).all()
    chance = value(linear(weight), x, fixed(noise), few)
    assert abs(chance.mean()) < 3 * chance.std() / 32**0.5


def test_another_baseline_has_another_true_map() -> None:
    weight, x = rand(8), rand(2, 8)
    one = metric("sensitivity-n", replacement=1.5)
    found = value(linear(weight), x, fixed(weight * (x - 1.5)), one)
    np.testing.assert_allclose(found, 1, atol=1e-12)
    assert (value(linear(weight), x, fixed(weight * x), one) < 0.999).all()


def test_constant_maps_and_scores_have_no_correlation() -> None:
    weight, x = rand(8).float(), rand(2, 8).float()
    assert np.isnan(value(linear(weight), x, fixed(torch.full((2, 8), 0.1)), "sensitivity-n")).all()
    assert np.isnan(value(linear(0 * weight, 3.3), x, fixed(x), "sensitivity-n")).all()
    single = value(linear(weight[:1]), x[:, :1], fixed(x[:, :1]), "sensitivity-n")
    assert np.isnan(single).all()


@sampled(st.integers(0, 3000), st.integers(2, 12), st.floats(0.0, 1.0))
def test_sizes_go_from_one_to_the_share(total: int, sizes: int, share: float) -> None:
    found = subset_sizes(total, sizes, share)
    assert found == sorted(set(found))
    assert len(found) <= sizes
    if total:
        assert (found[0], found[-1]) == (1, max(1, int(share * total)))


def test_curves_are_over_the_size_of_the_sets() -> None:
    weight, x = rand(100), rand(3, 100)
    found = evaluate(linear(weight), x, {"it": fixed(weight * x)}, "sensitivity-n", batch=3)
    curves = found.results["it"].curves["sensitivity-n"]
    assert list(curves.x) == subset_sizes(100, 10, 0.8)
    assert curves.x[-1] == 80
    np.testing.assert_allclose(curves.lines["correlation"], np.ones((3, len(curves.x))))


def test_texts_lose_words() -> None:
    def model(texts: list[str]) -> Tensor:
        worth = {"good": 4.0, "so": 3.0, "film": 2.0}
        return torch.tensor([[1 + sum(worth.get(w, 0.0) for w in t.split())] for t in texts])

    texts = ["so good a film", "good", ""]
    maps = [torch.tensor([3.0, 4.0, 0.0, 2.0]), torch.tensor([4.0]), torch.empty(0)]
    found = value(model, texts, fixed(maps), "sensitivity-n")
    assert found == pytest.approx([1, np.nan, np.nan], nan_ok=True)
    with pytest.raises(InputError, match="words of texts are deleted"):
        value(model, texts, fixed(maps), "sensitivity-n(replacement=0)")


# -- infidelity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("baseline", [None, 0.5])
def test_the_true_map_of_a_linear_model_has_no_infidelity(
    change: dict[str, Any], baseline: float | None
) -> None:
    weight, x = rand(3, 6, 5), rand(2, 3, 6, 5)
    one = metric("infidelity", **change, baseline=baseline)
    true = weight.expand(x.shape) if change.get("local") else weight * (x - (baseline or 0))
    assert value(linear(weight, 2.0), x, fixed(true), one) == pytest.approx([0, 0], abs=1e-20)
    assert (value(linear(weight, 2.0), x, fixed(2 * true), one) > 1e-3).all()


def test_maps_of_one_channel_are_asked_the_same_as_maps_of_all() -> None:
    weight, x = rand(3, 6, 5), rand(2, 3, 6, 5)
    wrong = weight * x + rand(2, 3, 6, 5)
    for change in CHANGES[:3]:
        one = metric("infidelity", **change)
        found = [value(linear(weight), x, fixed(m), one) for m in (wrong, wrong.sum(1))]
        np.testing.assert_allclose(*found, rtol=1e-9)


def test_infidelity_of_a_wrong_map_is_the_mean_squared_error_of_its_claims() -> None:
    """f = w·x, R = 0: the variance of σ Σ w_i x_i ε_i. Of R = 2 w·x: the same."""
    weight, x = rand(6), rand(2, 6)
    one = metric("infidelity", samples=2000, sigma=0.3)
    expected = 0.09 * (weight * x).square().sum(1).numpy()
    for factor in (0.0, 2.0):
        found = value(linear(weight), x, fixed(factor * weight * x), one)
        np.testing.assert_allclose(found, expected, rtol=0.1)


def test_the_best_scale_makes_infidelity_invariant_to_that_of_maps() -> None:
    weight, x = rand(6), rand(2, 6)
    scaled = metric("infidelity", scaled=True)
    for factor in (1.0, -30.0):
        found = value(linear(weight), x, fixed(factor * weight * x), scaled)
        np.testing.assert_allclose(found, 0, atol=1e-20)
    nothing = value(linear(weight), x, fixed(0 * x), scaled)
    np.testing.assert_allclose(nothing, value(linear(weight), x, fixed(0 * x), "infidelity"))
    wrong = fixed(weight * x + rand(2, 6))
    assert (value(linear(weight), x, wrong, scaled) <= nothing).all()
    assert (
        value(linear(weight), x, wrong, scaled) <= value(linear(weight), x, wrong, "infidelity")
    ).all()


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("scaled", [False, True])
def test_noise_raises_infidelity(change: dict[str, Any], *, scaled: bool) -> None:
    torch.manual_seed(0)
    weight, x, noise = rand(1, 6, 6), rand(32, 1, 6, 6), rand(32, 1, 6, 6)
    true = weight.expand(x.shape) if change.get("local") else weight * x
    one = metric("infidelity", **change, scaled=scaled, samples=40)
    means = [
        value(linear(weight), x, fixed(true + s * noise), one).mean() for s in (0.0, 0.3, 1.0, 3.0)
    ]
    assert (np.diff(means) > 0).all()


def test_squares_that_do_not_fit_are_refused() -> None:
    one = metric("infidelity", perturbation="square", size=5)
    with pytest.raises(InputError, match="squares of 5 pixels do not fit"):
        value(linear(rand(1, 4, 9)), rand(1, 1, 4, 9), fixed(rand(1, 1, 4, 9)), one)
    with pytest.raises(InputError, match="or perturbation='noise'"):
        value(linear(rand(9)), rand(1, 9), fixed(rand(1, 9)), one)


def test_texts_have_no_infidelity() -> None:
    def model(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(text))] for text in texts])

    with pytest.raises(InputError, match=r"infidelity changes inputs .* sensitivity-n"):
        value(model, ["good"], fixed([torch.ones(1)]), "infidelity")


# -- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "sensitivity-n(repetitions=10)",
        "sensitivity-n(repetitions=10, replacement='noise')",
        "infidelity",
        "infidelity(perturbation='square', size=3)",
    ],
)
def test_values_depend_on_the_seed_but_not_on_the_batch(name: str) -> None:
    net = [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)]
    model, x = nn.Sequential(*net).double().eval(), rand(3, 2, 6, 6)
    state, given = (
        torch.random.get_rng_state(),
        {k: v.clone() for k, v in model.state_dict().items()},
    )
    found = [value(model, x, "gradient-times-input", name, batch=batch) for batch in (1, 2, 3)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-9)
    assert (found[0] != value(model, x, "gradient-times-input", name, seed=1)).all()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(given[k], v) for k, v in model.state_dict().items())


def test_metrics_say_what_they_compute() -> None:
    for name in ("sensitivity-n", "infidelity"):
        doc = metrics()[name].__doc__
        assert doc is not None
        assert "Source:" in doc
