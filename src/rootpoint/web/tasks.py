"""What a worker does, by name: the server asks with (task, request)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rootpoint.errors import RootpointError
from rootpoint.web.answering import npz
from rootpoint.web.config import Config, ModelConfig
from rootpoint.web.curves import curves
from rootpoint.web.describing import describe
from rootpoint.web.layers import layers
from rootpoint.web.served import Served, answer, explain_one, failure
from rootpoint.web.served import load as load_models
from rootpoint.web.worker import Emit

Models = dict[str, Served]

Task = Callable[[Models, Any, Emit], Any]

TASKS: dict[str, Task] = {
    "describe": lambda models, _, __: describe(models)[0],
    "layers": lambda models, request, _: layers(models, request),
    "curve": lambda models, request, emit: curves(models, request, emit),
    "export": lambda models, request, _: npz(explain_one(models, request)),
}
"""What is done for one request at a time; errors are answers, too."""


def load(model: ModelConfig) -> Models:
    """What a worker owns."""
    if model.kind == "digits":
        import torch

        torch.set_num_threads(1)  # a small network is read sooner by one
    return load_models(Config(models=(model,)))


def work(models: Models, asked: list[tuple[str, Any]], emit: Emit) -> list[Any]:
    """An answer, or what went wrong, for each of several requests for the same task."""
    task = asked[0][0]
    if task == "explain":
        return answer(models, [request for _, request in asked])
    return [_done(TASKS[task], models, request, emit) for _, request in asked]


def _done(
    task: Callable[[Models, Any, Emit], Any], models: Models, request: Any, emit: Emit
) -> Any:
    try:
        return task(models, request, emit)
    except RootpointError as error:
        return failure(error)
