"""Rules for normalizations: closed forms, and every form with its scale held constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, rules

Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")


def test_layer_norm_of_two_values(send: Send) -> None:
    """x = (1, 3), R = (0, 1) at the output: (−1/2, 3/2). The mean takes part, σ does not."""
    norm = nn.LayerNorm(2, eps=0.0, elementwise_affine=False).eval()
    m = torch.tensor([[0.0, 1.0]])  # y = (−1, 1)
    assert send(norm, torch.tensor([[1.0, 3.0]]), m=m)[0].tolist() == pytest.approx((-0.5, 1.5))


class Random(nn.Module):
    """A normalization whose scale and shift are random."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        for parameter in norm.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


def frozen(x: Tensor, dims: tuple[int, ...], eps: float, *, centred: bool = True) -> Tensor:
    """(x − mean x) / σ as a linear function of x."""
    mean = x.mean(dims, keepdim=True)
    centre = x - mean if centred else x
    scale = (centre.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
    return centre * scale


def affine(norm: Any, y: Tensor) -> Tensor:
    shape = (
        (-1, *[1] * (y.dim() - 2)) if isinstance(norm, nn.GroupNorm | nn.InstanceNorm2d) else None
    )
    weight = norm.weight if shape is None else norm.weight.reshape(shape)
    bias = getattr(norm, "bias", None)
    if bias is None:
        return y * weight
    return y * weight + (bias if shape is None else bias.reshape(shape))


def grouped(x: Tensor, groups: int, eps: float) -> Tensor:
    return frozen(x.reshape(len(x), groups, -1), (2,), eps).reshape(x.shape)


NORMS: dict[str, tuple[nn.Module, tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "layer": (nn.LayerNorm(6), (6,), lambda x: frozen(x, (-1,), 1e-5)),
    "layer over two dims": (nn.LayerNorm((4, 3)), (2, 4, 3), lambda x: frozen(x, (-2, -1), 1e-5)),
    "layer, eps": (nn.LayerNorm(5, eps=0.5), (3, 5), lambda x: frozen(x, (-1,), 0.5)),
    "group": (nn.GroupNorm(2, 4), (4, 3, 2), lambda x: grouped(x, 2, 1e-5)),
    "one group": (nn.GroupNorm(1, 4, eps=0.1), (4, 3), lambda x: grouped(x, 1, 0.1)),
    "instance": (
        nn.InstanceNorm2d(3, affine=True),
        (3, 4, 2),
        lambda x: frozen(x, (2, 3), 1e-5),
    ),
    "rms": (
        nn.RMSNorm(6, eps=1e-6),
        (2, 6),
        lambda x: frozen(x, (-1,), 1e-6, centred=False),
    ),
    "rms, own eps": (
        nn.RMSNorm(6),
        (6,),
        lambda x: frozen(x, (-1,), torch.finfo(torch.float64).eps, centred=False),
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_the_scale_counts_as_a_constant(send: Send, name: str) -> None:
    """R = x · ∂y/∂x with σ held constant, against the formula of the norm; β absorbs its share."""
    norm, shape, standardized = NORMS[name]
    model = Random(norm).eval().double()
    x = torch.randn(2, *shape).requires_grad_()
    y = affine(norm, standardized(x))
    torch.testing.assert_close(y, model(x))
    m = torch.randn(y.shape)
    (slope,) = torch.autograd.grad(y, x, m)
    found = send(model, x.detach(), m=m)
    torch.testing.assert_close(found, (x * slope).detach())


@pytest.mark.parametrize("name", NORMS)
def test_a_normalization_without_shift_conserves(send: Send, name: str) -> None:
    norm, shape, _ = NORMS[name]
    model = Random(norm).eval().double()
    if getattr(norm, "bias", None) is not None:
        nn.init.zeros_(norm.bias)  # pyright: ignore
    x = torch.randn(2, *shape)
    y = model(x).detach()
    m = torch.randn(y.shape)
    torch.testing.assert_close(send(model, x, m=m).sum(), (y * m).sum())


def test_an_instance_norm_with_running_statistics_is_a_batch_norm(send: Send) -> None:
    norm = nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    for tensor in (norm.running_mean, norm.running_var, norm.weight):
        assert tensor is not None
        with torch.no_grad():
            tensor.uniform_(0.5, 2)
    x = torch.randn(2, 3, 4, 4)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # pyright: ignore
    expected = x * scale.detach().reshape(3, 1, 1)
    torch.testing.assert_close(send(norm.eval(), x), expected)


# -- batch-norm --------------------------------------------------------------------------------


def calibrated(norm: nn.modules.batchnorm._BatchNorm) -> Any:
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2)
    return norm.eval()


def test_a_batch_norm_alone_scales_and_its_shift_absorbs(send: Send) -> None:
    """Behind a pooling nothing can be folded: R_i = x_i γ / √(σ² + ε) · m."""
    norm = calibrated(nn.BatchNorm2d(3))
    x = torch.randn(2, 3, 4, 4).relu()
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().reshape(3, 1, 1)
    found = send(lambda x: norm(F.max_pool2d(x @ torch.eye(4), 1)), x, rules.zero())
    torch.testing.assert_close(found, x * scale)


def test_a_batch_norm_on_the_input_passes_relevance(send: Send) -> None:
    """An input normalization inside the model must not change the total."""
    norm = calibrated(nn.BatchNorm2d(3))
    linear = nn.Linear(48, 2, bias=False).eval()
    x = torch.randn(2, 3, 4, 4)
    found = send(lambda x: linear(norm(x).flatten(1)), x, rules.zero())
    torch.testing.assert_close(found.flatten(1).sum(1), linear(norm(x).flatten(1)).sum(1).detach())
    expected = norm(x).flatten(1) * linear.weight.sum(0)
    torch.testing.assert_close(found.flatten(1), expected.detach())


@pytest.mark.parametrize(
    "normalize",
    [
        lambda x: (x - torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1)) / 0.2,
        lambda x: x.sub(0.5).div(torch.tensor([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1)),
        lambda x: x * 2 - 1,
        lambda x: 2.0 * x + torch.tensor(-1.0),
        lambda x: torch.add(x, torch.ones(3, 1, 1), alpha=-0.5),
        lambda x: x.mul_(3).add_(-1),
        lambda x: 1 - x,
        lambda x: torch.cat([x[:, :1] - 0.4, x[:, 1:] * 2 - 1], 1),
    ],
)
def test_scaling_and_shifting_the_input_keeps_the_total(
    send: Send, normalize: Callable[[Tensor], Tensor]
) -> None:
    """Each pixel has the relevance of its normalized value, also where one of the two is zero."""
    linear = nn.Linear(12, 2, bias=False).eval()
    x = torch.rand(2, 3, 2, 2)
    x[0, 0] = 0
    x[1, 1, 0, 0] = 0.5
    found = send(lambda x: linear(normalize(x).flatten(1)), x, rules.zero())
    expected = normalize(x.clone()).flatten(1) * linear.weight.sum(0)
    torch.testing.assert_close(found.flatten(1), expected.detach())


def test_one_channel_spread_over_three_collects_their_relevance(send: Send) -> None:
    """A grey photo shifted by a mean per channel."""
    x, mean = torch.rand(2, 1, 2, 2), torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1)
    linear = nn.Linear(12, 2, bias=False).eval()
    found = send(lambda x: linear((x - mean).flatten(1)), x, rules.zero())
    expected = ((x - mean).flatten(1) * linear.weight.sum(0)).detach().reshape(2, 3, 2, 2)
    torch.testing.assert_close(found, expected.sum(1, keepdim=True))


@pytest.mark.parametrize(
    "rule", [rules.zero(), rules.z_plus(), rules.gamma(), rules.flat()], ids=str
)
def test_a_batch_norm_folds_as_the_data_passes(send: Send, rule: Any) -> None:
    """Registered in another order than it runs, and shared with another use of the convolution."""

    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second_norm = calibrated(nn.BatchNorm2d(3))
            self.second = nn.Conv2d(3, 3, 1)
            self.first_norm = calibrated(nn.BatchNorm2d(3))
            self.first = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first_norm(self.first(x)).relu()
            return self.second_norm(self.second(x))

    def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
        return nn.utils.fusion.fuse_conv_bn_eval(conv, norm)

    model = Backwards().eval()
    folded = nn.Sequential(
        fold(model.first, model.first_norm), nn.ReLU(), fold(model.second, model.second_norm)
    ).eval()
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(send(model, x, rule), send(folded, x, rule))


def test_a_convolution_used_with_and_without_its_norm(send: Send) -> None:
    """y = conv(x) goes both through batch-norm and past it: two linear maps of one input."""
    conv, norm = nn.Conv2d(2, 3, 3).eval(), calibrated(nn.BatchNorm2d(3))
    folded = nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
    x = torch.randn(2, 2, 5, 5)

    def model(x: Tensor) -> Tensor:
        y = conv(x)
        return norm(y).relu() + y

    for rule in (rules.zero(), rules.z_plus(), rules.gamma(), rules.flat(), rules.epsilon()):
        expected = send(lambda x: folded(x).relu() + conv(x), x, rule)
        torch.testing.assert_close(send(model, x, rule), expected)


def test_one_convolution_with_two_norms(send: Send) -> None:
    """A module used twice keeps each use's own modified weights."""
    conv = nn.Conv2d(2, 2, 3, padding=1).eval()
    norms = [calibrated(nn.BatchNorm2d(2)), calibrated(nn.BatchNorm2d(2)).eval()]
    model = nn.Sequential(conv, norms[0], nn.ReLU(), conv, norms[1], nn.ReLU(), conv).eval()
    folded = [nn.utils.fusion.fuse_conv_bn_eval(conv, norm) for norm in norms]
    plain = nn.Sequential(folded[0], nn.ReLU(), folded[1], nn.ReLU(), conv).eval()
    x = torch.randn(2, 2, 4, 4)
    for composite in ("epsilon-plus", "epsilon-alpha2-beta1", "epsilon-gamma-box", "alpha1-beta0"):
        found = LRP(composite=composite)(model, x, lambda y: y.flatten(1).sum(1)).relevance
        expected = LRP(composite=composite)(plain, x, lambda y: y.flatten(1).sum(1)).relevance
        torch.testing.assert_close(found, expected)


def test_a_convolution_overwritten_before_its_norm_is_not_folded(send: Send) -> None:
    conv, norm = nn.Conv2d(2, 3, 3).eval(), calibrated(nn.BatchNorm2d(3))
    x = torch.randn(2, 2, 5, 5)
    for rule in (rules.zero(), rules.z_plus(), rules.gamma()):
        found = send(lambda x: norm(F.relu(conv(x), inplace=True)), x, rule)
        expected = send(lambda x: norm(F.relu(conv(x))), x, rule)
        torch.testing.assert_close(found, expected)
