from __future__ import annotations

import pytest
import torch
from PIL import Image

from rootpoint import data, models
from rootpoint.evaluation.shortcuts.notice import Misled, mislead, sheet, with_notice
from rootpoint.visualize import draw


@pytest.fixture(scope="module")
def cat() -> Misled:
    photo = data.photos()[0]
    return mislead(models.load(), data.open_photo(photo.path), photo.name)


def test_the_notice_turns_the_cat_into_a_carton(cat: Misled) -> None:
    assert "cat" in cat.before[0]
    assert cat.after[0] == "carton"
    assert cat.carton[0] < 1e-4
    assert cat.carton[1] > 0.9


def test_what_speaks_for_carton_lies_on_the_writing_more_than_its_area(cat: Misled) -> None:
    for inside in cat.inside:
        assert 0.3 < cat.area < inside < 1


def test_the_contrast_speaks_for_carton_rather_than_the_cat(cat: Misled) -> None:
    carton, contrast = cat.relevance
    assert carton.shape == contrast.shape == (224, 224)
    assert float(contrast.sum()) < float(carton.sum())  # the cat's own evidence is taken off
    assert not torch.allclose(carton, contrast)


def test_a_notice_only_makes_a_photo_lighter_and_leaves_it_as_it_was() -> None:
    photo = Image.new("RGB", (224, 224), (100, 100, 100))
    marked = torch.tensor(list(with_notice(photo).tobytes()))
    assert set(photo.tobytes()) == {100}
    assert int(marked.min()) == 100
    assert int(marked.max()) == round(100 + 0.6 * 155)


def test_the_sheet_has_a_row_of_four_for_each_photo(cat: Misled) -> None:
    made = sheet([cat, cat])
    assert len(made.panels) == 8
    assert draw(made).size[0] > 4 * 400
