"""Where in the user's code an operation was called, and what stands behind a function or tensor."""

from __future__ import annotations

import linecache
import sys
import types
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FAMILIES = ("fft", "linalg", "special")
"""Modules of torch whose functions are called `linalg_inv` where they are met."""

_CALLING_A_MODULE = nn.Module._call_impl.__code__


def is_passive(function: Any) -> bool:
    """Attribute access such as `x.data` or `x.grad_fn`, which computes nothing."""
    return getattr(function, "__name__", "") == "__get__"


def uncompiled() -> AbstractContextManager[Any]:
    """Where what the model compiled by torch.compile runs as it was written, to be met."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@cache
def without_override_check(function: types.FunctionType) -> types.FunctionType:
    """A copy of one of torch's Python functions that runs instead of asking the mode again."""

    def no(*_: Any) -> bool:
        return False

    checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    names = {**function.__globals__, **dict.fromkeys(checks, no)}
    copy = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def public_name(function: Any) -> str:
    """The name under which users know a torch function."""
    if isinstance(function, str):
        return function
    name = getattr(function, "__name__", str(function))
    spaces = {"torch": torch, "torch.nn.functional": F, "torch.Tensor": torch.Tensor}
    for space, members in spaces.items():
        if hasattr(members, name):
            return f"{space}.{name}"
    family = name.partition("_")[0]
    return f"torch.{name.replace('_', '.', 1)}" if family in _FAMILIES else name


def reaches(tensor: Tensor, leaves: list[Tensor]) -> bool:
    """Whether a tensor's graph leads back to an explained input."""
    seen: set[Any] = set()
    waiting: list[Any] = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if any(getattr(node, "variable", None) is leaf for leaf in leaves):
            return True
        waiting += [following for following, _ in node.next_functions]
    return False


def calling_module() -> nn.Module | None:
    """The innermost module whose forward is running."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _CALLING_A_MODULE:
            return frame.f_locals["self"]
        frame = frame.f_back
    return None


def model_line() -> str:
    """The line of the user's code that called the operation: the innermost outside torch and us."""
    frame = sys._getframe(1)
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("torch", "rootpoint"):
            path, line = frame.f_code.co_filename, frame.f_lineno
            return f"{path.rpartition('/')[2]}:{line}:  {linecache.getline(path, line).strip()}"
        frame = frame.f_back
    return "unknown line"
