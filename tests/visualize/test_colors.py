"""The colour scale: neutral at zero, as light on one side as on the other."""

import numpy as np
import pytest

from rootpoint.visualize.colors import SCALE, STEPS, colorize


def lightness(rgb):
    """CIE L* of sRGB values in [0, 255]."""
    linear = (rgb / 255) ** 2.2
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(luminance) - 16


def test_zero_is_near_white_and_grey():
    red, green, blue = colorize(np.array(0.0)).tolist()
    assert red == green == blue >= 245


def test_ends_are_deep_blue_and_deep_red():
    negative, positive = colorize(np.array([-1.0, 1.0])).tolist()
    assert max(negative) == negative[2] > 100 > negative[0]
    assert max(positive) == positive[0] > 100 > positive[2]


def test_values_beyond_the_ends_get_the_colour_of_the_end():
    assert np.array_equal(colorize(np.array([-7.0, 7.0])), colorize(np.array([-1.0, 1.0])))


def test_every_step_outwards_is_darker_on_both_sides():
    shades = lightness(SCALE.astype(float))
    assert np.all(np.diff(shades[: STEPS + 1]) > -0.25)  # one step of rounding in a channel
    assert np.all(np.diff(shades[STEPS:]) < 0.25)
    coarse = shades[:: STEPS // 16]
    assert np.all(np.diff(coarse[:17]) > 0)
    assert np.all(np.diff(coarse[16:]) < 0)


def test_both_sides_are_equally_light():
    shades = lightness(SCALE.astype(float))
    assert np.abs(shades - shades[::-1]).max() < 8  # L* sees hues a little differently than OKLab


# How eyes without red, green or blue cones mix the channels (Machado et al. 2009).
BLIND = {
    "red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("cone", BLIND)
@pytest.mark.parametrize("magnitude", [0.25, 0.5, 1.0])
def test_colour_blind_eyes_tell_the_sides_apart(cone, magnitude):
    linear = (colorize(np.array([-magnitude, magnitude])) / 255.0) ** 2.2
    against, favour = linear @ np.array(BLIND[cone]).T
    assert np.abs(against - favour).max() > 0.15


def test_shape_is_kept():
    assert colorize(np.zeros((3, 5))).shape == (3, 5, 3)
    assert colorize(np.zeros((3, 5))).dtype == np.uint8
