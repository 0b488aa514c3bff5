"""Explanations of random relevance at an inner layer: is it forgotten on the way to the input?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, RootpointError
from rootpoint.evaluation.metric import Case
from rootpoint.evaluation.orders import generator
from rootpoint.evaluation.randomized import VECTORS, copied, layers, number
from rootpoint.evaluation.similarity import cosine
from rootpoint.inputs import call
from rootpoint.method import Method

OUTPUT = "output"
"""The name of the model's output among the layers that relevance starts from."""

Vector = Callable[[Tensor], Tensor]
"""A vector v for an activation h (B, …), shaped like one sample of it."""


def convergence(case: Case, limit: int, over: str, at: str | None) -> tuple[list[str], Tensor]:
    """The layers that relevance starts from, the output first, and the similarities (B, layers).

    over   "map" or "positions": see `alike`
    at     the inner module whose maps are compared; None: those of the input
    At each layer two maps, of two vectors of standard normal noise. NaN from layers below the one
    that a method explains (CAM), and where it refuses the score. Raises InputError if the model
    returns no tensor, or `at` is given for a candidate that explains inputs only.
    """
    assert isinstance(case.model, nn.Module)
    names, found = [OUTPUT], [_converged(case, "", over, at)]
    inner = starts(case.model, case.inputs, limit) if limit else {}
    for name, path in inner.items():
        names.append(name)
        found.append(_where_it_can(case, path, over, at))
    return names, torch.stack(found, 1)


def _where_it_can(case: Case, path: str, over: str, at: str | None) -> Tensor:
    """As `_converged`, NaN for the samples that the candidate refuses from this layer."""
    try:
        return _converged(case, path, over, at)
    except RootpointError:
        if len(case.inputs) == 1:
            return torch.full((1,), float("nan"), dtype=torch.float64)
    alone = (replace(case, inputs=case.inputs[i : i + 1]) for i in range(len(case.inputs)))
    return torch.cat([_where_it_can(one, path, over, at) for one in alone])


def _converged(case: Case, path: str, over: str, at: str | None) -> Tensor:
    def normal(which: int) -> Vector:
        def vector(activation: Tensor) -> Tensor:
            source = generator(case.seed, VECTORS, number(path), which)
            drawn = torch.randn(activation.shape[1:], generator=source, dtype=torch.float64)
            return drawn.to(activation)

        return vector

    one, other = (vector_map(case, path, normal(which), at) for which in (0, 1))
    return alike(one, other, over)


def vector_map(case: Case, path: str, vector: Vector, at: str | None = None) -> Any:
    """The map (B, …) of Σ v·h, where h is the activation that the module at `path` returns.

    path   "" is the model itself
    at     the inner module that the map is of; None: the input
    For propagation it is that of relevance v ⊙ h. A method is given v·h as a function of what a
    copy of the model returns, which is h and its output; another candidate a copy that returns
    v·h, (B, 1), and target 0.
    """
    assert isinstance(case.model, nn.Module)
    candidate = case.explainer.candidate

    def functional(activation: Tensor) -> Tensor:
        return (activation * vector(activation)).flatten(1).sum(1)

    if isinstance(candidate, Method):
        model = _returning(case.model, path, lambda activation, output: (activation, output))
        of_both = _of_first(functional)
        if at is None:
            return case.explainer(case.inputs, of_both, model)
        return candidate(model, case.inputs, of_both, at=at).relevance
    if at is not None:
        raise InputError(f"a function explains inputs, not inner modules: leave out at={at!r}")
    model = _returning(case.model, path, lambda activation, _: functional(activation)[:, None])
    return case.explainer(case.inputs, [0] * len(case.inputs), model)


def _of_first(functional: Vector) -> Callable[[tuple[Tensor, Any]], Tensor]:
    return lambda outputs: functional(outputs[0])


def _returning(model: nn.Module, path: str, what: Callable[[Tensor, Any], Any]) -> nn.Module:
    """A copy of the model that returns `what` of the activation at `path` and of its output."""
    copy = copied(model)
    latest: list[Any] = [None]

    def note(_module: nn.Module, _args: Any, output: Any) -> None:
        latest[0] = output

    def exchange(_module: nn.Module, _args: Any, output: Any) -> Any:
        activation = latest[0] if path else output
        if not isinstance(activation, Tensor):
            raise InputError(
                f"the model returns a {type(output).__name__}: relevance can start from a tensor "
                "(B, …) only; wrap the model in an nn.Module that returns one"
            )
        return what(activation, output)

    if path:
        copy.get_submodule(path).register_forward_hook(note)
    copy.register_forward_hook(exchange)
    return copy


def starts(model: nn.Module, inputs: Any, limit: int) -> dict[str, str]:
    """Where relevance may start: the names of layers, and the path of the module that ends each.

    Left out are layers no module of which returns a tensor (B, …), and what returns the output.
    Cost: two forwards.
    """
    copy = copied(model)
    returned: dict[str, Tensor] = {}

    def watching(path: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.shape[:1] == (1,):
                returned[path] = output

        return hook

    for path, module in copy.named_modules():
        if path:
            module.register_forward_hook(watching(path))
    with torch.no_grad():
        output = call(copy, inputs[:1])
    paths: dict[str, str] = {}
    for layer in layers(model, inputs, limit):
        ending = next((p for p in (layer.top, *layer.modules[::-1]) if p in returned), None)
        if ending is not None and returned[ending] is not output:
            paths[layer.name] = ending
    return paths


def alike(a: Any, b: Any, over: str) -> Tensor:
    """|cos(a, b)| of maps (B, …): the sign of random relevance says nothing.

    over   "map": of all values; "positions": of the channels at each position, and of these the
           median over positions where neither map is zero
    NaN for maps that are zero, and over positions for maps of one channel. Of texts: lists of maps.
    """
    if isinstance(a, list):
        each = [alike(x[None], y[None], over) for x, y in zip(a, b, strict=True)]
        return torch.cat(each)
    if over == "map":
        return cosine(a, b).abs()
    if a.dim() < 3 or a.shape[1] == 1:
        return a.new_full((len(a),), float("nan"), dtype=torch.float64)
    rows = [x.flatten(2).transpose(1, 2) for x in (a, b)]  # (B, positions, channels)
    found = cosine(*(x.flatten(0, 1) for x in rows)).abs()
    return found.unflatten(0, rows[0].shape[:2]).nanmedian(1).values
