"""Perturbation curves, point by point as they are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rootpoint.errors import InputError
from rootpoint.evaluation.evaluate import cases
from rootpoint.evaluation.metric import Case
from rootpoint.evaluation.perturbing import Removal, curve
from rootpoint.web.requests import CurveRequest
from rootpoint.web.served import Explained, Served, explain_one

ACROSS = 14  # squares that a picture has on a side
TOGETHER = 4  # points that are computed at once

Emit = Callable[[dict[str, Any]], None]


def curves(models: dict[str, Served], request: CurveRequest, emit: Emit) -> None:
    """Emit a point of each card's curve after the other, and then that it is done.

    The score of each card's own target, while squares of the picture go: they take its mean
    colour, of a drawing that of paper. What `emit` raises ends the work.
    """
    cards = [_case(explain_one(models, one)) for one in request.requests]
    for start in range(0, request.steps + 1, TOGETHER):
        points = range(start, min(start + TOGETHER, request.steps + 1))
        shares = tuple(k / request.steps for k in points)
        for card, (case, removal) in enumerate(cards):
            found = curve(case, replace(removal, shares=shares), request.order)
            scores = found.scores[0, 1:].tolist()
            gone = (found.gone[0, 1:] / found.total[0]).tolist()
            for step, share, score in zip(points, gone, scores, strict=True):
                emit({"event": "point", "card": card, "step": step, "gone": share, "score": score})
    emit({"event": "done"})


def _case(one: Explained) -> tuple[Case, Removal]:
    """What the explanation is judged on, and what goes in each step."""
    image = one.served.image
    if image is None:
        raise InputError(f"{one.request.model} reads no pictures: there is no curve to draw")
    inputs, target = one.seen.inputs, one.explanation.target
    case = next(cases(one.served.model, inputs, target, None, 16, 0, False))
    replacement = 0.0 if one.served.kind == "digits" else "mean"
    removal = Removal(f"patches({max(1, image.size // ACROSS)})", replacement, repetitions=1)
    return replace(case, relevance=one.explanation.relevance), removal
