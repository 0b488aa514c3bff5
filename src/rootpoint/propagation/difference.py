"""Differences from a reference, operation by operation: the engine of DeepLIFT.

The model runs once at the reference, where `Reference` notes what the rules need; then `Difference`
meets the same operations in the same order at the input, and multipliers go back once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from rootpoint.errors import UnsupportedModelError
from rootpoint.inputs import Inputs, Model, call, map_inputs
from rootpoint.propagation import rules
from rootpoint.propagation.breadth import breadth_of_map, pass_breadths
from rootpoint.propagation.call import Call, State, Weights, state, widened
from rootpoint.propagation.composites import Composite, Where
from rootpoint.propagation.engine import Propagation
from rootpoint.propagation.operations import LINEAR, Operation
from rootpoint.propagation.pieces import pieces
from rootpoint.propagation.step import Step, collect, pack, unpack
from rootpoint.propagation.through import Box, Overwrite

_EXACT = (
    *LINEAR,
    *("movement", "shift", "scaling", "addition", "average", "batch-norm", "quotient"),
    *("activation", "maximum", "product"),
)
_RANKS = {
    *("topk", "sort", "msort", "kthvalue", "median", "nanmedian", "mode", "quantile"),
    *("nanquantile", "cummax", "cummin", "aminmax", "scatter_reduce", "index_reduce"),
    "segment_reduce",
}

_ACTIVATION = Where(kind="activation")
_ACTIVATIONS = {
    "rescale": ((_ACTIVATION, rules.rescale()),),
    "reveal-cancel": ((_ACTIVATION, rules.reveal_cancel()),),
    "mixed": (
        (Where(kind="activation", behind="dense"), rules.reveal_cancel()),
        (_ACTIVATION, rules.rescale()),
    ),
}


def difference(rule: str) -> Composite:
    """The composite of DeepLIFT with this rule for activations.

    "mixed": RevealCancel where all linear maps right before the activation are dense layers (or
    products with constant matrices), Rescale elsewhere.
    """
    rest = (Where(kind="maximum"), rules.winners()), (Where(kind="product"), rules.midpoint())
    return Composite((*_ACTIVATIONS[rule], *rest), f"deeplift {rule}", carries="difference")


class Comparing(Propagation):
    """A propagation whose operations all have exact differences, in pieces if need be."""

    remedy = "DeepLIFT has none for {}: explain with lrp or integrated-gradients."

    def _step(
        self,
        function: Callable[..., Any],
        operation: Operation,
        packed: tuple[Any, Any],
        tensors: list[Tensor],
        live: tuple[int, ...],
    ) -> Step:
        step = super()._step(function, operation, packed, tensors, live)
        if len(live) > 1 and step.kind == "batch-norm":
            step.kind = "product"
        if why := _inexact(step, tensors):
            raise self._unsupported(function, why)
        return step

    def visit(self, step: Step, tensors: list[Tensor]) -> Any:
        compute = pieces(step, tensors)
        if compute is None:
            return super().visit(step, tensors)
        with self:
            result = compute()
        return result if step.in_place is None else self._overwrite(tensors[0], result)


def _inexact(step: Step, tensors: list[Tensor]) -> str:
    """Why the difference of an operation cannot be shared exactly, if it cannot."""
    several = step.kind == "product" and step.name == "einsum" and len(step.live) > 2
    bounds = False
    if step.kind == "maximum" and step.name in ("clamp", "clip"):
        given = step.bound(tensors, "input", "min", "max")
        bounds = given.get("min") is not None and given.get("max") is not None
    known = step.kind in _EXACT or pieces(step, tensors) is not None
    ranks = step.kind == "maximum" and (step.name in _RANKS or "fractional" in step.name)
    inexact = several or bounds or ranks or step.kwargs.get("rounding_mode")
    return "its difference cannot be shared exactly" if inexact or not known else ""


class Reference(Comparing):
    """The forward pass at the reference, noting what the rules compare with.

    output     of the model, at the reference
    revealing  whether RevealCancel is the rule of any activation on the path
    split      the linear maps right before those
    """

    def __init__(self, composite: Composite, model: Any) -> None:
        super().__init__(Composite((), carries="difference"), model)
        self.rules = composite
        self.places = [w for w, rule in composite.entries if rule.name == "reveal-cancel"]
        self.revealing = False
        self.split: set[Step] = set()
        self.output: Any = None
        self.values: list[list[Box] | None] = []
        self.constants: list[list[Tensor]] = []
        self.states: list[list[State]] | None = None

    def visit(self, step: Step, tensors: list[Tensor]) -> Any:
        noted = self.rules.touches(step.kind) or (bool(self.places) and _splits(step))
        self.values.append([self._keep(tensors[slot]) for slot in step.live] if noted else None)
        self.constants.append([t for i, t in enumerate(tensors) if i not in step.live])
        return super().visit(step, tensors)

    def _keep(self, value: Tensor) -> Box:
        """A box with this value; with the first row alone if all are the same."""
        assert self.memory is not None
        if value.dim() and value.shape[0] > 1 and torch.equal(value, value[:1].expand_as(value)):
            return Box(value[:1].clone(), output=False)
        return self.memory.keep(value)

    def settle(self, output: Any) -> Any:
        super().settle(output)
        outputs: list[Tensor] = []
        packed = pack(output, outputs)
        self.output = unpack(packed, [t.detach() for t in outputs])
        for step in self.steps:
            step.rule = self.rules.rule(step)
            if step.rule is not None and step.rule.name == "reveal-cancel":
                self.revealing = True
                self.split |= step.maps
        for step in self.steps:
            used = self.revealing and (not step.linear or step in self.split)
            if not (used or self.rules.touches(step.kind)):
                self.values[step.index] = None
        return output

    def keep(self) -> None:
        """To be met again later: note the state of the constants, such as weights."""
        self.states = [[state(t) for t in constants] for constants in self.constants]

    def meet(self, step: Step, tensors: list[Tensor]) -> None:
        """Give a step at the input the values of the same step at the reference.

        Raises UnsupportedModelError if it is not the same.
        """
        steps = self.steps[step.index : step.index + 1]
        if not steps or not _same(step, steps[0]):
            raise _elsewhere(step, "does not run there the same way")
        others = [t for i, t in enumerate(tensors) if i not in step.live]
        filled = step.in_place is not None and 0 not in step.live  # whatever it held before
        for n, (here, there) in enumerate(zip(others, self.constants[step.index], strict=True)):
            written = self.states is not None and self.states[step.index][n] != state(there)
            if written or (here is not there and n >= filled and not torch.equal(here, there)):
                raise _elsewhere(step, "uses other indices, conditions or constants there")
        noted = self.values[step.index]
        step.reference = None if noted is None else tuple(box.value for box in noted)
        step.rule = steps[0].rule


def _splits(step: Step) -> bool:
    """Whether the breadth of the result may need the operands' differences."""
    return step.linear or (step.kind in ("addition", "movement") and len(step.live) > 1)


def _same(step: Step, other: Step) -> bool:
    return (step.function, step.live, step.args, step.kwargs) == (
        other.function,
        other.live,
        other.args,
        other.kwargs,
    )


class OtherPathError(UnsupportedModelError):
    """The model does not do the same at the input and at the reference."""


def _elsewhere(step: Step, why: str) -> OtherPathError:
    return OtherPathError(
        f"the model takes another path at the baseline than at the input: {step.title} in "
        f"{step.module or 'the model'} {why}. DeepLIFT compares operation by operation: choose a "
        "baseline nearer to the input, or explain with lrp or integrated-gradients"
    )


def _nothing(_: Any) -> Any:
    """What is kept of tensors for a backward that never comes."""


def refer(model: Model, reference: Inputs, composite: Composite) -> Reference:
    """The model at the reference. Cost: one forward, of which only what rules need is kept."""
    dropped = saved_tensors_hooks(_nothing, _nothing)
    with torch.inference_mode(False), torch.enable_grad(), dropped:
        engine = Reference(composite, model)
        with engine.forward():
            output = call(model, map_inputs(engine.enter, reference))
        engine.settle(output)
    return engine


class Difference(Comparing):
    """The pass at the input: multipliers by the slopes between it and the reference."""

    repeatable = False  # operations are compared in their order

    def __init__(
        self, composite: Composite, model: Any, reference: Reference, weights: Weights
    ) -> None:
        super().__init__(composite, model, weights)
        self.reference = reference
        self.origins = iter([leaf.detach() for leaf in reference.leaves])

    def visit(self, step: Step, tensors: list[Tensor]) -> Any:
        self.reference.meet(step, tensors)
        breadths = self._breadths(step, tensors)
        result = self._visit(step, tensors)
        if breadths:
            outputs: list[Tensor] = []
            collect(result, outputs)
            for out, breadth in zip(outputs, breadths, strict=True):
                if (facts := self.facts.get(out)) is not None:
                    facts.breadth = breadth
        return result

    def _visit(self, step: Step, tensors: list[Tensor]) -> Any:
        if step.kind == "activation":
            assert step.rule is not None
            assert self.memory is not None
            breadth = self._facts(tensors[step.live[0]]).breadth
            if step.rule.name == "reveal-cancel" and breadth is not None:
                return super().visit(step, self._with_breadth(step, tensors, breadth))
            if step.in_place is not None and step.live == (0,) and not tensors[0]._is_view():
                result = Overwrite.apply(step, self.memory, tensors, tensors[0])
                return self._note(step, tensors, result)
        return super().visit(step, tensors)

    def _with_breadth(self, step: Step, tensors: list[Tensor], breadth: Tensor) -> list[Tensor]:
        """The operands of an activation and the breadth of its input: 0 at the reference."""
        assert step.reference is not None
        self.facts[breadth] = replace(self._facts(tensors[step.live[0]]), breadth=None)
        step.live, step.exact = (*step.live, len(tensors)), (*step.exact, False)
        step.reference = (*step.reference, breadth.new_zeros(()))
        return [*tensors, breadth]

    def _breadths(self, step: Step, tensors: list[Tensor]) -> list[Tensor]:
        """Of each result: Δ⁺ − Δ⁻, what adds up to its difference, without regard to signs."""
        if not self.reference.revealing:
            return []
        if step.linear:
            split = self.reference.steps[step.index] in self.reference.split
            return [breadth_of_map(Call(step, tensors, tensors[0], self.weights))] if split else []
        known = [self._facts(tensors[slot]).breadth for slot in step.live]
        begins = step.kind == "addition" and any(w.behind is None for w in self.reference.places)
        if all(b is None for b in known) and not (begins and len(known) > 1):
            return []
        return pass_breadths(step, tensors, self._filled(step, tensors, known))

    def _filled(
        self, step: Step, tensors: list[Tensor], known: list[Tensor | None]
    ) -> list[Tensor]:
        """The breadths of a step's operands: |Δ| where no linear map made them."""
        if step.reference is None:  # a single operand, whose breadth is known
            return [b for b in known if b is not None]
        origins = zip(step.live, step.reference, known, strict=True)
        return [(tensors[i] - a).abs() if b is None else b for i, a, b in origins]

    def settle(self, output: Any) -> Any:
        if len(self.steps) < len(self.reference.steps):
            raise _elsewhere(self.reference.steps[len(self.steps)], "runs only there")
        return super().settle(output)

    def share(self, value: Tensor, *, inner: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """R = (x − x̃) · m."""
        origin = next(self.origins)
        return lambda x, m: self._checked((x - origin) * widened(m))
