"""Choose the method, and the parameters of its composite, that explain a model best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.evaluation.candidates import Judged
from rootpoint.evaluation.candidates import candidates as named
from rootpoint.evaluation.evaluate import cases, chosen_metrics
from rootpoint.evaluation.measurements import Measurements
from rootpoint.evaluation.metric import Metric
from rootpoint.evaluation.result import Evaluation, configuration, fingerprint
from rootpoint.evaluation.searching import Aims, Criteria, Search, Trial
from rootpoint.evaluation.space import SPACE, Space
from rootpoint.evaluation.statistics import Difference
from rootpoint.inputs import Model, batches
from rootpoint.method import Method, methods
from rootpoint.methods.lrp import LRP
from rootpoint.propagation.composites import PRESETS
from rootpoint.target import Target

DEAR = frozenset({"lime", "meaningful-perturbation", "prediction-difference", "shapley"})
"""Methods that take the model hundreds of times and more: judged only where they are named."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The best method on a training split, and what it is worth on a held-out split.

    winner      its name in tables; `method` is the method itself
    finalists   the best of the last round, the winner first, by the training split alone
    training    every trial: round by round, in each the best first
    held_out    winner, finalists and all candidates that were named, judged on the held-out split
    metric      the metric of the held-out split that differences are of, the first
    split       the numbers of the training and of the held-out samples
    failures    of candidates that could not be judged, what they raised
    """

    winner: str
    finalists: tuple[str, ...]
    training: tuple[Trial, ...]
    held_out: Evaluation
    metric: str
    split: tuple[tuple[int, ...], tuple[int, ...]]
    failures: Mapping[str, str]
    _winner: Method | Callable[..., Any] = field(repr=False)

    @property
    def method(self) -> Method:
        """The winner, to explain with and to save. Raises InputError if it is a function."""
        if not isinstance(self._winner, Method):
            raise InputError(f"the winner, {self.winner}, is a function of yours, not a Method")
        return self._winner

    @property
    def differences(self) -> dict[str, Difference]:
        """How much more the winner has than each other method on held-out samples, paired."""
        others = (name for name in self.held_out.methods if name != self.winner)
        return {n: self.held_out.difference(self.metric, self.winner, n) for n in others}


def select(
    model: Model,
    data: Any,
    *,
    candidates: Judged | Sequence[Judged] | Mapping[str, Judged] | None = None,
    space: Space | None = SPACE,
    criteria: Criteria = "abpc",
    report: str | Metric | Sequence[str | Metric] | None = None,
    target: Target = "predicted",
    masks: Tensor | None = None,
    held_out: float | Sequence[int] = 0.5,
    samples: int = 8,
    width: int = 32,
    generations: int = 2,
    finalists: int = 3,
    batch: int = 32,
    seed: int = 0,
    compile: bool = False,
    checkpoint: str | Path | None = None,
) -> Selection:
    """Search the method that explains `model` best on a part of the data; judge it on the rest.

    data        a tensor or array (N, …), an iterable of batches, or a list of texts
    candidates  methods to compete, as in `evaluate`; None: every preset composite and every method
                that needs no data, but for those that take hundreds of evaluations (`DEAR`)
    space       composites to search beside; None: only candidates compete
    criteria    the metric that decides, or a mapping from metrics to "best" for that one and to a
                number for each other: the most that its mean may be, or the least if more is
                better. "cost" is the seconds of an explanation in those of a gradient, which no
                seed repeats
    report      the metrics of the held-out split; None: those of the criteria
    target      as in `evaluate`, as are masks, batch, seed, compile
    held_out    the share of samples to hold out, drawn by the seed; or their numbers, where samples
                belong together that should not be on both sides
    samples     of the first round; each round has twice as many, the last the training split
    width       composites of the first round, half as many in each further one
    generations in each round the best composites have width / 2 children, so many times: composites
                that differ in one option
    finalists   so many of the last round are judged on the held-out split, with all candidates
    checkpoint  a file of what was measured, from which an interrupted search goes on

    Successive halving: in each round the best half remains, measured on twice as many samples, the
    same for all. What fails is named in `Selection.failures`. Cost: about
    width · samples · (1 + generations / 2) · rounds times that of the criteria, and that of the
    report for each candidate and held-out sample.
    Raises InputError for data, splits and criteria that cannot be used, or if nothing meets the
    bounds; what the candidates raise if all of them fail.
    Source: Jamieson, Talwalkar 2016, AISTATS (successive halving).
    """
    for name, least in (("samples", 1), ("width", 1), ("generations", 0), ("finalists", 1)):
        if (given := locals()[name]) < least:
            raise InputError(f"{name}={given!r}: it must be at least {least}")
    aims = Aims.of(criteria, model, masks)
    reported = chosen_metrics(aims.metrics if report is None else report, model, masks)
    given = {}
    if candidates is None or callable(candidates) or len(candidates):
        given = named(contestants() if candidates is None else candidates)
    whole = _Data.of(data, target, masks)
    split = divided(len(whole), held_out, seed)
    train, held = (
        list(cases(model, *part, min(batch, samples), seed, compile))
        for part in map(whole.take, split)
    )
    about = {
        "seed": seed,
        "split": split,
        **fingerprint([*train, *held]),
        "samples": min(batch, samples),
        "criteria": [str(metric) for metric in aims.metrics],
        "report": [str(metric) for metric in reported],
    }
    measured = Measurements(model, checkpoint, about)
    search = Search(aims, train, measured, space, Random(seed))
    search.run(given, width, generations)
    best = search.finalists(finalists)
    judged = {name: search.known[name] for name in best} | given
    results = measured("held-out", judged, held, reported, "Judging on the held-out split")
    if best[0] not in results:
        raise UnsupportedModelError(f"{best[0]} failed: {measured.failures[best[0]]}")
    failures = dict(measured.failures)
    evaluation = Evaluation(
        metrics={str(metric): metric for metric in reported},
        results=results,
        failures={name: why for name, why in failures.items() if name in judged},
        configuration=configuration(model, judged, held, seed),
    )
    return Selection(
        winner=best[0],
        finalists=tuple(best),
        training=tuple(search.trials),
        held_out=evaluation,
        metric=str(reported[0]),
        split=split,
        failures=failures,
        _winner=search.known[best[0]],
    )


def contestants() -> list[Method]:
    """Every preset composite, and every other method with its defaults that needs no data.

    Left out are the preset whose options are searched, and the methods of `DEAR`.
    """
    presets = [LRP(composite=name) for name in PRESETS if name != SPACE.preset]
    others = [
        cls()
        for name, cls in methods().items()
        if name not in {"lrp", *DEAR} and not {"estimator", "graph", "data"} & set(cls.needs)
    ]
    return [*presets, *others]


def divided(
    count: int, held_out: float | Sequence[int], seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the training samples, in random order, and of those held out.

    held_out   a share, or the numbers themselves
    Raises InputError if a side is empty, or a number is none of a sample.
    """
    order = np.random.default_rng(seed).permutation(count).tolist()
    if isinstance(held_out, int | float):
        held = sorted(order[: round(count * held_out)])
    else:
        held = sorted({int(number) for number in held_out})
        if held and not 0 <= held[0] <= held[-1] < count:
            raise InputError(f"held_out names samples that are none of 0 … {count - 1}")
    train = [number for number in order if number not in set(held)]
    if not held or not train:
        raise InputError(
            f"held_out={held_out!r} leaves {len(train)} of {count} samples to search on and "
            f"{len(held)} to judge by: both need at least one"
        )
    return tuple(train), tuple(held)


@dataclass(frozen=True, eq=False)
class _Data:
    """All samples, so that some can be taken."""

    inputs: Any
    target: Target
    masks: Tensor | None

    @classmethod
    def of(cls, data: Any, target: Target, masks: Tensor | None) -> _Data:
        texts = isinstance(data, list) and bool(data) and isinstance(data[0], str)
        inputs = data if texts else torch.cat(list(batches(data)) or [torch.empty(0)])
        if not (callable(target) or isinstance(target, int | str | tuple)):
            target = target.tolist() if isinstance(target, Tensor) else list(target)
        for name, given in (("targets", target), ("masks", masks)):
            if isinstance(given, list | Tensor) and len(given) != len(inputs):
                raise InputError(f"{len(given)} {name} for {len(inputs)} samples: one for each")
        return cls(inputs, target, masks)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, numbers: Sequence[int]) -> tuple[Any, Target, Tensor | None]:
        chosen = list(numbers)
        texts = isinstance(self.inputs, list)
        inputs = [self.inputs[i] for i in chosen] if texts else self.inputs[chosen]
        target = [self.target[i] for i in chosen] if isinstance(self.target, list) else self.target
        return inputs, target, None if self.masks is None else self.masks[chosen]
