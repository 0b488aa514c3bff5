"""Every family of torchvision classifiers with convolutions, unmodified, with random weights.

Each family is built once, in float64, with batch-norm statistics of its own inputs. The bounds are
relative to the explained score f, or, where it says so, to Σ|R| over the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import rootpoint as rp
from rootpoint.explanation import Balance, Explanation
from rootpoint.propagation import PRESETS

torchvision = pytest.importorskip("torchvision")

# The smallest variant of each family; all ReLU networks are piecewise linear.
RELU = [
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "resnet18",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "squeezenet1_1",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "regnet_x_400mf",
]
SMOOTH = [  # ReLU6, gates, hard-swish, SiLU, GELU, layer norm
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "convnext_tiny",
]
SIZE = {"inception_v3": 80}  # the least it accepts is 75
TARGETS = [3, 5]
NORMS = (nn.BatchNorm2d,)


def build(name: str) -> tuple[nn.Module, Tensor]:
    """The network, calibrated, with biases that are not zero, and two inputs."""
    torch.manual_seed(0)
    size = SIZE.get(name, 64)
    loud = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **loud).double().eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        model(torch.randn(8, 3, size, size, dtype=torch.float64))
        for bias in biases(model):
            if not bias.any():
                bias.normal_(std=0.05)
    model.eval()
    return model, torch.randn(2, 3, size, size, dtype=torch.float64)


def biases(model: nn.Module) -> list[Tensor]:
    """All that is added to activations."""
    found = [getattr(m, name, None) for m in model.modules() for name in ("bias", "running_mean")]
    return [bias for bias in found if bias is not None]


@contextmanager
def without_biases(model: nn.Module) -> Iterator[None]:
    kept = [bias.clone() for bias in biases(model)]
    with torch.no_grad():
        for bias in biases(model):
            bias.zero_()
        yield
        for bias, value in zip(biases(model), kept, strict=True):
            bias.copy_(value)


@pytest.fixture(scope="module", params=RELU + SMOOTH)
def family(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    return build(request.param)


@pytest.fixture(scope="module", params=RELU)
def relu_family(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    return build(request.param)


def size(e: Explanation) -> float:
    return e.relevance.abs().sum().item()


def test_probe(family):
    import time
    model, x = family
    t=time.time()
    out=[]
    with without_biases(model):
        e = rp.LRP(composite="epsilon(epsilon=1e-12)")(model, x, TARGETS)
    sums=e.relevance.flatten(1).sum(1)
    out.append("cons %.1e of R %.1e"%(((sums-e.output)/e.output).abs().max(), ((sums-e.output)/e.relevance.abs().flatten(1).sum(1)).abs().max()))
    e = rp.LRP(composite="epsilon")(model, x, TARGETS)
    one = rp.LRP(composite="epsilon")(model, x[1:], TARGETS[1:])
    out.append("batch %.1e"%((e.relevance[1:]-one.relevance).norm()/one.relevance.norm()))
    for name in PRESETS:
        e = rp.LRP(composite=name)(model, x, TARGETS)
        assert e.relevance.isfinite().all()
        b=e.balance
        assert 'unaccounted' not in b.absorbed
        sz=max(sum(abs(v) for v in en.absorbed.values()) for en in b.entries)
        out.append(f"{name} gap {b.gap/b.score:.0e} round {b.absorbed.get('rounding',0)/b.score:.0e}")
    print(*out, time.time()-t)
    f=model.float()
    out=[]
    for name in PRESETS:
        e = rp.LRP(composite=name)(f, x.float(), TARGETS)
        assert e.relevance.isfinite().all()
        b=e.balance
        out.append(f"{name} gap {b.gap/b.score:.0e} round {b.absorbed.get('rounding',0)/b.score:.0e} unacc {b.absorbed.get('unaccounted',0)/b.score:.0e} {e.relevance.abs().sum()/b.score:.0f}")
    model.double()
    print(*out, time.time()-t)
