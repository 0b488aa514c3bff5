"""Axioms: the deck's numbers, rounding, texts, maps of one channel, models that stay untouched."""

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
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import Metric, metric, metrics

SUMS = ("conservation", "boundedness", "positivity", "completeness")
ALL = (*SUMS, "implementation-invariance", "input-invariance")


def linear(weight: Any, bias: float = 0.0) -> Callable[[Tensor], Tensor]:
    weight = torch.as_tensor(weight, dtype=torch.float64)
    return lambda x: ((weight * x).reshape(len(x), -1).sum(1) + bias)[:, None]


def fixed(relevance: Any) -> Callable[..., Any]:
    """A candidate that gives this map, whatever it is asked."""
    if not isinstance(relevance, list):
        relevance = torch.as_tensor(relevance)
    return lambda model, inputs, targets: relevance


def value(
    model: Any, x: Any, candidate: Any, name: str | Metric, *, batch: int = 32, **parameters: Any
) -> list[float]:
    one = metric(name, **parameters) if isinstance(name, str) else name
    found = evaluate(model, x, {"it": candidate}, one, target=0, batch=batch)
    return found.values(str(one), "it").tolist()


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)]
    return nn.Sequential(*layers).to(dtype).eval()


class Words(nn.Module):
    def forward(self, texts: list[str]) -> Tensor:
        worth = {"good": 4.0, "bad": -3.0}
        scores = [1 + sum(worth.get(w, 0.0) for w in text.split()) for text in texts]
        return torch.tensor(scores, dtype=torch.float64)[:, None]


# -- sums -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relevance", "bound", "opposite"),
    [((1002.001, -1001.0), 2003.001 / 1.001, 1001 / 2003.001), ((1.001, 0.0), 1.0, 0.0)],
    ids=["LRP-0", "z+"],
)
def test_lrp_0_of_the_deck_conserves_but_is_not_bounded(
    relevance: tuple[float, float], bound: float, opposite: float
) -> None:
    x = torch.tensor([[1.001, 1.0]], dtype=torch.float64)
    model, given = linear([1.0, -1.0], 1.0), fixed(torch.tensor([relevance], dtype=torch.float64))
    assert value(model, x, given, "conservation") == pytest.approx([0], abs=1e-10)
    assert value(model, x, given, "boundedness") == pytest.approx([bound], rel=1e-12)
    assert value(model, x, given, "positivity") == pytest.approx([opposite], rel=1e-12)


def test_sums_count_a_map_of_one_channel_once() -> None:
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    for shape in ((2, 1, 4, 4), (2, 4, 4)):
        pooled = x.sum(1).reshape(shape)
        assert value(linear(1.0), x, fixed(pooled), "conservation") == pytest.approx([0, 0])
        assert value(linear(1.0), x, fixed(2 * pooled), "boundedness") == pytest.approx([2, 2])


def test_sums_take_texts() -> None:
    texts, maps = ["good film", "", "bad"], [[4.0, -1.0], [], [-3.0]]
    given = fixed([torch.tensor(one, dtype=torch.float64) for one in maps])
    found = {name: value(Words().eval(), texts, given, name) for name in SUMS}
    assert found["conservation"] == pytest.approx([0.4, 1, 0.5])
    assert found["boundedness"] == pytest.approx([1, 0, 1.5])
    assert found["positivity"] == pytest.approx([0.2, np.nan, 0], nan_ok=True)
    assert found["completeness"] == pytest.approx([0.25, 0, 0])  # from the empty text, which has 1


def test_positivity_is_consistency_with_the_sign_of_the_score() -> None:
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], dtype=torch.float64)
    relevance = torch.tensor([[3.0, -1.0]] * 3, dtype=torch.float64)
    assert value(linear([1.0, 1.0]), x, fixed(relevance), "positivity") == [0.25, 0.75, 0.25]


def test_what_is_not_defined_is_nan() -> None:
    x, zero = torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    constant = linear([0.0, 0.0])
    assert np.isnan(value(constant, x, fixed(x), "conservation")).all()
    assert np.isnan(value(constant, x, fixed(zero), "boundedness")).all()
    assert np.isnan(value(linear([1.0, 1.0]), x, fixed(zero), "positivity")).all()
    assert np.isnan(value(linear([1.0, -1.0]), x, fixed(x), "completeness")).all()


def test_the_true_map_of_a_linear_model_is_perfect_and_noise_only_makes_it_worse() -> None:
    torch.manual_seed(3)
    weight = torch.rand(20, dtype=torch.float64) + 0.1
    x = torch.rand(64, 20, dtype=torch.float64) + 0.1
    noise = torch.randn_like(x)
    means = []
    for size in (0.0, 0.3, 1.0, 3.0):
        given = fixed(weight * x + size * noise)
        found = evaluate(linear(weight), x, {"it": given}, SUMS, target=0, batch=64)
        means.append([found.mean(name, "it").mean for name in SUMS])
    np.testing.assert_allclose(means[0], [0, 1, 0, 0], atol=1e-14)
    assert (np.diff(means, axis=0) > 0).all()
    found = evaluate(linear(weight), x, {"chance": fixed(noise)}, SUMS, target=0, batch=64)
    assert found.mean("positivity", "chance").mean == pytest.approx(0.5, abs=0.05)
    centered = fixed(noise - noise.mean(1, keepdim=True))  # a map that sums to nothing
    found = value(linear(weight), x, centered, "conservation", batch=64)
    assert found == pytest.approx([1] * 64)


@pytest.mark.parametrize("name", ["conservation", "boundedness", "positivity", "completeness"])
def test_sums_of_methods_by_name(name: str) -> None:
    x = torch.rand(3, 3, 8, 8)
    found = evaluate(
        network(torch.float32), x, ["integrated-gradients", "lrp", "gradient"], name, batch=2
    )
    values = {method: found.values(name, method) for method in found.methods}
    assert all(len(v) == 3 and np.isfinite(v).all() for v in values.values())
    if name == "completeness":
        assert values["integrated-gradients"].max() < 0.05 < values["gradient"].max()


# -- completeness ---------------------------------------------------------------------------------


@sampled(st.integers(0, 10_000))
def test_exactly_complete_maps_are_never_rejected_for_rounding(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, x = (torch.randn(1, 300, generator=generator) for _ in range(2))
    x = torch.cat([x, -x], 1)  # f(x) = 0, but for rounding
    weight = torch.cat([weight, weight], 1)

    def model(given: Tensor) -> Tensor:
        return given @ weight.T

    assert value(model, x, fixed(weight * x), "completeness") == [0.0]


def test_completeness_is_measured_from_what_the_candidate_promises_or_the_baseline() -> None:
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    model = linear([1.0, 2.0], 5.0)
    promised = "integrated-gradients(baseline=1.0)"
    assert value(model, x, promised, "completeness") == pytest.approx([0], abs=1e-12)
    assert value(model, x, promised, "completeness(baseline=0.0)") == pytest.approx([0.75])
    given = fixed(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    assert value(model, x, given, "completeness") == pytest.approx([0.75])
    assert value(model, x, given, "completeness(baseline=1)") == pytest.approx([0], abs=1e-12)
    here = metric("completeness", baseline=torch.tensor([1.0, 1.0]))
    assert value(model, x, given, here) == pytest.approx([0], abs=1e-12)


def test_baselines_that_do_not_fit_are_refused() -> None:
    x = torch.ones(1, 2, dtype=torch.float64)
    several = metric("completeness", baseline=torch.rand(4, 2))
    with pytest.raises(InputError, match="4 baselines for each sample: give one"):
        value(linear([1.0, 1.0]), x, fixed(x), several)
    with pytest.raises(InputError, match="baseline"):
        value(linear([1.0, 1.0]), x, fixed(x), metric("completeness", baseline=torch.rand(3)))
    with pytest.raises(InputError, match="empty text: leave out the baseline"):
        value(Words().eval(), ["good"], fixed([torch.ones(1)]), "completeness(baseline=0.0)")


# -- implementation invariance --------------------------------------------------------------------


class Straight(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True)


def detour() -> nn.Module:
    """x_0 + x_1 of positive inputs, as (2 x_0 + x_1) − x_0 of two hidden neurons."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    weights = (torch.tensor([[2.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, -1.0]]))
    for layer, weight in zip((net[0], net[2]), weights, strict=True):
        layer.weight.data = weight
    return net.double().eval()


def test_gradients_and_shapley_values_do_not_depend_on_the_implementation_but_lrp_does() -> None:
    x = torch.rand(5, 2, dtype=torch.float64) + 0.1
    other = metric("implementation-invariance", other=detour())
    direct = Straight().double().eval()
    for name in ("gradient", "integrated-gradients", "shapley"):
        assert value(direct, x, name, other) == pytest.approx([0] * 5, abs=1e-12)
    assert min(value(direct, x, "lrp(composite='epsilon-alpha2-beta1')", other)) >= 0
    found = value(detour(), x, "lrp(composite='alpha1-beta0')", metric(other.name, other=direct))
    assert min(found) > 0.01


def test_the_distance_of_maps_is_the_share_of_relevance_that_differs() -> None:
    x = torch.ones(1, 2, dtype=torch.float64)
    one, other = Straight().eval(), detour()
    maps = {one: [[3.0, 0.0]], other: [[1.0, 2.0]]}

    def candidate(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.tensor(maps[model], dtype=torch.float64)

    same = metric("implementation-invariance", other=other)
    assert value(one, x, candidate, same) == pytest.approx([4 / 6])
    for there, expected in (([[0.0, 3.0]], 1), ([[-3.0, 0.0]], 1), ([[3.0, 0.0]], 0)):
        maps[other] = there
        assert value(one, x, candidate, same) == [expected]
    maps[one] = maps[other] = [[0.0, 0.0]]
    assert value(one, x, candidate, same) == [0]


def test_invariance_of_texts() -> None:
    texts, other = ["good film", "bad"], Words().eval()

    def candidate(model: Any, inputs: list[str], targets: Any) -> list[Tensor]:
        return [torch.full((len(text.split()),), 1 + 2.0 * (model is other)) for text in inputs]

    found = value(
        Words().eval(), texts, candidate, metric("implementation-invariance", other=other)
    )
    assert found == pytest.approx([0.5, 0.5])


def test_models_that_compute_something_else_are_refused() -> None:
    x = torch.rand(3, 2, dtype=torch.float64)
    name = "implementation-invariance"
    with pytest.raises(InputError, match=r"scores sample 0 by .* give a model that computes"):
        value(linear([1.0, 1.0]), x, fixed(x), metric(name, other=linear([1.0, 1.001])))
    with pytest.raises(InputError, match="other=None is no model"):
        value(linear([1.0, 1.0]), x, fixed(x), name)
    nearly = metric(name, other=linear([1.0, 1.0 + 1e-12]))
    assert value(linear([1.0, 1.0]), x, fixed(x), nearly) == [0, 0, 0]


# -- input invariance -----------------------------------------------------------------------------


def test_maps_multiplied_by_the_input_are_not_invariant_to_its_shift() -> None:
    x, weight = torch.rand(4, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    there = weight * (x - 1)
    expected = weight.abs().sum() / ((weight * x).abs() + there.abs()).sum(1)
    found = value(linear(weight), x, "gradient-times-input", "input-invariance")
    assert found == pytest.approx(expected.tolist())
    assert value(linear(weight), x, "gradient", "input-invariance") == [0] * 4
    assert (
        value(linear(weight), x, "gradient-times-input", "input-invariance(shift=0.0)") == [0] * 4
    )


def test_a_shifted_network_keeps_its_layers_and_the_given_one_gets_no_hook() -> None:
    model, x = network(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    calls = []
    model.register_forward_pre_hook(lambda module, given: calls.append(len(given)))
    methods = ["gradient", "lrp", "grad-cam(layer='0')", "integrated-gradients"]
    found = evaluate(model, x, methods, "input-invariance", batch=1)
    means = {name: found.mean("input-invariance", name).mean for name in found.methods}
    assert [means[name] < 1e-12 for name in found.methods] == [True, True, True, False]
    assert calls
    assert set(calls) == {1}
    assert len(model._forward_pre_hooks) == 1
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_texts_cannot_be_shifted() -> None:
    with pytest.raises(InputError, match="input-invariance changes inputs by small amounts"):
        value(Words().eval(), ["good"], fixed([torch.ones(1)]), "input-invariance")


# -- all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_values_do_not_depend_on_the_batch(name: str) -> None:
    model, x = network(), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    one = metric(name, other=model) if name == "implementation-invariance" else metric(name)
    found = [value(model, x, "gradient-times-input", one, batch=batch) for batch in (1, 3)]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_metrics_say_what_they_compute(name: str) -> None:
    one = metrics()[name]
    assert one.__doc__ is not None
    assert "Source:" in one.__doc__
    assert "Cost:" in one.__doc__
    assert one.group == "axioms"
