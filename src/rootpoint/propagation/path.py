"""The path from the inputs to the output, followed by a forward pass alone."""

from __future__ import annotations

import torch

from rootpoint.inputs import Inputs, Model, call, check, map_inputs
from rootpoint.propagation.composites import Composite
from rootpoint.propagation.engine import Propagation
from rootpoint.propagation.step import Step


def inspect(model: Model, inputs: Inputs, composite: Composite) -> tuple[Step, ...]:
    """The operations on the path from the inputs to the output, in order, each with its rule.

    Cost: one forward.
    """
    return follow(model, inputs, composite).path


def follow(model: Model, inputs: Inputs, composite: Composite) -> Propagation:
    """A forward pass alone: the path from the inputs to the output, with its rules.

    Raises UnsupportedOperationError if an operation has none.
    """
    check(model, inputs)
    engine = Propagation(composite, model)
    with torch.inference_mode(False), torch.enable_grad():
        with engine.forward():
            output = call(model, map_inputs(engine.enter, inputs))
        engine.settle(output)
    if engine.refused:
        raise engine.refused[0]
    return engine
