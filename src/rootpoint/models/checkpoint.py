"""Weights from a file into a module, without ever running code that the file could hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rootpoint.errors import UnsupportedModelError


def load_into(module: nn.Module, path: Path) -> None:
    """Fill the module's parameters and buffers from a state dict: safetensors, or `torch.save`'s.

    Raises UnsupportedModelError if the file cannot be read, holds more than tensors, or does not
    fit the module.
    """
    weights = _read(path)
    if not _is_state_dict(weights):
        raise UnsupportedModelError(
            f"{path} holds {_contents(weights)}, not a state dict: save model.state_dict() alone"
        )
    try:
        keys = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise UnsupportedModelError(f"{path} does not fit the model: {error}") from error
    problems = {"it lacks": keys.missing_keys, "the model has no": keys.unexpected_keys}
    found = [f"{what} {_listed(names)}" for what, names in problems.items() if names]
    if found:
        raise UnsupportedModelError(f"{path} does not fit the model: {'; '.join(found)}")


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UnsupportedModelError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UnsupportedModelError(f"{path} is no sound safetensors file: {error}") from error
    except UnpicklingError as error:
        raise UnsupportedModelError(
            f"{path} is refused: it is no checkpoint, or it holds more than tensors and reading it "
            "could run code; save the weights with safetensors, or torch.save(model.state_dict())"
        ) from error
    except Exception as error:  # a damaged file raises almost anything
        raise UnsupportedModelError(
            f"{path} cannot be read: {type(error).__name__}: {error}"
        ) from error


def _is_state_dict(weights: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(weights, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    )


def _contents(weights: Any) -> str:
    if isinstance(weights, Mapping):
        return f"the entries {_listed(weights)}"
    return f"a {type(weights).__name__}"


def _listed(names: Iterable[Any]) -> str:
    """The first of the names, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
