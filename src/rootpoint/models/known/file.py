"""A model from the user's own Python file: FILE.py:FACTORY, or FILE.py:FACTORY@CHECKPOINT.

The factory takes no arguments and returns an nn.Module. The file may say more about it:

    CLASSES = ("healthy", "ill")                       # the names of the outputs
    PREPROCESSING = {"size": 299, "resize": 320}       # fields of Preprocessing; else ImageNet's

A checkpoint is a state dict, as safetensors or as `torch.save` writes it; nothing that could run
code is read from it. The file itself is code, run because the user named it.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rootpoint.errors import UnsupportedModelError
from rootpoint.models.card import ModelCard
from rootpoint.models.image_model import ImageModel
from rootpoint.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from types import ModuleType

CARDS = (ModelCard("FILE.py:FACTORY", None, "your own file; add @CHECKPOINT for weights", "yours"),)

T = TypeVar("T")


def load(name: str, download: bool) -> ImageModel:
    from torch import nn

    from rootpoint.models.checkpoint import load_into

    stem, _, rest = name.partition(".py:")
    factory, _, checkpoint = rest.partition("@")
    path = Path(f"{stem}.py").expanduser()
    if not path.is_file():
        raise UnsupportedModelError(f"there is no file {path} to take {factory!r} from")
    with _importable(path.parent):
        code = _run(path, lambda: _execute(path))
        build = getattr(code, factory, None)
        if not callable(build):
            raise UnsupportedModelError(f"{path} defines no function {factory!r}")
        module = _run(path, build)
    if not isinstance(module, nn.Module):
        raise UnsupportedModelError(
            f"{factory}() in {path} returned a {type(module).__name__}, not a torch.nn.Module"
        )
    if checkpoint:
        load_into(module, Path(checkpoint).expanduser())
    return ImageModel(name, module.eval(), _preprocessing(path, code), _classes(code))


def _execute(path: Path) -> ModuleType:
    """The file as a module, known to Python under a name that no library has."""
    name = f"rootpoint_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    sys.modules[name] = code  # dataclasses look themselves up there
    spec.loader.exec_module(code)
    return code


def _run(path: Path, function: Callable[[], T]) -> T:
    """Call the user's code; what it raises is reported with the line of their file."""
    try:
        return function()
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = f", line {frames[-1].lineno}" if frames else ""
        raise UnsupportedModelError(f"{path}{line}: {type(error).__name__}: {error}") from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours, as if Python ran it."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _preprocessing(path: Path, code: ModuleType) -> Preprocessing:
    try:
        return Preprocessing(**getattr(code, "PREPROCESSING", {}))
    except TypeError as error:
        raise UnsupportedModelError(f"PREPROCESSING in {path} does not fit: {error}") from error


def _classes(code: Any) -> tuple[str, ...] | None:
    names = getattr(code, "CLASSES", None)
    return None if names is None else tuple(map(str, names))
