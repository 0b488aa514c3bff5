"""Scores of a model without gradients: of the explained inputs, and of many perturbed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.inputs import Inputs, Model, batch_size, call, check, check_scores
from rootpoint.target import Target, scores

_BATCH_BYTES = {"cpu": 1 << 21}  # of inputs: more leaves a processor's caches
_BATCH_BYTES_ELSEWHERE = 1 << 26
_LARGEST_BATCH = 4096

FROZEN = "rootpoint_frozen"
"""The attribute that marks a copy of a network that nobody else has."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Decision:
    """What is explained: the score of each sample (B,), the target as resolved, all the output."""

    score: Tensor
    target: Target
    prediction: Any


def decide(model: Model, inputs: Inputs, targets: Sequence[Target]) -> list[Decision]:
    """The explained decision for each of several targets. Cost: one forward.

    Raises InputError or UnsupportedModelError if the inputs, the model or a target cannot be used.
    """
    check(model, inputs)
    return decided(model, inputs, targets, batch_size(inputs))


def decided(model: Model, inputs: Any, targets: Sequence[Target], batch: int) -> list[Decision]:
    """`decide` for whatever the model takes, `batch` samples of it, without a check of inputs."""
    with torch.no_grad():
        output = as_tensor(call(model, inputs))
    found = []
    for target in targets:
        score, resolved = scores(output, target, batch)
        check_scores(score)
        found.append(Decision(score.detach(), resolved, output))
    return found


def as_tensor(output: Any) -> Any:
    """The output of a model that computes with numpy, as a tensor; of others, as it is."""
    return torch.from_numpy(output) if isinstance(output, np.ndarray) else output


def probable(model: Model) -> Model:
    """The model with its outputs as probabilities: softmax over classes, sigmoid of a single one.

    Raises InputError if the model does not return a tensor (B,) or (B, classes, …).
    """

    def probabilities(*args: Any, **kwargs: Any) -> Tensor:
        output = as_tensor(model(*args, **kwargs))
        if not isinstance(output, Tensor) or output.dim() == 0:
            raise InputError(
                f"the model returns a {type(output).__name__}, which has no softmax: set "
                "softmax=False and give as target a function from it to probabilities"
            )
        single = output.dim() == 1 or output.shape[1] == 1
        return output.sigmoid() if single else output.softmax(1)

    return probabilities


def check_changes(method: str, index: int, batch: int, score: Tensor, others: Tensor) -> None:
    """Raise InputError if a sample's score is the same, but for rounding, however perturbed."""
    rounding = 16 * torch.finfo(others.dtype).eps * float(others.abs().max())
    if float((others - score).abs().max()) <= rounding:
        which = f" of sample {index}" if batch > 1 else ""
        raise InputError(
            f"{method}: the score{which} stays {float(score) + 0.0:.6g} whatever is taken away, so "
            "there is nothing to explain: choose another baseline, larger parts, or another target"
        )


def copies(target: Target, sample: int, count: int) -> Target:
    """The resolved target of one sample, for a batch of copies of it."""
    if callable(target):
        return target
    assert isinstance(target, list)
    return [target[sample]] * count


def nothing(units: int) -> None:
    """Progress that nobody watches."""


def in_batches(
    evaluate: Callable[[int, int], T],
    count: int,
    size: int,
    advance: Callable[[int], None] = nothing,
) -> Iterator[T]:
    """`evaluate(start, stop)` over 0 … count, `size` at once; half as many when memory runs out.

    Raises what `evaluate` raises; out of memory only if a single one does not fit.
    """
    start = 0
    while start < count:
        stop = min(start + size, count)
        try:
            found = evaluate(start, stop)
        except RuntimeError as error:
            if stop - start == 1 or not _out_of_memory(error):
                raise
            size = (stop - start) // 2
            continue
        advance(stop - start)
        start = stop
        yield found


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def fitting(sample: Tensor) -> int:
    """How many copies of a sample (without its batch dimension) make a good batch."""
    budget = _BATCH_BYTES.get(sample.device.type, _BATCH_BYTES_ELSEWHERE)
    return max(1, min(_LARGEST_BATCH, budget // max(1, sample.nbytes)))


@dataclass(eq=False)
class Evaluator:
    """f of perturbed copies of one sample: in batches, without gradients, counted.

    model     as it is to be run (`perturbation.frozen` makes a faster copy of a network)
    target    the resolved target of all samples; `sample` is the one that is explained
    like      that sample, without its batch dimension
    advance   is told of evaluations done: one unit is one evaluation of one input
    spent     evaluations so far
    """

    model: Model
    target: Target
    sample: int
    like: Tensor
    advance: Callable[[int], None] = nothing
    spent: int = 0

    def __call__(self, count: int, make: Callable[[int, int], Any], times: int = 1) -> Tensor:
        """The scores (count,) of the inputs that `make(start, stop)` gives, a batch at a time.

        times   how many times larger than for whole copies batches may be
        """

        def evaluate(start: int, stop: int) -> Tensor:
            with self._without_gradients():
                output = as_tensor(call(self.model, make(start, stop)))
                target = copies(self.target, self.sample, stop - start)
                score, _ = scores(output, target, stop - start)
            check_scores(score)
            return score

        found = list(in_batches(evaluate, count, times * fitting(self.like), self.advance))
        self.spent += count
        return torch.cat(found) if found else torch.empty(0, device=self.like.device)

    def _without_gradients(self) -> AbstractContextManager[Any]:
        """Inference mode, which is faster, for copies: models could keep tensors made in it."""
        return torch.inference_mode() if hasattr(self.model, FROZEN) else torch.no_grad()
