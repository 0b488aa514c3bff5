"""Relevance that should stay the same: under another implementation, under a shifted input."""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.evaluation.balance import sums
from rootpoint.evaluation.displacement import movable
from rootpoint.evaluation.metric import Case
from rootpoint.inputs import Model, check_model
from rootpoint.scoring import Decision, decided


def distance(a: Any, b: Any) -> Tensor:
    """‖a − b‖₁ / (‖a‖₁ + ‖b‖₁) of the maps of each sample, (B,) in float64.

    0 for equal maps, also where both are zero; 1 where nothing is shared: for opposite maps and
    for those that lie in different places.
    """
    if isinstance(a, list):
        return torch.cat([distance(p[None], q[None]) for p, q in zip(a, b, strict=True)])
    apart, size = _total(a.double() - b.double()), _total(a) + _total(b)
    return (apart / size).where(size > 0, 0.0)


def _total(maps: Tensor) -> Tensor:
    positive, negative = sums(maps)
    return positive + negative


def of_implementation(case: Case, other: Model) -> Tensor:
    """The distance between the maps of the case's model and of another of the same function.

    Raises InputError if the other scores a sample otherwise.
    """
    check_model(other)
    found = decided(other, case.inputs, [case.target], len(case.inputs))[0]
    _check_same(case, found)
    return distance(case.relevance, case.explainer(case.inputs, case.target, other))


def _check_same(case: Case, found: Decision) -> None:
    """Raise InputError if scores differ by more than 1e-4 of the outputs, 1e-8 in float64."""
    score = found.score.to(case.score)
    outputs = found.prediction
    scale = score.abs()
    if isinstance(outputs, Tensor) and len(outputs) == len(score):
        scale = scale.maximum(outputs.reshape(len(score), -1).abs().amax(1).to(score))
    tolerance = 1e-8 if found.score.dtype == case.score.dtype == torch.float64 else 1e-4
    apart = (score - case.score).abs() > tolerance * scale
    if bool(apart.any()):
        first = int(apart.nonzero()[0])
        raise InputError(
            f"implementation-invariance: the other model scores sample {case.numbers[first]} by "
            f"{float(score[first]):.6g} instead of {float(case.score[first]):.6g}: give a model "
            "that computes the same function"
        )


def of_input(case: Case, shift: float) -> Tensor:
    """The distance between the maps of f at x and of x ↦ f(x − shift) at x + shift."""
    inputs = movable("input-invariance", case.inputs)
    moved = case.explainer(inputs + shift, case.target, shifted(case.model, shift))
    return distance(case.relevance, moved)


def shifted(model: Model, by: float) -> Model:
    """x ↦ model(x − by). A network keeps its type and the names of its modules, which it shares."""
    if not isinstance(model, nn.Module):
        return lambda x: model(x - by)
    # A copy of the outermost module alone: the user's own gets no hook.
    twin = copy(model)
    twin._forward_pre_hooks = OrderedDict(model._forward_pre_hooks)
    twin.register_forward_pre_hook(lambda module, given: (given[0] - by, *given[1:]), prepend=True)
    return twin
