"""Forms of writing a model that have caught other libraries.

The oracle for maps: with LRP-0, relevance is gradient × input of the same network in which every
value that a rule holds constant (a gate, the ratio y / x of an activation, …) is detached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint as rp
from rootpoint import LRP, GradientTimesInput
from rootpoint.explanation import UNACCOUNTED
from rootpoint.propagation import PRESETS
from rootpoint.propagation.composites import Composite, Where

pytestmark = pytest.mark.usefixtures("double")

LRP0 = LRP(composite="epsilon(epsilon=0.0)")
TARGETS = [0, 1, 2]


class Parts:
    """Weights that the forms below are written with, the same in every test."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=False).eval()
        self.linear = nn.Linear(6, 6, bias=False).eval()
        self.relu = nn.ReLU()
        self.relu_ = nn.ReLU(inplace=True)
        self.kernel = torch.randn(6, 6, 3, 3)
        self.matrix = torch.randn(6, 6)

    def head(self, h: Tensor) -> Tensor:
        """Four scores, each a different sum of all values."""
        weights = torch.arange(h[0].numel() * 4, dtype=h.dtype).reshape(-1, 4).sin()
        return h.flatten(1) @ weights


@pytest.fixture
def p() -> Parts:
    return Parts()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 6, 8, 8)


def close(found: Tensor, expected: Tensor, bound: float = 1e-10) -> bool:
    """Equal in every element, relative to the largest."""
    return bool((found - expected).abs().max() <= bound * expected.abs().max())


# -- forms ---------------------------------------------------------------------------------------

Form = Callable[[Parts, Tensor], Tensor]


def residual(p: Parts, x: Tensor) -> Tensor:
    return x + F.relu(p.linear(x.mean((2, 3))))[:, :, None, None]


def used_twice(p: Parts, x: Tensor) -> Tensor:
    return p.conv(p.relu(p.conv(p.relu(p.conv(x)))))


def keywords(p: Parts, x: Tensor) -> Tensor:
    return F.conv2d(bias=None, weight=p.kernel, padding="same", input=p.relu(input=p.conv(input=x)))


def scalars(p: Parts, x: Tensor) -> Tensor:
    return 3 * p.conv(x) - 2 * F.relu(x) / 4 + (0 - p.conv(-x)) * (-1)


def matrices(p: Parts, x: Tensor) -> Tensor:
    h = F.relu(x.mean((2, 3)))
    left = (p.matrix @ h.unsqueeze(-1)).squeeze(-1)
    return h @ p.matrix + torch.mm(h, p.matrix).relu() + F.linear(h, p.matrix) + left


def einsum(p: Parts, x: Tensor) -> Tensor:
    return torch.einsum("oc,bchw,hw->bo", p.matrix, F.relu(p.conv(x)), torch.ones(8, 8).to(x))


def concatenation(p: Parts, x: Tensor) -> Tensor:
    h = F.relu(p.conv(x))
    return F.max_pool2d(F.pad(torch.cat([x, h, x, h], 1), (1, 1, 1, 1)), 2)


def splits(p: Parts, x: Tensor) -> Tensor:
    a, b = p.relu(p.conv(x)).chunk(2, 1)
    c, d = a.split([1, 2], 1)
    return torch.cat([*torch.stack([a * 3, b / 2, a - b], 1).unbind(1), d, c], 1)


def maxima(p: Parts, x: Tensor) -> Tensor:
    h = p.conv(x)
    larger = torch.maximum(h, -x) + h.max(1, keepdim=True)[0] + torch.max(h, dim=1).values[:, None]
    return larger + h.topk(2, dim=1)[0].sum(1, keepdim=True) + h.amax((2, 3), keepdim=True)


def averages(p: Parts, x: Tensor) -> Tensor:
    h = p.relu(p.conv(x))
    pooled = F.avg_pool2d(h, 3, 2, 1, ceil_mode=True, count_include_pad=False).mean((2, 3))
    return pooled + F.adaptive_avg_pool2d(h, 3).sum(dim=[2, 3]) + x.mean(-1).mean(-1)


def interpolation(p: Parts, x: Tensor) -> Tensor:
    return F.interpolate(p.relu(p.conv(x)), scale_factor=2, mode="bilinear", align_corners=False)


def upwards(p: Parts, x: Tensor) -> Tensor:
    h = p.relu(p.conv(x))
    return F.conv_transpose2d(h, p.kernel, stride=2, padding=1, output_padding=1)


def masks(p: Parts, x: Tensor) -> Tensor:
    h = p.conv(x)
    return h * (h > 0) + torch.where(x > 0, h, x) + h.masked_fill(h < 0, 0.0)


def per_sample(p: Parts, x: Tensor) -> Tensor:
    return torch.stack([F.relu(p.conv(sample[None]))[0] for sample in x])


def tensor_bounds(p: Parts, x: Tensor) -> Tensor:
    return torch.clamp(p.conv(x), min=x)


def scattered(p: Parts, x: Tensor) -> Tensor:
    h = F.relu(p.conv(x))
    where = torch.arange(6) // 2
    by_channel = torch.zeros(3, 3, 8, 8).to(x).index_add(1, where, h)
    return by_channel.scatter_add(1, where[None, :, None, None].expand_as(h), h)


def plus_equals(p: Parts, x: Tensor) -> Tensor:
    h = p.conv(x)
    kept = h.clone()
    h += x
    h *= 2
    h -= kept
    return p.conv(h) + kept


def relu_in_place(p: Parts, x: Tensor) -> Tensor:
    h = p.relu_(p.conv(x))
    return p.conv(F.leaky_relu_(p.conv(h), 0.1)) + h


def input_in_place(p: Parts, x: Tensor) -> Tensor:
    x.relu_()
    return p.conv(x) + x


def through_a_view(p: Parts, x: Tensor) -> Tensor:
    h = p.conv(x)
    h.transpose(1, 2).mul_(2)
    h.view(3, -1).relu_()
    return p.conv(h)


def view_of_what_is_overwritten(p: Parts, x: Tensor) -> Tensor:
    h = p.conv(x)
    view = h[:, :2]
    h.relu_()
    return torch.cat([p.conv(h), view], 1)


def items_set(p: Parts, x: Tensor) -> Tensor:
    h = p.conv(x)
    h[:, 0] = 0
    h[:, 1:3] += h[:, 3:5]
    out = torch.zeros_like(x)
    for channel in range(6):
        out[:, channel] = F.relu(h[:, channel])
    return out


PIECEWISE_LINEAR = [
    residual,
    used_twice,
    keywords,
    scalars,
    matrices,
    einsum,
    concatenation,
    splits,
    maxima,
    averages,
    interpolation,
    upwards,
    masks,
    per_sample,
    tensor_bounds,
    scattered,
    plus_equals,
    relu_in_place,
    input_in_place,
    through_a_view,
    view_of_what_is_overwritten,
    items_set,
]


@pytest.mark.parametrize("form", PIECEWISE_LINEAR, ids=lambda form: form.__name__)
def test_lrp_0_is_gradient_times_input_however_it_is_written(
    form: Form, p: Parts, x: Tensor
) -> None:
    given = x.clone()
    e = LRP0(lambda x: p.head(form(p, x)), x, TARGETS)
    expected = GradientTimesInput()(lambda x: p.head(form(p, x)), x, TARGETS).relevance
    assert close(e.relevance, expected)
    assert abs(e.balance.gap) <= 1e-10 * e.relevance.abs().sum()
    assert "unaccounted" not in e.balance.absorbed
    assert torch.equal(x, given)


def held(y: Tensor, x: Tensor) -> Tensor:
    """y as x times a constant ratio."""
    return x * (y / x).detach()


def frozen(h: Tensor, dims: tuple[int, ...]) -> Tensor:
    centred = h - h.mean(dims, keepdim=True)
    return centred / (h.var(dims, correction=0, keepdim=True) + 1e-5).sqrt().detach()


PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    # written as, and what the rule makes of it
    "gelu": (F.gelu, lambda h: held(F.gelu(h), h)),
    "silu": (F.silu, lambda h: held(F.silu(h), h)),
    "sigmoid": (torch.sigmoid, lambda h: held(h.sigmoid(), h)),
    "tanh": (lambda h: h.tanh(), lambda h: held(h.tanh(), h)),
    "softplus": (F.softplus, lambda h: held(F.softplus(h), h)),
    "relu6": (F.relu6, lambda h: held(F.relu6(h), h)),
    "square": (lambda h: h**2, lambda h: held(h**2, h)),
    "hardswish": (F.hardswish, lambda h: held(F.hardswish(h), h)),
    "hardswish_": (nn.Hardswish(inplace=True), lambda h: held(F.hardswish(h), h)),
    "silu_": (nn.SiLU(inplace=True), lambda h: held(F.silu(h), h)),
    "elu_": (lambda h: F.elu_(h), lambda h: held(F.elu(h), h)),
    "hardtanh_": (lambda h: F.hardtanh_(h, -0.1, 0.1), lambda h: held(F.hardtanh(h, -0.1, 0.1), h)),
    "gate": (lambda h: h * h.flip(1).sigmoid(), lambda h: h * h.flip(1).sigmoid().detach()),
    "gate first": (lambda h: F.hardsigmoid(h) * h, lambda h: F.hardsigmoid(h).detach() * h),
    "gate in place": (
        lambda h: h.clone().mul_(h.mean((2, 3), keepdim=True).sigmoid()),
        lambda h: h * h.mean((2, 3), keepdim=True).sigmoid().detach(),
    ),
    "product of branches": (
        lambda h: h * h.flip(1),
        lambda h: (h.detach() * h.flip(1) + h * h.flip(1).detach()) / 2,
    ),
    "product in einsum": (
        lambda h: torch.einsum("bchw,bchw->bc", h, h.flip(1)),
        lambda h: (h.detach() * h.flip(1) + h * h.flip(1).detach()).sum((2, 3)) / 2,
    ),
    "attention": (
        lambda h: h.flatten(2) @ h.flatten(2).transpose(1, 2),
        lambda h: (
            (
                h.flatten(2).detach() @ h.flatten(2).transpose(1, 2)
                + h.flatten(2) @ h.flatten(2).transpose(1, 2).detach()
            )
            / 2
        ),
    ),
    "quotient": (
        lambda h: h / h.norm(dim=1, keepdim=True),
        lambda h: h / h.norm(dim=1, keepdim=True).detach(),
    ),
    "layer norm": (lambda h: F.layer_norm(h, [6, 8, 8]), lambda h: frozen(h, (1, 2, 3))),
    "instance norm": (lambda h: F.instance_norm(h), lambda h: frozen(h, (2, 3))),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_what_a_rule_holds_constant_gets_nothing(pair: Any, p: Parts, x: Tensor) -> None:
    written, meant = pair
    e = LRP0(lambda x: p.head(written(p.conv(x))), x, TARGETS)
    expected = GradientTimesInput()(lambda x: p.head(meant(p.conv(x))), x, TARGETS).relevance
    assert close(e.relevance, expected)
    assert abs(e.balance.gap) <= 1e-10 * e.relevance.abs().sum()


# -- the input -----------------------------------------------------------------------------------


def network() -> nn.Sequential:
    dense = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    return nn.Sequential(first, nn.Conv2d(4, 4, 3), dense).eval()


MEAN = torch.tensor([0.4, 0.5, 0.3], dtype=torch.float64)[:, None, None]
STD = torch.tensor([0.2, 0.3, 0.25], dtype=torch.float64)[:, None, None]


def normalize_in_place(x: Tensor) -> Tensor:
    return x.clone().sub_(MEAN).div_(STD)


def normalize_by_norm(x: Tensor) -> Tensor:
    return F.batch_norm(x, MEAN.flatten(), STD.flatten() ** 2, eps=0.0)


def normalize_channels(x: Tensor) -> Tensor:
    parts = [(x[:, i] - MEAN[i]) / STD[i] for i in range(3)]
    return torch.stack(parts, 1)


@pytest.mark.parametrize(
    "normalize",
    [lambda x: (x - MEAN) / STD, normalize_in_place, normalize_by_norm, normalize_channels],
    ids=["written out", "in place", "batch-norm", "by channel"],
)
@pytest.mark.parametrize("composite", PRESETS)
def test_normalizing_inside_the_model_changes_nothing(composite: str, normalize: Any) -> None:
    """Pixel by pixel, also for black ones, whose value is zero before it."""
    model, x = network(), torch.rand(2, 3, 8, 8)
    x[:, :, 2:5] = 0
    x[:, 1, 0, 0] = MEAN[1]  # and for those that are zero after it
    inside = LRP(composite=composite)(lambda x: model(normalize(x)), x, 1)
    outside = LRP(composite=composite)(model, (x - MEAN) / STD, 1)
    assert close(inside.relevance, outside.relevance, 1e-8)
    assert abs(inside.balance.gap) <= 1e-10 * inside.relevance.abs().sum()


def test_flat_relevance_does_not_depend_on_the_pixel_even_at_zero() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1).eval()
    x = torch.randn(1, 1, 8, 8)
    x[0, 0, 3:5] = 0
    composite = Composite(((Where(kind="linear"), rp.rules.flat()),))
    e = LRP(composite=composite)(lambda x: conv(x).flatten(1), x, 28)  # that of row 3, column 4
    expected = torch.zeros_like(x)
    expected[0, 0, 2:5, 3:6] = e.output.item() / 9
    assert close(e.relevance, expected)


def test_box_gives_zero_pixels_their_distance_to_the_bounds() -> None:
    linear = nn.Linear(4, 1, bias=False).eval()
    x = torch.tensor([[0.0, 1.0, 0.0, 0.5]])
    composite = Composite(((Where(kind="linear"), rp.rules.box(low=-1.0, high=2.0)),))
    e = LRP(composite=composite)(linear, x, 0)
    w = linear.weight.detach()
    shares = x * w + w.clamp(min=0) - 2 * w.clamp(max=0)
    assert close(e.relevance, shares / shares.sum() * e.output)


# -- what is not in force at inference -----------------------------------------------------------


class StochasticDepth(nn.Module):
    """Skips its branch at random in training only."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.rand(()) < 0.5:
            return x
        keep = torch.ones(len(x), 1, 1, 1, dtype=x.dtype)
        return x + F.dropout2d(self.branch(x), 0.3, self.training) * keep


def test_dropout_and_stochastic_depth_pass_relevance_and_draw_nothing(p: Parts, x: Tensor) -> None:
    model = nn.Sequential(StochasticDepth(p.conv), nn.Dropout(0.5), nn.AlphaDropout(0.5)).eval()
    state = torch.get_rng_state()
    found = LRP0(lambda x: p.head(model(x)), x, TARGETS).relevance
    assert torch.equal(torch.get_rng_state(), state)
    expected = GradientTimesInput()(lambda x: p.head(x + p.conv(x)), x, TARGETS).relevance
    assert close(found, expected)


def test_books_balance_where_a_convolution_is_read_with_and_without_its_batch_norm() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1, bias=False)
            self.norm = nn.BatchNorm2d(2)
            nn.init.normal_(self.norm.bias)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return (torch.relu(self.norm(y)) + y).mean((2, 3))

    torch.manual_seed(0)
    x = torch.randn(1, 1, 4, 4)
    balance = rp.explain(Both().eval(), x, 0, composite="epsilon").balance
    assert abs(balance.gap) < 1e-12
    assert UNACCOUNTED not in balance.absorbed


def test_a_resized_gate_is_a_gate() -> None:
    """GhostNet-v2's attention: nothing goes through the gate, though it is small and enlarged."""
    x = torch.randn(1, 2, 4, 4)

    def model(x: Tensor) -> Tensor:
        gate = torch.sigmoid(F.avg_pool2d(x[:, 1:], 2))
        return (x[:, :1] * F.interpolate(gate, scale_factor=2)).sum((2, 3))

    explanation = rp.explain(model, x, 0, composite="epsilon(epsilon=0)")
    assert not explanation.relevance[:, 1].any()
    torch.testing.assert_close(explanation.relevance.sum(), explanation.output[0])
