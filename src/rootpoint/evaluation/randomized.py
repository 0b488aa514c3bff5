"""Copies of a network with layers forgotten: their parameters are drawn anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rootpoint.errors import InputError, RootpointError, UnsupportedModelError
from rootpoint.evaluation.metric import Case
from rootpoint.evaluation.orders import generator
from rootpoint.inputs import Model, call
from rootpoint.target import Target

# What draws are for, beside those of `orders`: each kind has random numbers of its own.
PARAMETERS, LOGITS, VECTORS = range(10, 13)


@dataclass(frozen=True)
class Layer:
    """Modules that are forgotten together.

    name      of the block they are in, for a plot
    top       the path of this block, or of the top one of several
    modules   the paths of those that own parameters, in the order in which they run
    """

    name: str
    top: str
    modules: tuple[str, ...]


def layers(model: nn.Module, inputs: Any, limit: int) -> list[Layer]:
    """At most `limit` layers of the model, the top one (next to the output) first.

    A layer is a module with parameters of its own, placed where they are used last in a run on the
    first sample; modules that do not run are in none. If there are more than `limit`, those of one
    block are one layer: the largest blocks are taken of which there are at least `limit`, the top
    one is a layer by itself, and neighbours among the others are joined.
    Raises InputError if no parameter is used. Cost: one forward.
    """
    owners = _owners(model, inputs)
    if not owners:
        raise InputError(
            "the model uses no parameter of its own in its forward pass: there is no layer to "
            "draw anew"
        )
    blocks = _blocks(owners, limit)
    return [
        Layer(_name(part), part[-1][0], tuple(path for _, paths in part for path in paths))
        for part in _joined(blocks, limit)
    ][::-1]


def randomized(
    model: nn.Module, chosen: Sequence[Layer], order: str, seed: int
) -> Iterator[nn.Module]:
    """A copy of the model with layers drawn anew, one after the other.

    order   "cascading": the first layer, then the first two, … (the copy that was given before is
            changed); "independent": each layer alone; "full": all of them, once
    The draws of a layer are the same in every order. See `randomize` for what is drawn.
    """
    copy = copied(model)
    for position, layer in enumerate(chosen):
        if order == "independent" and position:
            copy = copied(model)
        randomize(copy, layer, seed)
        if order != "full" or position == len(chosen) - 1:
            yield copy


def explained(case: Case, target: Target, model: Model) -> Any:
    """The relevance of the case's inputs for another target or another model, like the case's own.

    Zero for the samples that the candidate refuses: some methods cannot start from a score of zero,
    as a model drawn anew may give.
    """
    try:
        return case.explainer(case.inputs, target, model)
    except RootpointError:
        each = [_alone(case, i, target, model) for i in range(len(case.inputs))]
    texts = isinstance(each[0], list)
    return [words for one in each for words in one] if texts else torch.cat(each)


def _alone(case: Case, i: int, target: Target, model: Model) -> Any:
    """The relevance of one sample, zero if it is refused."""
    own = target[i : i + 1] if isinstance(target, list) else target
    try:
        return case.explainer(case.inputs[i : i + 1], own, model)
    except RootpointError:
        like = case.relevance[i : i + 1]
        return [torch.zeros_like(one) for one in like] if isinstance(like, list) else 0 * like


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, tied parameters tied. Raises UnsupportedModelError if there can be none."""
    try:
        return deepcopy(model)
    # A user's module may refuse to be copied by any error.
    except Exception as error:
        raise UnsupportedModelError(
            f"the {type(model).__name__} cannot be copied, and its parameters are to be drawn anew "
            f"in a copy: give it a __deepcopy__ ({type(error).__name__}: {error})"
        ) from error


def randomize(model: nn.Module, layer: Layer, seed: int) -> None:
    """Draw the parameters of a layer anew, in place, and leave the global random state as it is.

    By the module's own `reset_parameters`, which sets the running statistics of batch-norms to mean
    0 and variance 1, too; what that leaves as it was, and parameters of modules without, become
    normal noise of their own mean and standard deviation. A tied parameter stays tied: it changes
    wherever it is used.
    """
    for path in layer.modules:
        module = model.get_submodule(path)
        own = {n: p for n, p in module.named_parameters(recurse=False) if p.is_floating_point()}
        before = {name: parameter.detach().clone() for name, parameter in own.items()}
        source = generator(seed, PARAMETERS, number(path), 0)
        _reset(module, source.initial_seed(), {p.device for p in own.values()})
        for name, parameter in own.items():
            if torch.equal(parameter, before[name]):
                _noise(parameter, source)


def number(path: str) -> int:
    """A number that stands for a module's path."""
    return int.from_bytes(path.encode(), "little")


def _reset(module: nn.Module, seed: int, devices: set[torch.device]) -> None:
    reset = getattr(module, "reset_parameters", None)
    if not callable(reset):
        return
    cuda = [device for device in devices if device.type == "cuda"]
    with torch.random.fork_rng(cuda), torch.no_grad():
        torch.manual_seed(seed)
        reset()


def _noise(parameter: Tensor, source: torch.Generator) -> None:
    with torch.no_grad():
        drawn = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
        spread, mean = parameter.double().std(correction=0), parameter.double().mean()
        parameter.copy_(drawn.to(parameter.device) * spread + mean)


def _owners(model: nn.Module, inputs: Any) -> list[str]:
    """The paths of the modules whose parameters are used, by their last use."""
    with torch.inference_mode(False), torch.no_grad(), _Uses() as uses:
        call(model, inputs[:1])
    last: dict[str, int] = {}
    for path, module in model.named_modules():
        used = [uses.last.get(id(p), -1) for p in module.parameters(recurse=False)]
        if max(used, default=-1) >= 0:
            last[path] = max(used)
    return sorted(last, key=last.__getitem__)


class _Uses(TorchFunctionMode):
    """When each parameter was last given to a torch function."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[int, int] = {}
        self._calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._calls += 1
        self._note((*args, *(kwargs or {}).values()))
        return func(*args, **(kwargs or {}))

    def _note(self, given: Any) -> None:
        for one in given:
            if isinstance(one, nn.Parameter):
                self.last[id(one)] = self._calls
            elif isinstance(one, tuple | list):
                self._note(one)


Block = tuple[str, list[str]]
"""A block's path, and those of the modules in it that own parameters, in running order."""


def _blocks(owners: list[str], limit: int) -> list[Block]:
    """The largest blocks of which there are at least `limit`; else the modules themselves."""
    blocks: list[Block] = []
    for depth in range(1, max(path.count(".") for path in owners) + 2):
        by = groupby(owners, lambda path, depth=depth: ".".join(path.split(".")[:depth]))
        blocks = [(name, list(paths)) for name, paths in by]
        if len(blocks) >= limit:
            break
    return blocks


def _joined(blocks: list[Block], limit: int) -> list[list[Block]]:
    """The blocks in at most `limit` parts, in order; the last one is a part by itself."""
    if limit == 1:
        return [blocks]
    *others, top = blocks
    count = min(limit - 1, len(others))
    ends = [round(i * len(others) / count) for i in range(count + 1)] if count else []
    parts = [others[start:stop] for start, stop in pairwise(ends)]
    return [*parts, [top]]


def _name(part: list[Block]) -> str:
    """The name of a block, or of several from the top one down."""
    top, bottom = (name or "its own parameters" for name in (part[-1][0], part[0][0]))
    return top if len(part) == 1 else f"{top} … {bottom}"
