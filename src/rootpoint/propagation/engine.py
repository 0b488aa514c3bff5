"""One backward pass over an unmodified model, in which every operation goes back by a rule.

`Propagation` follows the model's own forward. Where the rule of an operation is not its gradient,
the result gets a way back of its own (`Through`); then autograd carries multipliers from the
explained score to the input: relevance is a · m.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rootpoint.errors import UnsupportedModelError
from rootpoint.propagation.call import Weights, nonzero, widened
from rootpoint.propagation.composites import Composite
from rootpoint.propagation.following import Following
from rootpoint.propagation.introspection import uncompiled
from rootpoint.propagation.recognition import (
    BATCH_NORM,
    folded_tensors,
    has_own_graph,
    leaves_zeros,
    runs_natively,
    with_constants,
)
from rootpoint.propagation.recomputing import Recomputing
from rootpoint.propagation.step import Step, collect, pack, unpack
from rootpoint.propagation.through import ByHooks, Leave, Portion, Through, saving_hooks

_FOLDABLE = {"conv1d", "conv2d", "conv3d", "linear"}


class Propagation(Following):
    """The forward pass of one explanation; no state outlives it, and the model keeps none of it.

    composite   which rule where; asked once the whole path is known (`settle`)
    model       for the paths of its modules, in rules by name and in messages
    weights     modified weights to reuse, see `Call.modified`
    """

    repeatable = True  # operations may be met again, in parts (`Recomputing`)
    overwrites = True  # operations in place run in place where nothing stands against it

    def __init__(
        self, composite: Composite, model: Any = None, weights: Weights | None = None
    ) -> None:
        super().__init__(composite, model)
        self.weights: Weights = {} if weights is None else weights
        self.copies = True  # of what the model's own hooks save, as it may be overwritten

    # -- beginning and end ---------------------------------------------------------------------

    def settle(self, output: Any) -> Any:
        """Choose every step's rule, now that the path to the output is known.

        Returns the output to be explained, where values of zero have no relevance to begin with.
        """
        outputs: list[Tensor] = []
        collect(output, outputs)
        deepest = max([step.depth for step in self.steps if step.linear], default=0)
        for facts in filter(None, map(self.facts.get, outputs)):
            if facts.maker is not None:
                facts.maker.uses += 1
            for step in facts.maps:
                step.last = not step.followed
        for step in self.steps:
            step.reach = step.depth / deepest if deepest else 0.0
            step.rule = self.composite.rule(step)
        tensors: list[Tensor] = []
        packed = pack(output, tensors)
        return unpack(packed, [self._scored(t) for t in tensors])

    def _scored(self, output: Tensor) -> Tensor:
        facts = self.facts.get(output)
        if facts is None and output.grad_fn is not None:
            self._refuse_stranger("the model's output", output)
        exact = facts is not None and self.composite.keeps_zeros(facts.depth)
        return Leave.apply(output) if exact else output

    @contextmanager
    def forward(self) -> Iterator[None]:
        with uncompiled(), self:
            yield

    @property
    def scales(self) -> tuple[float, ...]:
        """Float16 reaches from 6e-8 to 65504 only: multipliers are moved to where it is finest."""
        return (1024.0, 1.0, 1 / 1024) if torch.float16 in self.coarse else (1.0,)

    def backward(self) -> AbstractContextManager[Any]:
        return Recomputing(self) if self.recomputes else nullcontext()

    def share(self, value: Tensor, *, inner: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """R = a · m, where zeros may carry relevance too (`nonzero`); of gradients, m itself."""
        if self.composite.carries == "gradient":
            return lambda a, m: self._checked(widened(m))
        exact = True
        if inner:
            # No batch-norm is folded over an output that is explained: relevance passes through it.
            self.facts[value] = facts = replace(self.facts[value], plain=None)
            exact = self.composite.keeps_zeros(facts.depth)
        return lambda a, m: self._checked((nonzero(a) if exact else a) * widened(m))

    def _checked(self, relevance: Tensor) -> Tensor:
        """Raises UnsupportedModelError if multipliers went beyond a dtype of few bits."""
        if self.coarse and not relevance.isfinite().all():
            raise UnsupportedModelError(
                "multipliers of this model overflow its dtype of 16 bits: explain it in bfloat16, "
                "whose range is that of float32, or in float32, as model.float()"
            )
        return relevance

    # -- the way back of each operation ----------------------------------------------------------

    def visit(self, step: Step, tensors: list[Tensor]) -> Any:
        """Run one operation on the path, with its way back."""
        if step.in_place is None:
            return self._out_of_place(step, tensors)
        target = tensors[0]
        if self.overwrites and runs_natively(step, self.composite) and not any(step.exact):
            maker = self._facts(target).maker if step.rectifies and target in self.facts else None
            self._release(target, by_relu=maker is not None and maker.rectified)
            result = step.overwrite(tensors)
            return self._note(step, tensors, target if result is None else result)
        return self._overwrite(target, self._out_of_place(step, self._apart(tensors)))

    def _apart(self, tensors: list[Tensor]) -> list[Tensor]:
        """The operands of an operation in place, the target not to be overwritten among them."""
        target, *others = tensors
        if target not in self.facts:
            return [target.clone(), *others]
        apart = target.clone()
        self.facts[apart] = replace(self._facts(target), plain=None, version=apart._version)
        return [apart, *others]

    def _out_of_place(self, step: Step, tensors: list[Tensor]) -> Any:
        if step.linear and not runs_natively(step, self.composite):
            return self._linear(step, tensors)
        if step.kind == "batch-norm" and (folded := self._fold(step, tensors)) is not None:
            return folded
        if step.kind in ("product", "quotient") and self.composite.carries == "relevance":
            tensors = self._without_gates(step, tensors)
        if step.kind == "attention" and self.composite.carries == "relevance":
            tensors = self._portioned(step, tensors)
        if runs_natively(step, self.composite):
            return self._note(step, tensors, step.run(self._leaving(step, tensors)))
        with torch.set_grad_enabled(has_own_graph(step, self.composite)):
            result = step.run(self._leaving(step, tensors))
        if isinstance(result, Tensor):
            return self._note(step, tensors, self._through(step, result, tensors))
        value, *rest = result
        values = (self._through(step, value, tensors), *rest)
        return self._note(step, tensors, type(result)(values) if rest else values)

    def _linear(self, step: Step, tensors: list[Tensor]) -> Tensor:
        value = step.run(self._leaving(step, tensors))
        out = self._through(step, value, tensors)
        self._note(step, tensors, out)
        if step.name in _FOLDABLE and (step.kind == "convolution" or value.dim() == 2):
            self.facts[out].plain = value, tensors
        return out

    def _fold(self, norm: Step, tensors: list[Tensor]) -> Tensor | None:
        """The linear map before a batch-norm and the batch-norm as one linear map, if they are."""
        given = norm.bound(tensors, *BATCH_NORM)
        facts = self.facts[given["input"]]
        if facts.plain is None or facts.version != given["input"]._version:
            return None
        plain, own = facts.plain
        linear = facts.maker
        assert linear is not None
        together, slots = folded_tensors(norm, tensors, own)
        step = replace(
            linear,
            index=norm.index,
            norm=slots,
            epsilon=given.get("eps", 1e-5),
            folds=(linear, norm),
            uses=0,
            relu_uses=0,
        )
        linear.uses -= 1
        self.steps[norm.index] = step
        value = norm.run([plain if t is given["input"] else t for t in tensors])
        return self._note(step, own, self._through(step, value, together))

    def _through(self, step: Step, value: Tensor, tensors: list[Tensor]) -> Tensor:
        reads = self.composite.reads(step.kind)
        memory = self.memory
        if memory is not None and saving_hooks() != self.hooks:
            memory = ByHooks(self.copies)
        return Through.apply(step, self.weights, memory, reads, value, *tensors)

    def _leaving(self, step: Step, tensors: list[Tensor]) -> list[Tensor]:
        """The tensors as operands of an operation that gives nothing to zeros."""
        if not leaves_zeros(step):
            return tensors
        exact = {slot for slot, exact in zip(step.live, step.exact, strict=True) if exact}
        return [Leave.apply(t) if i in exact else t for i, t in enumerate(tensors)]

    def _portioned(self, step: Step, tensors: list[Tensor]) -> list[Tensor]:
        """The operands, each to receive only its portion of what the operation's gradient gives."""
        portioned = list(tensors)
        for slot in step.live:
            portioned[slot] = Portion.apply(step, slot, tensors[slot])
            self.facts[portioned[slot]] = self._facts(tensors[slot])
        return portioned

    def _without_gates(self, step: Step, tensors: list[Tensor]) -> list[Tensor]:
        """In a product with gates and in a quotient, the signal takes all: the rest is constant."""
        if len(step.live) < 2:
            return tensors
        known = {i: self.facts[tensors[i]] for i in step.live}
        if step.kind == "quotient":
            signals = step.live[:1]
            if all(f.powers for f in known.values()):  # the softmax of a graph's attention
                step.operation = replace(step.operation, gate=True)
        else:
            gates = not self.composite.touches("product")
            signals = tuple(i for i, f in known.items() if not (f.scale or (gates and f.gate)))
        if not signals or signals == step.live:
            return tensors
        step.exact = tuple(e for i, e in zip(step.live, step.exact, strict=True) if i in signals)
        step.constant = tuple(i for i in step.live if i not in signals)
        step.live = signals
        if len(signals) == 1 and step.kind == "product":
            step.kind = "scaling"
        return with_constants(step, tensors)
