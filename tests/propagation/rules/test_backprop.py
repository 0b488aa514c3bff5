"""Rules of deconvnet, guided and excitation backprop and contribution propagation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, Composite, Where, rules

Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")


def back(activation: Callable[[Tensor], Tensor], rule: rules.Rule, z: float, m: float) -> float:
    """The multiplier at z, where m arrives behind the activation."""
    composite = Composite(((Where(kind="activation"), rule),), carries="gradient")
    x = torch.tensor([[z]])
    return LRP(composite=composite)(lambda x: m * activation(x), x, 0).relevance.item()


RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu(x.clone(), inplace=True),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: x.clamp_min(0),
    "nn.ReLU6": nn.ReLU6(),
    "relu6": F.relu6,
    "threshold": lambda x: F.threshold(x, 0, 0),
}


@pytest.mark.parametrize("activation", RECTIFIERS.values(), ids=RECTIFIERS)
def test_rectifiers_of_every_form(activation: Callable[[Tensor], Tensor]) -> None:
    found = {
        (z, m): (back(activation, rules.deconvnet(), z, m), back(activation, rules.guided(), z, m))
        for z in (-1.0, 1.0)
        for m in (-2.0, 3.0)
    }
    assert found == {(-1, -2): (0, 0), (-1, 3): (3, 0), (1, -2): (0, 0), (1, 3): (3, 3)}


def test_relu6_is_guided_where_it_has_a_slope() -> None:
    assert back(nn.ReLU6(), rules.guided(), 7.0, 3.0) == 0
    assert back(nn.ReLU6(), rules.deconvnet(), 7.0, 3.0) == 3


@pytest.mark.parametrize("activation", [F.gelu, F.silu, F.elu, F.leaky_relu, F.mish, F.softplus])
@pytest.mark.parametrize("z", [-0.5, 0.5])
def test_kin_of_relu_has_its_own_slope(activation: Callable[[Tensor], Tensor], z: float) -> None:
    x = torch.tensor([[z]], requires_grad=True)
    (slope,) = torch.autograd.grad(activation(x), x)
    assert back(activation, rules.guided(), z, 3.0) == pytest.approx(3 * slope.item())
    assert back(activation, rules.guided(), z, -3.0) == 0
    assert back(activation, rules.deconvnet(), z, 3.0) == 3
    assert back(activation, rules.deconvnet(), z, -3.0) == 0


@pytest.mark.parametrize("activation", [torch.tanh, torch.sigmoid, torch.square, F.hardtanh])
@pytest.mark.parametrize("rule", [rules.deconvnet(), rules.guided()], ids=str)
def test_other_activations_go_back_by_their_gradient(
    activation: Callable[[Tensor], Tensor], rule: rules.Rule
) -> None:
    x = torch.tensor([[0.5]], requires_grad=True)
    (slope,) = torch.autograd.grad(activation(x), x)
    assert back(activation, rule, 0.5, -3.0) == pytest.approx(-3 * slope.item())


A, B = torch.tensor([[3.0]]), torch.tensor([[1.0]])
SUMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[float, float]]] = {
    "a + b": (lambda a, b: a + b, (3, 1)),
    "a - b": (lambda a, b: a - b, (2, 0)),
    "a + (-b)": (lambda a, b: a + -b, (2, 0)),
    "add, alpha": (lambda a, b: torch.add(a, b, alpha=2), (3, 2)),
    "rsub": (lambda a, b: torch.rsub(b, a), (2, 0)),
    "constant": (lambda a, b: a + b + 5, (9 * 3 / 4, 9 / 4)),
}


@pytest.mark.parametrize(("add", "expected"), SUMS.values(), ids=SUMS)
def test_branches_share_by_their_positive_parts(
    send: Send, add: Callable[[Tensor, Tensor], Tensor], expected: tuple[float, float]
) -> None:
    """R_a = R a⁺ / (a⁺ + b⁺); constants get nothing."""
    found = send(add, (A, B), rules.excitation(), kind="addition")
    assert [r.item() for r in found] == pytest.approx(expected)


def test_nothing_passes_a_sum_without_a_positive_branch(send: Send) -> None:
    found = send(lambda a, b: a + b, (-A, -B), rules.excitation(), kind="addition")
    assert [r.item() for r in found] == [0, 0]


def neuron() -> nn.Linear:
    """T2: w = (1, −2, 0.5), b = −0.5; with a = (2, 1, 3), z_i = (2, −2, 1.5) and z = 1."""
    layer = nn.Linear(3, 1)
    layer.weight.data = torch.tensor([[1.0, -2.0, 0.5]])
    layer.bias.data = torch.tensor([-0.5])
    return layer.eval()


def test_contrast_is_the_winners_less_the_losers(send: Send) -> None:
    a = torch.tensor([[2.0, 1.0, 3.0]])
    found = send(neuron(), a, rules.contrast()).flatten().tolist()
    assert found == pytest.approx([2 / 3.5, -1, 1.5 / 3.5])


def test_contrast_takes_the_sign_of_products(send: Send) -> None:
    """With a = (−2, 1, 3), z_i = (−2, −2, 1.5): sum −3, relevance −3."""
    a = torch.tensor([[-2.0, 1.0, 3.0]])
    found = send(neuron(), a, rules.contrast()).flatten().tolist()
    assert found == pytest.approx([1.5, 1.5, -3])


def test_contrast_after_a_relu_is_the_same(send: Send) -> None:
    model = nn.Sequential(nn.ReLU(), neuron()).eval()
    a = torch.tensor([[2.0, 1.0, 3.0]])
    found = send(model, a, rules.contrast()).flatten().tolist()
    assert found == pytest.approx([2 / 3.5, -1, 1.5 / 3.5])


def test_the_bias_is_spread_over_inputs_that_are_not_zero(send: Send) -> None:
    found = send(neuron(), torch.tensor([[2.0, 1.0, 3.0]]), rules.spread_bias())
    assert found.flatten().tolist() == pytest.approx([2 - 0.5 / 3, -2 - 0.5 / 3, 1.5 - 0.5 / 3])
    found = send(neuron(), torch.tensor([[2.0, 0.0, 3.0]]), rules.spread_bias())
    assert found.flatten().tolist() == pytest.approx([1.75, 0, 1.25])


def test_a_convolution_spreads_its_bias_over_each_window(send: Send) -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1).eval()
    x = torch.randn(2, 2, 5, 4)
    found = send(layer, x, rules.spread_bias())
    assert found.sum((1, 2, 3)).tolist() == pytest.approx(layer(x).sum((1, 2, 3)).tolist())
