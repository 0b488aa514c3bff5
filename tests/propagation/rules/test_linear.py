"""Rules for linear maps: closed forms, and options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rootpoint import LRP, Composite, DeepTaylor, Rule, Where, rules
from rootpoint.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]
Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")

# -- closed forms: a network of two hidden units -----------------------------------------------


def two_units(bias: float = 0.5) -> nn.Sequential:
    """f(x) = 2 relu(x1 + x2) − relu(−x1 + 2 x2 − 1) + bias; f(1, 2) = 4 + bias."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    values = ([[1.0, 1.0], [-1.0, 2.0]], [0.0, -1.0], [[2.0, -1.0]], [bias])
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
    return model


T1, T1N = (1.0, 2.0), (-1.0, 2.0)
BY_HAND = {
    "zero": (rules.zero(), T1, (6, -2), (3, 0)),
    "epsilon = 0": (rules.epsilon(epsilon=0.0), T1, (6, -2), (3, 0)),
    "epsilon = 1": (rules.epsilon(epsilon=1.0), T1, (4.909091, -1.636364), (1.772727, 0.272727)),
    "a2b1": (rules.alpha_beta(), T1, (9, -4.5), (10.5, 3)),
    "a2b1, bias": (
        rules.alpha_beta(bias="absorb"),
        T1,
        (8.307692, -4.5),
        (7.788462, 2.076923),
    ),
    # The first hidden unit has no negative contribution: with the guard it gets α1β0.
    "a2b1, guard": (rules.alpha_beta(guard=True), T1, (9, -4.5), (7.5, -3)),
    "a1b0": (rules.alpha_beta(alpha=1.0, beta=0.0), T1, (4.5, 0), (1.5, 3)),
    "z-plus": (rules.z_plus(), T1, (4.5, 0), (1.5, 3)),
    "z-plus, bias": (rules.z_plus(bias="absorb"), T1, (4.153846, 0), (1.384615, 2.769231)),
    "gamma": (rules.gamma(), T1, (5.510204, -1.469388), (2.326531, 1.224490)),
    "gamma, no bias": (rules.gamma(bias="ignore"), T1, (6.136364, -1.636364), (2.454545, 2.045455)),
    "gamma = 0": (rules.gamma(gamma=0.0), T1, (6, -2), (3, 0)),
    "zero, f < 0": (rules.zero(), T1N, (2, -4), (-3, 0)),
    "a2b1, f < 0": (rules.alpha_beta(), T1N, (-3, 1.5), (3.6, -3.6)),
    "gamma, f < 0": (rules.gamma(), T1N, (1.2, -3), (-1.514286, -0.857143)),
}


@pytest.mark.parametrize(("rule", "x", "hidden", "inputs"), BY_HAND.values(), ids=BY_HAND)
def test_values_computed_by_hand(
    send: Send,
    rule: Rule,
    x: tuple[float, ...],
    hidden: tuple[float, ...],
    inputs: tuple[float, ...],
) -> None:
    x_ = torch.tensor([x])
    assert send(two_units(), x_, rule, at="1")[0].tolist() == pytest.approx(hidden, abs=1e-6)
    assert send(two_units(), x_, rule)[0].tolist() == pytest.approx(inputs, abs=1e-6)


FIRST_LAYER = {
    "w-square": (rules.w_square(), (2.6, 1.4)),
    "flat": (rules.flat(), (2, 2)),
    "box [0, 3]": (rules.box(low=0, high=3), (1.333333, 2.666667)),
    "box [-1, 3]": (rules.box(low=-1, high=3), (1.9, 2.1)),
}


@pytest.mark.parametrize(("rule", "expected"), FIRST_LAYER.values(), ids=FIRST_LAYER)
def test_first_layer_rules_share_the_hidden_relevance_whole(
    send: Send, rule: Rule, expected: tuple[float, ...]
) -> None:
    found = send(two_units(), torch.tensor([T1]), {Where(first=True): rule, "linear": rules.zero()})
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert found.sum().item() == pytest.approx(4, abs=1e-12)


def test_deep_taylor_of_the_network_with_a_rectified_output() -> None:
    model = nn.Sequential(*two_units(bias=0.0), nn.ReLU()).eval()
    deep_taylor = DeepTaylor(input="rescaled-excitations")
    x = torch.tensor([T1])
    assert deep_taylor(model, x, 0, at="1").relevance[0].tolist() == pytest.approx(
        (4, 0), abs=1e-12
    )
    found = deep_taylor(model, x, 0)
    assert found.relevance[0].tolist() == pytest.approx((1.333333, 2.666667), abs=1e-6)
    assert found.relevance.sum().item() == pytest.approx(found.output.item(), abs=1e-12)


# -- closed forms: one neuron and its root points ----------------------------------------------

A, W, B = np.array((2.0, 1.0, 3.0)), np.array((1.0, -2.0, 0.5)), -0.5
NEURON_ROOTS = {
    "nearest": (rules.w_square(), (1.809524, 1.380952, 2.904762), (0.190476, 0.761905, 0.047619)),
    "rescaled excitations": (rules.z_plus(), (1.428571, 1, 2.142857), (0.571429, 0, 0.428571)),
    "box": (
        rules.box(low=-1.0, high=4.0),
        (1.727273, 1.272727, 2.636364),
        (0.272727, 0.545455, 0.181818),
    ),
}


def neuron() -> nn.Module:
    layer = nn.Linear(3, 1).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(W)[None])
        layer.bias.fill_(B)
    return layer


@pytest.mark.parametrize(("rule", "root", "share"), NEURON_ROOTS.values(), ids=NEURON_ROOTS)
def test_a_rule_is_the_expansion_at_its_root_point(
    send: Send, rule: Rule, root: tuple[float, ...], share: tuple[float, ...]
) -> None:
    found = send(neuron(), torch.tensor(A)[None], rule)[0].numpy()
    assert found == pytest.approx(np.array(share), abs=1e-6)
    # The Taylor expansion at the root, R_i = w_i (a_i − ã_i), where the neuron is zero.
    assert found == pytest.approx(W * (A - root), abs=3e-6)
    assert W @ root + B == pytest.approx(0, abs=3e-6)


def test_the_root_of_lrp_0_is_the_rescaled_activation(send: Send) -> None:
    """ã = a − t·a with t = 2/3; without the bias the shares are 4/3, −4/3, 1."""
    found = send(neuron(), torch.tensor(A)[None], rules.zero())[0].numpy()
    assert found == pytest.approx(A * W, abs=1e-12)  # the bias takes its share, −1/2
    assert found / found.sum() == pytest.approx(np.array((1.333333, -1.333333, 1)), abs=1e-6)


# -- closed forms: the axioms on rules ---------------------------------------------------------


def difference(bias: float) -> nn.Module:
    layer = nn.Linear(2, 1).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0]]))
        layer.bias.fill_(bias)
    return nn.Sequential(layer, nn.ReLU()).eval()


def test_z_plus_is_bounded_where_lrp_0_is_not(send: Send) -> None:
    """|Σ z| ≪ Σ |z|: LRP-0 gives each input 1000 times the score, z⁺ no more than the score."""
    a = torch.tensor([[1.001, 1.0]])
    z = 0.001
    zero = send(difference(0.0), a, rules.zero(), m=torch.full((1, 1), 1.001 / z))
    assert zero[0].tolist() == pytest.approx((1002.001, -1001), abs=1e-6)
    plus = send(difference(0.0), a, rules.z_plus(), m=torch.full((1, 1), 1.001 / z))
    assert plus[0].tolist() == pytest.approx((1.001, 0), abs=1e-6)


@pytest.mark.parametrize(("d", "ratio"), [(0.1, 10.5), (0.001, 1000.5)])
def test_z_plus_is_continuous_where_lrp_0_is_not(send: Send, d: float, ratio: float) -> None:
    """‖R(x) − R(x')‖₁ / ‖x − x'‖₂ across the kink of relu(x1 − x2)."""
    x, y = torch.tensor([[1 + d, 1.0]]), torch.tensor([[1 - d, 1.0]])

    def steepness(rule: Rule) -> float:
        change = send(difference(0.0), x, rule) - send(difference(0.0), y, rule)
        return change.abs().sum().item() / (2 * d)

    assert steepness(rules.zero()) == pytest.approx(ratio, rel=1e-9)
    assert steepness(rules.z_plus()) == pytest.approx(0.5, rel=1e-9)


def test_an_empty_denominator_gives_nothing(send: Send) -> None:
    """0/0 = 0: all contributions to the only output are negative, or zero."""
    layer = nn.Linear(2, 1, bias=False).eval()
    with torch.no_grad():
        layer.weight.fill_(-1.0)
    x = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    for rule in (rules.z_plus(), rules.alpha_beta(), rules.gamma(), rules.epsilon(), rules.zero()):
        found = send(layer, x, rule)
        assert found.isfinite().all()
        assert (found[1] == 0).all()
    assert (send(layer, x, rules.z_plus()) == 0).all()


def test_epsilon_damps_by_exactly_its_share(send: Send) -> None:
    """Σ_i R_i = R_j (z_j − b_j) / (z_j + ε sign z_j), for either sign of z."""
    layer = nn.Linear(3, 2).eval()
    x, epsilon = torch.randn(4, 3), 0.3
    for j in range(2):
        m = torch.eye(2)[j].expand(4, 2)
        z, b = layer(x)[:, j].detach(), layer.bias[j].detach()
        expected = z * (z - b) / (z + epsilon * torch.where(z < 0, -1, 1))
        found = send(layer, x, rules.epsilon(epsilon=epsilon), m=m).sum(1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_batch_norm_is_folded_with_its_epsilon(send: Send) -> None:
    """w = 2, b = 1; γ = 3, β = −1, μ = 1/2, σ² = 4 give w' = 3, b' = −1/4: the γ-rule has these."""
    linear, norm = nn.Linear(1, 1), nn.BatchNorm1d(1, eps=1.0)
    values = {linear.weight: 2.0, linear.bias: 1.0, norm.weight: 3.0, norm.bias: -1.0}
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.fill_(value)
    norm.running_mean.fill_(0.5)
    norm.running_var.fill_(3.0)  # and ε = 1
    model = nn.Sequential(linear, norm).eval()
    found = send(model, torch.tensor([[1.0], [2.0]]), rules.zero())
    assert found.flatten().tolist() == pytest.approx((3, 6), abs=1e-12)
    # z = 2.75: (3 + γ 3) / (3 + γ 3 − 0.25), γ = 1
    found = send(model, torch.tensor([[1.0]]), rules.gamma(gamma=1.0))
    assert found.item() == pytest.approx(2.75 * 6 / 5.75, abs=1e-12)


# -- parameters --------------------------------------------------------------------------------


def test_alpha_and_beta_must_differ_by_one(send: Send) -> None:
    for alpha, beta in ((2.0, 2.0), (0.5, -0.5)):
        with pytest.raises(InputError, match="needs α − β = 1 and β ≥ 0"):
            send(
                nn.Linear(2, 2).eval(), torch.randn(1, 2), rules.alpha_beta(alpha=alpha, beta=beta)
            )


@pytest.mark.parametrize("make", [rules.z_plus, rules.alpha_beta, rules.gamma])
def test_a_bias_policy_that_does_not_exist_is_refused(
    send: Send, make: Callable[..., Rule]
) -> None:
    with pytest.raises(InputError, match="'absorb' or 'ignore'"):
        send(nn.Linear(2, 2).eval(), torch.randn(1, 2), make(bias="share"))


def test_an_option_that_a_rule_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"rule 'epsilon' has no option \['gamma'\]"):
        rules.epsilon(gamma=1.0)


@pytest.mark.parametrize("make", [rules.z_plus, rules.alpha_beta, rules.gamma])
def test_a_stabilizer_is_added_with_the_sign_of_the_denominator(
    send: Send, make: Callable[..., Rule]
) -> None:
    """One input, one output: R = R_j z / (z + ε sign z), times 1 + γ above and below for γ."""
    layer = nn.Linear(1, 1, bias=False).eval()
    with torch.no_grad():
        layer.weight.fill_(2.0)
    scale = {"z-plus": 1.0, "alpha-beta": 1.0, "gamma": 1.25}[make().name]
    times = 2.0 if make().name == "alpha-beta" else 1.0
    found = send(layer, torch.tensor([[3.0]]), make(epsilon=0.5)).item()
    assert found == pytest.approx(times * 6 * 6 * scale / (6 * scale + 0.5), abs=1e-12)


def test_modified_weights_follow_the_parameters() -> None:
    """A bound method keeps w⁺ between calls, and notices that the weight was written to."""
    layer, x = nn.Linear(4, 3).eval(), torch.rand(2, 4)
    method = LRP(composite=Composite(((Where(kind="linear"), rules.z_plus()),)))
    bound = method.bind(layer)
    first = bound.attribute(x, 0)
    torch.testing.assert_close(bound.attribute(x, 0), first, rtol=0, atol=0)
    with torch.no_grad():
        layer.weight.neg_()
    torch.testing.assert_close(bound.attribute(x, 0), method(layer, x, 0).relevance, rtol=0, atol=0)
    layer.weight = nn.Parameter(torch.randn(3, 4))
    torch.testing.assert_close(bound.attribute(x, 0), method(layer, x, 0).relevance, rtol=0, atol=0)
