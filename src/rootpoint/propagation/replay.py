"""Explanations under `torch.compile`: the path is met once, then replayed inside one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rootpoint.errors import UnsupportedModelError
from rootpoint.inputs import Inputs, Model
from rootpoint.propagation.call import nonzero, widened
from rootpoint.propagation.composites import Composite
from rootpoint.propagation.engine import Propagation
from rootpoint.propagation.path import follow
from rootpoint.propagation.recognition import (
    folded_tensors,
    leaves_zeros,
    runs_natively,
    with_constants,
)
from rootpoint.propagation.step import Step, collect
from rootpoint.propagation.through import Portion
from rootpoint.propagation.written_out import WRITTEN_OUT


class Replay(Propagation):
    """A propagation along a path met before, so that it can be traced: nothing is looked up.

    steps     the path with its rules: `Propagation.steps` after `settle`
    written   functions on it that were met as others
    Raises UnsupportedModelError if the model takes another path than then.
    """

    overwrites = False

    def __init__(self, steps: list[Step], composite: Composite, written: list[Any]) -> None:
        super().__init__(composite)
        self.memory = None
        self.written_out = [(function, WRITTEN_OUT[function]) for function in {*written}]
        self.expected = [step for step in steps if _acts(step, composite)]
        self.position = 0
        self.plain: dict[int, tuple[Tensor, list[Tensor]]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.position < len(self.expected):
            step = self.expected[self.position]
            met = step if step.folds is None else step.folds[1]
            # By name: the compiler sees into functional.rms_norm, and meets torch.rms_norm.
            if function.__name__ == met.called.__name__:
                tensors: list[Tensor] = []
                collect((args, kwargs), tensors)
                if any(tensors[slot].requires_grad for slot in met.live):
                    self.position += 1
                    return self.visit(step, tensors)
        for known, written in self.written_out:
            if function is known:
                with self:
                    return written(*args, **kwargs)
        return function(*args, **kwargs)

    def settle(self, output: Any) -> Any:
        if self.position < len(self.expected):
            step = self.expected[self.position]
            raise UnsupportedModelError(
                f"the model took another path than when it was compiled: {step.title} in "
                f"{step.module or 'the model'} did not run; explain it without compile"
            )
        return output

    def _apart(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors  # the compiler makes operations in place functional

    def _overwrite(self, target: Tensor, result: Tensor) -> Tensor:
        return target.copy_(result)

    def _linear(self, step: Step, tensors: list[Tensor]) -> Tensor:
        value = step.run(self._leaving(step, tensors))
        self.plain[step.index] = value, tensors
        return self._through(step, value, tensors)

    def _out_of_place(self, step: Step, tensors: list[Tensor]) -> Any:
        if step.folds is None:
            return super()._out_of_place(step, with_constants(step, tensors))
        linear, norm = step.folds
        plain, own = self.plain[linear.index]
        value = norm.run([plain if slot in norm.live else t for slot, t in enumerate(tensors)])
        together, _ = folded_tensors(norm, tensors, own)
        return self._through(step, value, together)

    def _portioned(self, step: Step, tensors: list[Tensor]) -> list[Tensor]:
        live = step.live
        return [Portion.apply(step, i, t) if i in live else t for i, t in enumerate(tensors)]

    def _without_gates(self, step: Step, tensors: list[Tensor]) -> list[Tensor]:
        return tensors  # the step knows them

    def _note(self, step: Step, tensors: list[Tensor], result: Any) -> Any:
        return result


def _acts(step: Step, composite: Composite) -> bool:
    """Whether a step does more than its operation."""
    more = step.constant or leaves_zeros(step) or step.kind == "attention"
    return bool(more) or not runs_natively(step, composite)


@dataclass
class Compiled:
    """A pass (`rootpoint.backward.Pass`) over a model that was compiled with its explanation."""

    composite: Composite
    leaves: list[Tensor] = field(default_factory=list)
    scales: Sequence[float] = (1.0,)

    def enter(self, x: Tensor, *, raw: bool = True) -> Tensor:
        self.leaves.append(x.detach().clone().requires_grad_())
        return self.leaves[-1].clone()

    def forward(self) -> AbstractContextManager[Any]:
        """Rules may use gradients inside, and their options are constants."""
        import torch._dynamo

        return torch._dynamo.config.patch(trace_autograd_ops=True, specialize_float=True)

    def settle(self, output: Any) -> Any:
        return output

    def backward(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def share(self, value: Tensor, *, inner: bool) -> Callable[[Tensor, Tensor], Tensor]:
        if self.composite.carries == "gradient":
            return lambda a, m: widened(m)
        return lambda a, m: nonzero(a) * widened(m)


def compiled(model: Model, inputs: Inputs, composite: Composite) -> Callable[..., Any]:
    """The model as one compiled graph whose backward is the explanation's.

    Cost: one forward to meet the path, and the compilation, at the first call.
    """
    path = follow(model, inputs, composite)
    if path.recomputes:
        raise UnsupportedModelError(
            "a model that recomputes activations (torch.utils.checkpoint) cannot be compiled with "
            "its explanation: explain it without compile"
        )
    if not WRITTEN_OUT.keys() >= set(path.written):
        raise UnsupportedModelError(
            "a softmax is written as exp(x) / exp(x).sum(), which cannot be compiled with its "
            "rule: write torch.softmax, or explain without compile"
        )
    replay = Replay(path.steps, composite, path.written)

    def run(*args: Tensor, **kwargs: Tensor) -> Any:
        replay.position, replay.plain = 0, {}
        with replay:
            output = model(*args, **kwargs)
        output = replay.settle(output)
        replay.plain = {}  # or the graph would give these tensors out
        return output

    # torch counts the graphs of one code: give each model its own
    run.__code__ = run.__code__.replace()
    return torch.compile(run, fullgraph=True)
