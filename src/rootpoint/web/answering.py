"""An explanation as it is sent: numbers, the map, what the network saw, and how to make it."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.target import Contrast, unwrapped
from rootpoint.web.requests import (
    Answer,
    Best,
    ColumnsAnswer,
    MapAnswer,
    PassesAnswer,
    TargetAnswer,
    WordsAnswer,
)
from rootpoint.web.seen import png
from rootpoint.web.served import Explained
from rootpoint.web.snippets import command, python

BEST = 10
SMALL, LARGE = 2.0**-6, 2.0**15  # float16 is exact enough between them


def answered(one: Explained) -> Answer:
    """Why the model said what it said about one request."""
    e, i, served = one.explanation, one.sample, one.served
    gap = None if e.completeness_gap is None else float(e.completeness_gap[i])
    target, other = _targets(one)
    view = one.seen.view
    return Answer(
        model=one.request.model,
        method=str(e.method),
        target=target,
        contrast=other,
        score=_finite(float(e.output[i])),
        relevance_sum=_finite(float(relevance_of(one).double().sum())),
        gap=None if gap is None or not math.isfinite(gap) else gap,
        seconds=one.seconds,
        passes=None if e.passes is None else PassesAnswer(**e.passes._asdict()),
        notes=list(e.notes),
        best=best(one),
        relevance=_shown(one),
        view=None if view is None else base64.b64encode(png(view)).decode(),
        python=python(one.request, served.config),
        command=command(one.request, served.config),
    )


def relevance_of(one: Explained) -> Tensor:
    """The relevance of the sample; of tokens, of the ids that were looked up."""
    found: Any = one.explanation.relevance
    if hasattr(found, "keys"):
        found = found[ids_name(one)]
    return found[one.sample].detach().cpu()


def best(one: Explained) -> list[Best]:
    """The classes with the highest scores, the highest first."""
    output = unwrapped(one.explanation.prediction)
    if not isinstance(output, Tensor):
        return []
    scores = output[one.sample].detach().cpu().double().reshape(-1)
    logits = one.served.estimator is None and len(scores) > 1
    probabilities = scores.softmax(0).tolist() if logits else [None] * len(scores)
    values, indices = scores.sort(descending=True)
    return [
        Best(index=i, name=one.served.label(i), score=value, probability=probabilities[i])
        for value, i in zip(values[:BEST].tolist(), indices[:BEST].tolist(), strict=True)
    ]


def npz(one: Explained) -> bytes:
    """The numbers as a file of numpy: relevance, input, prediction, target and score."""
    e, i = one.explanation, one.sample
    target = one.request.target if isinstance(e.target, Contrast) else index_of(one)
    arrays: dict[str, Any] = {
        "relevance": relevance_of(one).float().numpy(),
        "score": np.float32(e.output[i].item()),
        "target": np.array(target),
    }
    output = unwrapped(e.prediction)
    if isinstance(output, Tensor):
        arrays["prediction"] = output[i].detach().float().cpu().numpy()
    if isinstance(one.seen.inputs, Tensor):
        arrays["input"] = one.seen.inputs[0].float().numpy()
    elif one.served.frame is not None:
        arrays["input"] = np.array([str(value) for value in one.seen.inputs.iloc[0]])
    else:
        arrays["input"] = np.array(words_shown(one))
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def packed(values: Tensor) -> tuple[str, float]:
    """Numbers as float16 in base64, and what they are multiples of: 1 but for extreme ones."""
    greatest = float(values.abs().max()) if values.numel() else 0.0
    if not math.isfinite(greatest):
        raise InputError("the relevance is NaN or infinite: choose another method or rule")
    scale = 1.0
    if greatest and not SMALL <= greatest < LARGE:
        scale = 2.0 ** math.floor(math.log2(greatest))
    data = (values.double() / scale).numpy().astype("<f2").tobytes()
    return base64.b64encode(data).decode(), scale


def _targets(one: Explained) -> tuple[TargetAnswer, TargetAnswer | None]:
    served, wanted = one.served, one.request.target
    if isinstance(wanted, list):
        first, second = (TargetAnswer(index=i, name=served.label(i)) for i in wanted)
        return first, second
    index = index_of(one)
    return TargetAnswer(index=index, name=served.label(index)), None


def index_of(one: Explained) -> int:
    target: Any = one.explanation.target
    return int(target[one.sample])


def _shown(one: Explained) -> MapAnswer | WordsAnswer | ColumnsAnswer:
    relevance = relevance_of(one)
    if one.served.image is not None:
        flat = relevance.sum(0)
        data, scale = packed(flat)
        height, width = flat.shape
        return MapAnswer(height=height, width=width, data=data, scale=scale, box=one.seen.box)
    values = [_finite(value) for value in relevance.double().tolist()]
    if one.served.frame is not None:
        return ColumnsAnswer(names=list(map(str, one.served.frame.columns)), values=values)
    words = words_shown(one)
    if len(words) != len(values):
        raise InputError(f"{len(words)} words for {len(values)} values of relevance")
    return WordsAnswer(words=words, values=values)


def words_shown(one: Explained) -> list[str]:
    from rootpoint.visualize.sentences import words_of

    inputs = one.seen.inputs
    if isinstance(inputs, list):
        return inputs[0].split()
    ids = inputs[ids_name(one)][0].tolist()
    return words_of(inputs, ids, 0, one.served.tokenizer)


def ids_name(one: Explained) -> str:
    """The name of the input that holds the tokens."""
    return next(iter(one.explanation.relevance))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError("the explanation holds NaN or infinity: choose another method or rule")
    return value
