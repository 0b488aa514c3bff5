"""Gradients of a model at many perturbed copies of its inputs, and their mean and variance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rootpoint.backward import Plain, explain_backward
from rootpoint.errors import InputError
from rootpoint.inputs import Inputs, Model, batch_size, map_inputs, tensors
from rootpoint.perturbation.frozen import frozen
from rootpoint.progress import progress
from rootpoint.scoring import decide, fitting, in_batches
from rootpoint.target import Target

Points = Callable[[Tensor, Tensor], Inputs]
"""The inputs (n, …) of the model at these steps (n,) of these samples (n,)."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradients at a batch of n points.

    steps, samples   (n,): which step of which sample each is
    found            for each target the gradients (n, …), a list of tensors
    """

    steps: Tensor
    samples: Tensor
    found: list[list[Tensor]]


def gradients_at(
    model: Model,
    inputs: Inputs,
    targets: Sequence[Target],
    steps: int,
    points: Points,
    *,
    at: str | None = None,
    doing: str,
) -> Iterator[Gradients]:
    """∂score/∂input at several points for each sample, step by step, in batches.

    targets   as resolved; at: the gradient by an inner module's output instead
    Cost: one forward for each point, and one backward for each of its targets; of a frozen copy,
    unless inner modules are explained.
    Raises InputError where a gradient is NaN or infinite.
    """
    batch = batch_size(inputs)
    size = max(1, min(fitting(x[0]) for x in tensors(inputs)) // 3)  # activations are kept too
    device = tensors(inputs)[0].device
    faster = frozen(model, inputs) if at is None else model

    def evaluate(start: int, stop: int) -> Gradients:
        index = torch.arange(start, stop, device=device)
        step, sample = index // batch, index % batch
        chosen = [of_samples(t, sample) for t in targets]
        passes = explain_backward(faster, points(step, sample), chosen, Plain(_slope), at)
        found = [tensors(one["relevance"]) for one in passes]
        if not all(g.isfinite().all() for gradients in found for g in gradients):
            raise InputError(f"a gradient is NaN or infinite while {doing}: nothing to average")
        return Gradients(step, sample, found)

    with progress(steps * batch, doing) as advance:
        yield from in_batches(evaluate, steps * batch, size, advance)


def scores_at(
    model: Model, inputs: Inputs, targets: Sequence[Target], steps: int, points: Points
) -> Tensor:
    """The scores (targets, steps, B) at several points for each sample. Cost: steps forwards."""
    batch = batch_size(inputs)
    device = tensors(inputs)[0].device

    def evaluate(start: int, stop: int) -> Tensor:
        index = torch.arange(start, stop, device=device)
        sample = index % batch
        chosen = [of_samples(t, sample) for t in targets]
        found = decide(model, points(index // batch, sample), chosen)
        return torch.stack([d.score for d in found])

    size = min(fitting(x[0]) for x in tensors(inputs))
    found = list(in_batches(evaluate, steps * batch, size))
    return torch.cat(found, 1).reshape(len(targets), steps, batch)


def _slope(x: Tensor, slope: Tensor) -> Tensor:
    return slope


def of_samples(target: Target, samples: Tensor) -> Target:
    """A resolved target, for a batch of copies of these samples."""
    if callable(target):
        return target
    assert isinstance(target, list)
    return [target[i] for i in samples.tolist()]


def like(inputs: Any, values: Sequence[Tensor]) -> Any:
    """These tensors in the structure of the inputs."""
    each = iter(values)
    return map_inputs(lambda _: next(each), inputs)


def summable(x: Tensor) -> Tensor:
    """Zeros like x to sum in, in float32 at least."""
    return torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))


class Moments:
    """Mean and variance of each sample's values, (B, …), as they come in (Chan et al. 1983)."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._count = self._mean = self._squares = torch.zeros(())

    def add(self, values: Tensor, samples: Tensor) -> None:
        """Count in values (n, …) of these samples (n,)."""
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        zeros = values.new_zeros(self._batch, *values.shape[1:])
        if not self._count.dim():
            self._count = values.new_zeros(self._batch, *[1] * (values.dim() - 1))
            self._mean, self._squares = zeros, zeros
        ones = values.new_ones(len(values), *self._count.shape[1:])
        count = torch.zeros_like(self._count).index_add_(0, samples, ones)
        mean = zeros.index_add(0, samples, values) / count.clamp(min=1)
        squares = zeros.index_add(0, samples, (values - mean[samples]).square())
        total = (self._count + count).clamp(min=1)
        change = mean - self._mean
        self._squares = self._squares + squares + change.square() * self._count * count / total
        self._mean = self._mean + change * count / total
        self._count = self._count + count

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        """Σ (v − mean)² / n."""
        return self._squares / self._count

    @property
    def standard_error(self) -> Tensor:
        """Of the mean: the root of Σ (v − mean)² / (n (n − 1))."""
        return (self._squares / (self._count * (self._count - 1))).sqrt()
