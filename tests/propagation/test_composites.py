"""Which rule where: places, precedence, presets and their options, and composites as values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, Composite, Rule, Where, inspect, rules
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.propagation import PRESETS, composite
from rootpoint.propagation.rules import DEFAULTS, RULES

pytestmark = pytest.mark.usefixtures("double")

MARK = rules.epsilon(epsilon=0.123)


class Block(nn.Module):
    """conv → relu → conv, added to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x).relu())


class Network(nn.Module):
    """Two residual blocks between a first convolution and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(Block(), Block())
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.blocks(F.relu(self.stem(x))))
        return self.head(x.flatten(1))


LINEAR_MAPS = (
    "stem",
    "blocks.0.one",
    "blocks.0.two",
    "blocks.1.one",
    "blocks.1.two",
    "head.0",
    "head.2",
)
X = torch.zeros(1, 3, 6, 6, dtype=torch.float64)


@pytest.fixture
def network() -> Network:
    return Network().eval()


def chosen(model: Any, where: Where, x: Any = None) -> list[str]:
    """The modules (or operations) whose step is in the place."""
    composite = Composite(((where, rules.gradient()),), "probe")
    steps = inspect(model, torch.randn(1, 3, 6, 6) if x is None else x, composite)
    return [step.module or step.operation.name for step in steps if step in where]


PLACES: dict[str, tuple[Where, tuple[str, ...]]] = {
    "anywhere linear": (Where(kind="linear"), LINEAR_MAPS),
    "convolutions": (Where(kind="convolution"), LINEAR_MAPS[:5]),
    "dense": (Where(kind="dense"), LINEAR_MAPS[5:]),
    "an operation": (Where(operation="max_pool2d"), ("pool",)),
    "a kind": (Where(kind="maximum"), ("pool",)),
    "another kind": (Where(kind="addition"), ("blocks.0", "blocks.1")),
    "a path": (Where(module="head.0"), ("head.0",)),
    "a glob": (Where(kind="linear", module="blocks.*.one"), ("blocks.0.one", "blocks.1.one")),
    "a glob over a part": (Where(kind="convolution", module="blocks.1*"), LINEAR_MAPS[3:5]),
    "a class": (Where(module_type=nn.Linear), ("head.0", "head.2")),
    "its name": (Where(module_type="Linear"), ("head.0", "head.2")),
    "a base class": (Where(kind="linear", module_type="_ConvNd"), LINEAR_MAPS[:5]),
    "classes": (
        Where(module_type=(nn.MaxPool2d, nn.Linear)),
        ("pool", "head.0", "head.2"),
    ),
    "own class": (Where(module_type=Block), ("blocks.0", "blocks.0", "blocks.1", "blocks.1")),
    "first": (Where(kind="linear", first=True), ("stem",)),
    "not first": (Where(kind="linear", first=False), LINEAR_MAPS[1:]),
    "last": (Where(kind="linear", last=True), ("head.2",)),
    "not last": (Where(kind="linear", last=False), LINEAR_MAPS[:-1]),
    "lower half": (Where(kind="linear", depth=(0.0, 0.5)), LINEAR_MAPS[:4]),
    "top": (Where(kind="linear", depth=(1.0, 1.0)), ("head.2",)),
    "all conditions": (
        Where(kind="linear", module="head*", module_type=nn.Linear, last=True, depth=(0.5, 1.0)),
        ("head.2",),
    ),
    "nowhere": (Where(kind="dense", module_type=nn.Conv2d), ()),
}


@pytest.mark.parametrize(("where", "expected"), PLACES.values(), ids=PLACES)
def test_a_place_is_all_operations_that_meet_every_condition(
    network: Network, where: Where, expected: tuple[str, ...]
) -> None:
    assert tuple(chosen(network, where)) == expected


def test_a_function_has_places_too() -> None:
    w, v = torch.randn(3, 4), torch.randn(4, 2)

    def model(x: Tensor) -> Tensor:
        return (x @ w).relu() @ v

    x = torch.randn(1, 3)
    assert chosen(model, Where(first=True, kind="linear"), x) == ["matmul"]
    assert chosen(model, Where(operation="matmul"), x) == ["matmul", "matmul"]
    assert chosen(model, Where(module_type=nn.Module), x) == []


def test_first_and_last_hold_on_every_path() -> None:
    """`direct` reaches the output past other linear maps, but also through one: it is not last."""
    direct, after = nn.Linear(3, 3), nn.Linear(3, 3)

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.direct, self.after, self.beside = direct, after, nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.direct(x)
            return y + self.after(y.relu()) + self.beside(x)

    model = Skip().eval()
    x = torch.randn(1, 3)
    assert chosen(model, Where(kind="linear", first=True), x) == ["direct", "beside"]
    assert chosen(model, Where(kind="linear", last=True), x) == ["after", "beside"]


def test_the_first_entry_that_fits_wins(network: Network) -> None:
    """And one whose rule is not made for the kind is passed over."""
    composite = Composite(
        (
            (Where(), rules.proportional()),
            (Where(module="head.0"), rules.flat()),
            (Where(kind="dense"), MARK),
            (Where(), rules.z_plus()),
        )
    )
    found = {step.module: str(step.rule) for step in inspect(network, X, composite)}
    assert found["pool"] == "proportional()"
    assert found["head.0"] == "flat()"
    assert found["head.2"] == str(MARK)
    assert found["stem"] == str(rules.z_plus())
    assert found["blocks.0"] in (str(DEFAULTS["addition"]), str(DEFAULTS["activation"]))


def test_an_empty_composite_gives_every_kind_its_default(network: Network) -> None:
    for step in inspect(network, X, Composite()):
        if step.kind in DEFAULTS:
            assert step.rule == DEFAULTS[step.kind]


def test_override_puts_a_rule_first(network: Network) -> None:
    base = composite("epsilon-plus")
    changed = base.override(Where(module="blocks.1.*"), MARK)
    found = {step.module: step.rule for step in inspect(network, X, changed) if step.linear}
    assert found["blocks.1.one"] == found["blocks.1.two"] == MARK
    assert found["stem"] == rules.z_plus()
    assert changed.name == "epsilon-plus, changed"
    assert base == composite("epsilon-plus")


def test_an_override_takes_effect(network: Network) -> None:
    x = torch.randn(1, 3, 6, 6)
    plus = LRP(composite="epsilon-plus")
    everywhere = composite("epsilon").override(Where(kind="convolution"), rules.z_plus())
    torch.testing.assert_close(
        LRP(composite=everywhere)(network, x, 0).relevance, plus(network, x, 0).relevance
    )


# -- presets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_explains_and_prints(network: Network, name: str) -> None:
    found = LRP(composite=name)(network, torch.randn(2, 3, 6, 6), [0, 1])
    assert found.relevance.isfinite().all()
    assert found.relevance.abs().sum() > 0
    text = str(composite(name))
    assert text.splitlines()[0] == name
    assert all(str(rule) in text for _, rule in composite(name).entries)


ASSIGNED: dict[str, tuple[str, str, str]] = {
    "epsilon": ("epsilon", "epsilon", "epsilon"),
    "epsilon-plus": ("z-plus", "z-plus", "epsilon"),
    "epsilon-plus-flat": ("flat", "z-plus", "epsilon"),
    "epsilon-alpha2-beta1": ("alpha-beta", "alpha-beta", "epsilon"),
    "epsilon-alpha2-beta1-flat": ("flat", "alpha-beta", "epsilon"),
    "epsilon-gamma-box": ("box", "gamma", "epsilon"),
    "alpha1-beta0": ("z-plus", "z-plus", "z-plus"),
    "deep-taylor": ("box", "z-plus", "z-plus"),
    "gamma-epsilon-zero": ("box", "gamma", "zero"),
    "layered": ("flat", "gamma", "epsilon"),
    "attn-lrp": ("epsilon", "epsilon", "epsilon"),
    "cp-lrp": ("epsilon", "epsilon", "epsilon"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_assign_the_fields_rules(network: Network, name: str) -> None:
    """To the first convolution, the second, and the last dense layer."""
    rule_of = {s.module: s.rule.name for s in inspect(network, X, composite(name)) if s.rule}
    assert (rule_of["stem"], rule_of["blocks.0.one"], rule_of["head.2"]) == ASSIGNED[name]


def test_options_in_parentheses() -> None:
    expected = PRESETS["epsilon-gamma-box"](low=-2.1, high=2.6, gamma=0.5)
    assert composite("epsilon-gamma-box(low=-2.1, high=2.6, gamma=0.5)") == expected
    assert composite("epsilon()") == composite("epsilon") == PRESETS["epsilon"]()
    assert composite("epsilon-alpha2-beta1(bias='absorb', guard=True)") == PRESETS[
        "epsilon-alpha2-beta1"
    ](bias="absorb", guard=True)


def test_a_composite_is_its_own_name() -> None:
    given = Composite(((Where(), rules.zero()),))
    assert composite(given) is given


def test_an_unknown_preset_names_close_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"no composite is called 'epsilon-pluss'; did you mean"
    ):
        composite("epsilon-pluss")


@pytest.mark.parametrize(
    "text",
    [
        "epsilon(epsilon=",
        "epsilon(1e-3)",
        "epsilon(gamma=1)",
        "epsilon(epsilon=x)",
        "epsilon(epsilon=1) + 1",
        "epsilon(epsilon=__import__('os'))",
        "epsilon)",
    ],
)
def test_options_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises((InputError, UnknownNameError)):
        composite(text)


def test_roots_of_deep_taylor_are_named() -> None:
    for input_, rule in (
        ("box", rules.box()),
        ("embedding", rules.w_square()),
        ("nearest", rules.w_square()),
        ("rescaled-excitations", rules.z_plus()),
        ("rescaled-activation", rules.zero()),
    ):
        assert PRESETS["deep-taylor"](input=input_).entries[0][1] == rule
    for options in ({"input": "boxes"}, {"hidden": "box"}, {"maximum": "loser"}):
        with pytest.raises(UnknownNameError):
            PRESETS["deep-taylor"](**options)


# -- composites as values ----------------------------------------------------------------------


def test_a_composite_prints_as_a_table() -> None:
    text = str(composite("epsilon-gamma-box(low=-1, high=1)"))
    assert text.splitlines()[:4] == [
        "epsilon-gamma-box",
        "  kind convolution, first True  box(low=-1, high=1)",
        "  kind convolution              gamma(gamma=0.25, bias='absorb', epsilon=0.0)",
        "  kind linear                   epsilon(epsilon=1e-06)",
    ]
    assert "activation" in text
    assert "other" not in text


def test_a_table_tells_partly_covered_kinds_apart() -> None:
    text = str(Composite(((Where(kind="maximum", module="a.*"), rules.ties()),), "mine"))
    lines = text.splitlines()
    assert "  kind maximum, module a.*  ties()" in lines
    assert "  other maximum             gradient()" in lines


def test_places_print_their_conditions() -> None:
    assert str(Where()) == "anywhere"
    where = Where(module_type=(nn.Linear, nn.Conv2d), depth=(0.0, 0.5), last=False)
    assert str(where) == "module_type Linear–Conv2d, last False, depth 0.0–0.5"


def test_composites_compare_and_hash_by_value() -> None:
    for name in PRESETS:
        assert composite(name) == composite(name)
        assert hash(composite(name)) == hash(composite(name))
    assert len({composite(name) for name in PRESETS}) == len(PRESETS)
    assert composite("epsilon(epsilon=0.1)") != composite("epsilon")
    assert LRP(composite=composite("epsilon")) == LRP(composite=composite("epsilon"))


def test_composites_with_tensors_compare_too() -> None:
    low = torch.tensor([-1.0, -2.0, -3.0]).reshape(3, 1, 1)
    make = PRESETS["epsilon-gamma-box"]
    assert make(low=low) == make(low=low)
    assert make(low=low) != make(low=low + 1)
    assert hash(make(low=low)) == hash(make(low=low))


def test_a_rule_is_a_value() -> None:
    assert rules.gamma(gamma=0.25) == rules.gamma()
    assert rules.gamma(gamma=0.5) != rules.gamma()
    assert str(rules.gamma(gamma=0.5)) == "gamma(gamma=0.5, bias='absorb', epsilon=0.0)"
    assert (
        str(rules.box(low=torch.zeros(3, 1, 1)))
        == "box(low=(((0.0,),), ((0.0,),), ((0.0,),)), high=None)"
    )
    assert rules.flat().exact
    assert not rules.epsilon().exact


def test_every_rule_is_registered_under_its_name() -> None:
    for name, make in RULES.items():
        assert isinstance(make(), Rule)
        assert make().name == name
        assert make.__doc__


def test_touches_and_exact_say_what_may_happen() -> None:
    """Whether a kind may get a rule of its own, and whether zeros may carry relevance inside."""
    epsilon, flat = composite("epsilon"), composite("epsilon-plus-flat")
    assert epsilon.touches("dense")
    assert epsilon.touches("convolution")
    assert not epsilon.touches("maximum")
    assert composite("deep-taylor").touches("maximum")
    assert not Composite(((Where(kind="dense"), rules.proportional()),)).touches("dense")
    assert Composite(((Where(module="x"), rules.gradient()),)).touches("addition")
    assert not epsilon.exact
    assert not flat.exact
    assert Composite(((Where(kind="linear"), rules.flat()),)).exact
    assert not Composite(((Where(first=True), rules.box()),)).exact
    assert composite("deep-taylor(hidden='nearest')").exact
