"""What happens to an explained input in a model's own forward: every operation, as a step.

`Following` meets every torch function as it is called, and knows which tensors depend on the
input, and what else of them counts for the way back. What it does with a step is `visit`.
"""

from __future__ import annotations

import types
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rootpoint.errors import UnsupportedOperationError
from rootpoint.propagation.call import REDUCED
from rootpoint.propagation.composites import Composite
from rootpoint.propagation.exponentials import exponent_of, total_of, written_softmax
from rootpoint.propagation.facts import Facts, KnownTensors
from rootpoint.propagation.introspection import (
    calling_module,
    is_passive,
    reaches,
    without_override_check,
)
from rootpoint.propagation.operations import Operation, operation_of
from rootpoint.propagation.recognition import (
    ADDING,
    is_gate,
    is_nonneg,
    is_scale,
    out_of_place_form,
    specify,
    zero_padding,
)
from rootpoint.propagation.refusals import (
    hooked,
    is_refused,
    only_looking,
    reason_of,
    stranger,
    unsupported,
)
from rootpoint.propagation.step import Step, collect, pack, unpack
from rootpoint.propagation.through import Memory, Refuse, Same, saving_hooks
from rootpoint.propagation.written_out import IN_PLACE, WRITTEN_OUT

_GRAD_FN = vars(torch._C.TensorBase)["grad_fn"].__get__


class Following(TorchFunctionMode):
    """The steps from an explained input to the output, as the model's own forward takes them.

    composite   which rule where
    model       for the paths of its modules, in rules by name and in messages
    """

    remedy = (
        'Register one with @rootpoint.rule("...", operation={}), or explain what comes behind it '
        'with at="…", the path of a later module.'
    )

    def __init__(self, composite: Composite, model: Any = None) -> None:
        super().__init__()
        self.composite = composite
        self.steps: list[Step] = []
        self.facts: KnownTensors[Facts] = KnownTensors()
        self.memory: Memory | None = Memory()
        self.leaves: list[Tensor] = []
        self.refused: list[UnsupportedOperationError] = []
        self.written: list[Any] = []  # the functions that were met as others
        self.hooks = saving_hooks()  # of the caller's
        self.recomputes = False  # the model saves by hooks of its own
        self.overwritten = False  # some tensors were
        self.coarse: set[torch.dtype] = set()  # the dtypes of few bits on the path
        named = model.named_modules() if isinstance(model, nn.Module) else ()
        self.paths = {id(module): name for name, module in named}

    @abstractmethod
    def visit(self, step: Step, tensors: list[Tensor]) -> Any:
        """Run one operation on the path."""

    def enter(self, x: Tensor, *, raw: bool = True) -> Tensor:
        """An explained input as the model gets it; its leaf is appended to `leaves`.

        raw   shifts and scalings of it prepare the input; of looked-up vectors they add to it
        """
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            entry = leaf.clone()
        self.leaves.append(leaf)
        self.facts[entry] = Facts(raw, False, False, 0, frozenset())
        return entry

    @property
    def path(self) -> tuple[Step, ...]:
        """The steps taken, in order: linear maps that a batch-norm was folded into once only."""
        folded = [step.folds[0] for step in self.steps if step.folds is not None]
        return tuple(step for step in self.steps if step.uses > 0 or step not in folded)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors: list[Tensor] = []
        packed = pack(args, tensors), pack(kwargs, tensors)
        known = self.facts.get
        live = tuple([i for i, t in enumerate(tensors) if known(t) is not None])
        for t in tensors:
            if t.grad_fn is not None and known(t) is None:
                self._refuse_stranger(function, t)
        if not live:
            return function(*args, **kwargs)
        operation = operation_of(function)
        if operation is None and (written := WRITTEN_OUT.get(function)) is not None:
            return self._write_out(function, written, args, kwargs)
        if operation is None and (functional := IN_PLACE.get(function)) is not None:
            return self._write_over(function, functional, args, kwargs)
        if operation is None:
            return self._unlisted(function, args, kwargs)
        if operation.kind == "quotient" and len(live) == 2:
            softmax = written_softmax(packed, tensors, self._facts)
            if softmax is not None:
                return self._write_out(function, softmax, args, kwargs)
        if not torch.is_grad_enabled():
            if operation.functional is not None:
                self._release(tensors[0])
            return function(*args, **kwargs)
        step = self._step(function, operation, packed, tensors, live)
        return self.visit(step, tensors)

    # -- what is known ---------------------------------------------------------------------------

    def _step(
        self,
        function: Callable[..., Any],
        operation: Operation,
        packed: tuple[Any, Any],
        tensors: list[Tensor],
        live: tuple[int, ...],
    ) -> Step:
        known = [self._facts(tensors[i]) for i in live]
        depth = max(f.depth for f in known)
        module = calling_module()
        step = Step(
            index=len(self.steps),
            function=function,
            operation=operation,
            kind=operation.kind,
            args=packed[0],
            kwargs=packed[1],
            live=live,
            exact=tuple(self.composite.keeps_zeros(f.depth) for f in known),
            module=self.paths.get(id(module), type(module).__name__ if module else ""),
            module_type=type(module) if module is not None else None,
            nonneg=known[0].nonneg,
            padding=known[0].padding,
            depth=depth,
        )
        if (replacement := out_of_place_form(step)) is not None:
            step.in_place = step.function, step.args, step.kwargs
            step.function, step.args, step.kwargs = replacement
        specify(step, tensors, entry=all(f.entry for f in known))
        if step.kind == "refused" and self.composite.carries == "relevance":
            why = reason_of(operation.name) or "several operands depend on the input"
            raise self._unsupported(function, why)
        for facts in known:
            if facts.maker is not None:
                facts.maker.uses += 1
                facts.maker.relu_uses += step.rectifies
        self.steps.append(step)
        self.recomputes |= saving_hooks() != self.hooks
        return step

    def _facts(self, tensor: Tensor) -> Facts:
        """The facts of a live tensor: what still holds, if it was overwritten through a view."""
        facts: Facts = self.facts[tensor]
        if facts.version == tensor._version:
            return facts
        unknown = dict.fromkeys(("plain", "maker", "breadth", "exponent", "total"))
        return replace(facts, nonneg=False, gate=False, scale=False, powers=False, **unknown)

    def _note(self, step: Step, tensors: list[Tensor], result: Any) -> Any:
        """Record what is known of the result."""
        known = [self.facts[tensors[i]] for i in step.live]
        maps = known[0].maps if len(known) == 1 else frozenset().union(*(f.maps for f in known))
        step.maps = maps
        if step.linear:
            for earlier in maps:
                earlier.followed = True
            maps = frozenset((step,))
        moved = step.kind in ("movement", "shift")
        facts = Facts(
            entry=moved and all(f.entry for f in known),
            nonneg=is_nonneg(step, tensors, all(f.nonneg for f in known)),
            gate=is_gate(step, all(f.gate for f in known)),
            scale=is_scale(step, all(f.scale for f in known)),
            padding=zero_padding(step),
            depth=max(f.depth for f in known) + step.linear,
            maps=maps,
            maker=step if step.linear else None,
            exponent=exponent_of(step, tensors),
            powers=step.name == "exp" or (step.kind in ADDING and all(f.powers for f in known)),
            total=known[0].total
            if step.kind == "movement"
            else total_of(step, tensors, self._facts),
        )
        outputs: list[Tensor] = []
        collect(result, outputs)
        for out in outputs:
            if out.requires_grad:
                self.facts[out] = facts if len(outputs) == 1 else replace(facts)
                self.facts[out].version = out._version
                if out.dtype in REDUCED:
                    self.coarse.add(out.dtype)
        step.shape = tuple(outputs[0].shape) if outputs else ()
        return result

    def _release(self, target: Tensor, *, by_relu: bool = False) -> None:
        if self.memory is not None:
            self.memory.release(target, by_relu=by_relu)
            self.overwritten = True

    def _overwrite(self, target: Tensor, result: Tensor) -> Tensor:
        """The target of an operation in place, overwritten with the result."""
        facts = self.facts[result]
        self._release(target)
        target.copy_(result)
        self.facts[target] = replace(facts, plain=None, version=target._version)
        return target

    # -- what is not in the table ----------------------------------------------------------------

    def _write_out(self, function: Any, written: Any, args: Any, kwargs: Any) -> Any:
        """An operation by the others it is made of, with the value of its own kernel."""
        self.written.append(function)
        with torch.no_grad():
            value = function(*args, **kwargs)
        with self:
            result = written(*args, **kwargs)
        values: list[Tensor] = []
        results: list[Tensor] = []
        packed = pack(value, values)
        collect(result, results)
        found = []
        for kernel, piece in zip(values, results, strict=True):
            facts = self.facts.get(piece)
            if facts is None:
                found.append(kernel)
                continue
            same = Same.apply(kernel, piece)
            self.facts[same] = replace(facts, plain=None, version=same._version)
            found.append(same)
        return unpack(packed, found)

    def _write_over(self, function: Any, functional: Any, args: Any, kwargs: Any) -> Any:
        """An operation in place by others: their result in place of the target's values."""
        target, *others = args
        with self:
            result = functional(target.clone(), *others, **kwargs)
        if result not in self.facts:
            raise self._unsupported(function, "its result is a constant: call it out of place")
        return self._overwrite(target, result)

    def _unlisted(self, function: Any, args: Any, kwargs: Any) -> Any:
        """A function that is not in the table: piece by piece if it is written in Python."""
        if function is Tensor.register_hook:
            tensor, hook = args
            return without_override_check(function)(tensor, only_looking(hook))
        if function == _GRAD_FN:
            raise hooked("Tensor.grad_fn, by which hooks are set", self.paths)
        if isinstance(function, types.FunctionType) and not is_refused(function):
            with self:
                return without_override_check(function)(*args, **kwargs)
        result = function(*args, **kwargs)
        outputs: list[Tensor] = []
        collect(result, outputs)
        if is_passive(function) or not any(t.requires_grad for t in outputs):
            return result
        if self.composite.carries == "gradient":
            for t in outputs:
                self.facts[t] = Facts(False, False, False, 1, frozenset(), version=t._version)
            return result
        return self._refuse(self._unsupported(function, reason_of(function)), result, args)

    # -- what cannot be explained ----------------------------------------------------------------

    def _refuse(self, error: UnsupportedOperationError, result: Any, args: Any) -> Any:
        """The result of an operation without a rule: the error comes if relevance arrives there."""
        before: list[Tensor] = []
        collect(args, before)
        if isinstance(result, Tensor) and not any(result is t for t in before):
            refused = Refuse.apply(error, result)
            self.facts[refused] = Facts(False, False, False, 1, frozenset())
            self.refused.append(error)
            return refused
        raise error  # several results, or one in place, where nothing can be put in between

    def _refuse_stranger(self, function: Any, tensor: Tensor) -> None:
        """Raise if a tensor depends on the input by operations that were not met."""
        if not reaches(tensor, self.leaves):
            return
        node = tensor.grad_fn.name() if tensor.grad_fn is not None else ""
        if node == "BackwardHookFunctionBackward":
            raise hooked("a full backward hook of a module", self.paths)
        raise self._unsupported(function, stranger(node))

    def _unsupported(self, function: Any, why: str) -> UnsupportedOperationError:
        return unsupported(function, why, self.paths, self.remedy)
