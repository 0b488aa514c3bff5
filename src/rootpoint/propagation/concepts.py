"""Relevance only through some concepts: channels of inner modules, or any part of their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.inputs import Model
from rootpoint.propagation.functions import overridable

Through = Mapping[str, "Sequence[int] | Tensor"]
"""By the path of a module: channels, dimension 1 of its output, or a mask that broadcasts to it."""


class _Only(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return x.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (mask,) = ctx.saved_tensors
        return grads[0] * mask, None


@overridable
def concepts(x: Tensor, mask: Tensor) -> Tensor:
    """x itself; on the way back only what `mask` selects passes."""
    return _Only.apply(x, mask)


@contextmanager
def only_through(model: Model, through: Through | str | None) -> Iterator[None]:
    """Forwards of this thread in which relevance passes the named modules only by some concepts.

    Several modules: relevance must pass a concept of each. Within one, any of its concepts.
    Raises InputError for unknown modules, channels out of range, and outputs that are no tensors.
    """
    wanted = read(through) if isinstance(through, str) else dict(through or {})
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    if unknown := [path for path in wanted if path not in modules]:
        known = ", ".join(name for name in modules if name) or "none"
        raise InputError(f"through={unknown} are no paths of modules; known: {known}")
    with ExitStack() as stack:
        for path, chosen in wanted.items():
            handle = modules[path].register_forward_hook(_Restriction(path, chosen))
            stack.callback(handle.remove)
        yield


class _Restriction:
    """A forward hook that lets only the chosen concepts pass on the way back."""

    def __init__(self, path: str, chosen: Sequence[int] | Tensor) -> None:
        self.path, self.chosen, self.thread = path, chosen, get_ident()

    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> Tensor | None:
        if get_ident() != self.thread:
            return None
        if not isinstance(output, Tensor):
            raise InputError(f"the output of through={self.path!r} is not a tensor")
        with torch._C.DisableTorchFunction():
            mask = _mask(self.path, self.chosen, output)
        return concepts(output, mask)


def _mask(path: str, chosen: Sequence[int] | Tensor, output: Tensor) -> Tensor:
    if isinstance(chosen, Tensor):
        try:
            return chosen.to(output).expand_as(output)
        except RuntimeError as error:
            raise InputError(
                f"the mask of through={path!r} is {tuple(chosen.shape)}, which does not broadcast "
                f"to the output {tuple(output.shape)}"
            ) from error
    count = output.shape[1] if output.dim() > 1 else 0
    channels = [chosen] if isinstance(chosen, int) else list(chosen)
    if not all(-count <= c < count for c in channels):
        raise InputError(
            f"through={path!r} has {count} channels; {channels} are not all among them"
        )
    mask = output.new_zeros(1, count, *[1] * (output.dim() - 2))
    mask[:, channels] = 1
    return mask


def read(text: str) -> dict[str, list[int]]:
    """Concepts as a command line writes them: "layer4:17,203" or "layer3:5 layer4:17,203"."""
    found = {}
    for part in text.split():
        path, colon, channels = part.partition(":")
        try:
            found[path] = [int(c) for c in channels.split(",")]
        except ValueError:
            colon = ""
        if not (path and colon):
            raise InputError(f"through={text!r} is not written like 'layer4:17,203'")
    return found
