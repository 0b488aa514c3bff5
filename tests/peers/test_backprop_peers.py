"""The same maps as Captum's and Zennit's, on networks whose ReLUs are modules used once.

- Both replace the backward of `nn.ReLU` modules only, by their gradient elsewhere.
- Captum leaves hooks behind: it gets a copy.
- Zennit adds a stabilizer of 1e-6 to every denominator, which is set next to zero here, and
  keeps biases unless told `zero_params="bias"`. Its sums are compared where branches are positive.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.method import Method
from rootpoint.methods.backprop import DeconvNet, ExcitationBackprop, GuidedBackprop

torchvision = pytest.importorskip("torchvision")
captum = pytest.importorskip("captum.attr")
composites = pytest.importorskip("zennit.composites")
canonizers = pytest.importorskip("zennit.torchvision")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require grad"),
]

BOUND = 1e-8  # of the norm; 1e-13 is found
TARGETS = [3, 0]


@pytest.fixture(scope="module", params=["vgg11", "vgg11_bn", "small"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    if request.param == "small":
        layers = [nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(6, 5)).double().eval()
    features = torchvision.models.get_model(request.param, weights=None).features
    layers = [*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 5)]
    model = nn.Sequential(*layers)
    for module in model.modules():
        if getattr(module, "bias", None) is not None and not module.bias.any():
            nn.init.normal_(module.bias, std=0.05)
    return model.double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 48, 48, dtype=torch.float64)


def difference(found: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return ((found - expected).norm() / expected.norm()).item()


def zennit_map(composite: Any, model: nn.Module, x: Tensor) -> Tensor:
    """From 1 at the target of each sample."""
    x = x.clone().requires_grad_()
    with composite.context(model) as modified:
        scores = modified(x)
        start = nn.functional.one_hot(torch.tensor(TARGETS), scores.shape[1]).to(scores)
        return torch.autograd.grad(scores, x, start)[0]


@pytest.mark.parametrize(
    ("method", "theirs"),
    [(GuidedBackprop(), "GuidedBackprop"), (DeconvNet(), "Deconvolution")],
    ids=["guided", "deconvnet"],
)
def test_captum(network: nn.Module, x: Tensor, method: Method, theirs: str) -> None:
    peer = getattr(captum, theirs)(deepcopy(network))
    expected = peer.attribute(x.clone().requires_grad_(), target=torch.tensor(TARGETS)).detach()
    assert difference(method(network, x, TARGETS).relevance, expected) <= BOUND


@pytest.mark.parametrize(
    ("method", "theirs"),
    [(GuidedBackprop(), "GuidedBackprop"), (DeconvNet(), "DeconvNet")],
    ids=["guided", "deconvnet"],
)
def test_zennit(network: nn.Module, x: Tensor, method: Method, theirs: str) -> None:
    expected = zennit_map(getattr(composites, theirs)(), deepcopy(network), x)
    assert difference(method(network, x, TARGETS).relevance, expected) <= BOUND


def test_excitation_backprop_of_zennit(network: nn.Module, x: Tensor) -> None:
    model = deepcopy(network)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-15  # Zennit's canonizer leaves a division by √(1 + ε) in its place
    composite = composites.ExcitationBackprop(
        stabilizer=1e-15, zero_params="bias", canonizers=[canonizers.VGGCanonizer()]
    )
    expected = zennit_map(composite, deepcopy(model), x)
    found = ExcitationBackprop()(model, x, TARGETS)
    assert difference(found.relevance, expected) <= BOUND
    assert 0 < found.details["probability"].min() <= found.details["probability"].max() < 1 + 1e-9


def test_a_residual_network_is_guided_as_by_zennit(x: Tensor) -> None:
    """ReLUs that are used twice are met by both."""
    model = torchvision.models.get_model("resnet18", weights=None, num_classes=5).double().eval()
    for method, name in ((GuidedBackprop(), "GuidedBackprop"), (DeconvNet(), "DeconvNet")):
        expected = zennit_map(getattr(composites, name)(), deepcopy(model), x)
        assert difference(method(model, x, TARGETS).relevance, expected) <= BOUND
