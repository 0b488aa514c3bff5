"""Questions: their answers, found again from their words."""

from __future__ import annotations

import re
from collections import Counter

from rootpoint.evaluation.scenes.questions import (
    KINDS,
    MARGIN,
    OUTPUTS,
    QUESTIONS,
    Question,
    outputs,
)
from rootpoint.evaluation.scenes.scene import Scene, Thing, draw

WORDS = re.compile(
    r"What (colour|shape|size) is (?:the object (left of|right of|above|below) )?the (.+)\?"
)


def found_again(text: str, scene: Scene) -> tuple[str, int, set[int]] | None:
    """The answer, the target and the objects involved, from the words alone."""
    match = WORDS.fullmatch(text)
    assert match is not None
    asked, side, words = match.groups()
    given = [word for word in words.split() if word != "object"]
    described = [
        i
        for i, thing in enumerate(scene.things)
        if all(word in (thing.shape, thing.size, thing.colour) for word in given)
    ]
    if len(described) != 1:
        return None
    target, involved = described[0], {described[0]}
    if side:
        reference = scene.things[target]
        offsets = [(t.x - reference.x, t.y - reference.y) for t in scene.things]
        axis = 0 if side in ("left of", "right of") else 1
        sign = -1 if side in ("left of", "above") else 1
        others = [i for i in range(len(offsets)) if i != target]
        if any(abs(offsets[i][axis]) < MARGIN for i in others):
            return None
        beside = [i for i in others if sign * offsets[i][axis] > 0]
        if len(beside) != 1:
            return None
        involved, target = {target, beside[0]}, beside[0]
    return getattr(scene.things[target], asked), target, involved


def test_answers_are_those_found_again_from_the_words() -> None:
    counted: Counter[str] = Counter()
    for number in range(80):
        scene = draw((21, number))
        for question in QUESTIONS:
            answer, expected = question.ask(scene), found_again(question.text, scene)
            assert (answer is None) == (expected is None)
            if answer is not None and expected is not None:
                assert question.answers[answer.position] == expected[0]
                assert (answer.target, set(answer.involved)) == expected[1:]
                counted[question.kind] += 1
    assert set(counted) == set(KINDS)
    assert min(counted.values()) > 50


def test_every_question_has_its_own_words_and_its_own_outputs() -> None:
    assert len({question.text for question in QUESTIONS}) == len(QUESTIONS)
    taken = [output for question in QUESTIONS for output in outputs(question)]
    assert taken == list(range(OUTPUTS))


def test_an_order_that_is_doubtful_has_no_answer() -> None:
    def thing(shape: str, x: float) -> Thing:
        return Thing(shape, "small", "red", x, 30, 0, 58, (1, 0, 0))

    question = Question("colour", {"shape": "circle"}, "left of")
    circle, found = thing("circle", 40), (0, 1, (1, 0))
    assert question.ask(Scene((circle, thing("star", 10)), (0,))) == found
    assert question.ask(Scene((circle, thing("star", 36)), (0,))) is None
    assert question.ask(Scene((circle, thing("star", 10), thing("star", 43)), (0,))) is None
    assert question.ask(Scene((circle, thing("star", 10), thing("star", 20)), (0,))) is None
    assert question.ask(Scene((circle, thing("star", 10), thing("star", 60)), (0,))) == found
    assert question.ask(Scene((circle, thing("star", 60)), (0,))) is None
    assert question.ask(Scene((circle, thing("circle", 10)), (0,))) is None
