"""The books of an explanation: what reached each operation, what went on, what was absorbed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rootpoint.backward import explain_backward
from rootpoint.explanation import UNACCOUNTED, Balance, Entry
from rootpoint.inputs import Inputs, Model, tensors
from rootpoint.propagation.call import nonzero
from rootpoint.propagation.composites import Composite
from rootpoint.propagation.engine import Propagation
from rootpoint.propagation.step import Step
from rootpoint.target import Target

_ABSORBS = {
    "batch-norm": "bias",
    "normalization": "bias",
    "addition": "constant",
    "movement": "constant",
    "maximum": "constant",
    "activation": "activation",
    "piecewise-constant": "constant",
    "softmax": "softmax",
    "attention": "softmax",
    "concept": "other concepts",
    "soft-minimum": "constant",
    "harmonic-minimum": "constant",
    "log-odds": "stabilizer",
    "mapping": "stabilizer",
    "monomials": "constant",
}
"""What may absorb relevance in operations of each kind without weights."""


def keep_books(model: Model, inputs: Inputs, target: Target, composite: Composite) -> Balance:
    """The balance of one explanation, summed over the batch.

    Cost: one forward and backward, with sums in float64 at every operation.
    """
    engine = Bookkeeping(composite, model)
    (found,) = explain_backward(model, inputs, [target], engine)
    relevance = found["relevance"]
    return Balance(
        score=found["output"].double().sum().item(),
        relevance=sum(r.double().sum().item() for r in tensors(relevance)),
        entries=tuple(engine.entries()),
    )


@dataclass
class _Account:
    """Sums over one operation: relevance arrived and passed on, and ε's share.

    rounding   the size that rounding errors in them may have
    """

    arrived: float = 0.0
    passed: float = 0.0
    stabilizer: float = 0.0
    rounding: float = 0.0

    def add(self, other: _Account) -> None:
        self.arrived += other.arrived
        self.passed += other.passed
        self.stabilizer += other.stabilizer
        self.rounding += other.rounding

    def allow_rounding(self, relevance: Tensor, *of: Tensor) -> None:
        """Of this relevance, computed from these: in the coarsest of their dtypes."""
        coarsest = max(torch.finfo(t.dtype).eps for t in of)
        self.rounding += 200 * coarsest * relevance.abs().sum().item()


class Bookkeeping(Propagation):
    """A propagation that notes all relevance which arrives at and leaves each operation."""

    overwrites = False

    @property
    def scales(self) -> tuple[float, ...]:
        return (1.0,)  # sums are taken on the way, once

    def __init__(self, composite: Composite, model: Any) -> None:
        super().__init__(composite, model)
        self._accounts: dict[int, _Account] = defaultdict(_Account)

    def _out_of_place(self, step: Step, tensors: list[Tensor]) -> Any:
        if step.kind == "movement":
            result = super()._out_of_place(step, tensors)
            if _is_view(result):  # absorbs nothing, and must stay a view of its operand
                return result
        tapped = list(tensors)
        for slot, exact in zip(step.live, step.exact, strict=True):
            tapped[slot] = _Tap.apply(tensors[slot], self._on_leaving(step.index, exact))
            self.facts[tapped[slot]] = self._facts(tensors[slot])
        result = super()._out_of_place(step, tapped)
        for output in result if isinstance(result, tuple | list) else (result,):
            if isinstance(output, Tensor) and output in self.facts:
                output.register_hook(self._on_arrival(step.index, output.detach().clone()))
        return result

    def _on_leaving(self, index: int, exact: bool) -> Callable[[Tensor, Tensor], None]:
        def leaving(a: Tensor, m: Tensor) -> None:
            account, relevance = self._accounts[index], _total(a, m, exact)
            account.passed += relevance.sum().item()
            account.allow_rounding(relevance, a, m)

        return leaving

    def _on_arrival(self, index: int, z: Tensor) -> Callable[[Tensor], None]:
        def arrival(m: Tensor) -> None:
            account, step = self._accounts[index], self.steps[index]
            exact = self.composite.exact or step.depth + step.linear == 0
            relevance = _total(z, m, exact)
            account.arrived += relevance.sum().item()
            account.allow_rounding(relevance, z, m)
            if step.rule is not None and step.rule.name == "epsilon":
                epsilon = dict(step.rule.options)["epsilon"]
                account.stabilizer += (
                    (relevance * epsilon / (z.double().abs() + epsilon)).sum().item()
                )

        return arrival

    def entries(self) -> list[Entry]:
        """The books, one entry for each operation that relevance reached, in order of the path."""
        for step in self.steps:
            if step.folds is not None:  # both pass on by the same operands: one account
                alone = self._accounts.pop(step.folds[0].index, _Account())
                self._accounts[step.index].add(alone)
        kept = [(step, self._accounts[step.index]) for step in self.steps]
        return [
            _entry(step, account) for step, account in kept if account.arrived or account.passed
        ]


def _entry(step: Step, account: _Account) -> Entry:
    absorbed = {}
    if account.stabilizer:
        absorbed["stabilizer"] = account.stabilizer
    rest = account.arrived - account.passed - account.stabilizer
    if rest:
        absorbed["rounding" if abs(rest) <= account.rounding else _cause(step)] = rest
    return Entry(
        step.index,
        step.title,
        step.module,
        str(step.rule or ""),
        account.arrived,
        account.passed,
        absorbed,
    )


def _cause(step: Step) -> str:
    """What may have absorbed relevance in this operation."""
    if not step.linear:
        return _ABSORBS.get(step.kind, UNACCOUNTED)
    if step.rule is not None and step.rule.name not in ("zero", "epsilon"):
        return "bias" if dict(step.rule.options).get("bias") == "absorb" else "rule"
    return "bias" if step.norm is not None or step.roles[1] is not None else UNACCOUNTED


def _total(a: Tensor, m: Tensor, exact: bool) -> Tensor:
    found = (nonzero(a) if exact else a).double() * m.double()
    return found.masked_fill(m == 0, 0)  # masks are infinite


def _is_view(result: Any) -> bool:
    return any(t._is_view() for t in (result if isinstance(result, tuple | list) else (result,)))


class _Tap(torch.autograd.Function):
    """Identity that tells what passes on the way back."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, tell: Callable[[Tensor, Tensor], None]) -> Tensor:
        ctx.value, ctx.tell = a.detach().clone(), tell
        return a.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.tell(ctx.value, grads[0])
        return grads[0], None
