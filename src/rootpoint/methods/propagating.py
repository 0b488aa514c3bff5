"""What all methods share that are a composite of rules, run by one backward pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Balance, Explanation
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from rootpoint.inputs import Inputs, Model
    from rootpoint.propagation.composites import Composite
    from rootpoint.target import Target


ROWS = "rootpoint_rows"
"""The attribute by which a network says how many samples fit into memory at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Propagating(Method):
    """A method that is a composite: every operation goes back by its rule.

    compile   run as one graph of torch.compile, made for each shape of the inputs
    """

    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    compile: bool = parameter(False, "run forward and backward as one graph of torch.compile")

    @abstractmethod
    def rules(self) -> Composite:
        """Which rule where."""

    def within(self, model: Model) -> AbstractContextManager[None]:
        """The context in which the model is explained."""
        return nullcontext()

    def prepare(self, model: Model) -> Any:
        return {}, {}  # modified weights, and compiled models by the shapes of their inputs

    def propagate(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[dict[str, Any]]:
        """The fields of an Explanation for each target."""
        from rootpoint.backward import explain_backward, explain_in_parts
        from rootpoint.propagation import Propagation

        weights, graphs = prepared
        if self.compile:
            return self._propagate_compiled(model, inputs, targets, at, graphs)

        def explain_part(part: Inputs, wanted: Sequence[Target]) -> list[dict[str, Any]]:
            engine = Propagation(self.rules(), model, weights)
            with self.within(model):
                return explain_backward(model, part, wanted, engine, at)

        return explain_in_parts(explain_part, inputs, targets, getattr(model, ROWS, None))

    def _propagate_compiled(
        self,
        model: Model,
        inputs: Inputs,
        targets: Sequence[Target],
        at: At,
        graphs: dict[Any, Any],
    ) -> list[dict[str, Any]]:
        from rootpoint.backward import explain_backward
        from rootpoint.inputs import check, tensors
        from rootpoint.propagation.replay import Compiled, compiled

        if at is not None:
            raise InputError("inner modules cannot be explained with compile: leave out `at`")
        check(model, inputs)
        composite = self.rules()
        key = tuple((tuple(x.shape), x.dtype, x.device) for x in tensors(inputs))
        if key not in graphs:
            graphs[key] = compiled(model, inputs, composite)
        return explain_backward(graphs[key], inputs, targets, Compiled(composite))

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        composite = self.rules()
        found = self.propagate(model, inputs, targets, at, prepared)
        if composite.carries == "gradient":
            return [Explanation(**fields, inputs=inputs, method=self, at=at) for fields in found]
        return [
            Explanation(
                **fields,
                inputs=inputs,
                method=self,
                at=at,
                baseline_output=fields["output"].new_zeros(len(fields["output"])),
                account=partial(self._books, model, inputs, fields["target"]),
            )
            for fields in found
        ]

    def _books(self, model: Model, inputs: Inputs, target: Target) -> Balance:
        from rootpoint.propagation.balance import keep_books

        with self.within(model):
            return keep_books(model, inputs, target, self.rules())
