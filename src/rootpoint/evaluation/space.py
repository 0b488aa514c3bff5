"""The composites that `select` searches: a rule for each range of depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from rootpoint.errors import InputError
from rootpoint.methods.lrp import LRP
from rootpoint.propagation.composites import composite

Point: TypeAlias = "tuple[Any, ...]"
"""A value for each option of a space, in their order."""


@dataclass(frozen=True)
class Space:
    """Composites that differ in the options of one preset.

    options   the values that each option may take
    starts    options of composites to begin with; of an option that is missing, its first value
    preset    the composite that has these options
    Raises InputError if there is nothing to choose from.
    """

    options: Mapping[str, Sequence[Any]]
    starts: Sequence[Mapping[str, Any]] = field(default=())
    preset: str = "layered"

    def __post_init__(self) -> None:
        if not self.options or not all(self.options.values()):
            raise InputError("a space needs options, and values for each of them")
        for start in self.starts:
            for name in set(start) - set(self.options):
                raise InputError(f"a start sets {name!r}, which is no option of this space")

    @property
    def size(self) -> int:
        """How many composites it holds, but for starts outside of it."""
        count = 1
        for values in self.options.values():
            count *= len(values)
        return count

    def method(self, point: Point) -> LRP:
        """LRP by the composite at a point, which is text: it can be saved and named.

        Raises UnknownNameError or InputError for what is no option or no rule.
        """
        given = ", ".join(f"{k}={v!r}" for k, v in zip(self.options, point, strict=True))
        text = f"{self.preset}({given})"
        composite(text)
        return LRP(composite=text)

    def first(self, count: int, random: Random) -> list[Point]:
        """Different points to begin with: the starts, then random ones; `count` if there are."""
        found = dict.fromkeys(self._start(start) for start in self.starts)
        for _ in range(20 * count):  # more would not find the last few of a small space either
            if len(found) >= count:
                break
            found[tuple(random.choice(list(values)) for values in self.options.values())] = None
        return list(found)[:count]

    def varied(self, point: Point, random: Random) -> Point:
        """A point that differs in one option, if any has another value."""
        others = [
            (place, value)
            for place, values in enumerate(self.options.values())
            for value in values
            if value != point[place]
        ]
        if not others:
            return point
        place = random.choice(sorted({place for place, _ in others}))
        value = random.choice([value for at, value in others if at == place])
        return (*point[:place], value, *point[place + 1 :])

    def _start(self, start: Mapping[str, Any]) -> Point:
        return tuple(start.get(name, values[0]) for name, values in self.options.items())


GAMMAS = tuple(f"gamma(gamma={value})" for value in (0.05, 0.1, 0.25, 0.5, 1.0))
EPSILONS = tuple(f"epsilon(epsilon={value})" for value in (0.01, 0.03, 0.1, 0.3, 1.0))
RULES = ("zero", *EPSILONS, *GAMMAS, "z-plus", "alpha-beta")

SPACE = Space(
    options={
        "input": ("flat", None, "box", "w-square"),
        "lower": RULES,
        "middle": RULES,
        "upper": RULES,
        "dense": ("epsilon", "epsilon(epsilon=0.1)", "gamma(gamma=0.25)", "z-plus"),
        "splits": ((0.33, 0.67), (0.2, 0.5), (0.33, 0.8), (0.5, 0.8), (0.5, 0.67)),
    },
    starts=(
        {"lower": GAMMAS[2], "middle": GAMMAS[2], "upper": GAMMAS[2]},
        {"lower": GAMMAS[2], "middle": EPSILONS[3], "upper": "zero"},
        {"lower": GAMMAS[3], "middle": GAMMAS[2], "upper": EPSILONS[2]},
        {"lower": "z-plus", "middle": "z-plus", "upper": EPSILONS[2]},
        {"input": None, "lower": "z-plus", "middle": GAMMAS[2], "upper": EPSILONS[2]},
        {"lower": "z-plus", "middle": GAMMAS[2], "upper": EPSILONS[2], "splits": (0.5, 0.8)},
        {"lower": EPSILONS[2], "middle": EPSILONS[2], "upper": EPSILONS[2]},
    ),
)
"""The ranges of the path, and the rules of the field for each; it begins with the usual ones:
γ everywhere; γ, ε and LRP-0 from the input up; γ or z⁺ below ε; ε everywhere."""
