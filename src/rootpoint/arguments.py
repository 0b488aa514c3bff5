"""Captum's arguments beside inputs and target, as the methods here take them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.inputs import Inputs, Model, batch_size, map_inputs, tensors
from rootpoint.target import Target


@dataclass(frozen=True)
class Call:
    """One call of a method.

    baseline    without a dimension of samples
    arguments   what the model takes after the inputs; `by_sample` says which have one row for each
    """

    inputs: Inputs
    target: Target
    baseline: Any
    arguments: tuple[Any, ...]
    by_sample: tuple[bool, ...]


def calls(inputs: Inputs, target: Target, baselines: Any, arguments: Any) -> list[Call]:
    """The calls that explain these inputs: one, or one for each sample where samples differ in
    more than the inputs. A method that perturbs one sample could not tell whose argument is whose.

    baselines   None, a number, or a tensor (B, …) or (1, …) like the input, one for each input
    arguments   None, what follows the inputs, or a tuple of that; tensors (B, …) are by sample
    Raises InputError for what does not fit.
    """
    if isinstance(inputs, Mapping) or not all(isinstance(x, Tensor) for x in tensors(inputs)):
        raise InputError(
            "baselines and additional_forward_args go with positional tensors: set the method's "
            "baseline itself, or hold further arguments constant in a function of the inputs"
        )
    if arguments is None or not isinstance(arguments, tuple):
        arguments = () if arguments is None else (arguments,)
    batch = batch_size(inputs)
    baselines = _paired(inputs, baselines)
    if batch == 1 or not any(_differ(v, batch) for v in (*tensors(baselines), *arguments)):
        by_sample = tuple(_rows(value, batch) for value in arguments)
        return [Call(inputs, target, map_inputs(_first, baselines), arguments, by_sample)]
    return list(_one_by_one(inputs, target, baselines, arguments))


def _paired(inputs: Inputs, baselines: Any) -> Any:
    """The baselines, checked: of each input its own."""
    if isinstance(inputs, tuple) != isinstance(baselines, tuple) and isinstance(
        baselines, tuple | Tensor
    ):
        raise InputError("give baselines as the inputs are: a tensor, or a tuple of as many")
    if isinstance(baselines, tuple) and len(baselines) != len(inputs):
        raise InputError(f"{len(baselines)} baselines do not fit {len(inputs)} inputs")
    pairs = zip(tensors(inputs), tensors(baselines)) if baselines is not None else ()  # noqa: B905
    for x, baseline in pairs:
        if not isinstance(baseline, Tensor):
            continue
        if (
            baseline.shape[1:] != x.shape[1:]
            or baseline.dim() == 0
            or len(baseline) not in (1, len(x))
        ):
            raise InputError(
                f"baselines of shape {tuple(baseline.shape)} do not fit inputs of shape "
                f"{tuple(x.shape)}: give one for each sample or one for all, (1, …); several for "
                "every sample are the method's own baseline, where it takes them"
            )
    return baselines


def _differ(value: Any, batch: int) -> bool:
    """Whether a value is by sample, and not the same for all."""
    return _rows(value, batch) and bool((value != value[:1]).any())


def _rows(value: Any, batch: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == batch


def _first(baseline: Any) -> Any:
    return baseline[0] if isinstance(baseline, Tensor) else baseline


def _one_by_one(
    inputs: Any, target: Any, baselines: Any, arguments: tuple[Any, ...]
) -> Iterator[Call]:
    batch = batch_size(inputs)
    target = target.tolist() if hasattr(target, "tolist") else target
    by_sample = isinstance(target, Sequence) and not isinstance(target, str | tuple)
    if by_sample and len(target) != batch:
        raise InputError(f"{len(target)} targets for {batch} samples: give one, or one per sample")

    def of(value: Any, b: int) -> Any:
        return value[b : b + 1] if _rows(value, batch) else value

    for b in range(batch):
        yield Call(
            map_inputs(lambda x, b=b: x[b : b + 1], inputs),
            [target[b]] if by_sample else target,
            map_inputs(lambda value, b=b: _first(of(value, b)), baselines),
            tuple(of(value, b) for value in arguments),
            tuple(_rows(value, batch) for value in arguments),
        )


def with_arguments(model: Model, call: Call) -> Model:
    """The model called with the call's further arguments; what is in it is its own.

    Those by sample are the same in all rows here: they become as many as there are inputs.
    """

    def following(inputs: tuple[Any, ...]) -> Iterator[Any]:
        count = batch_size(inputs)
        for value, by_sample in zip(call.arguments, call.by_sample, strict=True):
            if by_sample and len(value) != count:
                yield value[:1].expand(count, *value.shape[1:])
            else:
                yield value

    if not isinstance(model, nn.Module):
        return lambda *inputs: model(*inputs, *following(inputs))

    class Model(type(model)):
        def __call__(self, *inputs: Any) -> Any:
            return super().__call__(*inputs, *following(inputs))

    called = copy.copy(model)  # shallow: what is in it is shared
    called.__class__ = Model
    return called
