"""One colour scale for signed relevance: blue against, near-white for zero, red in favour.

Both sides have the same lightness at the same magnitude, falling evenly away from zero, so a
stronger colour always means more relevance, also in print and to colour-blind eyes: the two hues
differ in how blue they are, which all common forms of colour blindness can tell.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

HUES: Final = {"negative": 255.0, "positive": 27.0}  # degrees in OKLab
MAGNITUDE: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
LIGHTNESS: Final = (0.98, 0.83, 0.68, 0.53, 0.38)
CHROMA: Final = {
    "negative": (0.0, 0.085, 0.150, 0.165, 0.130),
    "positive": (0.0, 0.095, 0.175, 0.190, 0.145),
}
STEPS: Final = 256  # shades on each side of zero


def colorize(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The colour of each value in [-1, 1] (clipped beyond), shape (...) to (..., 3)."""
    shades = np.rint(np.clip(values, -1.0, 1.0) * STEPS).astype(np.intp)
    return SCALE[shades + STEPS]


def oklab_to_rgb(lab: NDArray[np.floating]) -> NDArray[np.float64]:
    """OKLab (Ottosson 2020) to sRGB in [0, 1], shape (..., 3) to (..., 3); clipped to the gamut."""
    lms = lab @ np.array(
        [
            [1.0, 1.0, 1.0],
            [0.3963377774, -0.1055613458, -0.0894841775],
            [0.2158037573, -0.0638541728, -1.2914855480],
        ]
    )
    linear = lms**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _side(side: str) -> NDArray[np.float64]:
    """The shades of one side in OKLab, from zero outwards, shape (STEPS + 1, 3)."""
    magnitude = np.linspace(0.0, 1.0, STEPS + 1)
    hue = np.deg2rad(HUES[side])
    chroma = np.interp(magnitude, MAGNITUDE, CHROMA[side])
    lightness = np.interp(magnitude, MAGNITUDE, LIGHTNESS)
    return np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)


_SHADES = np.concatenate([_side("negative")[:0:-1], _side("positive")])
SCALE: Final = np.rint(oklab_to_rgb(_SHADES) * 255).astype(np.uint8)  # from -1 to 1, (2·STEPS+1, 3)
