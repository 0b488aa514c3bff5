"""Every family of torchvision classifiers with convolutions, unmodified, with random weights.

Each network is built once, in float64, with batch-norm statistics of its own and biases that are
not zero. Bounds are relative to the explained score f unless a test says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from rootpoint import LRP, GradientTimesInput
from rootpoint.methods.deeplift import DeepLift
from rootpoint.propagation import PRESETS

torchvision = pytest.importorskip("torchvision")

Family = tuple[nn.Module, Tensor]

# The smallest variant of each family. `SLOW` ones are large, and are built for more than a second.
RELU = (
    "alexnet",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "regnet_x_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11",
    "vgg11_bn",
    "wide_resnet50_2",
)
SMOOTH = (  # ReLU6, gates, hard-swish, SiLU, GELU, layer norm
    "convnext_tiny",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_y_400mf",
)
SLOW = ("convnext_tiny", "efficientnet_v2_s", "vgg11", "vgg11_bn", "wide_resnet50_2")
TARGETS = [3, 5]


def over(names: tuple[str, ...], slow: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    marked = [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]
    return pytest.mark.parametrize("family", marked, indirect=True)


def build(name: str) -> Family:
    """The network, calibrated, and two inputs for it."""
    torch.manual_seed(0)
    size = 80 if name == "inception_v3" else 64  # the least they accept is 75 and 63
    told = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **told).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        model(torch.randn(8, 3, size, size, dtype=torch.float64))
        for bias in biases(model):
            if not bias.any():
                bias.normal_(std=0.05)
    return model.eval(), torch.randn(2, 3, size, size, dtype=torch.float64)


def biases(model: nn.Module) -> list[Tensor]:
    """All that is added to activations."""
    found = [getattr(m, name, None) for m in model.modules() for name in ("bias", "running_mean")]
    return [bias for bias in found if isinstance(bias, Tensor)]


@contextmanager
def without_biases(model: nn.Module) -> Iterator[None]:
    kept = [bias.detach().clone() for bias in biases(model)]
    with torch.no_grad():
        for bias in biases(model):
            bias.zero_()
        yield
        for bias, value in zip(biases(model), kept, strict=True):
            bias.copy_(value)


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    return build(request.param)


@over(RELU + SMOOTH)
def test_without_biases_lrp_conserves_as_epsilon_vanishes(family: Family) -> None:
    model, x = family
    with without_biases(model):
        e = LRP(composite="epsilon(epsilon=1e-12)")(model, x, TARGETS)
    assert ((e.relevance.flatten(1).sum(1) - e.output).abs() <= 1e-7 * e.output.abs()).all()


@over(RELU)
def test_without_biases_lrp_0_is_gradient_times_input_in_every_pixel(family: Family) -> None:
    """Relative to the largest |R|: a map may conserve and still be wrong."""
    model, x = family
    with without_biases(model):
        relevance = LRP(composite="epsilon(epsilon=0.0)")(model, x, TARGETS).relevance
        expected = GradientTimesInput()(model, x, TARGETS).relevance
    assert (relevance - expected).abs().max() <= 1e-8 * expected.abs().max()


@over(RELU)
def test_biases_absorb_what_the_gradient_gives_them(family: Family) -> None:
    """Relative to Σ|R|. f is homogeneous in x and biases b: f = Σ x ∂f/∂x + Σ b ∂f/∂b."""
    model, x = family
    e = LRP(composite="epsilon(epsilon=0.0)")(model, x, TARGETS)
    score = model(x)[range(len(x)), TARGETS].sum()
    biased = [m for m in model.modules() if isinstance(getattr(m, "bias", None), Tensor)]
    slopes = torch.autograd.grad(score, [m.bias for m in biased], allow_unused=True)
    absorbed = 0.0
    for module, slope in zip(biased, slopes, strict=True):
        if slope is None:  # an auxiliary classifier, which does not run
            continue
        bias = module.bias
        if isinstance(module, nn.BatchNorm2d):
            scale = module.weight * (module.running_var + module.eps).rsqrt()
            bias = bias - module.running_mean * scale
        absorbed += (bias * slope).sum().item()
    assert set(e.balance.absorbed) <= {"bias", "rounding"}
    found = sum(e.balance.absorbed.values())
    assert abs(found - absorbed) <= 1e-10 * e.relevance.abs().sum()


@over(RELU + SMOOTH)
def test_a_batch_gives_the_maps_of_its_samples(family: Family) -> None:
    """Relative to the norm of the map."""
    model, x = family
    both = LRP(composite="epsilon")(model, x, TARGETS).relevance
    for sample, target, relevance in zip(x, TARGETS, both, strict=True):
        alone = LRP(composite="epsilon")(model, sample[None], target).relevance[0]
        assert (relevance - alone).norm() <= 1e-9 * alone.norm()


@over(RELU + SMOOTH, slow=SLOW)
def test_every_composite_gives_finite_maps_and_balanced_books(family: Family) -> None:
    model, x = family
    for name in PRESETS:
        e = LRP(composite=name)(model, x[:1], TARGETS[0])
        books, score = e.balance, abs(e.output.item())
        assert e.relevance.isfinite().all(), name
        size = max(1e-2 * abs(entry.arrived) for entry in books.entries)  # attn-lrp grows in CNNs
        bound = 1e-10 * max(score, size)
        assert "unaccounted" not in books.absorbed, f"{name}\n{books}"
        assert abs(books.gap) <= bound, f"{name}\n{books}"
        assert abs(books.relevance - e.relevance.sum().item()) <= bound, name
        assert abs(books.absorbed.get("rounding", 0.0)) <= bound, f"{name}\n{books}"


@over(RELU + SMOOTH)
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat"])
def test_books_balance_in_float32(family: Family, composite: str) -> None:
    """To 1e-5 of f, or a tenth of float32's resolution of Σ|R| where shares cancel in f."""
    model, x = deepcopy(family[0]).float(), family[1][:1].float()
    e = LRP(composite=composite)(model, x, TARGETS[0])
    assert e.relevance.isfinite().all()
    assert "unaccounted" not in e.balance.absorbed, str(e.balance)
    assert abs(e.balance.gap) <= 1e-5 * e.output.abs() + 1e-8 * e.relevance.abs().sum()


@over(RELU + SMOOTH, slow=SLOW)
@pytest.mark.parametrize("rule", ["mixed", "reveal-cancel"])
def test_deeplift_shares_the_whole_difference(family: Family, rule: str) -> None:
    """Relative to the larger score; from a baseline that is not zero."""
    model, x = family
    e = DeepLift(rule=rule, baseline=0.5)(model, x, TARGETS)
    assert e.relevance.isfinite().all()
    assert e.completeness_gap is not None
    assert e.baseline_output is not None
    size = torch.maximum(e.output.abs(), e.baseline_output.abs())
    assert (e.completeness_gap.abs() <= 1e-8 * size).all()
