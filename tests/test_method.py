"""Methods: values that are built by name, know no model, and are called in one way."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rootpoint
from rootpoint import LRP, DeepTaylor, Explanation, Gradient, GradientTimesInput, Method
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.parametric import check_bounds, parameter, parse


class Counting(nn.Module):
    """A small convolutional network that counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2))
        self.shared = nn.Conv2d(4, 4, 1, bias=False)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(16, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        y = self.features(x)
        y = self.shared(self.shared(y).relu()).relu()
        return self.head(y.flatten(1))


@pytest.fixture
def model() -> Counting:
    return Counting().double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 2, 6, 6, dtype=torch.float64)


EXACT = LRP(composite="epsilon(epsilon=0.0)")

# -- the registry ------------------------------------------------------------------------------


def test_the_first_methods_are_known_by_name() -> None:
    known = rootpoint.methods()
    assert {"lrp", "deep-taylor", "gradient", "gradient-times-input"} <= set(known)
    assert list(known) == sorted(known)
    assert known["lrp"] is LRP
    assert known["deep-taylor"] is DeepTaylor


@pytest.mark.parametrize("name", rootpoint.methods())
def test_every_method_says_what_it_is(name: str) -> None:
    cls = rootpoint.methods()[name]
    assert cls.name == name
    assert cls.summary
    assert cls.cost
    assert "Source:" in (cls.__doc__ or "")
    assert all(f.metadata["help"] for f in dataclasses.fields(cls))


@pytest.mark.parametrize("name", rootpoint.methods())
def test_every_method_has_defaults_and_is_a_value(name: str) -> None:
    one, other = rootpoint.method(name), rootpoint.method(name)
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one).startswith(type(one).__name__)
    assert (
        eval(repr(one), {public: getattr(rootpoint, public) for public in rootpoint.__all__}) == one
    )
    for f in dataclasses.fields(one):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, f.name, None)


def test_names_and_parameters_need_no_torch() -> None:
    """`rootpoint --help` and a program that only asks what exists stay instant."""
    code = (
        "import sys, rootpoint\n"
        "rootpoint.methods()\n"
        "rootpoint.method('lrp', composite='epsilon-plus')\n"
        "rootpoint.method('deep-taylor', low='-1', maximum='winner')\n"
        "import rootpoint.errors, rootpoint.explanation, rootpoint.cli\n"
        "heavy = {'torch', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists() -> None:
    for name in rootpoint.__all__:
        assert getattr(rootpoint, name) is not None
    assert set(rootpoint.__all__) <= set(dir(rootpoint))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rootpoint.nothing  # pyright: ignore


# -- building by name --------------------------------------------------------------------------


def test_parameters_may_be_strings_as_on_a_command_line() -> None:
    found = rootpoint.method("deep-taylor", low="-2.5", high="3", maximum="winner")
    assert found == DeepTaylor(low=-2.5, high=3, maximum="winner")
    assert rootpoint.method("deep-taylor", low="none") == DeepTaylor()
    text = "epsilon-gamma-box(low=-2.1, high=2.6)"
    assert rootpoint.method("lrp", composite=text) == LRP(composite=text)


def test_an_unknown_method_names_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"called 'deep-tailor'; did you mean deep-taylor"):
        rootpoint.method("deep-tailor")
    with pytest.raises(UnknownNameError, match=r"known: .*lrp"):
        rootpoint.method("xyz")


def test_a_parameter_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(
        InputError, match=r"lrp has no parameter 'gamma'; its parameters: .*composite"
    ):
        rootpoint.method("lrp", gamma=1)
    with pytest.raises(InputError, match="gradient has no parameter 'steps'; its parameters: none"):
        rootpoint.method("gradient", steps="3")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"input": "circle"}, "input='circle'; choose one of box, embedding"),
        ({"hidden": "box"}, "hidden='box'; choose one of rescaled-excitations"),
        ({"maximum": "loser"}, "maximum='loser'; choose one of proportional, winner"),
        ({"low": "cold"}, "low='cold'"),
    ],
)
def test_values_that_a_parameter_cannot_have_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    for make in (DeepTaylor, lambda **p: rootpoint.method("deep-taylor", **p)):
        with pytest.raises(InputError, match=message):
            make(**parameters)


@dataclasses.dataclass
class Parameters:
    steps: int = parameter(50, "how many", low=1, high=100)
    level: float = parameter(0.5, "how much", low=0.0)
    sure: bool = parameter(False, "whether")
    kind: str = parameter("a", "which", choices=("a", "b"))
    seed: int | None = parameter(None, "of chance")


FIELDS = {f.name: f for f in dataclasses.fields(Parameters)}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "7", 7),
        ("level", "2", 2.0),
        ("level", "1e-3", 1e-3),
        ("sure", "true", True),
        ("sure", "False", False),
        ("kind", "b", "b"),
        ("seed", "none", None),
        ("seed", "3", 3),
        ("kind", "a.b-c", "a.b-c"),
        ("steps", "{[]: 1}", "{[]: 1}"),
    ],
)
def test_text_becomes_the_value_it_spells(name: str, text: str, value: Any) -> None:
    found = parse(FIELDS[name], text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 1), ("steps", 100), ("level", 0.0), ("level", 1e9), ("sure", True), ("kind", "b")],
)
def test_values_within_bounds_pass(name: str, value: Any) -> None:
    check_bounds("method", FIELDS[name], value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, r"method: steps=0 is out of range \[1, 100\]"),
        ("steps", 101, "out of range"),
        ("level", -0.1, "out of range"),
        ("level", float("nan"), "."),
        ("steps", "many", "is not a number"),
        ("steps", True, "is not a number"),
        ("steps", 2.5, "."),
        ("sure", 1, "neither true nor false"),
        ("kind", "c", "choose one of a, b"),
    ],
)
def test_values_out_of_bounds_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_bounds("method", FIELDS[name], value)


# -- calling -----------------------------------------------------------------------------------


def test_all_ways_of_calling_give_the_same(model: Counting, x: Tensor) -> None:
    method = LRP(composite="epsilon-plus")
    expected = method(model, x, [0, 2]).relevance
    ways: list[Callable[[], Tensor]] = [
        lambda: rootpoint.explain(model, x, [0, 2], composite="epsilon-plus").relevance,
        lambda: rootpoint.explain(model, x, [0, 2], method=method).relevance,
        lambda: (
            rootpoint.explain(
                model, x, target=[0, 2], method="lrp", composite="epsilon-plus"
            ).relevance
        ),
        lambda: method.bind(model)(x, [0, 2]).relevance,
        lambda: method.bind(model).attribute(x, target=torch.tensor([0, 2])),
        lambda: method.bind(model).attribute(x, [0, 2]),
    ]
    for way in ways:
        torch.testing.assert_close(way(), expected, rtol=0, atol=0)


def test_the_default_explains_the_predicted_class_by_lrp(model: Counting, x: Tensor) -> None:
    found = rootpoint.explain(model, x)
    best = model(x).argmax(1).tolist()
    assert found.target == best
    assert found.method == LRP(composite="epsilon-plus-flat")  # this network recommends none
    torch.testing.assert_close(found.relevance, LRP()(model, x, best).relevance, rtol=0, atol=0)


def test_parameters_go_with_a_name(model: Counting, x: Tensor) -> None:
    with pytest.raises(InputError, match=r"parameters \['composite'\] go with a method's name"):
        rootpoint.explain(model, x, method=LRP(), composite="epsilon")


@pytest.mark.parametrize("method", [LRP(composite="epsilon-plus"), Gradient(), DeepTaylor()])
def test_several_targets_cost_one_forward(model: Counting, x: Tensor, method: Method) -> None:
    targets = [0, [2, 1], "predicted", lambda y: y[:, 0] - y[:, 1]]
    expected = [method(model, x, target) for target in targets]
    model.runs = 0
    found = method.bind(model).each(x, targets)
    assert model.runs == 1
    assert [type(f) for f in found] == [Explanation] * 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.relevance, other.relevance, rtol=0, atol=1e-12)
        torch.testing.assert_close(one.output, other.output)
        assert one.target == other.target


def test_a_bound_method_forgets_the_input_before(model: Counting, x: Tensor) -> None:
    bound = LRP(composite="epsilon-gamma-box").bind(model)
    first = bound.attribute(x, 1)
    bound.attribute(x + 1, 2)
    torch.testing.assert_close(bound.attribute(x, 1), first, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["epsilon-plus", "epsilon-gamma-box", "epsilon-alpha2-beta1-flat"])
def test_a_bound_method_follows_a_model_in_training(model: Counting, x: Tensor, name: str) -> None:
    """Modified weights are kept only as long as the parameters are not written to."""
    bound = LRP(composite=name).bind(model)
    bound.attribute(x, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        expected = LRP(composite=name)(model, x, 1).relevance
        torch.testing.assert_close(bound.attribute(x, 1), expected, rtol=0, atol=0)
    model.load_state_dict({k: v + 0.1 for k, v in model.state_dict().items()})
    expected = LRP(composite=name)(model, x, 1).relevance
    torch.testing.assert_close(bound.attribute(x, 1), expected, rtol=0, atol=0)


# -- gradients ---------------------------------------------------------------------------------


def test_the_gradient_is_torchs_own(model: Counting, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    torch.testing.assert_close(Gradient()(model, x, 1).relevance, expected)
    torch.testing.assert_close(GradientTimesInput()(model, x, 1).relevance, x * expected)


def test_gradients_need_no_rules() -> None:
    """Any differentiable model, also with operations that LRP would refuse."""
    x, c = torch.rand(3, 4), torch.rand(2, 4)
    found = Gradient()(lambda x: -torch.cdist(x, c), x, 0)
    torch.testing.assert_close(found.relevance, (c[0] - x) / torch.cdist(x, c)[:, :1])


# -- inner modules -----------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["features", "features.0", "features.1", "features.2", "head", ""])
def test_relevance_at_an_inner_module_is_conserved(model: Counting, x: Tensor, at: str) -> None:
    """Of a network without biases, LRP-0 shows the whole score at every layer."""
    found = EXACT(model, x, [0, 2], at=at)
    assert found.at == at
    assert found.relevance.shape == (model.get_submodule(at)(model_input(model, x, at))).shape
    torch.testing.assert_close(found.relevance.flatten(1).sum(1), found.output)


def model_input(model: Counting, x: Tensor, at: str) -> Tensor:
    """What the module at this path receives."""
    seen: list[Tensor] = []
    handle = model.get_submodule(at).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(x)
    handle.remove()
    return seen[0]


def test_relevance_at_a_module_is_activation_times_multiplier(model: Counting, x: Tensor) -> None:
    values: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
        output.retain_grad()
        values.append(output)

    handle = model.features[2].register_forward_hook(keep)
    model(x)[:, 1].sum().backward()
    handle.remove()
    (value,) = values
    assert value.grad is not None
    torch.testing.assert_close(EXACT(model, x, 1, at="features.2").relevance, value * value.grad)


def test_a_module_used_twice_has_two_outputs(model: Counting, x: Tensor) -> None:
    found = EXACT(model, x, 0, at="shared")
    assert isinstance(found.relevance, tuple)
    first, second = found.relevance
    for relevance in (first, second):
        torch.testing.assert_close(relevance.flatten(1).sum(1), found.output)
    assert not torch.allclose(first, second)


def test_several_targets_at_an_inner_module(model: Counting, x: Tensor) -> None:
    both = EXACT.bind(model).each(x, [0, 1], at="features.1")
    for target, found in enumerate(both):
        expected = EXACT(model, x, target, at="features.1").relevance
        torch.testing.assert_close(found.relevance, expected, rtol=0, atol=0)


def test_gradients_are_explained_at_inner_modules_too(model: Counting, x: Tensor) -> None:
    found = GradientTimesInput()(model, x, 1, at="features.1").relevance
    torch.testing.assert_close(found, EXACT(model, x, 1, at="features.1").relevance)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("features.9", "at='features.9' is not the path of a module of the model; known: features"),
        ("feature", "not the path of a module"),
        ("unused", "at='unused' did not run"),
    ],
)
def test_a_path_that_cannot_be_explained_says_so(
    model: Counting, x: Tensor, at: str, message: str
) -> None:
    for method in (LRP(), Gradient()):
        with pytest.raises(InputError, match=message):
            method(model, x, at=at)


def test_a_function_has_no_inner_modules(x: Tensor) -> None:
    with pytest.raises(InputError, match="not the path of a module of the model; known: none"):
        LRP()(lambda x: x.flatten(1), x, 0, at="features")


def test_a_module_whose_output_is_not_a_tensor_is_refused(x: Tensor) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            return sum(self.pair(x)).flatten(1)  # type: ignore[union-attr]

    with pytest.raises(
        InputError, match="output of the module at='pair' is not a tensor on the path"
    ):
        LRP()(Model().eval(), x, 0, at="pair")


def test_no_hook_stays_behind(model: Counting, x: Tensor) -> None:
    EXACT(model, x, at="features.0")
    with pytest.raises(InputError):
        EXACT(model, x, target=99, at="features.0")
    assert all(not module._forward_hooks for module in model.modules())


# -- methods as text and as files --------------------------------------------------------------

LAYERED = "layered(input='flat', lower='gamma(gamma=0.5)', upper='epsilon(epsilon=0.1)')"


@pytest.mark.parametrize(
    "given",
    [
        LRP(),
        LRP(composite="epsilon"),
        LRP(composite=LAYERED),
        DeepTaylor(low=-2.5, high=1e-7),
        rootpoint.IntegratedGradients(steps=7),
    ],
    ids=str,
)
def test_a_method_is_its_text_and_its_file(given: Method, tmp_path: Path) -> None:
    assert rootpoint.method(str(given)) == given
    path = given.save(tmp_path / "method.json")
    assert rootpoint.method(str(path)) == given


def test_a_saved_method_may_be_changed_where_it_is_named(tmp_path: Path) -> None:
    path = str(LRP(composite="epsilon").save(tmp_path / "method.json"))
    assert rootpoint.method(path, compile="true") == LRP(composite="epsilon", compile=True)


def test_a_saved_method_explains_by_name(model: Counting, x: Tensor, tmp_path: Path) -> None:
    path = str(LRP(composite=LAYERED).save(tmp_path / "best.json"))
    found = rootpoint.explain(model, x, method=path).relevance
    assert torch.equal(found, LRP(composite=LAYERED)(model, x).relevance)


def test_options_in_a_name_are_checked() -> None:
    for text, words in (
        ("lrp(composite=)", "cannot be read"),
        ("lrp(composite={[]: 1})", "cannot be read: unhashable"),
        ("lrp(composite=" + "[" * 5000, "cannot be read"),
        ("lrp('epsilon')", "options are name=value"),
        (
            "lrp(compsite='epsilon')",
            "lrp has no parameter 'compsite'; its parameters: compile, comp",
        ),
        ("integrated-gradients(steps=0)", "out of range"),
    ):
        with pytest.raises(InputError, match=words):
            rootpoint.method(text)


def test_what_is_no_plain_value_is_not_saved(tmp_path: Path) -> None:
    composite = rootpoint.composites.composite("epsilon")
    with pytest.raises(InputError, match="lrp: composite is a Composite, which cannot be written"):
        LRP(composite=composite).save(tmp_path / "method.json")
    assert not list(tmp_path.iterdir())


def test_files_that_hold_no_method_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "method.json"
    with pytest.raises(InputError, match=r"cannot read .*method\.json: No such file"):
        rootpoint.method(str(path))
    for text in ("", "[]", "{}", '{"method": "lrp"}', '{"method": "lrp", "parameters": 3}'):
        path.write_text(text)
        with pytest.raises(InputError, match="holds no method: write it with"):
            rootpoint.method(str(path))
    path.write_text('{"method": "lpr", "parameters": {}}')
    with pytest.raises(UnknownNameError, match="no method is called 'lpr'"):
        rootpoint.method(str(path))
