"""What comes in place of the values that perturbation analysis takes away from samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.imputation import imputed
from rootpoint.evaluation.orders import NOISE, generator
from rootpoint.perturbation.features import Features
from rootpoint.perturbation.replacements import replacements

SPREAD = 0.01
"""The standard deviation of the noise that is added to "linear"."""

OF_IMAGES = ("blur", "inpaint", "linear")
_NUMBER = r"\s*([-+.\deE]+)\s*"
_NOISE = re.compile(rf"noise(?:\({_NUMBER},{_NUMBER}\))?")

Draw: TypeAlias = "Callable[[int, int], Tensor]"
"""Random values for a sample, by its position in the batch and the repetition."""

Fill: TypeAlias = "Callable[[int, int, Tensor], Tensor]"
"""Values that broadcast to (n, *sample's shape), by position, repetition, and which are gone."""


def is_random(spec: Any) -> bool:
    return isinstance(spec, str) and (spec == "linear" or _NOISE.fullmatch(spec) is not None)


def filling(
    spec: Any, inputs: Tensor, parts: Sequence[Features], numbers: Sequence[int], seed: int
) -> Fill:
    """What replaces the values of each sample of a batch (B, …), whose features are `parts`.

    spec   see `rootpoint.evaluation.perturbing.Removal`
    Raises InputError if it does not fit the inputs.
    """
    _check(spec, inputs)
    _check_pixels(spec, parts)
    if not is_random(spec):
        values = [_fixed(spec, x, of) for x, of in zip(inputs, parts, strict=True)]
        return lambda sample, repetition, gone: values[sample]

    @lru_cache(maxsize=2)  # steps of one sample follow each other
    def drawn(sample: int, repetition: int) -> Tensor:
        source = generator(seed, NOISE, numbers[sample], repetition)
        draw = torch.randn if spec == "linear" else torch.rand
        found = draw(inputs.shape[1:], generator=source, dtype=torch.float64).to(inputs)
        return SPREAD * found if spec == "linear" else _between(spec, inputs[sample], found)

    if spec != "linear":
        return lambda sample, repetition, gone: drawn(sample, repetition)

    def linear(sample: int, repetition: int, gone: Tensor) -> Tensor:
        missing = gone.expand(-1, *inputs.shape[1:])[:, :1]
        images = inputs[sample].expand(len(gone), *inputs.shape[1:])
        return imputed(images, missing) + drawn(sample, repetition)

    return linear


def _check(spec: Any, inputs: Tensor) -> None:
    if not isinstance(spec, str):
        if not isinstance(spec, int | float | Tensor) or isinstance(spec, bool):
            raise InputError(
                f"replacement={spec!r} is none: give a name, a number, a tensor like the sample, "
                "or data"
            )
        return
    if not (spec in (*OF_IMAGES, "mean") or _NOISE.fullmatch(spec)):
        raise InputError(
            f"replacement={spec!r} is none: choose noise, 'noise(low, high)', mean, blur, linear, "
            "inpaint, a number, a tensor like the sample, or data"
        )
    if spec in OF_IMAGES and inputs.dim() != 4:
        raise InputError(
            f"replacement={spec!r} is for images (B, C, H, W), not for inputs of shape "
            f"{tuple(inputs.shape)}: use a number, 'mean', 'noise', a tensor or data"
        )


def _check_pixels(spec: Any, parts: Sequence[Features]) -> None:
    """Raise InputError if channels would be filled in apart from each other."""
    if not isinstance(spec, str) or spec not in ("linear", "inpaint"):
        return
    for mask in {id(of): of.mask for of in parts}.values():
        if bool((mask != mask[:1]).any()):
            raise InputError(
                f"replacement={spec!r} needs features of whole pixels, all their channels: give a "
                f"mask (1, H, W), not {tuple(mask.shape)}"
            )


def _fixed(spec: float | str | Tensor, sample: Tensor, parts: Features) -> Tensor:
    """One replacement of all values: of data the sample that is nearest."""
    if spec == "mean":
        values = _channels(sample)
        return values.mean(1, keepdim=True).expand_as(values).reshape(sample.shape)
    found = replacements(spec, sample, parts)
    return found[(found - sample).flatten(1).square().sum(1).argmin()]


def _channels(sample: Tensor) -> Tensor:
    """The values of each channel, (C, values); of what is no image, all in one."""
    return sample.reshape(len(sample) if sample.dim() == 3 else 1, -1)


def _between(spec: str, sample: Tensor, drawn: Tensor) -> Tensor:
    """Numbers from [0, 1) within the range of "noise(low, high)", or of each channel."""
    named = _NOISE.fullmatch(spec)
    assert named is not None
    if named[1] is not None:
        low, high = _number(spec, named[1]), _number(spec, named[2])
        return low + (high - low) * drawn
    values = _channels(sample)
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    return (low + (high - low) * drawn.reshape(values.shape)).reshape(sample.shape)


def _number(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"replacement={spec!r}: {text!r} is not a number") from error
