"""A composite by ranges of depth, written as text."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rootpoint import LRP, Composite, Where, inspect, method, rules
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.propagation.composites import PRESETS, composite

pytestmark = pytest.mark.usefixtures("double")

TEXT = (
    "layered(input='w-square', lower='z-plus', middle='gamma(gamma=0.5)', "
    "upper='epsilon(epsilon=0.1)', dense='zero', splits=(0.25, 0.6))"
)
X = torch.zeros(1, 1, 6, 6, dtype=torch.float64)


@pytest.fixture
def network() -> nn.Sequential:
    """Five convolutions at depths 0, 0.2 … 0.8 and a dense layer at depth 1."""
    layers: list[nn.Module] = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(108, 2)).double().eval()


def assigned(network: nn.Module, text: str | Composite) -> list[str]:
    path = inspect(network, X, composite(text))
    return [step.rule.name for step in path if step.linear and step.rule]


def test_each_range_of_depth_has_its_rule(network: nn.Sequential) -> None:
    assert assigned(network, TEXT) == [
        "w-square",
        "z-plus",
        "gamma",
        "gamma",
        "epsilon",
        "zero",
    ]


def test_without_a_rule_the_input_and_dense_layers_have_that_of_their_range(
    network: nn.Sequential,
) -> None:
    text = "layered(input=None, dense=None, lower='z-plus', upper='epsilon(epsilon=0.1)')"
    found = assigned(network, text)
    assert (found[0], found[-1]) == ("z-plus", "epsilon")


def test_ranges_may_be_empty(network: nn.Sequential) -> None:
    text = "layered(lower='zero', middle='z-plus', upper='gamma', dense=None, splits=(0.5, 0.5))"
    assert set(assigned(network, text)[3:]) == {"gamma"}
    assert assigned(network, text.replace("(0.5, 0.5)", "(1, 1)"))[1:] == ["zero"] * 5


def test_the_relevance_is_that_of_the_same_rules_given_by_place(network: nn.Sequential) -> None:
    by_place = Composite(
        (
            (Where(first=True), rules.w_square()),
            (Where(module="2"), rules.z_plus()),
            (Where(module="[46]"), rules.gamma(gamma=0.5)),
            (Where(module="8"), rules.epsilon(epsilon=0.1)),
            (Where(kind="dense"), rules.zero()),
        )
    )
    x = torch.randn(3, 1, 6, 6)
    found = LRP(composite=TEXT)(network, x).relevance
    expected = LRP(composite=by_place)(network, x).relevance
    torch.testing.assert_close(found, expected)


def test_rules_may_be_given_as_such() -> None:
    layered = PRESETS["layered"]
    assert layered(lower=rules.gamma(gamma=0.5)) == layered(lower="gamma(gamma=0.5)")


def test_a_method_with_a_layered_composite_is_text() -> None:
    chosen = LRP(composite=TEXT)
    assert method(str(chosen)) == chosen
    assert method("lrp", composite=TEXT) == chosen


@pytest.mark.parametrize(
    "text", ["gamma(gamma=0.5)", "gamma()", "gamma", "alpha-beta(alpha=1.5, beta=0.5)"]
)
def test_a_rule_is_read_from_text(text: str) -> None:
    found = rules.read(text)
    assert found.name == text.partition("(")[0]
    assert rules.read(str(found)) == found == rules.read(found)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ("lower='gama'", UnknownNameError, "no rule is called 'gama'; did you mean gamma"),
        ("lower='gamma(epsilom=1)'", InputError, "rule 'gamma' has no option"),
        ("lower='gamma(gamma=-1)'", InputError, "gamma=-1 is not a number, or negative"),
        ("upper='gamma(1)'", InputError, r"rule 'gamma\(1\)' cannot be read"),
        ("input=3", InputError, "3 is neither a Rule nor the name of one"),
        ("dense='magnitude'", InputError, "rule 'magnitude' is not made for linear maps"),
        ("splits=(0.7, 0.3)", InputError, "two depths in order, each from 0 to 1"),
        ("splits=(0.3, 1.3)", InputError, "two depths in order"),
        ("splits=0.5", InputError, "two depths in order"),
        ("splits=('a', 'b')", InputError, "two depths in order"),
        ("top='zero'", InputError, "cannot be read"),
    ],
)
def test_what_cannot_be_a_layered_composite_is_refused(
    options: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        composite(f"layered({options})")
