"""Every rule on every linear map, at every place, against its formula as a matrix expression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import Rule, rules
from rootpoint.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]
Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")


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


def lrp_box(a: Array, w: Array, b: Array, r: Array, low: Any = -3.0, high: Any = 4.0) -> Array:
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
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor)
                )
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
    "einsum over all": (
        lambda: Map(lambda x, w: torch.einsum("bij,ijk->bk", x, w), (2, 4, 3)),
        (2, 4),
    ),
    "conv1d + norm": (lambda: with_norm(nn.Conv1d(2, 3, 3, bias=False), nn.BatchNorm1d(3)), (2, 5)),
    "conv2d + norm": (
        lambda: with_norm(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)),
        (2, 4, 4),
    ),
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
    bounds = [bound.expand_as(x[0]).flatten().numpy()[:, None] for bound in (low, high)]
    expected = lrp_box(x.flatten().numpy(), w, b, r, *bounds)
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
