"""The way back of a model that recomputes its activations (`torch.utils.checkpoint`)."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointError

from rootpoint.errors import UnsupportedModelError, UnsupportedOperationError
from rootpoint.propagation.introspection import without_override_check
from rootpoint.propagation.through import saving_hooks

if TYPE_CHECKING:
    from rootpoint.propagation.engine import Propagation


_CANNOT_FOLLOW = (
    "the model recomputes activations in a way that its explanation cannot follow: a checkpoint "
    "inside of another, ids looked up inside of one, or a model that does not do the same twice. "
    "Call it without torch.utils.checkpoint there"
)


class Recomputing(TorchFunctionMode):
    """What runs once more while multipliers go back is met as it was on the way forward.

    So autograd saves the same values again. Their steps and rules are those of the first time.
    """

    def __init__(self, engine: Propagation) -> None:
        super().__init__()
        self.again = copy(engine)
        self.again.steps = []
        self.again.copies = engine.overwritten

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if saving_hooks() != self.again.hooks:
            if not self.again.repeatable:
                raise UnsupportedModelError(
                    "deeplift cannot go back through activations that are recomputed: call the "
                    "model without torch.utils.checkpoint"
                )
            return self._meet_again(function, types, args, kwargs)
        if function is torch.autograd.grad:
            return self._go_back(args, kwargs)
        return function(*args, **kwargs)

    def _meet_again(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        try:
            return self.again.__torch_function__(function, types, args, kwargs)
        except UnsupportedOperationError as error:  # there was none on the way forward
            raise UnsupportedModelError(_CANNOT_FOLLOW) from error

    def _go_back(self, args: Any, kwargs: Any) -> Any:
        try:
            with self:
                return without_override_check(torch.autograd.grad)(*args, **kwargs)
        except CheckpointError as error:
            raise UnsupportedModelError(_CANNOT_FOLLOW) from error
