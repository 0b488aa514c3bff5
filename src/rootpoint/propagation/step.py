"""One operation as the forward pass met it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rootpoint.propagation.operations import LINEAR, Operation

if TYPE_CHECKING:
    from rootpoint.propagation.rules import Rule


@dataclass(frozen=True)
class Slot:
    """The place of a tensor among the arguments of a step."""

    index: int


def pack(arguments: Any, tensors: list[Any]) -> Any:
    """The arguments with each tensor moved to `tensors` and replaced by its Slot."""
    if isinstance(arguments, Tensor):
        tensors.append(arguments)
        return Slot(len(tensors) - 1)
    kind = type(arguments)
    if kind is tuple or kind is list:
        return kind([pack(a, tensors) for a in arguments])
    if kind is dict:
        return {name: pack(a, tensors) for name, a in arguments.items()}
    return arguments


def unpack(arguments: Any, tensors: Any) -> Any:
    """The inverse of `pack`."""
    if isinstance(arguments, Slot):
        return tensors[arguments.index]
    kind = type(arguments)
    if kind is tuple or kind is list:
        return kind([unpack(a, tensors) for a in arguments])
    if kind is dict:
        return {name: unpack(a, tensors) for name, a in arguments.items()}
    return arguments


def collect(arguments: Any, tensors: list[Tensor]) -> None:
    """Append the tensors among the arguments or results, however nested, in the order of `pack`."""
    if isinstance(arguments, Tensor):
        tensors.append(arguments)
    elif isinstance(arguments, tuple | list):
        for argument in arguments:
            collect(argument, tensors)
    elif isinstance(arguments, Mapping):
        for argument in arguments.values():
            collect(argument, tensors)


@dataclass(eq=False)
class Step:
    """What is known of one operation on the path from the explained input to the output.

    in_place    the function and arguments as called, if `function` does the same out of place
    live        which of its tensors depend on the explained input
    exact       which of those keep relevance where they are zero (see `nonzero`)
    roles       slots of weight and bias of a linear map
    persistent  its weight is a parameter of the model, the same at every call
    nonneg      the live input is known to be non-negative
    padding     zeros around the live input that are no input
    reference   values of the live tensors at the reference, where differences are carried
    maps        the linear maps before it that no other linear map separates from it
    depth       how many linear maps lie on the longest path before it
    norm        slots of a batch-norm folded in: mean, variance, scale, shift (-1: absent)
    folds       the step that is the linear map alone, and the one that is the batch-norm alone
    constant    slots of live tensors that count as constants (gates, denominators)
    uses        how often its output was used, and how often by a ReLU
    followed    another linear map lies behind it
    last        a linear map that reaches the output and is not followed
    reach       its depth as a share of the whole path's, from 0 to 1
    rule        set when the whole path is known
    """

    index: int
    function: Callable[..., Any]
    operation: Operation
    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    live: tuple[int, ...]
    exact: tuple[bool, ...]
    module: str
    module_type: type | None
    in_place: tuple[Callable[..., Any], Any, Any] | None = None
    roles: tuple[int, int | None] = (-1, None)
    norm: tuple[int, ...] | None = None
    epsilon: float = 0.0
    folds: tuple[Step, Step] | None = None
    constant: tuple[int, ...] = ()
    persistent: bool = False
    nonneg: bool = False
    padding: tuple[int, ...] = ()
    reference: tuple[Tensor, ...] | None = None
    maps: frozenset[Step] = frozenset()
    depth: int = 0
    shape: tuple[int, ...] = ()
    uses: int = 0
    relu_uses: int = 0
    followed: bool = False
    last: bool = False
    reach: float = 0.0
    rule: Rule | None = None

    @property
    def name(self) -> str:
        """The torch function's name; of one in place, that of its form out of place."""
        return self.operation.name

    @property
    def title(self) -> str:
        """The operation's name, with what is folded into it."""
        name = self.operation.name if self.operation.functional is None else f"{self.name}_"
        return name if self.norm is None else f"{name} + batch_norm"

    @property
    def position(self) -> str:
        """Where a linear map lies on the path: first, last, or nothing."""
        return "first" if self.first and self.linear else "last" if self.last else ""

    @property
    def first(self) -> bool:
        return self.depth == 0

    @property
    def linear(self) -> bool:
        return self.kind in LINEAR

    @property
    def behind(self) -> str:
        """The kind of the linear maps before it, if they are all of one kind."""
        kinds = {step.kind for step in self.maps}
        return kinds.pop() if len(kinds) == 1 else ""

    @property
    def rectifies(self) -> bool:
        return self.name == "relu"

    @property
    def rectified(self) -> bool:
        """Every use of the output is a ReLU: outputs ≤ 0 get no relevance."""
        return self.uses == self.relu_uses > 0

    @property
    def called(self) -> Callable[..., Any]:
        """The torch function that the model called."""
        return self.function if self.in_place is None else self.in_place[0]

    def overwrite(self, tensors: Any) -> Any:
        """Run in place, as the model called it."""
        assert self.in_place is not None
        function, args, kwargs = self.in_place
        return function(*unpack(args, tensors), **unpack(kwargs, tensors))

    def run(self, tensors: Any) -> Any:
        """The operation on other tensors."""
        return self.function(*unpack(self.args, tensors), **unpack(self.kwargs, tensors))

    def bound(self, tensors: Any, *names: str) -> dict[str, Any]:
        """The arguments by name, given the names of the positional ones."""
        positional = zip(names, unpack(self.args, tensors), strict=False)
        return dict(positional) | unpack(self.kwargs, tensors)
