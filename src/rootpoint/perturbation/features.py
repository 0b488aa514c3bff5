"""Interpretable features: which values of an input are kept or replaced together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rootpoint.errors import InputError


@dataclass(frozen=True, eq=False)
class Features:
    """A partition of one sample's values.

    mask    the feature of each value: whole numbers 0 … count−1, of a shape that broadcasts to the
            sample's: (1, H, W) for an image (C, H, W)
    names   of the features, if they have any (words, columns)
    """

    mask: Tensor
    count: int
    names: tuple[str, ...] | None = None

    def spread(self, weights: Tensor, like: Tensor) -> Tensor:
        """The weight of each feature (count,), shared equally among its values, like the sample."""
        mask = self.mask.expand(like.shape)
        size = torch.bincount(mask.reshape(-1), minlength=self.count).clamp(min=1)
        return (weights / size.to(weights.dtype))[mask].to(like.dtype)


def features(spec: str | Tensor, sample: Tensor) -> Features:
    """The features of one sample (without its batch dimension).

    spec   "superpixels" or "superpixels(200)", "patches" or "patches(16)" (squares of so many
           pixels), "columns" (each value of the last dimension), "values" (each value), or a
           mask as in `Features`
    Raises InputError if they do not fit the sample.
    """
    raise NotImplementedError


def as_features(mask: Tensor, sample: Tensor) -> Features:
    """A user's mask, checked: integers of a shape that broadcasts to the sample's."""
    if mask.is_floating_point() or mask.dtype == torch.bool:
        raise InputError(
            f"a feature mask holds whole numbers, the feature of each value, not {mask.dtype}"
        )
    try:
        mask.expand(sample.shape)
    except RuntimeError as error:
        raise InputError(
            f"a feature mask of shape {tuple(mask.shape)} does not fit a sample of shape "
            f"{tuple(sample.shape)}: give it that shape, with 1 where features do not differ"
        ) from error
    _, mask = torch.unique(mask, return_inverse=True)
    return Features(mask, int(mask.max()) + 1)
