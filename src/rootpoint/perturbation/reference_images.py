"""Images that others are compared with: a bounded number, drawn at random from any number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.fitted import Fitted
from rootpoint.inputs import batches


@dataclass(frozen=True, eq=False)
class ReferenceImages(Fitted):
    """Images (n, C, H, W) as they occur."""

    kind: ClassVar[str] = "reference images"

    images: Tensor


def fit_reference_images(data: Any, *, images: int = 200, seed: int = 0) -> ReferenceImages:
    """Keep so many images of the data, each with the same chance; all, if there are fewer.

    data   images (N, C, H, W): a tensor, an array, or an iterable of batches, read once
    Raises InputError if there are none, or not all of one shape.
    """
    generator, kept = np.random.default_rng(seed), []
    index = 0
    for batch in batches(data):
        for image in batch.detach().cpu():
            if image.dim() != 3 or (kept and image.shape != kept[0].shape):
                raise InputError(
                    f"image {index} has shape {tuple(image.shape)}: all must have one shape "
                    "(C, H, W)"
                )
            place = index if index < images else int(generator.integers(0, index + 1))
            if place < len(kept):
                kept[place] = image
            elif place < images:
                kept.append(image)
            index += 1
    if not kept:
        raise InputError("there is no image to keep: give data (N, C, H, W), and images=1 or more")
    return ReferenceImages(torch.stack(kept))
