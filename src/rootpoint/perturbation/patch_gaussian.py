"""What a window of an image may hold, given what is around it: a Gaussian of patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.fitted import Fitted
from rootpoint.inputs import batches
from rootpoint.perturbation.windows import Window


@dataclass(frozen=True, eq=False)
class PatchGaussian(Fitted):
    """For each channel, the Gaussian of square patches: a window and a border around it.

    mean        (C, n), n = (window + 2 border)² pixels
    covariance  (C, n, n)
    low, high   the least and the largest value of each pixel in the data, (C, H, W)
    """

    kind: ClassVar[str] = "a patch Gaussian"

    mean: Tensor
    covariance: Tensor
    low: Tensor
    high: Tensor
    window: int
    border: int

    @property
    def side(self) -> int:
        return self.window + 2 * self.border

    def patch(self, window: Window) -> tuple[Window, Tensor]:
        """The patch around a window, moved inside the image, and which of its pixels (n,) the
        window takes.
        """
        places, offsets = [window[0]], []
        for part, size in zip(window[1:], self.low.shape[1:], strict=True):
            start = min(max(part.start - self.border, 0), size - self.side)
            places.append(slice(start, start + self.side))
            offsets.append(part.start - start)
        inner = torch.zeros(self.side, self.side, dtype=torch.bool)
        row, column = offsets
        inner[row : row + self.window, column : column + self.window] = True
        return tuple(places), inner.flatten()


def conditional(covariance: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
    """gain and spread such that x1 = μ1 + gain (x2 − μ2) + spread ε has the law of x1 given x2.

    gain = Σ12 Σ22⁺; spread spreadᵀ = Σ11 − Σ12 Σ22⁺ Σ21, by its eigenvectors: it may be singular.

    covariance   (…, n, n) of x
    inner        which of x are x1, (n,), bool; x2 are the others, none perhaps
    """
    among = covariance[..., inner, :]
    cross, own = among[..., ~inner], among[..., inner]
    gain = cross @ torch.linalg.pinv(covariance[..., ~inner, :][..., ~inner], hermitian=True)
    values, vectors = torch.linalg.eigh(own - gain @ cross.mT)
    return gain, vectors * values.clamp(min=0).sqrt()[..., None, :]


def fit_patch_gaussian(
    data: Any, *, window: int = 10, border: int = 2, patches: int = 20000, seed: int = 0
) -> PatchGaussian:
    """Fit the mean and covariance of patches at random places, evenly many of each image.

    data      images (N, C, H, W): a tensor, an array, a list of batches, or a DataLoader; they are
              read once, a batch at a time: memory does not grow with their number
    window    side of the windows that will be replaced
    border    pixels around them that are taken as given
    patches   how many are drawn
    Raises InputError if the images are not all of one shape, or smaller than a patch.
    Source: Zintgraf et al. 2017, ICLR, arXiv 1702.04595.
    """
    side = window + 2 * border
    if window < 1 or border < 0 or patches < 2:
        raise InputError(
            f"window={window}, border={border}, patches={patches}: a patch Gaussian needs a window "
            "from 1 on, a border from 0 on, and at least 2 patches"
        )
    generator, number, taken = np.random.default_rng(seed), _length(data), 0
    moments, low, high = _Moments(), None, None
    for index, image in enumerate(_images(data)):
        if min(image.shape[1:]) < side or (low is not None and image.shape != low.shape):
            raise InputError(
                f"image {index} has shape {tuple(image.shape)}: all must have one shape (C, H, W), "
                f"and room for patches of {side} × {side} (window and border)"
            )
        low = image if low is None else torch.minimum(low, image)
        high = image if high is None else torch.maximum(high, image)
        wanted = patches * (index + 1) // number
        top, left = (
            torch.from_numpy(generator.integers(0, size - side + 1, wanted - taken))
            for size in image.shape[1:]
        )
        moments.add(_cut(image.double(), top, left, side))
        taken = max(taken, wanted)
    if low is None or high is None or taken < 2:
        raise InputError("there is too little data to fit a patch Gaussian to")
    covariance = moments.scatter / (taken - 1)
    return PatchGaussian(moments.mean, covariance, low.clone(), high.clone(), window, border)


def _length(data: Any) -> int:
    """The number of images."""
    if isinstance(data, Tensor | np.ndarray):
        return len(data)
    if isinstance(data, list):
        return sum(len(batch) for batch in batches(data))
    try:
        return len(data.dataset)
    except (AttributeError, TypeError) as error:
        raise InputError(
            "how many images there are must be known before they are read: give a tensor, an "
            "array, a list of batches, or a DataLoader of a data set that has a length"
        ) from error


def _images(data: Any) -> Iterator[Tensor]:
    for batch in batches(data):
        if batch.dim() != 4:
            raise InputError(f"data of images is (N, C, H, W), not {tuple(batch.shape)}")
        yield from batch.detach().cpu()


def _cut(image: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """The patches (patches, C, side²) with these upper left corners."""
    step = torch.arange(side)
    rows, columns = (top[:, None] + step)[:, :, None], (left[:, None] + step)[:, None, :]
    return image[:, rows, columns].flatten(2).movedim(1, 0)


class _Moments:
    """The mean (C, n) and the sum of squared deviations (C, n, n) of a stream of patches."""

    def __init__(self) -> None:
        self.count, self.mean, self.scatter = 0, torch.zeros(()), torch.zeros(())

    def add(self, patches: Tensor) -> None:
        """Take in patches (m, C, n)."""
        m = len(patches)
        if m == 0:
            return
        mean = patches.mean(0)
        rest = (patches - mean).movedim(0, -1)
        shift = mean - self.mean
        total = self.count + m
        between = shift[..., :, None] * shift[..., None, :] * (self.count * m / total)
        self.scatter = self.scatter + rest @ rest.mT + between
        self.mean = self.mean + shift * (m / total)
        self.count = total
