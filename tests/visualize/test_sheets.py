import numpy as np
import pytest
from PIL import Image, ImageChops

from rootpoint.errors import InputError
from rootpoint.visualize import Candidate, colour_limit, compared, draw, explained, heatmap


def relevance(shape=(3, 64, 64), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def photo(size=(64, 64)):
    return Image.new("RGB", size, (120, 160, 90))


def test_an_explained_photo_has_four_panels_of_one_size():
    sheet = explained(photo(), relevance(), title="cat.png", facts=["score 3.2"])
    assert [panel.title for panel in sheet.panels] == ["Photo", "Relevance", "Overlay", "Focus"]
    assert {panel.image.size for panel in sheet.panels} == {(448, 448)}
    assert sheet.limit == colour_limit(relevance())


@pytest.mark.parametrize("shape", [(3, 30, 90), (1, 200, 80), (8, 8), (3, 1, 1), (1, 400)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_any_proportions_and_colours_can_be_drawn(shape, mode):
    height, width = shape[-2:]
    sheet = explained(photo((width, height)).convert(mode), relevance(shape), title="x")
    assert max(sheet.panels[0].image.size) == 448
    picture = draw(sheet)
    assert picture.mode == "RGB"
    assert picture.width >= sum(panel.image.width for panel in sheet.panels)


def test_each_compared_map_has_full_colour_at_its_own_limit():
    maps = [relevance((64, 64), seed=0), relevance((64, 64), seed=1) ** 3]
    candidates = [Candidate(str(i), r, "") for i, r in enumerate(maps)]
    sheet = compared(photo(), candidates, title="cat.png")
    for panel, values in zip(sheet.panels[1:], maps, strict=True):
        expected = heatmap(values, limit=colour_limit(values), size=(448, 448))
        assert ImageChops.difference(panel.image, expected).getbbox() is None


def test_a_comparison_names_each_method_and_says_a_line_about_it():
    ones = np.ones((8, 8))
    candidates = [Candidate("lrp", ones, "0.25 s"), Candidate("zero", 0 * ones, "1.50 s")]
    sheet = compared(photo(), candidates, title="x")
    assert [(p.title, p.note) for p in sheet.panels[1:]] == [("lrp", "0.25 s"), ("zero", "1.50 s")]


def test_units_do_not_change_a_comparison():
    one = compared(photo(), [Candidate("a", relevance(), "")], title="x")
    other = compared(photo(), [Candidate("a", 1e-6 * relevance(), "")], title="x")
    assert one.panels[1].image.tobytes() == other.panels[1].image.tobytes()


def test_many_methods_go_in_rows_of_equal_length():
    candidates = [Candidate(f"method {i}", relevance(), "") for i in range(5)]
    assert draw(compared(photo(), candidates, title="x")).width < 4 * 448


def test_comparing_nothing_is_refused():
    with pytest.raises(InputError, match="no method"):
        compared(photo(), [], title="x")


def test_text_that_the_font_lacks_or_that_is_too_long_is_drawn():
    sheet = explained(photo(), relevance(), title="Bahnübergang 猫 " * 40, facts=["é · " * 200])
    assert draw(sheet).width < 2200
