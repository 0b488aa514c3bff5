"""From model, inputs and targets to relevance: forward once, backward once for each target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.explanation import Passes
from rootpoint.inputs import (
    Inputs,
    Model,
    batch_size,
    call,
    check,
    check_scores,
    is_explained,
    map_inputs,
    tensors,
)
from rootpoint.target import Target, of_part, scores, unwrapped
from rootpoint.tokens import Lookups

Share = Callable[[Tensor, Tensor], Tensor]
"""The relevance of a value from the multiplier that arrives at it."""


class Pass(Protocol):
    """How multipliers come about in one forward and backward pass."""

    leaves: list[Tensor]

    @property
    def scales(self) -> Sequence[float]:
        """What to scale the score by on the way back, in turn until multipliers are finite."""
        ...

    def enter(self, x: Tensor, *, raw: bool = True) -> Tensor:
        """An explained input as the model gets it; its leaf is appended to `leaves`.

        raw   given to the model; else vectors that it looked up
        """
        ...

    def forward(self) -> AbstractContextManager[Any]:
        """The context in which the model runs."""
        ...

    def backward(self) -> AbstractContextManager[Any]:
        """The context in which multipliers go back."""
        ...

    def settle(self, output: Any) -> Any:
        """The model has returned this; the output to be explained."""
        ...

    def share(self, value: Tensor, *, inner: bool) -> Share:
        """How relevance follows from multipliers at this input, or inner module's output."""
        ...


@dataclass
class Plain:
    """Plain gradients: the multiplier is the slope of the score."""

    rule: Share
    leaves: list[Tensor] = field(default_factory=list)
    scales: Sequence[float] = (1.0,)

    def enter(self, x: Tensor, *, raw: bool = True) -> Tensor:
        self.leaves.append(x.detach().clone().requires_grad_())
        return self.leaves[-1].clone()  # not a leaf: the model may overwrite it

    def forward(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def backward(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def settle(self, output: Any) -> Any:
        return output

    def share(self, value: Tensor, *, inner: bool) -> Share:
        return self.rule


def explain_backward(
    model: Model,
    inputs: Inputs,
    targets: Sequence[Target],
    one_pass: Pass,
    at: str | Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Relevance, explained score, target and prediction for each target of the same inputs.

    at   the path of an inner module: relevance of its output instead of the input's; of several
         paths: a mapping
    Returns the fields of an Explanation. Cost: one forward, and for each target one backward, as
    far as the input or the inner module.
    """
    found = []
    with torch.inference_mode(False), torch.enable_grad():
        output, entries, watched = forward(model, inputs, one_pass, at)
        explained = [one for runs in watched.values() for one in runs]
        if at is None:
            explained = entries.explained()
        for position, target in enumerate(targets, start=1):
            score, resolved = scores(output, target, samples(inputs, output, target))
            check_scores(score)
            relevance = shares(score, explained, one_pass, keep=position < len(targets))
            found.append(
                {
                    "relevance": entries.relevance(inputs, relevance)
                    if at is None
                    else _of_modules(at, watched, relevance),
                    "output": score.detach(),
                    "target": resolved,
                    "prediction": detached(output),
                    "passes": Passes(1, 1),
                }
            )
    return found


def forward(
    model: Model, inputs: Inputs, one_pass: Pass, at: str | Sequence[str] | None
) -> tuple[Any, Entries, dict[str, list[Explained]]]:
    """Run the model, with its graph: its output, what it was given, and the modules to explain."""
    check(model, inputs, ids=True)
    entries = Entries(one_pass)
    with _watch(model, at, one_pass) as watched, one_pass.forward():
        given = map_inputs(entries.enter, inputs)
        with entries.lookups if entries.lookups.count else nullcontext():
            output = entries.run(model, given)
    return one_pass.settle(output), entries, watched


def detached(output: Any) -> Any:
    """The model's output without its graph, in the same structure."""
    return tree_map_only(Tensor, Tensor.detach, output)


def samples(inputs: Inputs, output: Any, target: Target) -> int:
    """How many there are: the first dimension of all inputs.

    Of graphs, whose nodes and edges are no samples: as many as the model returns scores.
    """
    counts = {len(t) for t in tensors(inputs)}
    return counts.pop() if len(counts) == 1 else scored(output, target) or batch_size(inputs)


def scored(output: Any, target: Target) -> int:
    """How many samples a model returned scores of; 0 if this cannot be told."""
    found = unwrapped(target(output) if callable(target) else output)
    return len(found) if isinstance(found, Tensor) and found.dim() else 0


def explain_in_parts(
    explain_part: Callable[[Inputs, Sequence[Target]], list[dict[str, Any]]],
    inputs: Inputs,
    targets: Sequence[Target],
    rows: int | None,
) -> list[dict[str, Any]]:
    """What `explain_backward` gives, of so many samples at once: memory does not grow with them."""
    if rows is None or (batch := batch_size(inputs)) <= rows:
        return explain_part(inputs, targets)
    parts = [
        explain_part(
            map_inputs(lambda t, part=part: t[part], inputs),
            [of_part(target, part, batch) for target in targets],
        )
        for part in (slice(start, start + rows) for start in range(0, batch, rows))
    ]
    return [_joined(each) for each in zip(*parts, strict=True)]


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fields of several parts as those of all samples."""

    def join(values: Sequence[Any]) -> Any:
        if isinstance(values[0], Tensor):
            return torch.cat(list(values))
        if isinstance(values[0], list):
            return [v for value in values for v in value]
        if isinstance(values[0], tuple) and isinstance(values[0][0], Tensor):
            return tuple(torch.cat(t) for t in zip(*values, strict=True))
        if isinstance(values[0], dict):
            return {k: torch.cat([v[k] for v in values]) for k in values[0]}
        return values[0]

    return {key: join([part[key] for part in parts]) for key in parts[0]}


_CUT_OFF = (
    "the explained score does not depend on the input: the model detaches it, or runs under "
    "torch.no_grad()"
)


def _run(model: Model, inputs: Inputs) -> Any:
    """The model's output. Raises UnsupportedModelError if it leaves torch on the way."""
    numpy = UnsupportedModelError(
        "no gradient goes through this model, for it computes with numpy: use a method that needs "
        "only scores (see `rootpoint methods`), or fit an explanation-vector's surrogate to it"
    )
    try:
        output = call(model, inputs)
    except RuntimeError as error:
        if "Inference tensors cannot be saved" in str(error):
            raise UnsupportedModelError(
                "the model was made, or keeps tensors made, under torch.inference_mode(), through "
                "which nothing can go back: make it outside, as copy.deepcopy(model) does, or "
                "under torch.no_grad()"
            ) from error
        if "numpy() on Tensor that requires grad" not in str(error):
            raise
        raise numpy from error
    if isinstance(output, np.ndarray):
        raise numpy
    return output


@dataclass
class Explained:
    """A tensor whose relevance is asked for: its value, its place in the graph, its share."""

    value: Tensor
    place: Any
    share: Share


def shares(
    score: Tensor, explained: list[Explained], one_pass: Pass, *, keep: bool
) -> tuple[Tensor, ...]:
    """The relevance of each tensor. Raises UnsupportedModelError if the score depends on none."""
    if not score.requires_grad:
        raise UnsupportedModelError(_CUT_OFF)
    places = [one.place for one in explained]
    try:
        with one_pass.backward(), _without_autocast(score.device.type):
            multipliers = _multipliers(score.sum(), places, one_pass.scales, keep=keep)
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise UnsupportedModelError(
            "the model overwrites in place a value that its gradient needs, so that nothing can go "
            f"back through it; write that operation out of place. PyTorch says: {error}"
        ) from error
    if all(m is None for m in multipliers):
        raise UnsupportedModelError(_CUT_OFF)
    return tuple(
        torch.zeros_like(one.value) if m is None else one.share(one.value, m)
        for one, m in zip(explained, multipliers, strict=True)
    )


def _multipliers(
    score: Tensor, places: list[Any], scales: Sequence[float], *, keep: bool
) -> Sequence[Tensor | None]:
    """The multipliers at these places, at the first scale of the score at which they are finite."""
    if len(scales) == 1:
        return torch.autograd.grad(score, places, retain_graph=keep, allow_unused=True)
    found: list[Tensor | None] = []
    for scale in scales:
        begun = torch.full_like(score, scale)
        again = keep or scale != scales[-1]
        scaled = torch.autograd.grad(score, places, begun, retain_graph=again, allow_unused=True)
        found = [None if m is None else m.float() / scale for m in scaled]
        if all(m is None or m.isfinite().all() for m in found):
            break
    return found


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Each operation goes back in the dtypes that it ran in."""
    autocast = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if autocast else nullcontext()


class Entries:
    """The inputs on their way into the model: values to explain, and ids that look up values."""

    def __init__(self, one_pass: Pass) -> None:
        self.one_pass = one_pass
        self.lookups = Lookups(self._begin)
        self.given: list[Tensor] = []

    def enter(self, x: Tensor) -> Tensor:
        if not is_explained(x):
            return self.lookups.enter(x)
        self.given.append(x)
        return self.one_pass.enter(x)

    def _begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        entry = self.one_pass.enter(x, raw=False)
        return self.one_pass.leaves[-1], entry

    def run(self, model: Model, given: Inputs) -> Any:
        """The model's output. Raises InputError if all it takes are integers it cannot look up."""
        try:
            output = _run(model, given)
        except RuntimeError:
            self.lookups.check(bool(self.given))
            raise
        self.lookups.check(bool(self.given))
        return output

    def explained(self) -> list[Explained]:
        """The values given, then those looked up."""
        of_ids = [one.leaf for one in self.lookups.found]
        is_of_ids = {id(leaf) for leaf in of_ids}
        leaves = [leaf for leaf in self.one_pass.leaves if id(leaf) not in is_of_ids]
        values = [*self.given, *of_ids]
        return [
            Explained(x.detach(), leaf, self.one_pass.share(x.detach(), inner=False))
            for x, leaf in zip(values, [*leaves, *of_ids], strict=True)
        ]

    def relevance(self, inputs: Any, shares: Sequence[Tensor]) -> Any:
        """Relevance in the structure of the inputs, without what is not explained."""
        of_values = iter(shares[: len(self.given)])
        of_ids = dict(enumerate(shares[len(self.given) :]))
        sources = iter(range(self.lookups.count))

        def of(x: Tensor) -> Tensor | None:
            if is_explained(x):
                return next(of_values)
            return self.lookups.relevance(x, next(sources), of_ids)

        found = map_inputs(of, inputs)
        if isinstance(found, dict):
            return {name: r for name, r in found.items() if isinstance(r, Tensor)}
        return found


def _of_modules(
    at: str | Sequence[str], watched: dict[str, list[Explained]], relevance: tuple[Tensor, ...]
) -> Any:
    """Relevance by module: of one that ran several times, a tuple."""
    shares = iter(relevance)
    found: dict[str, Any] = {}
    for path, runs in watched.items():
        of_runs = tuple(next(shares) for _ in runs)
        found[path] = of_runs[0] if len(of_runs) == 1 else of_runs
    return found[at] if isinstance(at, str) else found


@contextmanager
def _watch(
    model: Model, at: str | Sequence[str] | None, one_pass: Pass
) -> Iterator[dict[str, list[Explained]]]:
    """The outputs of inner modules, by path, as this thread's forward makes them."""
    paths = [at] if isinstance(at, str) else list(at or ())
    watched: dict[str, list[Explained]] = {path: [] for path in paths}
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    for path in paths:
        if path not in modules:
            known = ", ".join(name for name in modules if name) or "none"
            raise InputError(
                f"at={path!r} is not the path of a module of the model; known: {known}"
            )
    with ExitStack() as stack:
        for path in paths:
            handle = modules[path].register_forward_hook(_Watch(path, one_pass, watched[path]))
            stack.callback(handle.remove)
        yield watched
    for path, runs in watched.items():
        if not runs:
            raise InputError(f"the module at={path!r} did not run for this input")


class _Watch:
    """A forward hook that notes the outputs of a module, in the thread that made it."""

    def __init__(self, path: str, one_pass: Pass, watched: list[Explained]) -> None:
        self.path, self.one_pass, self.watched = path, one_pass, watched
        self.thread = get_ident()

    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> None:
        if get_ident() != self.thread:
            return
        if not isinstance(output, Tensor) or not output.requires_grad:
            raise InputError(
                f"the output of the module at={self.path!r} is not a tensor on the path from the "
                "input"
            )
        with torch._C.DisableTorchFunction():
            # The model may overwrite the output: keep its value, and its place in the graph.
            place = torch.autograd.graph.get_gradient_edge(output)
            share = self.one_pass.share(output, inner=True)
            self.watched.append(Explained(output.detach().clone(), place, share))
