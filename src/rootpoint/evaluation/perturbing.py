"""Perturbation analysis: the score while features are taken away, in the order of relevance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.metric import Case
from rootpoint.evaluation.orders import Order, ranks
from rootpoint.evaluation.replacing import filling, is_random
from rootpoint.perturbation.features import Features, features
from rootpoint.scoring import probable

POINTS = 101  # of a drawn curve, where samples differ in their number of features


@dataclass(frozen=True)
class Removal:
    """What is taken away from samples, what replaces it, and what is read from the model.

    features     a spec or mask as in `rootpoint.perturbation.features`, shared by all samples, or
                 "nodes": groups over dimension 1; texts always lose words
    replacement  a number; a tensor like a sample; data (k, …) of which the sample nearest to each
                 replaces it; or a name, "noise", "noise(low, high)" (uniform; in the range of each
                 channel of the sample if none is given), "mean" (of each channel of the sample);
                 of images "blur", "inpaint", "linear" (see `imputed`)
    steps        how many there are at most
    per_step     features that go in each; 0 for evenly many, until all are gone
    shares       of the features that are gone after each step, instead of the two
    repetitions  of what is random, whose mean counts
    output       "score", "probability", or "decision": 1 while the target is the highest output
    by           a feature's relevance is the "sum" or the "mean" of that of its values
    """

    features: Any
    replacement: Any
    steps: int = 100
    per_step: int = 0
    shares: tuple[float, ...] = ()
    repetitions: int = 10
    output: str = "score"
    by: str = "sum"

    def counts(self, total: int) -> list[int]:
        """How many of so many features are gone after each step."""
        if self.shares:
            return [round(share * total) for share in self.shares]
        if self.per_step:
            steps = min(self.steps, -(-total // self.per_step))
            return [min(k * self.per_step, total) for k in range(1, steps + 1)]
        steps = min(self.steps, total)
        return [k * total // steps for k in range(1, steps + 1)]


@dataclass(frozen=True, eq=False)
class Curve:
    """The score of each sample while its features go.

    scores   (B, k), float64; at first nothing is gone. Curves that end sooner keep their last value
    gone     how many features are, (B, k)
    total    the number of features, (B,)
    steps    of each sample's own curve, (B,)
    ragged   whether samples may differ in `total`
    """

    scores: Tensor
    gone: Tensor
    total: Tensor
    steps: Tensor
    ragged: bool

    def mean(self) -> Tensor:
        """Over all steps and the beginning, (B,). NaN for a sample without features."""
        own = torch.arange(self.scores.shape[1]) <= self.steps[:, None]
        return self._defined((self.scores * own).sum(1) / own.sum(1))

    def area(self) -> Tensor:
        """∫ score d(share of features gone), by trapezoids, (B,). NaN as in `mean`."""
        share = self.gone / self.total[:, None]
        return self._defined(torch.trapezoid(self.scores, share, dim=1))

    def _defined(self, values: Tensor) -> Tensor:
        return values.where(self.total > 0, torch.nan)

    def line(self) -> Tensor:
        """The curve to be drawn over `x`, (B, points)."""
        if not self.ragged:
            return self.scores
        place = torch.linspace(0, 1, POINTS, dtype=torch.float64) * self.steps[:, None]
        before = place.long()
        after = (before + 1).minimum(self.steps[:, None])
        low, high = self.scores.gather(1, before), self.scores.gather(1, after)
        return torch.lerp(low, high, place - before)

    def x(self) -> list[float]:
        """The share of the features (of the steps, if `ragged`) at each point of `line`."""
        if self.ragged:
            return torch.linspace(0, 1, POINTS, dtype=torch.float64).tolist()
        return (self.gone[0] / self.total[0]).tolist()


def curve(case: Case, removal: Removal, order: Order) -> Curve:
    """The score while features go, the most relevant first ("morf"), the least, or at random.

    Computed once for all metrics of a case; in random order once for all candidates. Cost: steps
    evaluations per sample; × repetitions if the order or the replacement is random; and one.
    Raises InputError for features, a replacement or an output that do not fit the inputs.
    """
    key, common = ("curve", removal, order), order == "random"
    return case.once(key, lambda: _curve(case, removal, order), common=common)


def _curve(case: Case, removal: Removal, order: Order) -> Curve:
    parts = parts_of(case, removal)
    repetitions = removal.repetitions if order == "random" or parts.random else 1
    plan: list[tuple[int, int, int]] = []  # sample, repetition, features gone
    counts = [removal.counts(total) for total in parts.totals]
    for sample, of in enumerate(counts):
        plan.append((sample, 0, 0))
        plan += [(sample, each, gone) for each in range(repetitions) for gone in of]

    @lru_cache(maxsize=2)  # steps of one sample follow each other
    def ranked(sample: int, repetition: int) -> Tensor:
        relevance, number = parts.relevance(sample), case.numbers[sample]
        rank = ranks(relevance, order, seed=case.seed, number=number, repetition=repetition)
        return parts.spread(sample, rank.int())

    def make(start: int, stop: int) -> Any:
        made = []
        for (sample, repetition), steps in groupby(plan[start:stop], key=lambda one: one[:2]):
            rank = ranked(sample, repetition)
            gone = torch.tensor([one[2] for one in steps], dtype=torch.int, device=rank.device)
            gone = rank < gone.reshape(-1, *[1] * rank.dim())
            made.append(parts.emptied(sample, repetition, gone))
        return parts.joined(made)

    found = case.scores(make, [one[0] for one in plan], OUTPUTS[removal.output])
    return _assembled(found.double().cpu(), counts, parts, repetitions)


def _assembled(found: Tensor, counts: list[list[int]], parts: Parts, repetitions: int) -> Curve:
    """Curves from the scores of a plan: the mean of the repetitions, to the same length."""
    longest = max(map(len, counts))
    lines, gone = [], []
    scores = found.split([1 + repetitions * len(of) for of in counts])
    for of, own in zip(counts, scores, strict=True):
        line = torch.cat([own[:1], own[1:].reshape(repetitions, -1).mean(0)])
        rest = longest - len(of)
        lines.append(torch.cat([line, line[-1:].expand(rest)]))
        gone.append([0, *of] + [of[-1] if of else 0] * rest)
    return Curve(
        scores=torch.stack(lines),
        gone=torch.tensor(gone),
        total=torch.tensor(parts.totals),
        steps=torch.tensor([len(of) for of in counts]),
        ragged=parts.ragged,
    )


class Parts(ABC):
    """Samples in parts that can be taken away.

    totals   the number of features of each sample
    random   whether what replaces them is
    ragged   whether samples may differ in their number of features
    """

    totals: list[int]
    random: bool
    ragged: bool

    def without(self, sample: int, repetition: int, gone: Tensor) -> Any:
        """n copies of a sample without the features that are gone, (n, features)."""
        return self.emptied(sample, repetition, self.spread(sample, gone))

    @abstractmethod
    def relevance(self, sample: int) -> Tensor:
        """Of each feature, (features,)."""

    @abstractmethod
    def spread(self, sample: int, values: Tensor) -> Tensor:
        """What is given for features, (…, features), for what the sample consists of."""

    @abstractmethod
    def emptied(self, sample: int, repetition: int, gone: Tensor) -> Any:
        """n copies of a sample without what is gone, (n, …) as `spread` gives it."""

    @abstractmethod
    def joined(self, made: Sequence[Any]) -> Any:
        """Copies of several samples as one batch."""


def parts_of(case: Case, removal: Removal) -> Parts:
    if isinstance(case.inputs, list):
        return _Texts(case, removal)
    return _Tensors(case, removal)


class _Texts(Parts):
    random = False
    ragged = True

    def __init__(self, case: Case, removal: Removal) -> None:
        if removal.features not in (None, "words"):
            raise InputError(f"features={removal.features!r}: texts consist of words; leave it out")
        if removal.replacement is not None:
            raise InputError(
                f"replacement={removal.replacement!r}: words of texts are deleted; leave it out"
            )
        self.texts, self._relevance = case.inputs, case.relevance
        self.words = [text.split() for text in case.inputs]
        self.totals = [len(words) for words in self.words]

    def relevance(self, sample: int) -> Tensor:
        return self._relevance[sample]

    def spread(self, sample: int, values: Tensor) -> Tensor:
        return values

    def emptied(self, sample: int, repetition: int, gone: Tensor) -> list[str]:
        def left(row: list[bool]) -> str:
            words = zip(self.words[sample], row, strict=True)
            return " ".join(word for word, is_gone in words if not is_gone)

        return [left(row) if any(row) else self.texts[sample] for row in gone.tolist()]

    def joined(self, made: Sequence[list[str]]) -> list[str]:
        return [text for texts in made for text in texts]


class _Tensors(Parts):
    def __init__(self, case: Case, removal: Removal) -> None:
        self.inputs, self._relevance, self.by = case.inputs, case.relevance, removal.by
        spec = removal.features
        self.ragged = isinstance(spec, str) and spec.startswith("superpixels")
        self.parts = _partition(spec, self.inputs, each=self.ragged)
        self.totals = [of.count for of in self.parts]
        self.random = is_random(removal.replacement)
        self.fill = filling(removal.replacement, self.inputs, self.parts, case.numbers, case.seed)

    def relevance(self, sample: int) -> Tensor:
        values, of = self._relevance[sample].double(), self.parts[sample]
        shape = [max(sizes) for sizes in zip(values.shape, of.mask.shape, strict=True)]
        index = of.mask.expand(shape).reshape(-1)
        total = values.new_zeros(of.count).index_add_(0, index, values.expand(shape).reshape(-1))
        return total / torch.bincount(index, minlength=of.count) if self.by == "mean" else total

    def spread(self, sample: int, values: Tensor) -> Tensor:
        return values[..., self.parts[sample].mask]

    def emptied(self, sample: int, repetition: int, gone: Tensor) -> Tensor:
        return torch.where(gone, self.fill(sample, repetition, gone), self.inputs[sample])

    def joined(self, made: Sequence[Tensor]) -> Tensor:
        return made[0] if len(made) == 1 else torch.cat(list(made))


def _partition(spec: Any, inputs: Tensor, *, each: bool) -> list[Features]:
    """The features of each sample, with masks of a sample's number of dimensions."""
    dims = inputs.dim() - 1
    if isinstance(spec, str) and spec == "nodes":
        if not dims:
            raise InputError("features='nodes' are those of inputs (B, nodes, …), not (B,)")
        spec = torch.arange(inputs.shape[1]).reshape(-1, *[1] * (dims - 1))

    def of(sample: Tensor) -> Features:
        found = features(spec, sample)
        mask = found.mask.reshape(*[1] * (dims - found.mask.dim()), *found.mask.shape)
        return Features(mask, found.count)

    return [of(x) for x in inputs] if each else [of(inputs[0])] * len(inputs)


def _probabilities(output: Any) -> Tensor:
    return probable(lambda given: given)(output)


def _decisions(output: Any) -> Tensor:
    """1 for the highest output of each sample, else 0."""
    if not isinstance(output, Tensor) or output.dim() < 2 or output.shape[1] < 2:
        raise InputError(
            "output='decision' needs a model that returns one score for each of several classes, "
            "(B, classes): use output='score'"
        )
    return (output == output.amax(1, keepdim=True)).to(output.dtype)


OUTPUTS = {"score": None, "probability": _probabilities, "decision": _decisions}
"""What may be read from the model's output."""
