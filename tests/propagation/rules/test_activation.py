"""The rule of activations: relevance passes unchanged, whatever the function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import GradientTimesInput, rules

Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")
Function = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Function] = {
    "relu": F.relu,
    "relu, method": lambda x: x.relu(),
    "relu, module": nn.ReLU().eval(),
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3])),
    "prelu, module": nn.PReLU(num_parameters=4).double().eval(),
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu, tanh": nn.GELU(approximate="tanh").eval(),
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "hardtanh": lambda x: F.hardtanh(x, -1, 2),
    "clamp": lambda x: x.clamp(-0.5, 1.5),
    "clamp, keywords": lambda x: torch.clamp(x, min=-0.5),
    "clamp_min": lambda x: x.clamp_min(-0.5),
    "threshold": lambda x: F.threshold(x, 0.1, -2.0),
    "abs": torch.abs,
    "square": torch.square,
    "x ** 2": lambda x: x**2,
    "pow": lambda x: x.pow(3),
    "exp": torch.exp,
    "erf": torch.erf,
    "sin": torch.sin,
    "local_response_norm": lambda x: F.local_response_norm(x[..., None], 3).squeeze(-1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_relevance_at_the_input_is_that_at_the_output(send: Send, name: str) -> None:
    """R_in = R_out = y m, whatever the input."""
    x = torch.tensor([[-2.0, -0.5, 0.7, 3.0], [-0.01, 1.0, -1.0, 8.0]])
    y = ACTIVATIONS[name](x).detach()
    m = torch.randn(2, 4)
    torch.testing.assert_close(send(ACTIVATIONS[name], x, m=m * (y != 0)), y * m)


def test_an_output_of_zero_has_no_relevance(send: Send) -> None:
    """f = 0 is nothing to share, also where rules that reach zeros are at work."""
    x = torch.tensor([[-2.0, 3.0]])
    assert send(F.relu, x)[0].tolist() == [0, 3]
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, -1.0], [0.5, 0.5]]))  # pyright: ignore
        model[0].bias.zero_()  # pyright: ignore
    for rule in (rules.zero(), rules.flat(), rules.w_square(), rules.box()):
        found = send(model, x, rule)
        assert found.sum().item() == pytest.approx(4.5), rule  # y = (4, 0, 1/2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_behind_a_linear_map_the_multiplier_is_y_over_x(send: Send, name: str) -> None:
    """With LRP-0 below: R_i = Σ_j a_i w_ij · y_j / z_j · m_j."""
    linear = nn.Linear(3, 4, bias=False).eval()
    x, m = torch.randn(2, 3), torch.randn(2, 4)
    z = linear(x).detach()
    y = ACTIVATIONS[name](z).detach()
    found = send(lambda x: ACTIVATIONS[name](linear(x)), x, rules.zero(), m=m)
    expected = x * ((y / z * m) @ linear.weight.detach())
    torch.testing.assert_close(found, expected)


def test_closed_forms_of_y_over_x(send: Send) -> None:
    """The mask of ReLU, σ(x) of SiLU, Φ(x) of GELU, relu6(x + 3) / 6 of hard-swish."""
    z = torch.tensor([[-1.5, -0.2, 0.4, 2.0]])
    closed = {
        F.relu: (z > 0).double(),
        F.silu: z.sigmoid(),
        F.gelu: (1 + torch.erf(z / math.sqrt(2))) / 2,
        F.hardswish: F.relu6(z + 3) / 6,
    }
    for function, ratio in closed.items():
        found = send(lambda x, f=function: f(x @ torch.eye(4)), z, rules.zero())
        torch.testing.assert_close(found, z * ratio)


@pytest.mark.parametrize(
    "name", ["relu6", "hardswish", "silu", "gelu", "tanh", "leaky_relu", "relu"]
)
def test_at_zero_an_activation_through_zero_passes_nothing(send: Send, name: str) -> None:
    """f(0) = 0: such a unit has no relevance, and the others get what they got."""
    linear = nn.Linear(2, 2, bias=False).eval()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    x = torch.tensor([[2.0, 2.0]])
    found = send(lambda x: ACTIVATIONS[name](linear(x)), x, rules.zero())
    y = ACTIVATIONS[name](torch.tensor([4.0])).item()
    assert found[0].tolist() == pytest.approx([y / 2, y / 2])


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "exp", "hardsigmoid"])
def test_at_zero_an_activation_that_is_not_zero_there_stays_finite(send: Send, name: str) -> None:
    """z = 0 gives y = f(0) ≠ 0 to nothing in particular: ε damps it to zero."""
    linear = nn.Linear(2, 1, bias=False).eval()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, -1.0]]))
    x = torch.tensor([[2.0, 2.0]])
    found = send(lambda x: ACTIVATIONS[name](linear(x)), x, rules.epsilon())
    assert found.abs().max() < 1e-2


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "exp"])
def test_at_the_input_a_zero_keeps_its_relevance(send: Send, name: str) -> None:
    """A pixel that is zero has relevance f(0) m, which no finite multiplier could carry."""
    found = send(ACTIVATIONS[name], torch.zeros(1, 2), m=torch.tensor([[1.0, -3.0]]))
    y = ACTIVATIONS[name](torch.zeros(())).item()
    assert found[0].tolist() == pytest.approx([y, -3 * y])


IN_PLACE: dict[str, tuple[Function, Function]] = {
    "relu_": (lambda x: x.relu_(), F.relu),
    "F.relu(inplace)": (lambda x: F.relu(x, inplace=True), F.relu),
    "nn.ReLU(inplace)": (nn.ReLU(inplace=True).eval(), F.relu),
    "nn.ReLU6(inplace)": (nn.ReLU6(inplace=True).eval(), F.relu6),
    "nn.LeakyReLU(inplace)": (
        nn.LeakyReLU(0.1, inplace=True).eval(),
        lambda x: F.leaky_relu(x, 0.1),
    ),
    "nn.Hardswish(inplace)": (nn.Hardswish(inplace=True).eval(), F.hardswish),
    "nn.SiLU(inplace)": (nn.SiLU(inplace=True).eval(), F.silu),
    "nn.ELU(inplace)": (nn.ELU(inplace=True).eval(), F.elu),
    "nn.Hardtanh(inplace)": (nn.Hardtanh(inplace=True).eval(), F.hardtanh),
    "sigmoid_": (lambda x: x.sigmoid_(), torch.sigmoid),
    "tanh_": (lambda x: x.tanh_(), torch.tanh),
    "clamp_": (lambda x: x.clamp_(-1, 1), lambda x: x.clamp(-1, 1)),
    "abs_": (lambda x: x.abs_(), torch.abs),
}


@pytest.mark.parametrize(
    "rule", [rules.zero(), rules.z_plus(), rules.gamma(), rules.flat()], ids=str
)
@pytest.mark.parametrize("name", IN_PLACE)
def test_an_activation_in_place_is_the_same_activation(send: Send, name: str, rule: Any) -> None:
    in_place, plain = IN_PLACE[name]
    first, second = nn.Linear(3, 5).eval(), nn.Linear(5, 2).eval()
    x = torch.randn(2, 3)
    found = send(lambda x: second(in_place(first(x))), x, rule)
    torch.testing.assert_close(found, send(lambda x: second(plain(first(x))), x, rule))


def test_an_activation_in_place_on_the_input_leaves_the_users_tensor_alone(send: Send) -> None:
    x = torch.randn(2, 3)
    before = x.clone()
    found = send(lambda x: x.relu_() * 2, x)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    torch.testing.assert_close(found, 2 * x.relu())


@pytest.mark.parametrize("rule", [rules.epsilon(), rules.z_plus(), rules.gamma()], ids=str)
def test_a_value_used_before_it_is_rectified_in_place_keeps_that_use(send: Send, rule: Any) -> None:
    """The negative values of y reach the output by the mean, though ReLU overwrites them later."""
    first, second = nn.Linear(4, 5).eval(), nn.Linear(5, 2).eval()

    def model(x: Tensor, *, inplace: bool) -> Tensor:
        y = first(x)
        mean = y.mean(1, keepdim=True)
        return second(F.relu(y, inplace=inplace)) + mean

    x = torch.randn(3, 4)
    found = send(lambda x: model(x, inplace=True), x, rule)
    torch.testing.assert_close(found, send(lambda x: model(x, inplace=False), x, rule))


@pytest.mark.parametrize(
    "floor",
    [
        lambda x: x.clamp_min(-1.0),
        lambda x: x.clamp(min=-1.0),
        lambda x: F.hardtanh(x, -1.0, 9.0),
        lambda x: F.relu(x) - 1.0,
        lambda x: F.relu(x).index_fill(1, torch.tensor([0]), -1.0),
        lambda x: F.relu(x).scatter(1, torch.zeros(2, 1, dtype=torch.long), -1.0),
        lambda x: F.relu(x).masked_fill(x > 1, -1.0),
        lambda x: F.pad(F.relu(x)[:, 1:], (1, 0), value=-1.0),
        lambda x: torch.where(x > 0.5, x.relu(), -1.0),
        lambda x: -F.relu(x),
        lambda x: F.relu(x) * -0.5,
        lambda x: F.relu(x).div(-2),
    ],
)
def test_values_below_zero_are_known_to_be_so(send: Send, floor: Function) -> None:
    """z⁺ splits by the input's sign unless it is known: to forget it changes nothing."""
    first, second = nn.Linear(3, 4).eval(), nn.Linear(4, 3).eval()
    x = torch.randn(2, 3) * 2
    for rule in (rules.z_plus(), rules.alpha_beta(), rules.gamma()):
        found = send(lambda x: second(floor(first(x))), x, rule)
        forgotten = send(lambda x: second(F.leaky_relu(floor(first(x)), 1.0)), x, rule)
        torch.testing.assert_close(found, forgotten)


def test_pass_and_gradient_agree_on_piecewise_linear_activations(send: Send) -> None:
    model = nn.Sequential(
        nn.Linear(3, 6, bias=False), nn.LeakyReLU(0.2), nn.Linear(6, 6, bias=False), nn.PReLU(6)
    ).eval()
    x = torch.randn(2, 3)
    expected = GradientTimesInput()(model, x, lambda y: y.sum(1)).relevance
    torch.testing.assert_close(send(model, x, rules.zero()), expected)


def test_an_activation_may_be_given_the_gradient_instead(send: Send) -> None:
    """The rule `gradient` on activations and on linear maps is gradient × input."""
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2), nn.GELU()).eval()
    x = torch.randn(2, 3)
    found = send(model, x, {"activation": rules.gradient(), "linear": rules.zero()})
    expected = GradientTimesInput()(model, x, lambda y: y.sum(1)).relevance
    torch.testing.assert_close(found, expected)


def test_values_that_share_one_input_give_it_their_sum(send: Send) -> None:
    """A constant that broadcasts makes several outputs of one input."""
    x = torch.tensor([[3.0], [-2.0]])
    found = send(lambda x: torch.clamp(x, min=torch.tensor([0.5, 1.0])), x)
    assert found.flatten().tolist() == [6.0, 1.5]


@pytest.mark.usefixtures("double")
def test_values_written_into_what_was_positive_may_be_negative(send: Send) -> None:
    w, x = torch.randn(4, 3), torch.rand(2, 4)

    def written(x: Tensor) -> Tensor:
        a = (x @ torch.eye(4)).abs()
        a[:, 0] = -1.0
        return a @ w

    def constant(x: Tensor) -> Tensor:
        first = torch.full((2, 1), -1.0)
        return torch.cat((first, (x @ torch.eye(4)).abs()[:, 1:]), 1) @ w

    torch.testing.assert_close(send(written, x, rules.z_plus()), send(constant, x, rules.z_plus()))
