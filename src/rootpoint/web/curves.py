"""Perturbation curves, point by point as they are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from rootpoint.errors import InputError
from rootpoint.evaluation.evaluate import cases
from rootpoint.evaluation.orders import Order
from rootpoint.evaluation.perturbing import Removal, curve
from rootpoint.scoring import decided
from rootpoint.target import Contrast
from rootpoint.web.answering import ids_name, index_of, relevance_of, words_shown
from rootpoint.web.requests import CurveRequest
from rootpoint.web.served import Explained, Served, explain_one

ACROSS = 14  # squares that a picture has on a side
TOGETHER = 4  # points that are computed at once

Emit = Callable[[dict[str, Any]], None]
Points = Callable[[Sequence[float]], list[tuple[float, float]]]
"""The share of the input that is gone and the score, for shares that are to go."""


def curves(models: dict[str, Served], request: CurveRequest, emit: Emit) -> None:
    """Emit a point of each card's curve after the other.

    The score of each card's own target, while parts of the input go. Of a picture squares, which
    take its mean colour, of a drawing that of paper; of a text words, deleted; of a row columns,
    which take their mean, or the most frequent of what has none. What `emit` raises ends the work.
    """
    cards = [_points(explain_one(models, one), request.order) for one in request.requests]
    for start in range(0, request.steps + 1, TOGETHER):
        steps = range(start, min(start + TOGETHER, request.steps + 1))
        for card, points in enumerate(cards):
            found = points([step / request.steps for step in steps])
            for step, (gone, score) in zip(steps, found, strict=True):
                emit({"card": card, "step": step, "gone": gone, "score": score})


def _points(one: Explained, order: Order) -> Points:
    if one.served.image is not None:
        return _of_picture(one, order)
    if one.served.model is None:
        raise InputError(f"{one.request.model} is no network: there is no curve to draw")
    return _of_parts(one, order)


def _of_picture(one: Explained, order: Order) -> Points:
    image = one.served.image
    assert image is not None
    inputs, target = one.seen.inputs, one.explanation.target
    case = next(cases(one.served.model, inputs, target, None, 16, 0, False))
    case = replace(case, relevance=one.explanation.relevance)
    replacement = 0.0 if one.served.kind == "digits" else "mean"
    removal = Removal(f"patches({max(1, image.size // ACROSS)})", replacement, repetitions=1)

    def points(shares: Sequence[float]) -> list[tuple[float, float]]:
        found = curve(case, replace(removal, shares=tuple(shares)), order)
        gone = (found.gone[0, 1:] / found.total[0]).tolist()
        return list(zip(gone, found.scores[0, 1:].tolist(), strict=True))

    return points


def _of_parts(one: Explained, order: Order) -> Points:
    """Of words, tokens or columns: as many as have relevance, in its order."""
    relevance, lasting = relevance_of(one).double(), _lasting(one)
    ranked = relevance.argsort(descending=order == "morf", stable=True).tolist()
    ranked = [part for part in ranked if part not in lasting]
    if one.served.tokenizer is not None and not lasting:
        ranked.pop()  # no network reads nothing
    target = one.explanation.target
    if not isinstance(target, Contrast):
        target = index_of(one)

    @cache  # few words make the same counts at many steps
    def score(count: int) -> float:
        inputs = _without(one, frozenset(ranked[:count]))
        return float(decided(one.served.model, inputs, [target], 1)[0].score[0])

    def points(shares: Sequence[float]) -> list[tuple[float, float]]:
        counts = [round(share * len(ranked)) for share in shares]
        return [(count / max(1, len(ranked)), score(count)) for count in counts]

    return points


def _lasting(one: Explained) -> set[int]:
    """The tokens that stay: a tokenizer's own, which mark where a text begins and ends."""
    if one.served.tokenizer is None:
        return set()
    own = set(getattr(one.served.tokenizer, "all_special_ids", ()))
    ids = one.seen.inputs[ids_name(one)][0].tolist()
    return {i for i, token in enumerate(ids) if token in own}


def _without(one: Explained, gone: frozenset[int]) -> Any:
    """What the network is fed without some words, tokens or columns."""
    served, inputs = one.served, one.seen.inputs
    if served.tokenizer is not None:
        length = len(relevance_of(one))
        kept = torch.tensor([i for i in range(length) if i not in gone])
        return {
            name: value[:, kept] if value.shape[1:] == (length,) else value
            for name, value in inputs.items()
        }
    if served.frame is None:
        words = enumerate(words_shown(one))
        return served.model.rootpoint_encode([" ".join(w for i, w in words if i not in gone)])
    return served.model.rootpoint_encode(_usual(inputs, served.frame, gone))


def _usual(row: Any, frame: Any, gone: frozenset[int]) -> Any:
    """A row whose columns that are gone have the mean of the frame's, or what is most frequent."""
    numbers = frame.select_dtypes("number")
    usual = {
        name: numbers[name].mean() if name in numbers else frame[name].mode().iloc[0]
        for name in frame.columns[sorted(gone)]
    }
    return row.assign(**usual)
