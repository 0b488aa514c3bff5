import numpy as np
import pytest
import torch
from PIL import Image

from rootpoint.errors import InputError
from rootpoint.visualize import colorize, colour_limit, focus, heatmap, overlay

SHAPES = [(3, 224, 224), (1, 28, 28), (3, 40, 100), (96, 33), (3, 1, 1), (2, 3)]


def photo(width, height, colour=(200, 40, 90)):
    return Image.new("RGB", (width, height), colour)


def blob(height=80, width=120):
    """Relevance 1 in a square of the left half, −1 in one of the right half."""
    values = np.zeros((height, width))
    values[30:50, 20:40] = 1.0
    values[30:50, 80:100] = -1.0
    return values


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_have_the_size_of_what_they_show(shape):
    relevance = np.random.default_rng(0).normal(size=shape)
    height, width = shape[-2:]
    assert heatmap(relevance).size == (width, height)
    assert heatmap(relevance, size=(57, 31)).size == (57, 31)
    for size in ((width, height), (50, 70)):
        assert overlay(photo(*size), relevance).size == size
        assert focus(photo(*size), relevance).size == size


def test_channels_are_summed_and_tensors_read_as_arrays():
    relevance = np.random.default_rng(0).normal(size=(3, 20, 30))
    tensor = torch.tensor(relevance, requires_grad=True)
    assert heatmap(tensor).tobytes() == heatmap(relevance).tobytes()
    assert heatmap(relevance.sum(0)).tobytes() == heatmap(relevance).tobytes()
    assert heatmap(tensor.detach().bfloat16()).size == (30, 20)


def test_the_limit_is_the_value_of_the_full_colour():
    pixels = np.asarray(heatmap(np.array([[-2.0, 0.0, 1.0, 2.0]]), limit=2.0))[0]
    assert np.array_equal(pixels, colorize(np.array([-1.0, 0.0, 0.5, 1.0])))


def test_a_shared_limit_covers_every_map():
    small, large = blob(), 10 * blob()
    assert colour_limit(small, large) == colour_limit(large) == 10.0
    assert heatmap(small, limit=colour_limit(small, large)).tobytes() != heatmap(small).tobytes()


def test_few_outliers_do_not_set_the_limit_but_a_single_pixel_is_seen():
    noise = np.random.default_rng(0).uniform(-1, 1, size=(100, 100))
    noise[0, 0] = 1e6
    assert colour_limit(noise) <= 1.0
    single = np.zeros((100, 100))
    single[50, 50] = 3.0
    assert colour_limit(single) == 3.0


def test_no_relevance_is_drawn_as_nothing():
    nothing = np.zeros((3, 70, 90))
    assert colour_limit(nothing) == 1.0
    assert set(np.asarray(heatmap(nothing)).ravel()) == {248}
    for picture in (overlay(photo(90, 70), nothing), focus(photo(90, 70), nothing)):
        red, green, blue = np.asarray(picture)[35, 45].tolist()
        assert red == green == blue


def test_overlay_has_colour_where_relevance_is_and_grey_elsewhere():
    pixels = np.asarray(overlay(photo(120, 80), blob())).astype(int)
    red, _, blue = pixels[40, 30]
    assert red > blue + 80
    red, _, blue = pixels[40, 90]
    assert blue > red + 80
    assert np.ptp(pixels[5, 5]) == 0


def test_focus_keeps_what_speaks_for_the_target_and_greys_the_rest():
    pixels = np.asarray(focus(photo(120, 80), blob())).astype(int)
    assert pixels[40, 30].tolist() == [200, 40, 90]
    assert np.ptp(pixels[40, 90]) == 0  # relevant, but against
    assert np.ptp(pixels[5, 5]) == 0


def test_focus_keeps_everything_where_nothing_is_more_relevant_than_the_rest():
    picture = photo(90, 70)
    assert focus(picture, np.ones((70, 90))).tobytes() == picture.tobytes()


def test_small_maps_are_enlarged_pixel_by_pixel():
    enlarged = np.asarray(heatmap(np.array([[1.0, -1.0]]), size=(20, 10)))
    assert len(np.unique(enlarged.reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_without_a_colour_are_refused(value):
    relevance = blob()
    relevance[3, 4] = value
    with pytest.raises(InputError, match="NaN or infinity"):
        heatmap(relevance)
    with pytest.raises(InputError, match="NaN or infinity"):
        focus(photo(10, 10), relevance)


@pytest.mark.parametrize("shape", [(5,), (1, 3, 8, 8), (0, 4), ()])
def test_what_is_not_one_image_is_refused(shape):
    with pytest.raises(InputError, match="not one image"):
        heatmap(np.zeros(shape))
