"""The questions that scenes are asked, and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from rootpoint.evaluation.scenes.scene import COLOURS, SHAPES, SIZES, Scene, Thing

ANSWERS = {"colour": tuple(COLOURS), "shape": SHAPES, "size": tuple(SIZES)}
MARGIN = 5.0  # pixels: objects closer to the same row or column have no order
SIDES = {"left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1)}
KINDS = ("colour", "shape", "size", "relation")


class Answer(NamedTuple):
    """What the answer to a question is, which object has it, and which objects it takes.

    position   in the question's `answers`
    target     the object asked about, by its position in the scene
    involved   the target and, of a relation, the object it is related to
    """

    position: int
    target: int
    involved: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """Such as "What colour is the large square?", "What size is the star?", or with a relation.

    asked   the attribute that is asked for
    given   the attributes that single out an object: the one asked about, or the reference
    side    where of the reference the object is that is asked about; None without a relation
    """

    asked: str
    given: Mapping[str, str]
    side: str | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """All values of the attribute asked for."""
        return ANSWERS[self.asked]

    @property
    def kind(self) -> str:
        """One of `KINDS`: the attribute asked for, or "relation"."""
        return self.asked if self.side is None else "relation"

    @cached_property
    def text(self) -> str:
        """The question in words."""
        given = [self.given[a] for a in ("size", "colour", "shape") if a in self.given]
        words = " ".join(["the", *given, *([] if "shape" in self.given else ["object"])])
        what = words if self.side is None else f"the object {self.side} {words}"
        return f"What {self.asked} is {what}?"

    def ask(self, scene: Scene) -> Answer | None:
        """The answer; None if the scene does not have exactly one object that is asked about.

        A relation has no answer either if an object's order with the reference is doubtful.
        """
        found = [i for i, thing in enumerate(scene.things) if self._fits(thing)]
        if len(found) != 1:
            return None
        target, involved = found[0], (found[0],)
        if self.side is not None:
            beside = _beside(scene, target, self.side)
            if beside is None:
                return None
            target, involved = beside, (beside, target)
        value = getattr(scene.things[target], self.asked)
        return Answer(self.answers.index(value), target, involved)

    def _fits(self, thing: Thing) -> bool:
        return all(getattr(thing, name) == value for name, value in self.given.items())


def _beside(scene: Scene, reference: int, side: str) -> int | None:
    """The only object on this side of the reference, if there is one and no order is doubtful."""
    axis, sign = SIDES[side]
    origin = getattr(scene.things[reference], axis)
    found = None
    for i, thing in enumerate(scene.things):
        ahead = sign * (getattr(thing, axis) - origin)
        if i == reference or ahead < -MARGIN:
            continue
        if ahead < MARGIN or found is not None:
            return None
        found = i
    return found


def _questions() -> tuple[Question, ...]:
    shapes = [{"shape": shape} for shape in SHAPES]
    colours = [{"colour": colour} for colour in COLOURS]

    def sized(given: list[dict[str, str]]) -> list[dict[str, str]]:
        return [{"size": size, **one} for one in given for size in SIZES]

    return (
        *(Question("colour", given) for given in shapes + sized(shapes)),
        *(Question("shape", given) for given in colours + sized(colours)),
        *(Question("size", given) for given in shapes + colours),
        *(Question("colour", given, side) for given in shapes for side in SIDES),
        *(Question("shape", given, side) for given in colours for side in SIDES),
    )


QUESTIONS = _questions()
"""Every question, in the order of the network's outputs."""


def outputs(question: Question) -> range:
    """The outputs of the network that answer this question, one for each answer."""
    start = sum(len(q.answers) for q in QUESTIONS[: QUESTIONS.index(question)])
    return range(start, start + len(question.answers))


OUTPUTS = sum(len(question.answers) for question in QUESTIONS)
