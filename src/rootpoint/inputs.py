"""What is explained: the inputs of a model, checked, and the model called with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError

Model: TypeAlias = "Callable[..., Any]"
Inputs: TypeAlias = "Tensor | tuple[Any, ...] | Mapping[str, Any] | list[str]"
T = TypeVar("T")


def map_inputs(function: Callable[[Any], T], inputs: Any) -> Any:
    """`function` of each tensor of the inputs, in the same structure; what is none stays."""

    def of(value: Any) -> Any:
        return function(value) if isinstance(value, Tensor) else value

    if isinstance(inputs, Mapping):
        return {name: of(value) for name, value in inputs.items()}
    return tuple(of(value) for value in inputs) if isinstance(inputs, tuple) else function(inputs)


def tensors(inputs: Any) -> list[Tensor]:
    """The tensors of the inputs, in order."""
    several = isinstance(inputs, tuple | Mapping)
    return [v for v in values(inputs) if isinstance(v, Tensor)] if several else [inputs]


def values(inputs: Any) -> list[Any]:
    """All that is passed to the model, in order."""
    if isinstance(inputs, Mapping):
        return list(inputs.values())
    return list(inputs) if isinstance(inputs, tuple) else [inputs]


def call(model: Model, inputs: Any) -> Any:
    """The model's output: a tuple is passed as arguments, a mapping as keyword arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def batch_size(inputs: Any) -> int:
    return tensors(inputs)[0].shape[0]


def check_model(model: Model) -> None:
    """Raise UnsupportedModelError if the model cannot be explained as it is."""
    if not callable(model):
        remedy = ": rp.neuralize(model) makes a network of it" if hasattr(model, "predict") else ""
        raise UnsupportedModelError(
            f"the model is a {type(model).__name__}, which cannot be called on tensors{remedy}"
        )
    if isinstance(model, nn.Module):
        training = next((name for name, m in model.named_modules() if m.training), None)
        if training is not None:
            raise UnsupportedModelError(
                f"{training or 'the model'} is in training mode, where dropout and batch "
                "statistics make the decision random: call model.eval() first"
            )


def is_explained(value: Tensor) -> bool:
    """Whether a tensor's values can carry relevance themselves; ids do through embeddings."""
    return value.is_floating_point()


def holds_ids(inputs: Any) -> bool:
    """Whether any input is made of integers."""
    return any(isinstance(t, Tensor) and not is_explained(t) for t in tensors(inputs))


def check(model: Model, inputs: Any, *, ids: bool = False) -> None:
    """Raise a clear error if the model or its inputs cannot be explained as they are.

    ids   integers are allowed too, to be explained through the embeddings they look up
    """
    check_model(model)
    if not tensors(inputs):
        raise InputError("there is no input to explain")
    several = inputs if isinstance(inputs, tuple) else (inputs,)
    named = inputs.items() if isinstance(inputs, Mapping) else enumerate(several)
    single = not isinstance(inputs, tuple | Mapping)
    for key, value in named:
        if single or not isinstance(value, bool | int | float | str | NoneType):
            _check_tensor("the input" if single else f"input {key!r}", value, ids)


def _check_tensor(name: str, value: Any, ids: bool) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{name} is a {type(value).__name__}, not a torch.Tensor")
    if value.is_complex() or not (ids or value.is_floating_point()):
        raise InputError(
            f"{name} is {value.dtype}: relevance needs floating point; use .float(), or for ids of "
            "tokens a method that goes through their embeddings, as lrp and gradient-times-input"
        )
    if value.dim() == 0:
        raise InputError(f"{name} has no dimension: the first one must be the samples")
    if value.numel() == 0:
        raise InputError(f"{name} is empty, of shape {tuple(value.shape)}")
    if not torch.isfinite(value).all():
        raise InputError(f"{name} holds NaN or infinity: clean the data before explaining it")


def check_scores(scores: Tensor) -> None:
    """Raise InputError if the model's scores are not finite."""
    if not torch.isfinite(scores).all():
        raise InputError("the model's score for this input is NaN or infinite: nothing to explain")


def single(method: str, inputs: Any) -> Tensor:
    """The inputs, if they are one tensor. Raises InputError otherwise."""
    if not isinstance(inputs, Tensor):
        raise InputError(
            f"{method} explains one tensor, not a {type(inputs).__name__}: wrap the model in a "
            "function of the input to be explained, with the others held constant"
        )
    return inputs


def batches(data: Any, size: int = 32) -> Iterator[Tensor]:
    """The inputs of a data set, batch by batch.

    data   a tensor or array (N, …), or an iterable of batches: tensors, or tuples that begin with
           one, as a DataLoader gives them
    """
    if isinstance(data, np.ndarray):
        data = torch.from_numpy(data)
    if isinstance(data, Tensor):
        yield from data.split(size)
        return
    for batch in data:
        yield batch[0] if isinstance(batch, tuple | list) else batch
