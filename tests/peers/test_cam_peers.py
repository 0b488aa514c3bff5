"""The same maps as Captum's and pytorch-grad-cam's, at the layers that ours finds by itself.

- Captum stretches maps by repeating pixels unless told "bilinear".
- pytorch-grad-cam scales every map to [0, 1] in float32, and so does the comparison with it.
- Both want the layer named, and pytorch-grad-cam how tokens become maps; ours is told nothing.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.methods.cam import GradCAM, GuidedGradCAM

torchvision = pytest.importorskip("torchvision")
captum = pytest.importorskip("captum.attr")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require grad"),
]

BOUND = 1e-8  # of the norm; 1e-13 is found
IN_SINGLE = 1e-5  # of values between 0 and 1
TARGETS = [3, 0]


def difference(found: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return ((found - expected).norm() / expected.norm()).item()


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "vgg11":  # without its large dense layers
        features = torchvision.models.get_model(name, weights=None).features
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 5)]
        return nn.Sequential(*features[:-1], *head).double().eval()
    return torchvision.models.get_model(name, weights=None, num_classes=5).double().eval()


def images(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, dtype=torch.float64)


NETWORKS = {
    "vgg11": lambda model: model[-4],
    "resnet18": lambda model: model.layer4,
    "mobilenet_v2": lambda model: model.features,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_captum(name: str) -> None:
    model, x = network(name), images()
    copy = deepcopy(model)
    peer = captum.LayerGradCam(copy, NETWORKS[name](copy))
    expected = peer.attribute(x, target=torch.tensor(TARGETS), relu_attributions=True).detach()
    stretched = captum.LayerAttribution.interpolate(expected, (64, 64), "bilinear")
    found = GradCAM()(model, x, TARGETS)
    assert difference(found.details["map"], expected) <= BOUND
    assert difference(found.relevance.sum(1, keepdim=True), stretched) <= BOUND


def test_guided_grad_cam_of_captum() -> None:
    """On ReLUs that are modules used once, as Captum needs them."""
    model, x = network("vgg11"), images()
    copy = deepcopy(model)
    peer = captum.GuidedGradCam(copy, copy[-4])
    expected = peer.attribute(
        x.clone().requires_grad_(), target=torch.tensor(TARGETS), interpolate_mode="bilinear"
    ).detach()
    assert difference(GuidedGradCAM()(model, x, TARGETS).relevance, expected) <= BOUND


def by_pytorch_grad_cam(model: nn.Module, layer: nn.Module, x: Tensor, reshape: Any) -> Tensor:
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    with pytorch_grad_cam.GradCAM(model, [layer], reshape_transform=reshape) as peer:
        found = peer(x, [targets.ClassifierOutputTarget(target) for target in TARGETS])
    return torch.from_numpy(found)


def scaled(found: Tensor, size: int) -> Tensor:
    """A map as pytorch-grad-cam gives it out."""
    scale = pytest.importorskip("pytorch_grad_cam.utils.image").scale_cam_image
    return torch.from_numpy(scale(scale(found[:, 0].numpy(), (size, size))))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_pytorch_grad_cam(name: str) -> None:
    model, x = network(name), images()
    copy = deepcopy(model)
    expected = by_pytorch_grad_cam(copy, NETWORKS[name](copy), x, None)
    found = scaled(GradCAM()(model, x, TARGETS).details["map"], 64)
    assert (found - expected).abs().max() <= IN_SINGLE
    assert expected.max() > 0.5


def patches(tokens: Tensor) -> Tensor:
    """Tokens behind the class token as maps of 4 × 4."""
    return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)


def test_pytorch_grad_cam_on_torchvisions_vision_transformer() -> None:
    torch.manual_seed(0)
    settings = {"image_size": 32, "patch_size": 8, "num_layers": 3, "num_heads": 2}
    settings |= {"hidden_dim": 16, "mlp_dim": 32, "num_classes": 5}
    model = torchvision.models.VisionTransformer(**settings).double().eval()
    nn.init.normal_(model.heads.head.weight)
    copy, x = deepcopy(model), images(32)
    expected = by_pytorch_grad_cam(copy, copy.encoder.layers[-1].ln_1, x, patches)
    found = GradCAM()(model, x, TARGETS)
    assert found.details["layer"] == "encoder.layers.encoder_layer_2.ln_1"
    assert (scaled(found.details["map"], 32) - expected).abs().max() <= IN_SINGLE
    assert expected.max() > 0.5


@pytest.mark.parametrize("fused", [True, False])
def test_pytorch_grad_cam_on_timms_vision_transformer(
    fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    settings = {"img_size": 32, "patch_size": 8, "depth": 3, "num_heads": 2, "embed_dim": 16}
    model = timm.models.vision_transformer.VisionTransformer(**settings, num_classes=5)
    model = model.double().eval()
    nn.init.normal_(model.head.weight)
    for block in model.blocks:
        monkeypatch.setattr(block.attn, "fused_attn", fused)  # else attention is a module's output
    copy, x = deepcopy(model), images(32)
    expected = by_pytorch_grad_cam(copy, copy.blocks[-1].norm1, x, patches)
    found = GradCAM()(model, x, TARGETS)
    assert found.details["layer"] == "blocks.2.norm1"
    assert (scaled(found.details["map"], 32) - expected).abs().max() <= IN_SINGLE
    assert expected.max() > 0.5
