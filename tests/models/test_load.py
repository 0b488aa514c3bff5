"""Loading by name: what there is, and what is said when something is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from rootpoint import models
from rootpoint.errors import MissingExtraError, UnknownNameError, UnsupportedModelError

EXAMPLE = """
from dataclasses import dataclass
from torch import nn
from neighbour import OUTPUTS

CLASSES = ["no", "yes"]
PREPROCESSING = {"size": 8, "resize": 8, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

@dataclass
class Options:
    width: int = 4

def tiny():
    o = Options()
    return nn.Sequential(nn.Conv2d(3, o.width, 8), nn.Flatten(), nn.Linear(o.width, OUTPUTS))

def fails():
    raise ValueError("no such thing")

def number():
    return 3
"""


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("OUTPUTS = 2\n")
    path = tmp_path / "example.py"
    path.write_text(EXAMPLE)
    return path


def message(name: str) -> str:
    with pytest.raises(UnsupportedModelError) as raised:
        models.load(name)
    return str(raised.value)


def test_nothing_imports_torch_before_a_model_is_loaded() -> None:
    code = (
        "import sys; from rootpoint import data, models; models.available(); data.photos(); "
        "models.ImageModel; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_available_lists_the_default_first_and_every_name_once() -> None:
    names = [card.name for card in models.available()]
    assert names[0] == "mobilenet-v2"
    assert len(set(names)) == len(names)
    assert {"squeezenet1.1", "efficientnet-lite2", "torchvision:NAME", "timm:NAME"} < set(names)


def test_every_card_is_filled_in() -> None:
    for card in models.available():
        assert card.source
        assert card.licence
        assert card.needs in ("", "efficientnet", "torchvision", "timm")


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean mobilenet-v2"):
        models.load("mobilenetv2")
    with pytest.raises(UnknownNameError, match="no model is called 'hub:resnet'"):
        models.load("hub:resnet")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("efficientnet-lite0", "efficientnet_lite_pytorch", "efficientnet"),
        ("torchvision:resnet18", "torchvision.models", "torchvision"),
        ("timm:resnet18", "timm", "timm"),
    ],
)
def test_missing_extra(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'pip install "rootpoint\[{extra}\]"'):
        models.load(name)


@pytest.fixture
def torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return pytest.importorskip("torchvision.models")


def test_torchvision_weights_are_not_fetched_unasked(torchvision: Any) -> None:
    assert "--download" in message("torchvision:resnet18")


def test_torchvision_name(torchvision: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*resnet50"):
        models.load("torchvision:resnet5")


def test_torchvision_weights_on_this_machine(torchvision: Any, tmp_path: Path) -> None:
    weights = torchvision.MobileNet_V3_Small_Weights.DEFAULT
    reference = torchvision.mobilenet_v3_small(weights=None).eval()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(reference.state_dict(), folder / PurePosixPath(weights.url).name)
    model = models.load("torchvision:mobilenet_v3_small")
    photo = Image.effect_noise((256, 256), 80).convert("RGB")
    assert torch.allclose(model.tensor(photo)[0], weights.transforms()(photo), atol=1e-5)
    assert torch.equal(model.module(model.tensor(photo)), reference(model.tensor(photo)))
    assert model.target("espresso") == 967


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm")


def test_timm_weights_are_not_fetched_unasked(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    assert "--download" in message("timm:resnet18")
    with pytest.raises(UnknownNameError, match="did you mean"):
        models.load("timm:resnet1")


def test_timm_weights_on_this_machine(
    timm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = timm.create_model("mobilenetv3_small_050", pretrained=False).eval()
    path = tmp_path / "model.safetensors"
    save_file(reference.state_dict(), path)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(path))
    model = models.load("timm:mobilenetv3_small_050")
    x = torch.randn(1, 3, model.size, model.size)
    assert torch.equal(model.module(x), reference(x))
    assert model.preprocessing.interpolation == Image.Resampling.BICUBIC


def test_file(example: Path) -> None:
    path = list(sys.path)
    model = models.load(f"{example}:tiny")
    assert sys.path == path
    assert not model.module.training
    assert model.classes == ("no", "yes")
    assert model.tensor(Image.new("RGB", (20, 10), "white")).unique().tolist() == [1.0]
    assert model.module(model.tensor(Image.new("RGB", (20, 10)))).shape == (1, 2)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_file_with_checkpoint(example: Path, tmp_path: Path, suffix: str) -> None:
    weights = models.load(f"{example}:tiny").module.state_dict()
    weights = {key: torch.randn_like(value) for key, value in weights.items()}
    checkpoint = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(weights, checkpoint)
    loaded = models.load(f"{example}:tiny@{checkpoint}").module.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


def test_file_problems(example: Path) -> None:
    assert "there is no file" in message(f"{example.parent}/other.py:tiny")
    assert "defines no function 'absent'" in message(f"{example}:absent")
    assert "returned a int, not a torch.nn.Module" in message(f"{example}:number")
    assert "example.py, line 18: ValueError: no such thing" in message(f"{example}:fails")
    assert "there is no checkpoint" in message(f"{example}:tiny@nowhere.pt")


def test_file_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import torch\nimport package_that_nobody_has\n")
    assert "broken.py, line 2: ModuleNotFoundError" in message(f"{broken}:tiny")
    broken.write_text("def tiny(:\n")
    assert "SyntaxError" in message(f"{broken}:tiny")
    broken.write_text("PREPROCESSING = {'colour': 3}\nfrom torch.nn import Identity as tiny\n")
    assert "PREPROCESSING" in message(f"{broken}:tiny")


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_never_run(example: Path, tmp_path: Path) -> None:
    checkpoint, sprung = tmp_path / "trap.pt", tmp_path / "sprung"
    torch.save({"0.weight": Trap(sprung)}, checkpoint)
    assert "refused" in message(f"{example}:tiny@{checkpoint}")
    torch.save(nn.Linear(2, 2), checkpoint)  # a whole module, as older code saves it
    assert "torch.save(model.state_dict())" in message(f"{example}:tiny@{checkpoint}")
    assert not sprung.exists()


def test_checkpoint_that_does_not_fit(example: Path, tmp_path: Path) -> None:
    name, checkpoint = f"{example}:tiny@{tmp_path}/c.pt", tmp_path / "c.pt"
    weights = models.load(f"{example}:tiny").module.state_dict()
    torch.save({"epoch": 3, "state_dict": weights}, checkpoint)
    assert "holds the entries epoch, state_dict, not a state dict" in message(name)
    torch.save({**weights, "extra.bias": torch.ones(1)}, checkpoint)
    assert message(name).endswith("does not fit the model: the model has no extra.bias")
    torch.save({"0.weight": weights["0.weight"]}, checkpoint)
    assert message(name).endswith("does not fit the model: it lacks 0.bias, 2.weight, 2.bias")
    torch.save({**weights, "2.weight": torch.ones(7, 7)}, checkpoint)
    assert "size mismatch for 2.weight" in message(name)
    torch.save({0: torch.ones(3)}, checkpoint)
    assert "holds the entries 0, not" in message(name)
    torch.save(torch.ones(3), checkpoint)
    assert "holds a Tensor" in message(name)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02", b"PK\x03\x04 torn"])
def test_checkpoint_that_is_none(
    example: Path, tmp_path: Path, suffix: str, content: bytes
) -> None:
    checkpoint = tmp_path / f"bad{suffix}"
    checkpoint.write_bytes(content)
    assert str(checkpoint) in message(f"{example}:tiny@{checkpoint}")
