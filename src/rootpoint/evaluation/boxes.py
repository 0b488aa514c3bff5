"""Boxes around what a decision depends on, as masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rootpoint.errors import InputError


def box_masks(boxes: Tensor | Sequence[Any], size: int | tuple[int, int]) -> Tensor:
    """Masks (N, H, W), bool, true for the pixels whose centre is in a box: `masks=` of `evaluate`.

    boxes   for each of N images one box, (N, 4), or several: N tensors or lists (k, 4), with k = 0
            for an image without any. A box is left, top, right, bottom in pixels of what the model
            is fed; columns left … right − 1 and rows top … bottom − 1 are in it
    size    of the images: height and width, or one number for both
    Raises InputError, which names the image, for a box of another form, one that is empty or
    reversed, and one with no pixel of the image in it.
    """
    height, width = (size, size) if isinstance(size, int) else size
    masks = [_mask(i, one, height, width) for i, one in enumerate(boxes)]
    if not masks:
        raise InputError("there is no image to make a mask for: give boxes for at least one")
    return torch.stack(masks)


def _mask(image: int, given: Any, height: int, width: int) -> Tensor:
    boxes = _read(image, given)
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    if not bool(((left < right) & (top < bottom)).all()):
        raise InputError(
            f"image {image} has a box whose right is not after its left, or whose bottom is not "
            f"below its top, in {boxes.tolist()}: give left, top, right, bottom, not width and "
            "height"
        )
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    columns, rows = (left <= x) & (x < right), (top <= y) & (y < bottom)
    covered = rows[:, :, None] & columns[:, None, :]
    if not bool(covered.flatten(1).any(1).all()):
        raise InputError(
            f"image {image} has a box without a pixel of its {height} × {width}, in "
            f"{boxes.tolist()}: give boxes in pixels of what the model is fed, after resizing and "
            "cropping"
        )
    return covered.any(0)


def _read(image: int, given: Any) -> Tensor:
    """The boxes of an image, (k, 4), float64."""
    try:
        boxes = torch.as_tensor(given, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the boxes of image {image} are no numbers: {error}") from error
    boxes = boxes.reshape(-1, 4) if boxes.shape in ((4,), (0,)) else boxes
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise InputError(
            f"the boxes of image {image} have shape {tuple(boxes.shape)}: give (4,) or (k, 4), "
            "left, top, right, bottom"
        )
    if not torch.isfinite(boxes).all():
        raise InputError(f"a box of image {image} holds NaN or infinity: {boxes.tolist()}")
    return boxes
