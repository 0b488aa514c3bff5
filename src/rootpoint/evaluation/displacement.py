"""Relevance where inputs are moved a little: translated, or displaced at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.metric import Case
from rootpoint.evaluation.orders import generator
from rootpoint.progress import progress

# What draws are for, beside those of `orders`.
DIRECTION, BALL = 10, 11

NORMS = {"l1": 1, "l2": 2, "max": float("inf")}


def movable(metric: str, inputs: Any) -> Tensor:
    """The inputs, if they can be changed by small amounts. Raises InputError for texts."""
    if isinstance(inputs, list):
        raise InputError(
            f"{metric} changes inputs by small amounts, and there is nothing between words: judge "
            "explanations of texts by sensitivity-n, or by perturbation metrics such as abpc"
        )
    return inputs


def translated(images: Tensor, pixels: float) -> Tensor:
    """Images (B, C, H, W) moved to the right by interpolation; the left edge is repeated."""
    last = images.shape[3] - 1
    source = torch.arange(last + 1, device=images.device, dtype=torch.float64) - pixels
    source = source.clamp(0, last)
    left = source.long()
    right = (left + 1).clamp(max=last)
    return torch.lerp(images[..., left], images[..., right], (source - left).to(images))


def drawn(case: Case, kind: int, repetition: int, draw: Callable[..., Tensor]) -> Tensor:
    """Random values like the inputs, by `torch.randn` or `torch.rand`, whatever the batch."""
    shape = case.inputs.shape[1:]
    each = [
        draw(shape, generator=generator(case.seed, kind, n, repetition), dtype=torch.float64)
        for n in case.numbers
    ]
    return torch.stack(each).to(case.inputs)


def displaced(case: Case, repetition: int, radius: float) -> Tensor:
    """The inputs moved by radius · ‖x‖₂ (by radius, from x = 0) in a random direction."""
    direction = drawn(case, DIRECTION, repetition, torch.randn)
    size = _norm(case.inputs, 2)
    length = radius * size.where(size > 0, 1.0) / _norm(direction, 2)
    return case.inputs + direction * length.to(direction).reshape(-1, *[1] * (direction.dim() - 1))


def ratios(case: Case, displacement: str, steps: int, size: float) -> Tensor:
    """‖R(x) − R(x′)‖₁ / ‖x − x′‖₂ of each pair (x, x′), (B, steps) in float64.

    displacement   "translation": by 0, size, 2 size, … pixels, each image and the next are a pair;
                   "noise": the input and what `displaced` makes of it
    NaN where x′ = x. Computed once for all metrics of a case.
    Raises InputError for texts, and for translations of what is no image.
    """
    inputs = movable("continuity", case.inputs)
    moving = displacement == "translation"
    if moving and inputs.dim() != 4:
        raise InputError(
            f"continuity translates images (B, C, H, W), not inputs of shape "
            f"{tuple(inputs.shape)}: use displacement='noise'"
        )

    def places() -> Iterator[Tensor]:
        for step in range(1, steps + 1):
            yield translated(inputs, step * size) if moving else displaced(case, step, size)

    def make() -> Tensor:
        found, x, relevance = [], inputs, case.relevance
        with progress(steps, "Explaining neighbours") as advance:
            for there in places():
                other = case.explainer(there, case.target)
                found.append(ratio(x, there, relevance, other))
                if moving:
                    x, relevance = there, other
                advance(1)
        return torch.stack(found, 1)

    return case.once(("ratios", displacement, steps, size), make)


def ratio(x: Tensor, other: Tensor, relevance: Tensor, there: Tensor) -> Tensor:
    """‖R(x) − R(x′)‖₁ / ‖x − x′‖₂, (B,) in float64; NaN where x′ = x."""
    way = _norm(x.double() - other.double(), 2)
    change = _norm(relevance.double() - there.double(), 1)
    return (change / way).where(way > 0, torch.nan).cpu()


def sensitivities(case: Case, radius: float, samples: int, norm: str) -> Tensor:
    """‖R(x + δ) − R(x)‖ for draws of δ, uniform where |δᵢ| ≤ radius, (B, samples) in float64.

    Raises InputError for texts.
    """
    inputs, found = movable("max-sensitivity", case.inputs), []
    with progress(samples, "Explaining neighbours") as advance:
        for repetition in range(samples):
            change = radius * (2 * drawn(case, BALL, repetition, torch.rand) - 1)
            there = case.explainer(inputs + change, case.target)
            found.append(size_of(case.relevance.double() - there.double(), norm))
            advance(1)
    return torch.stack(found, 1)


def size_of(maps: Tensor, norm: str) -> Tensor:
    """The norm of each map, (B,) in float64 on the CPU."""
    return _norm(maps.double(), NORMS[norm]).cpu()


def _norm(values: Tensor, order: float) -> Tensor:
    return torch.linalg.vector_norm(values.reshape(len(values), -1), order, dim=1)
