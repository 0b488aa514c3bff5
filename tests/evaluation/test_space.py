"""Spaces of composites: what they begin with, how points vary, and that all of them are text."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from torch import nn

from rootpoint import LRP, method
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.evaluation.space import SPACE, Space

SMALL = Space(
    {"lower": ("zero", "z-plus"), "upper": ("zero", "gamma(gamma=0.5)")},
    starts=({"upper": "gamma(gamma=0.5)"},),
)


def test_a_point_is_a_method_in_text() -> None:
    found = SMALL.method(("z-plus", "gamma(gamma=0.5)"))
    assert found == LRP(composite="layered(lower='z-plus', upper='gamma(gamma=0.5)')")
    assert method(str(found)) == found


def test_starts_come_first_and_missing_options_have_their_first_value() -> None:
    assert SMALL.first(1, Random(0)) == [("zero", "gamma(gamma=0.5)")]


def test_points_differ_and_end_with_the_space() -> None:
    found = SMALL.first(100, Random(0))
    assert len(found) == len(set(found)) == SMALL.size == 4


@pytest.mark.parametrize("seed", range(20))
def test_a_varied_point_differs_in_one_option(seed: int) -> None:
    random = Random(seed)
    point = SPACE.first(30, random)[-1]
    varied = SPACE.varied(point, random)
    assert sum(a != b for a, b in zip(point, varied, strict=True)) == 1
    assert all(v in values for v, values in zip(varied, SPACE.options.values(), strict=True))


def test_a_point_without_another_value_stays() -> None:
    assert Space({"lower": ("zero",)}).varied(("zero",), Random(0)) == ("zero",)


def test_the_same_seed_draws_the_same_points() -> None:
    assert SPACE.first(30, Random(3)) == SPACE.first(30, Random(3))
    assert SPACE.first(30, Random(3)) != SPACE.first(30, Random(4))


def test_every_value_of_the_default_space_explains() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)).eval()
    start = SPACE.first(1, Random(0))[0]
    points = {
        (*start[:place], value, *start[place + 1 :])
        for place, values in enumerate(SPACE.options.values())
        for value in values
    }
    points |= set(SPACE.first(len(SPACE.starts), Random(0)))
    for point in points:
        found = SPACE.method(point)(network, torch.ones(1, 1, 6, 6), 0)
        assert found.relevance.isfinite().all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"options": {}}, "a space needs options"),
        ({"options": {"lower": ()}}, "values for each"),
        ({"options": {"lower": ("zero",)}, "starts": ({"uper": "zero"},)}, "sets 'uper'"),
    ],
)
def test_a_space_without_choices_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Space(**given)


def test_an_unknown_rule_or_option_is_refused_before_it_is_judged() -> None:
    with pytest.raises(UnknownNameError, match="no rule is called 'gama'"):
        Space({"lower": ("gama",)}).method(("gama",))
    with pytest.raises(InputError, match="cannot be read"):
        Space({"top": ("zero",)}).method(("zero",))
