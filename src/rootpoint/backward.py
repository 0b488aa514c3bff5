"""From model, inputs and targets to relevance: forward once, backward once for each target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.inputs import (
    Inputs,
    Model,
    batch_size,
    call,
    check,
    check_scores,
    map_inputs,
    tensors,
)
from rootpoint.target import Target, scores

Share = Callable[[Tensor, Tensor], Tensor]
"""The relevance of a value from the multiplier that arrives at it."""


class Pass(Protocol):
    """How multipliers come about in one forward and backward pass."""

    leaves: list[Tensor]

    def enter(self, x: Tensor) -> Tensor:
        """An explained input as the model gets it; its leaf is appended to `leaves`."""
        ...

    def forward(self) -> AbstractContextManager[Any]:
        """The context in which the model runs."""
        ...

    def settle(self, output: Any) -> None:
        """The model has returned this."""
        ...

    def share(self, value: Tensor, *, inner: bool) -> Share:
        """How relevance follows from multipliers at this input, or inner module's output."""
        ...


@dataclass
class Plain:
    """Plain gradients: the multiplier is the slope of the score."""

    rule: Share
    leaves: list[Tensor] = field(default_factory=list)

    def enter(self, x: Tensor) -> Tensor:
        self.leaves.append(x.detach().clone().requires_grad_())
        return self.leaves[-1].clone()  # not a leaf: the model may overwrite it

    def forward(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def settle(self, output: Any) -> None: ...

    def share(self, value: Tensor, *, inner: bool) -> Share:
        return self.rule


def explain_backward(
    model: Model, inputs: Inputs, targets: Sequence[Target], one_pass: Pass, at: str | None = None
) -> list[dict[str, Any]]:
    """Relevance, explained score, target and prediction for each target of the same inputs.

    at   the path of an inner module: relevance of its output instead of the input's
    Returns the fields of an Explanation. Cost: one forward, and one backward for each target.
    """
    check(model, inputs)
    found = []
    with torch.inference_mode(False), torch.enable_grad():
        with _watch(model, at, one_pass) as watched, one_pass.forward():
            output = call(model, map_inputs(one_pass.enter, inputs))
        one_pass.settle(output)
        for position, target in enumerate(targets, start=1):
            score, resolved = scores(output, target, batch_size(inputs))
            check_scores(score)
            multipliers = _backward(score, one_pass.leaves, watched, keep=position < len(targets))
            relevance = _relevance(inputs, multipliers, watched, one_pass, at)
            prediction = output.detach() if isinstance(output, Tensor) else output
            found.append(
                {
                    "relevance": relevance,
                    "output": score.detach(),
                    "target": resolved,
                    "prediction": prediction,
                }
            )
    return found


def _backward(
    score: Tensor, leaves: list[Tensor], watched: list[_Watched], *, keep: bool
) -> Sequence[Tensor | None]:
    if not score.requires_grad:
        raise UnsupportedModelError(
            "the explained score does not depend on the input: the model detaches it, or runs "
            "under torch.no_grad()"
        )
    for output in watched:
        output.multiplier = None
    try:
        return torch.autograd.grad(score.sum(), leaves, retain_graph=keep, allow_unused=True)
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise UnsupportedModelError(
            "the model overwrites in place a value that its gradient needs, so that nothing can go "
            f"back through it; write that operation out of place. PyTorch says: {error}"
        ) from error


def _relevance(
    inputs: Inputs,
    multipliers: Sequence[Tensor | None],
    watched: list[_Watched],
    one_pass: Pass,
    at: str | None,
) -> Any:
    if at is not None:
        found = tuple(output.relevance() for output in watched)
        return found[0] if len(found) == 1 else found
    shares = iter(
        torch.zeros_like(x) if m is None else one_pass.share(x, inner=False)(x.detach(), m)
        for x, m in zip(tensors(inputs), multipliers, strict=True)
    )
    return map_inputs(lambda _: next(shares), inputs)


class _Watched:
    """One output of the module named by `at`: its value, and the multiplier that arrives there."""

    def __init__(self, value: Tensor, share: Share) -> None:
        self.value, self.share = value.detach().clone(), share
        self.multiplier: Tensor | None = None
        value.register_hook(self._arrive)

    def _arrive(self, multiplier: Tensor) -> None:
        self.multiplier = multiplier

    def relevance(self) -> Tensor:
        if self.multiplier is None:
            return torch.zeros_like(self.value)
        return self.share(self.value, self.multiplier)


@contextmanager
def _watch(model: Model, at: str | None, one_pass: Pass) -> Iterator[list[_Watched]]:
    """The outputs of the inner module `at`, as this thread's forward makes them."""
    watched: list[_Watched] = []
    if at is None:
        yield watched
        return
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    if at not in modules:
        known = ", ".join(name for name in modules if name) or "none"
        raise InputError(f"at={at!r} is not the path of a module of the model; known: {known}")
    thread = get_ident()

    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        if get_ident() != thread:
            return
        if not isinstance(output, Tensor) or not output.requires_grad:
            raise InputError(
                f"the output of the module at={at!r} is not a tensor on the path from the input"
            )
        with torch._C.DisableTorchFunction():
            watched.append(_Watched(output, one_pass.share(output, inner=True)))

    handle = modules[at].register_forward_hook(hook)
    try:
        yield watched
    finally:
        handle.remove()
    if not watched:
        raise InputError(f"the module at={at!r} did not run for this input")
