"""Outputs of inner modules that keep the image's grid: feature maps, and tokens of its patches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.inputs import Inputs, Model, call, check, single

_TOKENS_BEFORE = 8  # at most so many class and register tokens before those of the patches

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Run:
    """What a module returned: its path, the value, its place in the graph, if it has one."""

    module: str
    value: Tensor
    place: Any

    @classmethod
    def of(cls, module: str, output: Tensor) -> Run:
        """The output as it is now: the model may overwrite it later."""
        place = get_gradient_edge(output) if output.requires_grad else None
        return cls(module, output.detach(), place)


@dataclass(frozen=True, eq=False)
class Grid:
    """An output on a grid of `size` (h, w).

    form   "maps" (B, C, h, w), "channels last" (B, h, w, C), or "tokens" (B, k + h·w, C)
    """

    run: Run
    form: str
    size: Size

    def maps(self, values: Tensor) -> Tensor:
        """Values shaped like the output as maps, (B, C, h, w)."""
        if self.form == "maps":
            return values
        if self.form == "tokens":
            before = values.shape[1] - self.size[0] * self.size[1]
            values = values[:, before:].unflatten(1, self.size)
        return values.movedim(-1, 1)


def image(method: str, inputs: Inputs) -> Tensor:
    """The inputs, if they are images (B, C, H, W). Raises InputError otherwise."""
    x = single(method, inputs)
    if x.dim() != 4:
        raise InputError(
            f"{method} explains images (B, C, H, W), not inputs of the shape {tuple(x.shape)}"
        )
    return x


def find_grids(model: Model, x: Tensor, layer: str | None) -> tuple[Any, list[Grid]]:
    """The model's output, and every output with spatial extent that its modules made, in order.

    x       images; with gradients, if places in the graph are wanted
    layer   the path of a module, to have its own only, as it returned them; None: those of all, as
            the model left them (a ReLU in place behind a convolution is in its output)
    Raises InputError if there is no such output. Cost: one forward.
    """
    check(model, x)
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(
            f"a layer is looked for, and a {type(model).__name__} shows none: give an nn.Module"
        )
    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        known = ", ".join(name for name in modules if name) or "none"
        raise InputError(
            f"layer={layer!r} is not the path of a module of the model; known: {known}"
        )
    with _watch(modules, layer) as met:
        output = call(model, x)
    runs = [one if isinstance(one, Run) else Run.of(name, one) for name, one in met]
    found = [g for g in _on_grids(runs, x) if layer in (None, g.run.module)]
    if layer is None:  # a linear map of tokens is a part of attention: one of queries, keys, values
        parts = [
            g for g in found if g.form == "tokens" and isinstance(modules[g.run.module], nn.Linear)
        ]
        found = [g for g in found if g not in parts] or found
    if not found:
        raise InputError(_nothing_spatial(layer, runs))
    return output, found


def _nothing_spatial(layer: str | None, runs: list[Run]) -> str:
    extent = "spatial extent: neither (B, C, H, W) with H·W > 1 nor tokens of patches"
    if layer is None:
        return (
            f"no module of the model returns a tensor of {extent}; name a layer that does, or "
            "take a method that needs none"
        )
    shapes = [str(tuple(r.value.shape)) for r in runs if r.module == layer]
    what = f"returns {', '.join(shapes)}" if shapes else "did not run, or returned no tensor"
    return f"layer={layer!r} {what}, which has no {extent}; name an earlier layer"


@contextmanager
def _watch(
    modules: dict[str, nn.Module], layer: str | None
) -> Iterator[list[tuple[str, Tensor | Run]]]:
    """What all modules but the model itself return in this thread, if it is a tensor.

    Outputs of `layer` as runs, safe from what the model does to them later.
    """
    met: list[tuple[str, Tensor | Run]] = []
    thread = get_ident()

    def watching(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if get_ident() != thread or not isinstance(output, Tensor):
                return
            run = Run.of(name, output) if name == layer else None
            met.append((name, output if run is None else replace(run, value=run.value.clone())))

        return hook

    handles = [m.register_forward_hook(watching(name)) for name, m in modules.items() if name]
    try:
        yield met
    finally:
        for handle in handles:
            handle.remove()


def _on_grids(runs: list[Run], x: Tensor) -> Iterator[Grid]:
    """The runs whose output is a grid of the image."""
    lengths = {r.value.shape[1] for r in runs if r.value.dim() == 3}
    sizes: list[Size] = []
    for run in runs:
        if run.value.shape[:1] != x.shape[:1]:  # windows of attention, say
            continue
        if run.value.dim() == 3:
            size = _token_size(run.value.shape[1], x, sizes)
            if size is not None:
                yield Grid(run, "tokens", size)
        elif run.value.dim() == 4:
            form, size = _map_size(run.value, x)
            fits = size[0] * size[1] > 1 and size[0] <= x.shape[2] and size[1] <= x.shape[3]
            if fits and not lengths & set(size):  # else attention, from tokens to tokens
                sizes.append(size)
                yield Grid(run, form, size)


def _map_size(value: Tensor, x: Tensor) -> tuple[str, Size]:
    """Form and size of maps: channels are last if only then the sides are in the image's ratio."""
    _, a, b, c = value.shape
    height, width = x.shape[2:]
    if a * width == b * height and b * width != c * height:
        return "channels last", (a, b)
    return "maps", (b, c)


def _token_size(length: int, x: Tensor, sizes: list[Size]) -> Size | None:
    """The grid that a sequence covers: one that maps had before, else one in the image's ratio."""
    for size in reversed(sizes):
        if 0 <= length - size[0] * size[1] <= _TOKENS_BEFORE:
            return size
    if sizes:
        return None
    height, width = x.shape[2:]
    for patches in range(length, max(1, length - _TOKENS_BEFORE - 1), -1):
        h = round((patches * height / width) ** 0.5)
        if h and patches % h == 0 and h * width == patches // h * height:
            return h, patches // h
    return None
