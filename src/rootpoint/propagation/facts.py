"""What the engine knows of the tensors on the path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import ref

from torch import Tensor

from rootpoint.propagation.step import Step

T = TypeVar("T")


@dataclass(slots=True)
class Facts:
    """What is known of a tensor that depends on the explained input, while it is not overwritten.

    entry     made from the input by moving, scaling and shifting only
    nonneg    no value is negative
    gate      values lie in [0, 1]: in a product it is the gate
    scale     a reciprocal, as of a norm: in a product it counts as a constant
    depth     linear maps on the longest path from the input
    maps      the linear maps that no other linear map separates from it
    maker     the step that made it
    padding   zeros around it, as `torch.nn.functional.pad` counts them
    plain     of a linear map: its output before the rule, and its tensors, to fold batch-norm in
    breadth   how far its positive and negative changes since the reference go, added up
    exponent  it is exp of this tensor, of this version
    powers    made of exponentials by moving and adding; a quotient of two such values counts as a
              gate even where it is more than 1: which terms are whose is not followed
    total     it is the sum of this tensor over these dimensions
    version   of the tensor when this was known
    """

    entry: bool
    nonneg: bool
    gate: bool
    depth: int
    maps: frozenset[Step]
    maker: Step | None = None
    padding: tuple[int, ...] = ()
    plain: tuple[Tensor, list[Tensor]] | None = None
    breadth: Tensor | None = None
    scale: bool = False
    exponent: tuple[Tensor, int] | None = None
    powers: bool = False
    total: tuple[Tensor, tuple[int, ...]] | None = None
    version: int = 0


class KnownTensors(Generic[T]):
    """Facts by tensor, forgotten with the tensor."""

    def __init__(self) -> None:
        self._facts: dict[int, tuple[ref[Tensor], T]] = {}

    def get(self, tensor: Tensor) -> T | None:
        known = self._facts.get(id(tensor))
        return None if known is None or known[0]() is not tensor else known[1]

    def __contains__(self, tensor: Tensor) -> bool:
        return self.get(tensor) is not None

    def __getitem__(self, tensor: Tensor) -> T:
        facts = self.get(tensor)
        if facts is None:
            raise KeyError("a tensor that does not depend on the explained input")
        return facts

    def __setitem__(self, tensor: Tensor, facts: T) -> None:
        key, facts_of = id(tensor), self._facts

        def forget(gone: ref[Tensor]) -> None:
            if (known := facts_of.get(key)) is not None and known[0] is gone:
                del facts_of[key]

        facts_of[key] = (ref(tensor, forget), facts)
