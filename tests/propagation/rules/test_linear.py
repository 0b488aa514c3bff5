"""Rules for linear maps: closed forms, and each rule against its formula as a slow matrix expression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, Composite, DeepTaylor, Rule, Where, rules
from rootpoint.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]
Send = Callable[..., Any]

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
    # The first hidden unit has no negative contribution: with the guard it gets α1β0, and f is shared.
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
    send: Send, rule: Rule, x: tuple[float, ...], hidden: tuple[float, ...], inputs: tuple[float, ...]
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
    assert deep_taylor(model, x, 0, at="1").relevance[0].tolist() == pytest.approx((4, 0), abs=1e-12)
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
    """ã = a − t·a with t = 2/3; the share 4/3, −4/3, 1 is that of z without the bias, 3/2 · z_i / Σ z_i."""
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
    """|Σ z| ≪ Σ |z|: LRP-0 gives 1000 times the score to each input, z⁺ none more than the score."""
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
    """w = 2, b = 1; γ = 3, β = −1, μ = 1/2, σ² = 4 give w' = 3, b' = −1/4: γ-rule with b' and w'."""
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


# -- every rule on every linear map, against its formula -----------------------------------------


def positive(x: Array) -> Array:
    return np.maximum(x, 0)


def negative(x: Array) -> Array:
    return np.minimum(x, 0)


def divided(r: Array, z: Array) -> Array:
    """R / z, with 0/0 = 0."""
    return np.divide(r, z, out=np.zeros_like(r), where=np.abs(z) > 1e-12)


def lrp_zero(a: Array, w: Array, b: Array, r: Array) -> Array:
    return (a[:, None] * w) @ divided(r, a @ w + b)


def lrp_epsilon(a: Array, w: Array, b: Array, r: Array) -> Array:
    z = a @ w + b
    return (a[:, None] * w) @ (r / (z + 0.2 * np.where(z < 0, -1, 1)))


def lrp_z_plus(a: Array, w: Array, b: Array, r: Array, absorb: bool = False) -> Array:
    z = positive(a[:, None] * w)
    return z @ divided(r, z.sum(0) + absorb * positive(b))


def lrp_alpha_beta(
    a: Array, w: Array, b: Array, r: Array, alpha: float, absorb: bool = False, guard: bool = False
) -> Array:
    up, down = positive(a[:, None] * w), negative(a[:, None] * w)
    z_up, z_down = up.sum(0) + absorb * positive(b), down.sum(0) + absorb * negative(b)
    one_sided = guard & ((z_up == 0) | (z_down == 0))
    r_up = np.where(one_sided, np.where(z_down == 0, r, 0), alpha * r)
    return up @ divided(r_up, z_up) + down @ divided(r - r_up, z_down)


def lrp_gamma(
    a: Array, w: Array, b: Array, r: Array, gamma: float = 0.25, absorb: bool = True
) -> Array:
    z, total = a[:, None] * w, a @ w + b
    raised = z + gamma * np.where(total > 0, positive(z), negative(z))
    bias = b + gamma * np.where(total > 0, positive(b), negative(b))
    return raised @ divided(np.where(total == 0, 0, r), raised.sum(0) + absorb * bias)


def lrp_box(a: Array, w: Array, b: Array, r: Array, low: float = -3.0, high: float = 4.0) -> Array:
    z = a[:, None] * w - low * positive(w) - high * negative(w)
    return z @ divided(r, z.sum(0))


def lrp_w_square(a: Array, w: Array, b: Array, r: Array) -> Array:
    return w**2 @ divided(r, (w**2).sum(0))


def lrp_flat(a: Array, w: Array, b: Array, r: Array) -> Array:
    taps = (w != 0).astype(float)
    return taps @ divided(r, taps.sum(0))


FORMULAS: dict[str, tuple[Rule, Callable[..., Array]]] = {
    "zero": (rules.zero(), lrp_zero),
    "epsilon": (rules.epsilon(epsilon=0.2), lrp_epsilon),
    "z-plus": (rules.z_plus(), lrp_z_plus),
    "z-plus, bias": (rules.z_plus(bias="absorb"), lambda *x: lrp_z_plus(*x, absorb=True)),
    "a2b1": (rules.alpha_beta(), lambda *x: lrp_alpha_beta(*x, alpha=2)),
    "a2b1, bias": (
        rules.alpha_beta(bias="absorb"),
        lambda *x: lrp_alpha_beta(*x, alpha=2, absorb=True),
    ),
    "a3b2, guard": (
        rules.alpha_beta(alpha=3.0, beta=2.0, guard=True),
        lambda *x: lrp_alpha_beta(*x, alpha=3, guard=True),
    ),
    "gamma": (rules.gamma(gamma=0.25), lrp_gamma),
    "gamma, no bias": (
        rules.gamma(gamma=2.0, bias="ignore"),
        lambda *x: lrp_gamma(*x, gamma=2.0, absorb=False),
    ),
    "box": (rules.box(low=-3.0, high=4.0), lrp_box),
    "w-square": (rules.w_square(), lrp_w_square),
    "flat": (rules.flat(), lrp_flat),
}


class Map(nn.Module):
    """A linear map as a function of the input and weights."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.randn(shape) for shape in shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.weights)


def with_norm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """The layer and a batch-norm whose statistics and parameters are all random."""
    with torch.no_grad():
        for name, tensor in norm.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor))
    return nn.Sequential(layer, norm)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, padding=1, stride=2), (3, 7)),
    "conv1d, same": (lambda: nn.Conv1d(2, 3, 4, padding="same", dilation=2), (2, 7)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 4, 5)),
    "conv2d, no bias": (lambda: nn.Conv2d(3, 4, 3, bias=False), (3, 4, 5)),
    "conv2d, grouped": (lambda: nn.Conv2d(4, 6, (3, 2), groups=2, stride=(2, 1)), (4, 5, 4)),
    "conv2d, depthwise": (lambda: nn.Conv2d(3, 6, 3, groups=3, padding=1), (3, 4, 4)),
    "conv2d, dilated": (lambda: nn.Conv2d(2, 3, 2, dilation=(2, 3), padding=(1, 2)), (2, 5, 5)),
    "conv2d, by keyword": (
        lambda: Map(
            lambda x, w, b: F.conv2d(input=x, weight=w, bias=b, stride=2, padding="valid"),
            (3, 2, 2, 2),
            (3,),
        ),
        (2, 4, 5),
    ),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, padding=1, stride=2), (2, 3, 4, 3)),
    "conv_transpose1d": (
        lambda: nn.ConvTranspose1d(3, 2, 3, stride=2, output_padding=1),
        (3, 4),
    ),
    "conv_transpose2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2),
        (4, 3, 3),
    ),
    "conv_transpose2d, dilated": (
        lambda: nn.ConvTranspose2d(2, 3, 2, dilation=2, bias=False),
        (2, 3, 4),
    ),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(2, 2, 2), (2, 2, 2, 3)),
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "linear, no bias": (lambda: nn.Linear(5, 4, bias=False), (5,)),
    "linear on 3-D": (lambda: nn.Linear(4, 3), (2, 4)),
    "linear on 4-D": (lambda: nn.Linear(3, 2), (2, 2, 3)),
    "linear, by keyword": (
        lambda: Map(lambda x, w, b: F.linear(x, bias=b, weight=w), (3, 4), (3,)),
        (4,),
    ),
    "x @ w": (lambda: Map(lambda x, w: x @ w, (4, 3)), (4,)),
    "x @ w on 3-D": (lambda: Map(lambda x, w: x @ w, (4, 3)), (2, 4)),
    "x @ w.T": (lambda: Map(lambda x, w: x @ w.T, (3, 4)), (4,)),
    "w @ x": (lambda: Map(lambda x, w: w @ x, (3, 4)), (4, 2)),
    "mm": (lambda: Map(torch.mm, (4, 3)), (4,)),
    "inner": (lambda: Map(torch.inner, (3, 4)), (2, 4)),
    "bmm": (lambda: Map(lambda x, w: torch.bmm(x, w.expand(len(x), -1, -1)), (1, 4, 3)), (2, 4)),
    "einsum": (lambda: Map(lambda x, w: torch.einsum("bij,jk->bki", x, w), (4, 3)), (2, 4)),
    "einsum, constant first": (
        lambda: Map(lambda x, w: torch.einsum("ok,bik->bio", w, x), (3, 4)),
        (2, 4),
    ),
    "einsum over all": (lambda: Map(lambda x, w: torch.einsum("bij,ijk->bk", x, w), (2, 4, 3)), (2, 4)),
    "conv1d + norm": (lambda: with_norm(nn.Conv1d(2, 3, 3, bias=False), nn.BatchNorm1d(3)), (2, 5)),
    "conv2d + norm": (lambda: with_norm(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)), (2, 4, 4)),
    "grouped conv2d + norm": (
        lambda: with_norm(nn.Conv2d(4, 4, 2, groups=2, stride=2), nn.BatchNorm2d(4, affine=False)),
        (4, 4, 4),
    ),
    "conv3d + norm": (lambda: with_norm(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2)), (1, 2, 3, 3)),
    "linear + norm": (lambda: with_norm(nn.Linear(5, 4), nn.BatchNorm1d(4)), (5,)),
}


class At(nn.Module):
    """A linear map at a place on the path: what comes before and after it decides what is known."""

    def __init__(self, before: nn.Module, layer: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.layer, self.after = before, layer, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.layer(self.before(x)))


def mixing(size: int) -> nn.Module:
    """A linear map of the last dimension: behind it, an operation is no longer the first."""
    return nn.Linear(size, size, bias=False)


PLACES: dict[str, Callable[[nn.Module, int], At]] = {
    "first": lambda layer, _: At(nn.Identity(), layer, nn.Identity()),
    "behind a ReLU": lambda layer, _: At(nn.ReLU(), layer, nn.Identity()),
    "inside": lambda layer, size: At(
        nn.Sequential(mixing(size), nn.ReLU()), layer, nn.ReLU(inplace=True)
    ),
    "inside, either sign": lambda layer, size: At(
        nn.Sequential(mixing(size), nn.LeakyReLU(0.5)), layer, nn.Identity()
    ),
}


def as_matrix(layer: nn.Module, a: Tensor) -> tuple[Array, Array]:
    """The layer as a matrix (inputs × outputs) and a bias, by running it on every unit vector."""
    with torch.no_grad():
        b = layer(torch.zeros_like(a[None]))
        basis = torch.eye(a.numel()).reshape(-1, *a.shape)
        w = torch.cat([layer(e[None]) for e in basis]) - b
    w, b = w.flatten(1).numpy(), b.flatten().numpy()
    return np.where(np.abs(w) < 1e-14, 0, w), b


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", LAYERS)
def test_every_rule_is_its_formula(send: Send, name: str, place: str) -> None:
    """On inputs of both signs, outputs of both signs, relevance of both signs, and two samples."""
    build, shape = LAYERS[name]
    layer = build().eval()
    model = PLACES[place](layer, shape[-1]).eval()
    x = torch.randn(2, *shape)
    with torch.no_grad():
        a, y = model.before(x), model(x)
    m = torch.randn(y.shape) * (y != 0)  # dead outputs have no relevance
    w, b = as_matrix(layer, a[0])
    wrong = {}
    for label, (rule, formula) in FORMULAS.items():
        found = send(model, x, rule, m=m, at="before").flatten(1).numpy()
        expected = [
            formula(a_.flatten().numpy(), w, b, r.flatten().numpy())
            for a_, r in zip(a, y * m, strict=True)
        ]
        if not np.allclose(found, expected, rtol=1e-9, atol=1e-9):
            wrong[label] = np.abs(found - expected).max()
    assert not wrong


@pytest.mark.parametrize("name", LAYERS)
def test_the_rules_that_ignore_the_bias_conserve(send: Send, name: str) -> None:
    build, shape = LAYERS[name]
    layer = build().eval()
    x = torch.randn(3, *shape)
    w, _ = as_matrix(layer, x[0])
    y = layer(x).detach()
    m = torch.randn(y.shape) * torch.tensor(w.any(0)).reshape(y.shape[1:])  # outputs with inputs
    total = (y * m).sum().item()
    kept = (rules.w_square(), rules.flat(), rules.box(low=-4, high=4), rules.alpha_beta(guard=True))
    for rule in kept:
        assert send(layer, x, rule, m=m).sum().item() == pytest.approx(total, rel=1e-10), rule


# -- bounds of a box ---------------------------------------------------------------------------


def test_box_bounds_may_differ_by_channel_or_value(send: Send) -> None:
    """A bound per channel or value is that bound for each of its inputs in the formula."""
    layer, x = nn.Conv2d(2, 3, 3, padding=1).eval(), torch.rand(1, 2, 3, 3)
    w, b = as_matrix(layer, x[0])
    r = layer(x).detach().flatten().numpy()
    low = torch.tensor([-1.0, -2.0]).reshape(2, 1, 1)
    high = torch.rand(2, 3, 3) + 1
    expected = lrp_box(  # type: ignore[arg-type]
        x.flatten().numpy(),
        w,
        b,
        r,
        low.expand(2, 3, 3).flatten().numpy()[:, None],  # pyright: ignore
        high.flatten().numpy()[:, None],  # pyright: ignore
    )
    for given in (low, low.expand(1, 2, 3, 3)):
        found = send(layer, x, rules.box(low=given, high=high))
        np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-10)


def test_a_box_without_bounds_is_that_of_each_sample(send: Send) -> None:
    layer, x = nn.Linear(4, 3).eval(), torch.randn(2, 4)
    found = send(layer, x, rules.box())
    for i in range(2):
        box = rules.box(low=x[i].min().item(), high=x[i].max().item())
        torch.testing.assert_close(found[i], send(layer, x[i : i + 1], box)[0])


def test_a_box_bound_that_does_not_fit_is_refused(send: Send) -> None:
    with pytest.raises(InputError, match=r"bound of shape \(5,\) does not fit the input"):
        send(nn.Linear(4, 3).eval(), torch.randn(2, 4), rules.box(low=torch.zeros(5)))


# -- parameters --------------------------------------------------------------------------------


def test_alpha_and_beta_must_differ_by_one(send: Send) -> None:
    for alpha, beta in ((2.0, 2.0), (0.5, -0.5)):
        with pytest.raises(InputError, match="needs α − β = 1 and β ≥ 0"):
            send(nn.Linear(2, 2).eval(), torch.randn(1, 2), rules.alpha_beta(alpha=alpha, beta=beta))


@pytest.mark.parametrize("make", [rules.z_plus, rules.alpha_beta, rules.gamma])
def test_a_bias_policy_that_does_not_exist_is_refused(send: Send, make: Callable[..., Rule]) -> None:
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
