"""The same maps as Captum's, where it computes what the formulas say.

- Its maps are in units of the score, although its documentation says that they sum to one.
- Its γ raises weights but no biases, and knows one sign of inputs and outputs only: it is compared
  without biases, on layers between ReLUs.
- It stabilizes pooling and reshaping too, by 1e-9, which is set next to zero here.
- It leaves attributes on the model and cannot take a module used twice: it gets a copy.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint import LRP, Composite, Gradient, GradientTimesInput, Where, rules

captum = pytest.importorskip("captum.attr")
theirs = pytest.importorskip("captum.attr._utils.lrp_rules")

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require grad")

TARGETS = torch.tensor([0, 3, 1])


def network(*, bias: bool) -> nn.Sequential:
    """After VGG: convolutions, ReLUs, maxima, a mean and dense layers."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 8), (8, 8), (8, 12)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=bias), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5)]
    layers += [nn.Linear(48, 16, bias=bias), nn.ReLU(), nn.Linear(16, 5, bias=bias)]
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 32, 32, dtype=torch.float64)


def captum_lrp(model: nn.Sequential, x: Tensor, chosen: dict[int, Any]) -> Tensor:
    """Captum's map with these rules by layer, and elsewhere with the least ε."""
    model = deepcopy(model)
    for index, layer in enumerate(model):
        if not isinstance(layer, nn.ReLU | nn.Dropout):
            tiny = 1e-9 if hasattr(layer, "weight") else 1e-15
            layer.rule = chosen.get(index) or theirs.EpsilonRule(tiny)
    return captum.LRP(model).attribute(x, target=TARGETS)


def same(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= 1e-9 * expected.norm())


@pytest.mark.parametrize("epsilon", [1e-9, 1e-6, 0.01])
def test_epsilon(x: Tensor, epsilon: float) -> None:
    model = network(bias=True)
    linear = [i for i, layer in enumerate(model) if hasattr(layer, "weight")]
    expected = captum_lrp(model, x, {i: theirs.EpsilonRule(epsilon) for i in linear})
    assert same(LRP(composite=f"epsilon(epsilon={epsilon})")(model, x, TARGETS).relevance, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 10.0])
def test_gamma_between_relus(x: Tensor, gamma: float) -> None:
    model = network(bias=False)
    expected = captum_lrp(model, x, {i: theirs.GammaRule(gamma) for i in (3, 6, 12)})
    ours = rules.gamma(gamma=gamma, epsilon=1e-9)
    between = [(Where(module=name), ours) for name in ("3", "6", "12")]
    rest = (Where(kind="linear"), rules.epsilon(epsilon=1e-9))
    found = LRP(composite=Composite((*between, rest)))(model, x, TARGETS).relevance
    assert same(found, expected)


def test_z_plus_between_relus(x: Tensor) -> None:
    model = network(bias=True)
    rule = theirs.Alpha1_Beta0_Rule
    expected = captum_lrp(model, x, {i: rule(set_bias_to_zero=True) for i in (3, 6, 12)})
    between = [(Where(module=name), rules.z_plus(epsilon=1e-9)) for name in ("3", "6", "12")]
    rest = (Where(kind="linear"), rules.epsilon(epsilon=1e-9))
    found = LRP(composite=Composite((*between, rest)))(model, x, TARGETS).relevance
    assert same(found, expected)


def test_gradient(x: Tensor) -> None:
    model = network(bias=True)
    expected = captum.Saliency(model).attribute(x.clone(), target=TARGETS, abs=False)
    assert same(Gradient()(model, x, TARGETS).relevance, expected)


def test_gradient_times_input(x: Tensor) -> None:
    model = network(bias=True)
    expected = captum.InputXGradient(model).attribute(x.clone(), target=TARGETS)
    assert same(GradientTimesInput()(model, x, TARGETS).relevance, expected)


def test_a_bound_method_is_called_as_captums_are(x: Tensor) -> None:
    model = network(bias=True)
    expected = captum.InputXGradient(model).attribute(x.clone().requires_grad_(), target=2)
    assert same(GradientTimesInput().bind(model).attribute(x, target=2), expected)
