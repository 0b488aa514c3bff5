"""The bundled networks: the architecture is torchvision's, the weights recognize the photos."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from rootpoint import data, models
from rootpoint.models.mobilenet_v2 import MobileNetV2
from rootpoint.models.squeezenet import SqueezeNet

WEIGHTS = Path(models.__file__).parent / "weights"
BUNDLED = ["mobilenet-v2", "squeezenet1.1", "digits"]
PAIRS = [(MobileNetV2, "mobilenet_v2"), (SqueezeNet, "squeezenet1_1")]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_same_state_dict_and_outputs_as_torchvision(ours: type, theirs: str) -> None:
    reference = pytest.importorskip("torchvision.models").get_model(theirs, weights=None).eval()
    network = ours().eval()
    shapes = {key: value.shape for key, value in reference.state_dict().items()}
    assert {key: value.shape for key, value in network.state_dict().items()} == shapes
    network.load_state_dict(reference.state_dict())
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    expected = reference.double()(x)
    assert torch.allclose(network.double()(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_say_where_they_come_from(name: str) -> None:
    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        about = json.loads(file.metadata()["about"])
        kinds = {file.get_tensor(key).dtype for key in file.keys() if "weight" in key}  # noqa: SIM118
    assert set(about) == {"source", "obtained from", "licence", "sha256 of the source"}
    assert torch.float16 in kinds
    assert "LICENSE" in " ".join(path.name for path in WEIGHTS.iterdir())


def test_mobilenet_is_torchvisions_to_half_precision() -> None:
    """The digest recorded is that of the official file; its first digits are in the file's name."""
    with safe_open(WEIGHTS / "mobilenet-v2.safetensors", "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["sha256 of the source"].startswith("b0353104")


@pytest.mark.parametrize("name", BUNDLED)
def test_loaded_in_float32_and_eval_mode(name: str) -> None:
    module = models.load(name).module
    assert not any(m.training for m in module.modules())
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", BUNDLED)
def test_rounding_the_kernels_to_half_precision_changes_nothing_more(name: str) -> None:
    module = models.load(name).module
    kernels = [p for p in module.parameters() if p.dim() > 1]
    assert all(torch.equal(p, p.half().float()) for p in kernels)


@pytest.mark.parametrize(
    ("name", "photo", "expected", "at_least"),
    [
        ("mobilenet-v2", "chelsea", "Egyptian cat", 0.6),
        ("mobilenet-v2", "coffee", "espresso", 0.95),
        ("mobilenet-v2", "camera", "tripod", 0.95),
        ("mobilenet-v2", "china", "palace", 0.6),
        ("squeezenet1.1", "chelsea", "Egyptian cat", 0.35),
        ("squeezenet1.1", "coffee", "espresso", 0.9),
        ("squeezenet1.1", "camera", "tripod", 0.8),
        ("efficientnet-lite0", "chelsea", "tiger cat", 0.35),
        ("efficientnet-lite0", "coffee", "espresso", 0.9),
        ("efficientnet-lite0", "camera", "tripod", 0.9),
        ("efficientnet-lite0", "china", "palace", 0.3),
        ("efficientnet-lite1", "coffee", "espresso", 0.45),
        ("efficientnet-lite2", "coffee", "espresso", 0.8),
    ],
)
def test_recognizes(name: str, photo: str, expected: str, at_least: float) -> None:
    if name.startswith("efficientnet"):
        pytest.importorskip("efficientnet_lite_pytorch")
    model = models.load(name)
    (path,) = (p.path for p in data.photos() if p.name == photo)
    with torch.no_grad():
        probability, index = model.module(model.tensor(data.open_photo(path))).softmax(1).max(1)
    assert model.classes is not None
    assert model.classes[index.item()] == expected
    assert probability.item() >= at_least


def test_class_names_are_torchvisions() -> None:
    meta = pytest.importorskip("torchvision.models._meta")
    assert list(models.load().classes or ()) == meta._IMAGENET_CATEGORIES


def test_bundled_files_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in WEIGHTS.glob("*.safetensors")}
    assert sizes["mobilenet-v2.safetensors"] < 7.5e6
    assert sizes["squeezenet1.1.safetensors"] < 2.6e6
    assert sizes["digits.safetensors"] < 1.3e5
    assert len({hashlib.sha256((WEIGHTS / name).read_bytes()).digest() for name in sizes}) == 3
