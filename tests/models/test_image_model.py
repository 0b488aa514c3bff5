"""What a network is fed, and what the user calls its classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rootpoint import data
from rootpoint.errors import InputError
from rootpoint.models import ImageModel, Preprocessing


def model(classes: tuple[str, ...] | None = None, **preprocessing: Any) -> ImageModel:
    return ImageModel("test", nn.Identity(), Preprocessing(**preprocessing), classes)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(256, 256), (512, 512), (512, 768), (900, 512)])
def test_tensor_is_torchvisions_preset(size: tuple[int, int]) -> None:
    """Exactly, where resizing first and cropping then needs no rounding of the crop."""
    transforms = pytest.importorskip("torchvision.transforms._presets")
    photo = noise(*size)
    expected = transforms.ImageClassification(crop_size=224, resize_size=256)(photo)
    assert torch.allclose(model().tensor(photo)[0], expected, atol=0.04)  # ± 1/255 after scaling
    assert torch.isclose(model().tensor(photo)[0], expected, atol=1e-5).float().mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3), (224, 224), (640, 480)])
def test_view_is_square_for_every_photo(size: tuple[int, int]) -> None:
    assert model().view(noise(*size)).size == (224, 224)
    tensor = model(size=227).tensor(noise(*size))
    assert tensor.shape == (1, 3, 227, 227)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()


def test_view_is_the_middle() -> None:
    photo = Image.new("RGB", (300, 100), "red")
    photo.paste("blue", (100, 0, 200, 100))
    assert set(model().view(photo).get_flattened_data()) == {(0, 0, 255)}


def test_low_and_high_enclose_every_photo() -> None:
    m = model()
    assert m.low.shape == m.high.shape == (3, 1, 1)
    black, white = (m.tensor(Image.new("RGB", (8, 8), c)) for c in ("black", "white"))
    assert torch.allclose(black, m.low.expand_as(black), atol=1e-6)
    assert torch.allclose(white, m.high.expand_as(white), atol=1e-6)
    x = m.tensor(data.open_photo(data.photos()[0].path))
    assert (x >= m.low - 1e-6).all()
    assert (x <= m.high + 1e-6).all()


CLASSES = ("tench", "hen", "hen-of-the-woods", "tabby", "tiger cat", "Egyptian cat")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("predicted", "predicted"),
        ("3", 3),
        ("tabby", 3),
        ("TABBY", 3),
        (" egyptian CAT ", 5),
        ("Egyptian", 5),
        ("hen", 1),
        ("woods", 2),
    ],
)
def test_target(text: str, expected: int | str) -> None:
    assert model(CLASSES).target(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat", r"could be any of 2 classes \(4 tiger cat, 5 Egyptian cat\)"),
        ("tabbi", r"no class is called 'tabbi'; did you mean 3 tabby\?"),
        ("zzzz", "give its index"),
        ("", "no class is called ''"),
        ("6", "there is no class 6: test has 0 to 5"),
        ("-1", "there is no class -1"),
    ],
)
def test_target_that_names_no_class(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(CLASSES).target(text)


def test_target_without_class_names() -> None:
    assert model().target("12") == 12
    with pytest.raises(InputError, match="does not name its classes: give an index"):
        model().target("tabby")
