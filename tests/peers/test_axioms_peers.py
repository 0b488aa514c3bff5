"""The same values as Captum's and Quantus's metrics, where these compute what the papers say.

Captum's infidelity and sensitivity are given our changes of the inputs. Where Quantus is wrong:

- Completeness compares sums by ==, which rounding decides.
- SensitivityN takes no random sets but the most relevant features, correlates over the batch, and
  compares the effect of n features with the relevance of the n-th alone.
- Infidelity removes one square after the other instead of single ones.
- InputInvariance changes the bias of the first module, if it is a convolution without padding; what
  is not equal to 1e-4 is False.
- Continuity moves images by up to their whole width and compares |R| / max |R|, if not told
  otherwise: its ratio is compared on its own pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.adapters import quantus_explain
from rootpoint.evaluation.displacement import ratio
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import Metric, metric
from rootpoint.methods.gradient import Gradient, GradientTimesInput
from rootpoint.methods.integrated_gradients import IntegratedGradients

LABELS = torch.tensor([1, 0, 3])


def network(dtype: torch.dtype = torch.float64, *, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(36, 5, bias=bias)).to(dtype).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 8, 8, dtype=torch.float64)


def recorded(model: nn.Module) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """The model as a function, and what it is asked."""
    asked: list[Tensor] = []

    def run(x: Tensor) -> Tensor:
        asked.append(x.detach().clone())
        return model(x)

    return run, asked


def ours(
    model: Any, x: Tensor, candidate: Any, name: str | Metric, labels: Any = LABELS
) -> np.ndarray:
    one = metric(name) if isinstance(name, str) else name
    found = evaluate(model, x, {"it": candidate}, one, target=labels.tolist())
    return found.values(str(one), "it")


# -- Captum ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("kind", ["noise", "square"])
def test_infidelity_is_that_of_captum(x: Tensor, kind: str, *, local: bool, scaled: bool) -> None:
    captum = pytest.importorskip("captum.metrics")
    model = network()
    run, asked = recorded(model)
    method = (Gradient if local else GradientTimesInput)()
    relevance = method(model, x, LABELS).relevance
    one = metric("infidelity", perturbation=kind, size=3, samples=12, local=local, scaled=scaled)
    found = ours(run, x, lambda *given: relevance, one)
    changed = torch.cat(asked[1:])
    assert len(changed) == 36

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        change = inputs - changed
        return change if local else change / inputs, changed

    theirs = captum.infidelity(
        model, perturb, x, relevance, target=LABELS, n_perturb_samples=12, normalize=scaled
    )
    np.testing.assert_allclose(found, theirs.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", "fro"), ("max", float("inf"))])
def test_relative_sensitivity_is_that_of_captum(x: Tensor, norm: str, order: Any) -> None:
    captum = pytest.importorskip("captum.metrics")
    model, moved = network(), []

    def candidate(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        moved.append(inputs)
        return GradientTimesInput()(model, inputs, targets).relevance

    found = ours(model, x, candidate, metric("max-sensitivity", norm=norm, samples=6))
    samples_first = torch.stack(moved[1:], 1).flatten(0, 1)

    def explain(inputs: Any, target: Tensor) -> tuple[Tensor]:
        inputs = inputs[0] if isinstance(inputs, tuple) else inputs
        return (GradientTimesInput()(model, inputs, target).relevance,)

    theirs = captum.sensitivity_max(
        explain, x, lambda inputs: samples_first, n_perturb_samples=6, norm_ord=order, target=LABELS
    )
    np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-9)


# -- Quantus --------------------------------------------------------------------------------------


@pytest.fixture
def single(x: Tensor) -> Tensor:
    """Quantus computes in single precision."""
    return x.float()


@pytest.fixture(scope="module")
def quantus() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def theirs(one: Any, model: nn.Module, x: Tensor, labels: Tensor = LABELS, **given: Any) -> Any:
    return one(
        model=model, x_batch=x.numpy(), y_batch=labels.numpy(), channel_first=True, device="cpu",
        softmax=False, **given,
    )  # fmt: skip


PLAIN = {"abs": False, "normalise": False, "disable_warnings": True}


@pytest.mark.filterwarnings("ignore")
def test_completeness_accepts_the_complete_maps_that_quantus_rejects(quantus: Any) -> None:
    model, x = network(torch.float32, bias=False), torch.randn(20, 3, 8, 8)
    labels = torch.arange(20) % 5
    relevance = GradientTimesInput()(model, x, labels).relevance  # complete without biases
    judged = theirs(quantus.Completeness(**PLAIN), model, x, labels, a_batch=relevance.numpy())
    assert np.mean(judged) < 0.9
    found = ours(model, x, lambda *given: relevance, "completeness(baseline=0.0)", labels)
    assert (found < 1e-5).all()
    half = ours(model, x, lambda *given: relevance / 2, "completeness(baseline=0.0)", labels)
    np.testing.assert_allclose(half, 0.5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_relative_sensitivity_is_that_of_quantus(quantus: Any, single: Tensor) -> None:
    model, x, moved = network(torch.float32), single, []

    def candidate(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        moved.append(inputs.numpy())
        return GradientTimesInput()(model, inputs, targets).relevance

    found = ours(model, x, candidate, metric("max-sensitivity", samples=6))
    again = iter(moved[1:])

    def replay(arr: np.ndarray, indices: Any, **given: Any) -> np.ndarray:
        return next(again).reshape(arr.shape)

    one = quantus.MaxSensitivity(nr_samples=6, perturb_func=replay, **PLAIN)
    judged = theirs(one, model, x, explain_func=quantus_explain("gradient-times-input"))
    np.testing.assert_allclose(found, judged, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_ratio_of_continuity_is_that_of_quantus_on_its_pairs(
    quantus: Any, single: Tensor
) -> None:
    model, x, pairs = network(torch.float32), single, []

    def explain(model: Any, inputs: Any, targets: Any, **given: Any) -> np.ndarray:
        relevance = quantus_explain("gradient-times-input")(model, inputs, targets)
        pairs.append((torch.as_tensor(inputs), torch.as_tensor(relevance)))
        return relevance

    one = quantus.Continuity(nr_steps=6, **PLAIN)
    judged = theirs(one, model, x, explain_func=explain)
    here, relevance = pairs[-7]
    ratios = [ratio(here, there, relevance, other) for there, other in pairs[-6:]]
    expected = np.nanmax(torch.stack(ratios), 0)  # where nothing moved, Quantus counts 0
    np.testing.assert_allclose(expected, judged, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_sensitivity_n_accepts_the_true_map_of_a_linear_model_that_quantus_rejects(
    quantus: Any,
) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5, bias=False)).eval()
    x = torch.randn(3, 1, 4, 4)
    true = GradientTimesInput()(model, x, LABELS).relevance
    one = quantus.SensitivityN(return_aggregate=False, perturb_baseline=0.0, **PLAIN)
    judged = np.array(theirs(one, model, x, a_batch=true.numpy()))
    assert judged[0] == pytest.approx(1, abs=1e-4)  # of the first feature alone
    assert np.median(judged[1:]) < 0.95
    found = ours(model, x, lambda *given: true, "sensitivity-n")
    np.testing.assert_allclose(found, 1, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_linear_model_has_no_infidelity_for_quantus_either_if_maps_are_local(
    quantus: Any,
) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5)).eval()
    x = torch.randn(3, 1, 4, 4)
    gradient = Gradient()(model, x, LABELS).relevance
    for factor, perfect in ((1, True), (2, False)):
        one = quantus.Infidelity(perturb_patch_sizes=[2], n_perturb_samples=1, **PLAIN)
        judged = theirs(one, model, x, a_batch=factor * gradient.numpy())
        square = metric("infidelity", perturbation="square", size=2, local=True)
        found = ours(model, x, lambda *given, f=factor: f * gradient, square)
        assert np.allclose(judged, 0, atol=1e-9) is perfect
        assert np.allclose(found, 0, atol=1e-9) is perfect


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("method", "same"),
    [(Gradient(), True), (GradientTimesInput(), False), (IntegratedGradients(), False)],
)
def test_input_invariance_agrees_with_quantus(
    quantus: Any, single: Tensor, method: Any, same: bool
) -> None:
    model, x = network(torch.float32), single
    judged = theirs(
        quantus.InputInvariance(input_shift=-1, **PLAIN), model, x,
        a_batch=None,
        explain_func=quantus_explain(method),
    )  # fmt: skip
    assert np.ravel(judged).all() == same
    found = ours(model, x, method, "input-invariance(shift=-1.0)")
    assert ((found < 1e-5) == same).all()
