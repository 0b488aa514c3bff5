"""Scenes with questions that a network answers: what it looks at is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.scenes.network import Answering, trained
from rootpoint.evaluation.scenes.questions import KINDS, QUESTIONS, Answer, Question, outputs
from rootpoint.evaluation.scenes.rendering import masks, render
from rootpoint.evaluation.scenes.scene import Scene, draw

TRAINING_SEED = 1_000_000  # of the scenes that the networks were trained on
BLOCK = 64  # pictures answered at once


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Pictures, one question for each, the network that answers it, and the ground truth.

    model      (N, 3, 64, 64) → (N, outputs): one output for each answer to each question
    inputs     (N, 3, 64, 64), float32 in [−1, 1]; 0 is the mean of backgrounds
    targets    the output that is the right answer, which is the network's answer too
    masks      (N, 1, 64, 64), bool: the pixels of the object asked about
    union      of all objects the answer depends on: of a relation both, else the same as `masks`
    questions, answers, kinds   of each sample, in words; for kinds see `KINDS`
    scenes     what the pictures show
    accuracy   of the network by kind: the share of right answers, before wrong ones were left out
    """

    model: Answering
    inputs: Tensor
    targets: list[int]
    masks: Tensor
    union: Tensor
    questions: list[str]
    answers: list[str]
    kinds: list[str]
    scenes: list[Scene]
    accuracy: Mapping[str, float]


def benchmark(samples: int = 200, *, seed: int = 0) -> Benchmark:
    """A visual question answering benchmark with known answers to "what does it look at?".

    samples   as many of each kind of question: colour, shape, size, relation
    seed      0 to 999,999: of the scenes and the choice of questions
    Only scenes whose question the network answers right are in it. Relevance for the answer belongs
    into `masks` (strict) or `union` (lenient): `evaluate(b.model, b.inputs, …, target=b.targets,
    masks=b.masks)`. Explain scores, not probabilities: a softmax would be over the outputs of all
    questions. Raises InputError for no samples, or a seed out of range.
    Cost: about 5 ms per sample. Source of the idea: Arras, Osman, Samek 2022, Information Fusion
    81 (CLEVR-XAI: single object and union).
    """
    check(samples, seed)
    model = trained(Answering, "answering")
    found: list[list[_Sample]] = []
    accuracy: dict[str, float] = {}
    for k, kind in enumerate(KINDS):
        wanted = len(range(k, samples, len(KINDS)))
        kept, accuracy[kind] = _answered(model, kind, wanted, seed)
        found.append(kept)
    mixed = [found[i % len(KINDS)][i // len(KINDS)] for i in range(samples)]
    covered = [masks(sample.scene) for sample in mixed]
    involved = [c[list(s.answer.involved)].any(0) for s, c in zip(mixed, covered, strict=True)]
    return Benchmark(
        model=model,
        inputs=torch.stack([sample.picture for sample in mixed]),
        targets=[sample.output for sample in mixed],
        masks=_stacked([c[s.answer.target] for s, c in zip(mixed, covered, strict=True)]),
        union=_stacked(involved),
        questions=[sample.question.text for sample in mixed],
        answers=[sample.question.answers[sample.answer.position] for sample in mixed],
        kinds=[sample.question.kind for sample in mixed],
        scenes=[sample.scene for sample in mixed],
        accuracy=accuracy,
    )


def check(samples: int, seed: int) -> None:
    """Raise InputError for no samples, or for a seed that the training may have used."""
    if samples < 1:
        raise InputError(f"samples={samples!r}: give the number of scenes, at least 1")
    if not 0 <= seed < TRAINING_SEED:
        raise InputError(f"seed={seed!r} is out of range: give one from 0 to {TRAINING_SEED - 1}")


def as_input(picture: np.ndarray) -> Tensor:
    """A picture in [0, 1] as the networks see it."""
    return torch.from_numpy(picture * 2 - 1)


@dataclass(frozen=True, eq=False)
class _Sample:
    scene: Scene
    picture: Tensor
    question: Question
    answer: Answer

    @property
    def output(self) -> int:
        return outputs(self.question)[self.answer.position]


def _answered(model: Answering, kind: str, wanted: int, seed: int) -> tuple[list[_Sample], float]:
    """The first samples of a kind that the model answers right, and the share that it does."""
    kept: list[_Sample] = []
    right = asked = 0
    numbers = count()
    while len(kept) < wanted:
        drawn = [_drawn(kind, seed, next(numbers)) for _ in range(min(BLOCK, 2 * wanted))]
        block = [sample for sample in drawn if sample is not None]
        if not block:
            continue
        with torch.inference_mode():
            output = model(torch.stack([sample.picture for sample in block]))
        for sample, row in zip(block, output, strict=True):
            own = outputs(sample.question)
            correct = int(row[own.start : own.stop].argmax()) == sample.answer.position
            asked, right = asked + 1, right + correct
            if correct:
                kept.append(sample)
    return kept[:wanted], right / asked if asked else float("nan")


def _drawn(kind: str, seed: int, number: int) -> _Sample | None:
    """A scene with a question of this kind; None if it has none."""
    own = (seed, KINDS.index(kind), number)
    scene = draw(own)
    asked = [(q, q.ask(scene)) for q in QUESTIONS if q.kind == kind]
    possible = [(question, answer) for question, answer in asked if answer is not None]
    if not possible:
        return None
    chosen = np.random.default_rng((*own, 2)).integers(len(possible))
    question, answer = possible[int(chosen)]
    return _Sample(scene, as_input(render(scene)), question, answer)


def _stacked(masks: Sequence[Any]) -> Tensor:
    return torch.from_numpy(np.stack(masks))[:, None]
