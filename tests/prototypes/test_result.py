from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import rootpoint.prototypes as rp
from rootpoint.errors import InputError


def found(images: torch.Tensor, box: object = None, names: tuple[str, ...] = ()) -> rp.Prototype:
    n = len(images)
    return rp.Prototype(
        images,
        [0] * n,
        names or tuple(f"class {i}" for i in range(n)),
        torch.ones(n),
        None,
        torch.zeros(1, n),
        {},
        box=box,  # type: ignore[arg-type]
    )


def test_pictures_are_black_and_white_at_the_ends_of_the_box() -> None:
    low, high = torch.tensor([-1.0, 0.0, 2.0]).reshape(3, 1, 1), torch.tensor([1.0, 1.0, 4.0])
    bright = torch.tensor([1.0, 0.5, 9.0]).reshape(3, 1, 1)
    x = torch.stack([low.expand(3, 2, 2), bright.expand(3, 2, 2)])
    dark, light = found(x, (low, high.reshape(3, 1, 1))).pictures
    assert dark.getpixel((0, 0)) == (0, 0, 0)
    assert light.getpixel((1, 1)) == (255, 128, 255)


def test_without_a_box_each_picture_has_its_own_range() -> None:
    x = torch.tensor([[[[0.0, 1.0]]], [[[5.0, 5.0]]]])
    first, flat = found(x).pictures
    assert (first.mode, list(first.tobytes())) == ("L", [0, 255])
    assert list(flat.tobytes()) == [0, 0]


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(InputError, match="no pictures"):
        found(torch.zeros(2, 5)).pictures  # noqa: B018


@pytest.mark.parametrize("count", [1, 7, 13, 61])
def test_a_sheet_holds_every_picture(count: int, tmp_path: Path) -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1).expand(count, 3, 8, 8)
    path = found(red, (torch.tensor(0.0), torch.tensor(1.0))).save(tmp_path / "sheet.png")
    with Image.open(path) as sheet:
        side = 320 if count <= 12 else 224 if count <= 60 else 144
        reds = {c: n for n, c in sheet.getcolors(1 << 20)}[(255, 0, 0)]
        assert reds == count * (side - 2) ** 2


def test_prototypes_of_one_class_stand_in_one_row() -> None:
    x = torch.zeros(6, 1, 8, 8)
    rows = found(x, names=("cat", "cat", "dog", "dog", "eel", "eel")).sheet()
    assert rows.height > rows.width


def test_facts_tell_score_and_probability(search) -> None:
    assert [fact.split()[0::2] for fact in search([0, 1]).facts] == [["score", "probability"]] * 2
    assert found(torch.zeros(1, 1, 2, 2)).facts == ["score 1.0"]
