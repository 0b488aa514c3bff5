"""Explanations in the hands of SHAP, Quantus and Captum: contracts with the real libraries."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from rootpoint import (
    LRP,
    Composite,
    Explanation,
    Gradient,
    GradientTimesInput,
    Method,
    Where,
    rules,
)
from rootpoint import method as by_name
from rootpoint.adapters import quantus_explain
from rootpoint.arguments import calls
from rootpoint.errors import InputError, MissingExtraError
from rootpoint.methods.additive import Evidence
from rootpoint.methods.integrated_gradients import IntegratedGradients
from rootpoint.methods.shapley import Shapley

mpl.use("Agg")
from matplotlib import pyplot as plt


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().flatten(1))


class Gated(nn.Module):
    """f(x, gate, scale) = scale · head(relu(x · gate))."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor, gate: Tensor, scale: float = 1.0) -> Tensor:
        return scale * self.head((x * gate).relu())


@pytest.fixture
def table() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 4))


@pytest.fixture
def evidence(table: np.ndarray) -> Explanation:
    frame = pd.DataFrame(table, columns=["age", "height", "weight", "pulse"])
    model = LogisticRegression().fit(frame, table[:, 0] > 0)
    return Evidence().fit(model, frame)(model, frame, 1)  # type: ignore[arg-type]


# -- SHAP ----------------------------------------------------------------------------------------

shap = pytest.importorskip("shap")


def test_a_table_becomes_shaps_explanation(evidence: Explanation, table: np.ndarray) -> None:
    found = evidence.to_shap()
    assert isinstance(found, shap.Explanation)
    assert np.array_equal(found.values, evidence.relevance.numpy())
    assert np.array_equal(found.data, table)
    assert found.feature_names == ["age", "height", "weight", "pulse"]
    total = found.base_values + found.values.sum(1)
    np.testing.assert_allclose(total, evidence.output, rtol=1e-12)
    assert evidence.to_shap(feature_names=list("abcd"), output_names="risk").output_names == "risk"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:shap")
def test_shaps_plots_take_a_table(evidence: Explanation) -> None:
    found = evidence.to_shap()
    shap.plots.waterfall(found[0], show=False)
    shap.plots.bar(found, show=False)
    shap.plots.bar(found[1], show=False)
    shap.plots.beeswarm(found, show=False)
    shap.plots.scatter(found[:, "age"], show=False)
    texts = [text.get_text() for text in [*plt.gca().texts, plt.gca().xaxis.label]]
    assert "age" in texts
    plt.close("all")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_shaps_image_plot_takes_images() -> None:
    found = GradientTimesInput()(Network().eval(), torch.randn(2, 1, 8, 8)).to_shap()
    assert found.values.shape == found.data.shape == (2, 8, 8, 1)
    shap.plots.image(found, show=False)
    plt.close("all")


def test_shap_gets_a_methods_standard_error(evidence: Explanation) -> None:
    estimated = replace(evidence, standard_error=evidence.relevance.abs(), baseline_output=None)
    assert np.array_equal(estimated.to_shap().error_std, evidence.relevance.abs().numpy())
    assert estimated.to_shap().base_values is None


def test_shap_gets_texts_by_their_words(evidence: Explanation) -> None:
    of_texts = replace(
        evidence,
        relevance=[torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0, 5.0])],
        inputs=["good film", "a bad film"],
        baseline_output=torch.zeros(2),
    )
    found = of_texts.to_shap()
    assert [list(d) for d in found.data] == [["good", "film"], ["a", "bad", "film"]]
    assert [v.tolist() for v in found.values] == [[1.0, 2.0], [3.0, 4.0, 5.0]]
    assert "bad" in shap.plots.text(found, display=False)


def test_shap_cannot_have_several_inputs() -> None:
    found = Gradient()(lambda x, y: x + y, (torch.ones(2, 3), torch.ones(2, 3)), 0)
    with pytest.raises(InputError, match="of one input, not of 2"):
        found.to_shap()


def test_without_shap_the_extra_is_named(
    evidence: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(MissingExtraError, match=r"rootpoint\[shap\]"):
        evidence.to_shap()


# -- Quantus -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantus() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["gradient-times-input", LRP(composite="epsilon")])
def test_quantus_measures_our_methods(quantus: Any, method: str | Method) -> None:
    model = Network().eval()
    x, y = np.random.default_rng(0).random((3, 1, 8, 8), np.float32), np.array([0, 2, 1])
    explain = quantus_explain(method)
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=10, subset_size=8, return_aggregate=False, disable_warnings=True
    )
    arguments = {"model": model, "x_batch": x, "y_batch": y, "device": "cpu"}
    found = metric(**arguments, explain_func=explain)
    assert len(found) == 3
    assert np.isfinite(found).all()
    given = quantus.PixelFlipping(features_in_step=16, disable_warnings=True)
    direct = LRP(composite="epsilon") if isinstance(method, Method) else by_name(method)
    a = direct(model, torch.tensor(x), torch.tensor(y)).relevance.numpy()
    np.testing.assert_array_equal(explain(model, x, y), a)
    again = quantus.PixelFlipping(features_in_step=16, disable_warnings=True)
    np.testing.assert_allclose(
        given(**arguments, explain_func=explain), again(**arguments, a_batch=a), rtol=1e-6
    )


def test_inputs_follow_the_model() -> None:
    model = Network().double().eval()
    found = quantus_explain("lrp", composite="epsilon")(model, np.ones((2, 1, 8, 8), np.float32))
    assert found.dtype == np.float64
    assert found.shape == (2, 1, 8, 8)
    assert quantus_explain("gradient")(lambda x: x, np.ones((2, 3)), [0, 1]).dtype == np.float32


def test_parameters_are_set_on_the_method() -> None:
    with pytest.raises(InputError, match=r"parameters \['composite'\] go with a method's name"):
        quantus_explain(LRP(), composite="epsilon")
    with pytest.raises(InputError, match=r"explain_func_kwargs \['steps'\] are not known"):
        quantus_explain("gradient")(Network().eval(), np.ones((1, 1, 8, 8)), [0], steps=3)


# -- Captum --------------------------------------------------------------------------------------

captum = pytest.importorskip("captum.attr")
metrics = pytest.importorskip("captum.metrics")

DOUBLES = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()


def test_the_arguments_have_captums_names() -> None:
    ours = inspect.signature(Gradient().bind(lambda x: x).attribute).parameters
    theirs = inspect.signature(captum.IntegratedGradients.attribute).parameters
    assert set(ours) == set(theirs) - {"self", "n_steps", "method", "internal_batch_size"}
    assert [name for name, p in ours.items() if p.kind is p.KEYWORD_ONLY] == list(ours)[2:]


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require grad")
def test_further_arguments_are_captums() -> None:
    model, x = Gated().eval(), torch.randn(5, 2)
    gate = torch.rand(5, 2)
    for further in (gate, (gate, 2.5), (gate[:1], torch.tensor([2.5]))):
        expected = captum.InputXGradient(model).attribute(
            x, target=1, additional_forward_args=further
        )
        found = GradientTimesInput().bind(model).attribute(x, 1, additional_forward_args=further)
        torch.testing.assert_close(found, expected.detach())


@pytest.mark.parametrize("targets", [1, [0, 1, 2, 0], torch.tensor([2, 2, 1, 0])])
def test_further_arguments_stay_with_their_samples(targets: Any) -> None:
    """Also of a method that runs batches of coalitions, perhaps as many as there are samples."""
    model, x, gate = Gated().eval(), torch.randn(4, 2), torch.rand(4, 2)
    expected = captum.ShapleyValues(model).attribute(
        x,
        target=torch.tensor(targets) if isinstance(targets, list) else targets,
        additional_forward_args=(gate, 2.0),
    )
    found = Shapley().bind(model).attribute(x, targets, additional_forward_args=(gate, 2.0))
    torch.testing.assert_close(found, expected.detach())


def test_arguments_for_all_samples_stay_as_they_are() -> None:
    """A tensor (1,) is not by sample where there are several, however many copies run at once."""
    model, x, gate = Gated().eval(), torch.randn(3, 2), torch.rand(3, 2)
    bound = Shapley().bind(model)
    found = bound.attribute(x, 1, additional_forward_args=(gate, torch.tensor([2.0])))
    expected = bound.attribute(x, 1, additional_forward_args=(gate, 2.0))
    torch.testing.assert_close(found, expected)


def test_further_arguments_leave_the_model_and_its_names() -> None:
    model, x = Gated().eval(), torch.randn(3, 2)
    gate, state = torch.rand(1, 2), dict(vars(model))
    method = LRP(composite=Composite(((Where(module="head"), rules.z_plus()),)))
    found = method.bind(model).attribute(x, 1, additional_forward_args=gate)
    plain = nn.Sequential(OrderedDict(relu=nn.ReLU(), head=model.head)).eval()
    torch.testing.assert_close(found, method(plain, x * gate, 1).relevance)
    assert dict(vars(model)) == state
    assert type(model) is Gated
    at = method.bind(lambda x, gate: model(x, gate)).attribute(x, 1, additional_forward_args=gate)
    assert at.shape == x.shape


@pytest.mark.parametrize("method", [Shapley(), IntegratedGradients(steps=500)])
@pytest.mark.parametrize("rows", [4, 1, None])
def test_baselines_are_captums(method: Method, rows: int | None) -> None:
    """One for each sample, one for all, or a number."""
    model, x = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 3)).double().eval(), DOUBLES
    baselines: Any = torch.rand(rows, 3).double() if rows else 0.3
    theirs = captum.ShapleyValues if isinstance(method, Shapley) else captum.IntegratedGradients
    expected = theirs(model).attribute(x, target=2, baselines=baselines)
    found = method.bind(model).attribute(x, 2, baselines=baselines)
    torch.testing.assert_close(found, expected.detach().double(), rtol=0, atol=1e-6)


def test_the_convergence_delta_with_a_baseline_is_captums() -> None:
    model, x = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval(), DOUBLES
    baselines = torch.rand(4, 3).double()
    ours = IntegratedGradients(steps=3, quadrature="gauss-legendre").bind(model)
    found = ours.attribute(x, 2, baselines=baselines, return_convergence_delta=True)
    expected = captum.IntegratedGradients(model).attribute(
        x, baselines, 2, n_steps=3, return_convergence_delta=True
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=0, atol=1e-6)


def test_target_none_is_the_only_output() -> None:
    model, x = nn.Linear(4, 1), torch.randn(3, 4)
    bound = GradientTimesInput().bind(model.eval())
    torch.testing.assert_close(bound.attribute(x, None), x * model.weight.detach())
    torch.testing.assert_close(bound.attribute(x, target=None), bound.attribute(x))


def test_the_convergence_delta_is_captums() -> None:
    """Σ relevance − (f(x) − f(x̃)); here the bias, with its sign changed."""
    model, x = nn.Linear(4, 2).eval(), torch.randn(3, 4)
    bound = GradientTimesInput().bind(model)
    relevance, delta = bound.attribute(x, 1, return_convergence_delta=True)
    torch.testing.assert_close(delta, relevance.sum(1) - model(x)[:, 1].detach())
    torch.testing.assert_close(delta, -model.bias[1].detach().expand(3))
    with pytest.raises(InputError, match="gradient promises no sum"):
        Gradient().bind(model).attribute(x, 1, return_convergence_delta=True)


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_captums_metrics_take_a_bound_method() -> None:
    model, x = Network().eval(), torch.randn(2, 1, 8, 8)
    bound = LRP(composite="epsilon").bind(model)
    found = metrics.sensitivity_max(bound.attribute, x, target=torch.tensor([0, 2]))
    assert found.shape == (2,)
    assert (found > 0).all()

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.01 * torch.randn_like(inputs)
        return noise, inputs - noise

    attributions = bound.attribute(x, 1)
    measured = metrics.infidelity(model, perturb, x, attributions, target=1, n_perturb_samples=4)
    assert measured.shape == (2,)
    assert measured.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baselines": torch.zeros(3, 4)}, r"baselines of shape \(3, 4\) do not fit .* \(2, 4\)"),
        ({"baselines": torch.zeros(2, 3)}, "do not fit"),
        ({"baselines": (0.0, 0.0)}, "as the inputs are"),
        ({"target": [0], "baselines": torch.rand(2, 4)}, "1 targets for 2 samples"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Shapley().bind(nn.Linear(4, 3).eval()).attribute(torch.randn(2, 4), **arguments)


def test_several_inputs_have_their_own_baselines() -> None:
    x, y = torch.randn(2, 3), torch.randn(2, 5)
    (call,) = calls((x, y), 0, (torch.zeros(2, 3), 1.0), None)
    assert call.baseline[0].shape == (3,)
    assert call.baseline[1] == 1.0
    first, second = calls((x, y), [0, 1], (torch.zeros(1, 3), y), None)
    assert torch.equal(first.baseline[1], y[0])
    assert second.target == [1]
    assert torch.equal(second.inputs[0], x[1:])  # type: ignore[index]
    with pytest.raises(InputError, match="1 baselines do not fit 2 inputs"):
        calls((x, y), 0, (0.0,), None)
    with pytest.raises(InputError, match="positional tensors"):
        calls({"x": x}, 0, None, 2.0)


def test_a_method_without_a_baseline_says_so() -> None:
    with pytest.raises(InputError, match="gradient has no baseline: leave out baselines"):
        Gradient().bind(nn.Linear(4, 3).eval()).attribute(torch.randn(2, 4), 0, baselines=0)
