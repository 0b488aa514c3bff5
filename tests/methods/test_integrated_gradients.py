"""Integrated gradients: quadratures, baselines, completeness."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rootpoint import GradientTimesInput
from rootpoint.errors import InputError
from rootpoint.methods.integrated_gradients import IntegratedGradients

X = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
QUADRATURES = ("midpoint", "gauss-legendre", "right")


def t1() -> nn.Sequential:
    """The 2-2-1 ReLU network of the reference; exact at 0: (8/3, 4/3)."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double().eval()
    model[0].weight.data = torch.tensor([[1.0, 1.0], [-1.0, 2.0]]).double()
    model[0].bias.data = torch.tensor([0.0, -1.0]).double()
    model[2].weight.data = torch.tensor([[2.0, -1.0]]).double()
    model[2].bias.data = torch.tensor([0.5]).double()
    return model


def network(*, bias: bool = True, smooth: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    act = nn.Tanh if smooth else nn.ReLU
    layers: list[nn.Module] = [nn.Conv2d(2, 4, 3, bias=bias), act(), nn.Flatten()]
    layers += [nn.Linear(36, 8, bias=bias), act(), nn.Linear(8, 3, bias=bias)]
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 2, 5, 5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("quadrature", "expected"), [("right", (2.70, 1.20)), ("midpoint", (2.65, 1.40))]
)
def test_t1_with_twenty_steps(quadrature: str, expected: tuple[float, float]) -> None:
    found = IntegratedGradients(steps=20, quadrature=quadrature)(t1(), X)
    torch.testing.assert_close(found.relevance, torch.tensor([expected]).double())
    assert found.output.item() == 4.5
    assert found.baseline_output is not None
    assert found.baseline_output.item() == 0.5
    assert found.completeness_gap is not None
    assert found.completeness_gap.item() == pytest.approx(4 - sum(expected))
    assert found.passes == (22, 20)


@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_t1_in_the_limit(quadrature: str) -> None:
    found = IntegratedGradients(steps=400, quadrature=quadrature)(t1(), X).relevance
    torch.testing.assert_close(found, torch.tensor([[8 / 3, 4 / 3]]).double(), rtol=0, atol=1e-2)


@given(
    w=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    start=st.floats(-3, 3),
    steps=st.integers(1, 12),
    quadrature=st.sampled_from(QUADRATURES),
)
def test_linear_models_give_w_times_x(
    w: list[float], start: float, steps: int, quadrature: str
) -> None:
    weight = torch.tensor(w, dtype=torch.float64)
    x = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, 1.0]], dtype=torch.float64)
    method = IntegratedGradients(steps=steps, quadrature=quadrature, baseline=start)
    found = method(lambda x: (x @ weight + 1)[:, None], x)
    torch.testing.assert_close(found.relevance, (x - start) * weight, rtol=1e-10, atol=1e-12)
    assert found.completeness_gap is not None
    assert found.completeness_gap.abs().max() < 1e-10


def test_gauss_legendre_is_complete_for_smooth_networks(x: Tensor) -> None:
    found = IntegratedGradients(quadrature="gauss-legendre")(network(smooth=True), x)
    assert found.completeness_gap is not None
    assert found.completeness_gap.abs().max() < 1e-10


@settings(max_examples=10)
@given(steps=st.integers(10, 80), quadrature=st.sampled_from(QUADRATURES))
def test_the_gap_of_relu_networks_falls_as_one_over_the_steps(steps: int, quadrature: str) -> None:
    x = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(2)).double()
    found = IntegratedGradients(steps=steps, quadrature=quadrature, baseline=0.3)(network(), x)
    assert found.completeness_gap is not None
    assert (found.completeness_gap.abs() <= 2 / steps).all()


def test_from_zero_it_is_gradient_times_input_where_f_is_positively_homogeneous(x: Tensor) -> None:
    model = network(bias=False)
    found = IntegratedGradients(steps=3)(model, x).relevance
    torch.testing.assert_close(found, GradientTimesInput()(model, x).relevance)


def test_inputs_that_do_not_matter_get_nothing_and_equal_ones_the_same() -> None:
    def model(x: Tensor) -> Tensor:
        return ((x[:, 0] + x[:, 1]).tanh() * x[:, 2]).reshape(-1, 1)

    x = torch.tensor([[0.7, 0.7, 1.5, 3.0]], dtype=torch.float64)
    first, second, _, unused = IntegratedGradients()(model, x).relevance[0]
    assert first == second
    assert unused == 0


def test_a_batch_is_explained_as_its_samples_are_one_by_one(x: Tensor) -> None:
    method = IntegratedGradients(steps=7, baseline=torch.randn(2, 2, 5, 5).double())
    together = method(network(), x)
    for i in range(3):
        alone = method(network(), x[i : i + 1])
        torch.testing.assert_close(together.relevance[i], alone.relevance[0])
        torch.testing.assert_close(together.baseline_output[i], alone.baseline_output[0])


def test_several_baselines_count_by_their_mean(x: Tensor) -> None:
    several = torch.randn(4, 2, 5, 5).double()
    found = IntegratedGradients(steps=6, baseline=several)(network(), x)
    each = [IntegratedGradients(steps=6, baseline=b)(network(), x) for b in several]
    torch.testing.assert_close(found.relevance, torch.stack([e.relevance for e in each]).mean(0))
    starts = torch.stack([e.baseline_output for e in each])
    torch.testing.assert_close(found.baseline_output, starts.mean(0))
    assert found.passes == (1 + 4 * 7, 4 * 6)
    assert found.notes == ("the mean over 4 baselines",)


def test_baselines_may_differ_between_samples(x: Tensor) -> None:
    own = torch.randn(3, 1, 2, 5, 5).double()
    found = IntegratedGradients(steps=4, baseline=own)(network(), x)
    for i in range(3):
        alone = IntegratedGradients(steps=4, baseline=own[i, 0])(network(), x[i : i + 1])
        torch.testing.assert_close(found.relevance[i], alone.relevance[0])
    assert found.notes == ()


@pytest.mark.parametrize("baseline", [0.5, torch.tensor(0.5), torch.full((2, 5, 5), 0.5)])
def test_one_baseline_may_be_a_number_or_a_tensor(x: Tensor, baseline: Any) -> None:
    found = IntegratedGradients(steps=4, baseline=baseline)(network(), x).relevance
    expected = IntegratedGradients(steps=4, baseline=torch.full((1, 2, 5, 5), 0.5))(network(), x)
    torch.testing.assert_close(found, expected.relevance)


def test_several_inputs_are_integrated_together(x: Tensor) -> None:
    def model(a: Tensor, b: Tensor) -> Tensor:
        return (a.flatten(1).mean(1).tanh() * b.sum(1)).reshape(-1, 1)

    b = torch.randn(3, 4).double()
    start = {"a": 0.1, "b": torch.randn(2, 4).double()}
    method = IntegratedGradients(steps=30, quadrature="gauss-legendre", baseline=start)
    found = method(model, {"a": x, "b": b})
    assert {k: v.shape for k, v in found.relevance.items()} == {"a": x.shape, "b": b.shape}
    assert found.completeness_gap is not None
    assert found.completeness_gap.abs().max() < 1e-6
    pair = IntegratedGradients(steps=30, quadrature="gauss-legendre", baseline=(0.1, start["b"]))
    torch.testing.assert_close(pair(model, (x, b)).relevance[1], found.relevance["b"])


def test_several_targets_share_the_way(x: Tensor) -> None:
    bound = IntegratedGradients(steps=5).bind(network())
    for target, found in zip((0, [2, 1, 0]), bound.each(x, [0, [2, 1, 0]]), strict=True):
        alone = bound(x, target)
        torch.testing.assert_close(found.relevance, alone.relevance)
        torch.testing.assert_close(found.baseline_output, alone.baseline_output)


def test_the_target_is_what_was_predicted_for_the_input_itself(x: Tensor) -> None:
    model = network()
    predicted = model(x).argmax(1)
    found = IntegratedGradients(steps=9, baseline=-x[:, None])(model, x)
    assert found.target == predicted.tolist()
    expected = IntegratedGradients(steps=9, baseline=-x[:, None])(model, x, predicted)
    torch.testing.assert_close(found.relevance, expected.relevance)


def test_the_model_is_left_as_it_was_and_inference_mode_does_not_matter(x: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 2))
    model = model.double().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    expected = IntegratedGradients(steps=5)(model, x).relevance
    with torch.inference_mode():
        found = IntegratedGradients(steps=5)(model, x.clone()).relevance
    torch.testing.assert_close(found, expected)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not model[1]._forward_hooks


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (torch.zeros(4, 4), r"the baseline is \(4, 4\), the input \(3, 2, 5, 5\): give a number"),
        (torch.zeros(2, 1, 2, 5, 5), r"several for each \(B, k, …\)"),
        (torch.zeros(0, 2, 5, 5), "give a number"),
        (torch.full((2, 5, 5), torch.nan), "NaN or infinity"),
        ("blur", "baseline='blur' is neither a number nor a tensor"),
        ((0.0, 0.0), "2 baselines in a tuple do not fit 1 inputs"),
    ],
)
def test_a_baseline_that_does_not_fit_is_refused(x: Tensor, baseline: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IntegratedGradients(baseline=baseline)(network(), x)


def test_baselines_of_several_inputs_must_fit_them() -> None:
    x = torch.randn(2, 3)

    def model(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(1, keepdim=True)

    with pytest.raises(InputError, match="unequal numbers of baselines for the inputs: 2, 3"):
        IntegratedGradients(baseline=(x, torch.randn(3, 3)))(model, (x, x))
    with pytest.raises(InputError, match="one baseline tensor for 2 inputs"):
        IntegratedGradients(baseline=x)(model, (x, x))
    with pytest.raises(InputError, match=r"the baseline has \['a'\], the inputs \['a', 'b'\]"):
        IntegratedGradients(baseline={"a": 0.0})(model, {"a": x, "b": x})


def test_inner_modules_are_not_explained(x: Tensor) -> None:
    with pytest.raises(InputError, match="explains inputs, not inner modules"):
        IntegratedGradients()(network(), x, at="0")
