"""Weights from a file into a module, without ever running code that the file could hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

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
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise UnsupportedModelError(
            f"{path} holds {_contents(weights)}, not a state dict: save model.state_dict() alone"
        )
    try:
        keys = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise UnsupportedModelError(f"{path} does not fit the model: {error}") from error
    if keys.missing_keys or keys.unexpected_keys:
        raise UnsupportedModelError(
            f"{path} does not fit the model: it lacks {_listed(keys.missing_keys)}; the model has "
            f"no {_listed(keys.unexpected_keys)}"
        )


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
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UnsupportedModelError(f"{path} cannot be read: {error}") from error


def _contents(weights: Any) -> str:
    if isinstance(weights, Mapping):
        return f"the entries {_listed(weights)}"
    return f"a {type(weights).__name__}"


def _listed(names: Iterable[Any]) -> str:
    """The first of the names, and how many there are; "nothing" for none."""
    names = [str(name) for name in names]
    if not names:
        return "nothing"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
