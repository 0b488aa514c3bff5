"""What a window of an image may hold: samples of it, from a Gaussian or from other images."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.perturbation.patch_gaussian import PatchGaussian, conditional
from rootpoint.perturbation.reference_images import ReferenceImages
from rootpoint.perturbation.windows import Window

Filling = Callable[[Tensor, int, Window], Tensor]
"""Values (samples, C, h, w) for a window of an image, given the window's index and place."""


def conditional_filling(
    state: PatchGaussian, window: int, x: Tensor, samples: int, seed: int
) -> Filling:
    """Drawn from the Gaussian of patches, given what is around the window.

    Each window has random numbers of its own, the same for every image. Raises InputError if the
    Gaussian is of other windows or images.
    """
    _check("patch Gaussian", state.low, x)
    if state.window != window:
        raise InputError(
            f"the patch Gaussian is of windows of {state.window} pixels, not {window}: set "
            f"window={state.window}, or fit another"
        )
    mean, low, high = (t.to(x.device) for t in (state.mean, state.low, state.high))

    @cache
    def given(offset: tuple[bool, ...]) -> tuple[Tensor, Tensor]:
        gain, spread = conditional(state.covariance, torch.tensor(offset))
        return gain.to(x.device), spread.to(x.device)

    def fill(image: Tensor, index: int, place: Window) -> Tensor:
        around, inner = state.patch(place)
        gain, spread = given(tuple(inner.tolist()))
        inner = inner.to(x.device)
        rest = (image[around].double().flatten(1) - mean)[:, ~inner, None]
        center = mean[:, inner] + (gain @ rest).squeeze(-1)
        drawn = np.random.default_rng([seed, index]).standard_normal((samples, *center.shape))
        noise = (spread @ torch.from_numpy(drawn).to(x.device)[..., None]).squeeze(-1)
        found = (center + noise).reshape(samples, *image[place].shape).to(image.dtype)
        return found.clamp(low[place].to(image), high[place].to(image))

    return fill


def marginal_filling(state: ReferenceImages, x: Tensor, samples: int, seed: int) -> Filling:
    """The same window of other images, drawn with replacement; the same ones for every image.

    Raises InputError if those images have another shape.
    """
    _check("reference images", state.images[0], x)
    images = state.images.to(x)

    def fill(image: Tensor, index: int, place: Window) -> Tensor:
        drawn = np.random.default_rng([seed, index]).integers(0, len(images), samples)
        return images[(torch.from_numpy(drawn).to(x.device), *place)]

    return fill


def _check(what: str, one: Tensor, x: Tensor) -> None:
    if one.shape != x.shape[1:]:
        raise InputError(
            f"prediction-difference was fitted to images of shape {tuple(one.shape)} ({what}), "
            f"not {tuple(x.shape[1:])}: fit it to data like the inputs"
        )
