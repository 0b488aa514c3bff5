"""Explaining samples by the games of their features: tensors and texts, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation, Passes
from rootpoint.inputs import Model, check_model, single
from rootpoint.method import Method
from rootpoint.perturbation.coalitions import Worth
from rootpoint.perturbation.features import Features, features
from rootpoint.perturbation.frozen import frozen
from rootpoint.perturbation.game import Game, TensorGame, TextGame
from rootpoint.perturbation.replacements import replacements
from rootpoint.progress import progress
from rootpoint.scoring import Decision, Evaluator, decide, decided
from rootpoint.target import Target

_WORD_BYTES = 1 << 14  # what a model may hold of each word, to judge how many texts fit a batch


@dataclass(frozen=True, eq=False)
class Solved:
    """What a method makes of one game.

    values           of the features (d,), with their standard errors if sampled
    empty            the score where the explanation puts zero, if the values sum up to the rest
    details, notes   for the explanation; numbers are gathered over the samples
    """

    values: Tensor
    standard_error: Tensor | None = None
    empty: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TensorSample:
    """A sample of tensors: its features, and what replaces them."""

    sample: Tensor
    features: Features
    replacements: Tensor

    @property
    def count(self) -> int:
        return self.features.count

    @property
    def cost(self) -> int:
        return len(self.replacements)

    @property
    def like(self) -> Tensor:
        return self.sample

    @property
    def about(self) -> dict[str, Any]:
        return {"features": self.features.mask, "names": self.features.names}

    def game(self, evaluate: Evaluator) -> Game:
        return TensorGame(self.sample, self.features, self.replacements, evaluate)

    def share(self, values: Tensor) -> Tensor:
        """The value of each feature, in equal parts, on its values of the sample."""
        here = Features(self.features.mask.cpu(), self.features.count)
        return here.spread(values, self.sample).to(self.sample.device)


@dataclass(frozen=True, eq=False)
class TextSample:
    """A text: its features are its words, as white space parts them."""

    words: tuple[str, ...]
    cost: ClassVar[int] = 1

    @property
    def count(self) -> int:
        return len(self.words)

    @property
    def like(self) -> Tensor:
        return torch.empty(len(self.words), _WORD_BYTES, dtype=torch.uint8)

    @property
    def about(self) -> dict[str, Any]:
        return {"words": self.words}

    def game(self, evaluate: Evaluator) -> Game:
        return TextGame(self.words, evaluate)

    def share(self, values: Tensor) -> Tensor:
        return values.to(torch.get_default_dtype())


Sample = TensorSample | TextSample


def is_text(inputs: Any) -> bool:
    """Whether the inputs are texts: a list of strings. Raises InputError for what is nearly so."""
    if isinstance(inputs, str):
        raise InputError("the input is one text: give a list of texts, [text], as the model takes")
    return isinstance(inputs, list) and all(isinstance(text, str) for text in inputs)


def samples(
    inputs: Any, spec: str | Tensor, baseline: float | str | Tensor | None, seed: int
) -> list[Sample]:
    """Each sample with its features and what replaces them; a text's words are left out.

    spec       as in `features`, or "auto": superpixels of images, columns of tables
    baseline   as in `replacements`; None is 0
    Raises InputError if these do not fit, or a text has no words.
    """
    if is_text(inputs):
        return _texts(inputs, spec, baseline)
    made: list[Sample] = []
    for sample in inputs:
        partition = features(_automatic(sample) if _is_auto(spec) else spec, sample)
        replaced = replacements(0.0 if baseline is None else baseline, sample, partition, seed=seed)
        made.append(TensorSample(sample, partition, replaced))
    return made


def _texts(inputs: list[str], spec: str | Tensor, baseline: Any) -> list[Sample]:
    if baseline is not None or not _is_auto(spec):
        raise InputError(
            "texts are explained by their words, which are left out: give no features or baseline"
        )
    words = [tuple(text.split()) for text in inputs]
    if () in words:
        raise InputError(f"text {words.index(())} has no words: there is nothing to explain")
    return [TextSample(each) for each in words]


def _is_auto(spec: str | Tensor) -> bool:
    return isinstance(spec, str) and spec == "auto"


def _automatic(sample: Tensor) -> str:
    if sample.dim() not in (1, 3):
        raise InputError(
            f"samples of shape {tuple(sample.shape)} are neither images (C, H, W) nor rows of a "
            "table (D,): say which values belong together by features='values', 'columns' or a mask"
        )
    return "columns" if sample.dim() == 1 else "superpixels"


def decisions(method: str, model: Model, inputs: Any, targets: Sequence[Target]) -> list[Decision]:
    """The explained decision for each target, of one tensor (B, …) or of texts. One forward.

    Raises InputError or UnsupportedModelError if the inputs, the model or a target cannot be used.
    """
    if not is_text(inputs):
        return decide(model, single(method, inputs), targets)
    check_model(model)
    if not inputs:
        raise InputError("there is no text to explain")
    return decided(model, inputs, targets, len(inputs))


def play(
    method: Method,
    model: Model,
    inputs: Any,
    found: Sequence[Decision],
    among: Sequence[Sample],
    *,
    expected: Callable[[int, int], int],
    solve: Callable[[Worth], Solved],
) -> list[Explanation]:
    """The explanation of each decision, from `solve` of the game of each sample.

    expected   evaluations for so many features and evaluations per coalition, for the progress bar
    Raises InputError if all coalitions of a sample are worth the same.
    """
    copy = model if is_text(inputs) else frozen(model, inputs)
    evaluations = sum(expected(sample.count, sample.cost) for sample in among)
    with progress(evaluations * len(found), method.name) as advance:

        def solved(decision: Decision, index: int) -> tuple[Solved, int]:
            sample = among[index]
            evaluate = Evaluator(copy, decision.target, index, sample.like, advance)
            v = Worth(sample.game(evaluate), float(decision.score[index]))
            answer = solve(v)
            if v.constant:
                raise _constant(method.name, index, len(among), v.full)
            return answer, evaluate.spent

        return [
            _explanation(
                method, inputs, decision, among, [solved(decision, i) for i in range(len(among))]
            )
            for decision in found
        ]


def _constant(name: str, index: int, batch: int, score: float) -> InputError:
    which = f" of sample {index}" if batch > 1 else ""
    return InputError(
        f"{name}: the score{which} stays {score:.6g} whichever features are taken away, so there "
        "is nothing to share out: choose another baseline, larger features, or another target"
    )


def _explanation(
    method: Method,
    inputs: Any,
    decision: Decision,
    among: Sequence[Sample],
    solved: Sequence[tuple[Solved, int]],
) -> Explanation:
    answers = [answer for answer, _ in solved]
    errors = None
    if any(answer.standard_error is not None for answer in answers):
        none = (torch.zeros_like(a.values) if a.standard_error is None else a.standard_error
                for a in answers)  # fmt: skip
        errors = _gathered([s.share(e) for s, e in zip(among, none, strict=True)], inputs)
    empty = None
    if all(answer.empty is not None for answer in answers):
        empty = decision.score.new_tensor([answer.empty for answer in answers])
    details: dict[str, Any] = {key: [s.about[key] for s in among] for key in among[0].about}
    for key in answers[0].details:
        every = [answer.details[key] for answer in answers]
        details[key] = (
            torch.tensor(every, dtype=torch.float64) if isinstance(every[0], float) else every
        )
    notes = tuple(dict.fromkeys(note for answer in answers for note in answer.notes))
    relevance = [s.share(a.values) for s, a in zip(among, answers, strict=True)]
    return Explanation(
        relevance=_gathered(relevance, inputs),
        output=decision.score,
        target=decision.target,
        prediction=decision.prediction,
        inputs=inputs,
        method=method,
        passes=Passes(1 + max(spent for _, spent in solved)),
        baseline_output=empty,
        standard_error=errors,
        details={"values": [answer.values for answer in answers], **details},
        notes=notes,
    )


def _gathered(each: list[Tensor], inputs: Any) -> Tensor | list[Tensor]:
    """One tensor (B, …), or of texts a list."""
    return torch.stack(each) if isinstance(inputs, Tensor) else each
