"""CAM, Grad-CAM and guided Grad-CAM, and the layer that they find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.explanation import Explanation
from rootpoint.method import Method, method
from rootpoint.methods.backprop import GuidedBackprop
from rootpoint.methods.cam import CAM, GradCAM, GuidedGradCAM

torchvision = pytest.importorskip("torchvision")


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Pooled(nn.Module):
    """Feature maps, their mean, one linear layer."""

    def __init__(self, features: nn.Module, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.head.weight.data = weight
        self.head.bias.data.fill_(bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


A = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[0.0, 1.0], [3.0, 0.0]]]], dtype=torch.float64)
W = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
IMAGE = torch.zeros(1, 3, 8, 8, dtype=torch.float64)


def small(bias: float = 0.0) -> nn.Module:
    return Pooled(nn.Identity(), W, bias).eval()


def pooled(classes: int = 3) -> nn.Module:
    features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 5, 3))
    return Pooled(features.append(nn.ReLU()), torch.randn(classes, 5), 0.3).eval()


def test_closed_form() -> None:
    """A1 = [[1, 2], [0, 1]], A2 = [[0, 1], [3, 0]], w = (2, −1)."""
    cam, grad = CAM()(small(), A), GradCAM()(small(), A)
    assert cam.details["map"].tolist() == [[[[2, 3], [-3, 2]]]]
    assert cam.details["map"].mean() == cam.output == 1
    assert grad.details["map"].tolist() == [[[[0.5, 0.75], [0, 0.5]]]]


def test_relevance_is_like_the_input_and_its_channels_sum_to_the_map() -> None:
    x = torch.rand(2, 3, 20, 14)
    for each in (CAM(), GradCAM()):
        explanation = each(pooled(), x)
        assert explanation.relevance.shape == x.shape
        stretched = F.interpolate(explanation.details["map"], (20, 14), mode="bilinear")
        assert torch.allclose(explanation.relevance.sum(1, keepdim=True), stretched)
        assert explanation.details["layer"] == "features.4" or explanation.details["layer"] == (
            "features"
        )


@given(st.integers(0, 10_000))
def test_grad_cam_of_a_mean_and_a_linear_layer_is_cam_rectified_over_its_size(seed: int) -> None:
    torch.manual_seed(seed)
    net, x = pooled().double(), torch.rand(2, 3, 12, 10).double()
    cam = CAM()(net, x, [0, 2]).details["map"]
    grad = GradCAM()(net, x, [0, 2]).details["map"]
    assert torch.allclose(grad, cam.clamp(min=0) / cam[0].numel(), rtol=1e-10, atol=1e-14)


def test_the_mean_of_cam_is_the_logit_without_its_bias() -> None:
    explanation = CAM()(pooled(), torch.rand(2, 3, 12, 10), [1, 2])
    found = explanation.details["map"].mean((1, 2, 3))
    assert torch.allclose(found, explanation.output - 0.3)


@pytest.mark.parametrize("kind", [CAM, GradCAM, GuidedGradCAM])
def test_a_batch_is_as_its_samples_and_several_targets_as_each(kind: type[Method]) -> None:
    net, x = pooled(), torch.rand(3, 3, 12, 12)
    bound = kind().bind(net)
    together = bound(x, [0, 1, 2])
    for i in range(3):
        alone = bound(x[i : i + 1], i).relevance[0]
        assert torch.allclose(together.relevance[i], alone, rtol=1e-10, atol=1e-14)
        each = bound.each(x, [0, 1, 2])[i]
        assert torch.allclose(each.relevance, bound(x, i).relevance, rtol=1e-10, atol=1e-14)


def test_guided_grad_cam_is_the_product() -> None:
    net, x = pooled(), torch.rand(2, 3, 12, 12)
    found = GuidedGradCAM()(net, x, 1)
    stretched = F.interpolate(GradCAM()(net, x, 1).details["map"], (12, 12), mode="bilinear")
    expected = GuidedBackprop()(net, x, 1).relevance * stretched
    assert torch.allclose(found.relevance, expected, rtol=1e-12, atol=1e-14)
    assert str(found.passes) == "2 forward, 2 backward"
    assert found.method == GuidedGradCAM()


def test_a_map_without_positive_values_is_zero_and_said_to_be() -> None:
    net = Pooled(nn.Identity(), torch.tensor([[-2.0, -1.0]])).eval()
    explanation = GradCAM()(net, torch.cat([A, A - 3]))
    assert not explanation.relevance[0].any()
    assert explanation.relevance[1].any()
    assert explanation.notes == (
        "no value of the map at features is positive in sample 0: it is zero",
    )
    assert GuidedGradCAM()(net, A).notes
    assert (CAM()(net, A).details["map"] <= 0).all()


# -- the layer --------------------------------------------------------------------------------


def found_by(model: nn.Module, x: Tensor) -> Explanation:
    return GradCAM()(model, x, 0)


class WithTuple(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Skipping(nn.Module):
    """A module that returns a tuple, one that is overwritten, one that the score does not need."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.pair, self.idle, self.head = WithTuple(), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(x).relu_()
        self.idle(y)
        return self.head(self.pair(y)[0].mean((2, 3)) + x.mean((2, 3)))


def test_modules_are_skipped_off_the_path_or_that_return_a_tuple() -> None:
    assert found_by(Skipping().eval(), IMAGE + 1).details["layer"] == "second"


def test_an_output_overwritten_in_place_is_taken_as_the_model_goes_on_with_it() -> None:
    """Named, it is taken as the module returned it."""
    net, x = Skipping().eval(), torch.rand(1, 3, 8, 8)
    before = net.second(net.first(x)).detach()
    mean = net.head.weight[0, :, None, None].detach() / 16
    found = found_by(net, x).details["map"][:, 0]
    assert torch.allclose(found, (mean * before.relu()).sum(1).relu())
    named = GradCAM(layer="second")(net, x, 0).details["map"][:, 0]
    slopes = mean * (before > 0).to(x).mean((2, 3), keepdim=True)
    assert torch.allclose(named, (slopes * before).sum(1).relu())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("mobilenet_v2", "features"),
        ("squeezenet1_1", "classifier.2"),
        ("densenet121", "features"),
    ],
)
def test_convolutional_networks(name: str, layer: str) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    explanation = GradCAM()(model, torch.randn(1, 3, 96, 64))
    assert explanation.details["layer"] == layer
    assert explanation.relevance.isfinite().all()


def transformer(**options: Any) -> nn.Module:
    settings = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2}
    settings |= {"hidden_dim": 16, "mlp_dim": 32, "num_classes": 5}
    model = torchvision.models.VisionTransformer(**settings | options).eval()
    nn.init.normal_(model.heads.head.weight)
    return model


def test_a_vision_transformer_is_seen_where_attention_last_reads_its_patches() -> None:
    """Behind the last attention only the class token counts."""
    explanation = found_by(transformer(), torch.randn(2, 3, 32, 32))
    assert explanation.details["layer"] == "encoder.layers.encoder_layer_1.ln_1"
    assert explanation.details["map"].shape == (2, 1, 4, 4)


def test_named_behind_the_last_attention_the_map_is_zero_and_said_to_be() -> None:
    explanation = GradCAM(layer="encoder.ln")(transformer(), torch.randn(1, 3, 32, 32), 0)
    assert not explanation.relevance.any()
    assert "no slope at encoder.ln in sample 0" in explanation.notes[0]


class Tokens(nn.Module):
    """Patches of an oblong image without a convolution, behind class and register tokens.

    Attention is written out in modules: from tokens to tokens, no map.
    """

    def __init__(self, before: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.randn(1, before, 6))
        self.embed, self.norm, self.softmax = nn.Linear(48, 6), nn.LayerNorm(6), nn.Softmax(-1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(F.unfold(x, 4, stride=4).transpose(1, 2))
        tokens = torch.cat([self.before.expand(len(x), -1, -1), patches], 1)
        tokens = self.norm(tokens)
        attention = self.softmax((tokens @ tokens.mT)[:, None])[:, 0]
        tokens = tokens + attention @ tokens
        return self.head(tokens[:, 0] if self.before.shape[1] else tokens.mean(1))


@pytest.mark.parametrize("before", [0, 1, 2, 5])
def test_tokens_before_those_of_patches_are_left_out(before: int) -> None:
    explanation = found_by(Tokens(before).eval(), torch.randn(1, 3, 16, 24))
    assert explanation.details["layer"] == "norm"
    assert explanation.details["map"].shape == (1, 1, 4, 6)


class ChannelsLast(nn.Module):
    """As Swin: (B, h, w, C) inside."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.patches(x).permute(0, 2, 3, 1)).mean((1, 2)))


def test_maps_with_their_channels_last() -> None:
    net, x = ChannelsLast().eval(), torch.randn(1, 3, 16, 24)
    explanation = CAM()(net, x, 0)
    assert explanation.details["layer"] == "norm"
    assert explanation.details["map"].shape == (1, 1, 4, 6)
    grad = found_by(net, x).details["map"]
    assert torch.allclose(grad, explanation.details["map"].clamp(min=0) / 24)


def test_of_a_layer_that_runs_several_times_the_last_is_taken() -> None:
    relu = nn.ReLU()
    features = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu)
    net = Pooled(features, torch.randn(2, 4)).eval()
    x = torch.rand(1, 3, 9, 9)
    explanation = GradCAM(layer="features.1")(net, x, 0)
    assert explanation.details["map"].equal(found_by(net, x).details["map"])
    assert explanation.notes[0] == "features.1 ran 2 times; this is its last run"


def test_a_layer_may_be_named_by_a_number() -> None:
    assert method("grad-cam", layer="1.10").layer == "1.10"  # type: ignore[attr-defined]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.append(nn.Linear(4, 2)).eval()
    explanation = method("grad-cam", layer="0")(net, torch.rand(1, 3, 6, 6))
    assert explanation.details["layer"] == "0"


# -- what cannot be explained -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CAM, GradCAM, GuidedGradCAM])
def test_errors_that_both_share(kind: type[Method]) -> None:
    with pytest.raises(InputError, match=r"layer='nowhere' is not the path .* features\.0"):
        kind(layer="nowhere")(pooled(), IMAGE)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"layer='head' returns \(1, 3\).*name an earlier layer"):
        kind(layer="head")(pooled(), IMAGE)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="explains inputs, not inner modules"):
        kind()(pooled(), IMAGE, at="features")
    with pytest.raises(InputError, match=r"images \(B, C, H, W\), not inputs of the shape \(1, 4"):
        kind()(nn.Linear(4, 2).eval(), torch.zeros(1, 4))
    with pytest.raises(UnsupportedModelError, match=r"give an nn\.Module"):
        kind()(lambda x: x.mean((2, 3)), IMAGE)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    with pytest.raises(InputError, match=r"no module of the model returns .* spatial extent"):
        kind()(dense, IMAGE)


def test_a_map_of_one_place_is_no_map() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(InputError, match=r"H·W > 1"):
        GradCAM()(net, IMAGE)
    with pytest.raises(InputError, match=r"layer='1' returns \(1, 4, 1, 1\)"):
        GradCAM(layer="1")(net, IMAGE)


def test_a_score_that_does_not_depend_on_the_layer() -> None:
    with pytest.raises(UnsupportedModelError, match="does not depend on layer='idle'"):
        GradCAM(layer="idle")(Skipping().eval(), IMAGE, 0)

    class Detached(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(UnsupportedModelError, match="does not depend on any layer"):
        GradCAM()(Detached(nn.Identity(), W).eval(), A)


def test_cam_refuses_networks_that_end_otherwise() -> None:
    deep = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    deep.extend([nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)]).eval()
    x = torch.rand(2, 3, 8, 8)
    with pytest.raises(UnsupportedModelError, match=r"off by .* at '1'; use grad-cam"):
        CAM()(deep, x)
    maximum = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    with pytest.raises(UnsupportedModelError, match="off by"):
        CAM()(maximum.append(nn.Linear(4, 2)).eval(), x)
    with pytest.raises(UnsupportedModelError, match="no feature maps fit"):
        CAM()(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval(), x)
    means = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(UnsupportedModelError, match="there is none"):
        CAM()(means, x)
    with pytest.raises(InputError, match="give a class index as target"):
        CAM()(pooled(), x, lambda output: output[:, 0])


def test_the_model_comes_back_without_hooks() -> None:
    net = pooled()
    for each in (CAM(), GradCAM(), GradCAM(layer="nowhere")):
        with suppress(InputError):
            each(net, torch.rand(1, 3, 12, 12))
    assert not any(m._forward_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
