"""Masks of photos from files, with the geometry of what the network is fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rootpoint.cli.terminal import talk
from rootpoint.data import open_photo
from rootpoint.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.models.preprocessing import Preprocessing

EXACT = (".png", ".bmp", ".gif", ".tif", ".tiff")  # compression of other formats blurs black


def mask_files(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """The mask of each photo: the image of the same name in a folder, whatever its ending.

    Raises InputError, which names the photo, if there is none or more than one.
    """
    found: list[Path] = []
    for photo in photos:
        named = [folder / f"{photo.stem}{ending}" for ending in EXACT]
        there = [path for path in named if path.exists()]
        if not there:
            raise InputError(
                f"there is no mask of {photo}: no {named[0]}, nor {', '.join(EXACT[1:])}"
            )
        if len(there) > 1:
            raise InputError(f"{photo} has two masks: {there[0]} and {there[1]}")
        found.append(there[0])
    return found


def mask(path: Path, photo: Path, size: tuple[int, int], preprocessing: Preprocessing) -> Tensor:
    """Where a mask is not black, cut and scaled as its photo is, (S, S), bool.

    Raises InputError if it is no image, partly transparent, or of another size than its photo, or
    if only the photo says how it is cut.
    """
    from torch import from_numpy

    if preprocessing.by_content:
        raise InputError(f"{path} does not fit: the model centres each drawing by its ink")
    image = open_photo(path)
    with Image.open(path) as stored:
        transparent = stored.has_transparency_data
    if transparent:
        raise InputError(f"{path} is transparent: a mask is black outside and white inside")
    if image.size != size:
        raise InputError(
            f"{path} has {image.width} × {image.height} pixels, but {photo} has "
            f"{size[0]} × {size[1]}: a mask has the size of its photo"
        )
    inside = Image.fromarray(np.asarray(image).any(-1).astype(np.uint8) * 255)
    seen = replace(preprocessing, interpolation=Image.Resampling.NEAREST).view(inside)
    found = np.asarray(seen)[..., 0] > 0
    if not found.any():
        talk(f"{path}: nothing of it is in the part of {photo} that the network sees")
    return from_numpy(found)
