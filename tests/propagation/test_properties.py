"""What holds for every network, over random architectures built from blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, Composite, GradientTimesInput, Rule, Where, rules

Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")
Function = Callable[[Tensor], Tensor]

CHANNELS = 4
ZERO = LRP(composite="epsilon(epsilon=0.0)")


def weight(*shape: int, seed: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(shape, generator=generator) / shape[-1] ** 0.5)


def conv(seed: int, size: int = 3, groups: int = 1, *, bias: bool = False) -> nn.Conv2d:
    layer = nn.Conv2d(CHANNELS, CHANNELS, size, padding=size // 2, groups=groups, bias=bias)
    nn.init.normal_(layer.weight, std=0.4, generator=torch.Generator().manual_seed(seed))
    if bias:
        assert layer.bias is not None
        nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(seed + 1))
    return layer


def norm(seed: int, *, bias: bool = False) -> nn.BatchNorm2d:
    """A batch-norm; without bias it only scales."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.BatchNorm2d(CHANNELS)
    for tensor in (layer.running_var, layer.weight):
        nn.init.uniform_(tensor, 0.5, 2, generator=generator)  # pyright: ignore
    if bias:
        nn.init.normal_(layer.bias, generator=generator)
        nn.init.normal_(layer.running_mean, generator=generator)  # pyright: ignore
    return layer


# -- blocks (B, 4, H, W) → (B, 4, H', W'), piecewise linear and without bias unless said -------


class Block(nn.Module):
    """A block as a function of the input and of modules, made from a seed."""

    def __init__(self, seed: int, bias: bool) -> None:
        super().__init__()
        self.a, self.b = conv(seed, bias=bias), conv(seed + 10, size=1, bias=bias)
        self.norm = norm(seed, bias=bias)
        self.w = weight(CHANNELS, CHANNELS, seed=seed + 20)


class Plain(Block):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.a(x))


class InPlace(Block):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.a(x)), inplace=True)


class Residual(Block):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(self.a(x).relu()))


class ResidualInPlace(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.a(x))
        y += self.b(x)
        return y.relu_()


class Reused(Block):
    """One module and one ReLU, used three times."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return F.relu(self.a(y) - self.a(x) * 0.5)


class Concatenated(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.a(x)[:, :2], F.leaky_relu(self.b(x), 0.3)[:, 2:]], 1)
        return torch.cat((y, x), dim=1)[:, ::2]


class Split(Block):
    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).chunk(2, 1)
        return torch.stack([F.leaky_relu(left, 0.1), right.relu()], 2).flatten(1, 2)


class MaxPooled(Block):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.a(x), 3, stride=1, padding=1)


class AveragePooled(Block):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.b(x).relu_(), 3, stride=1, padding=1) * 3.0


class TakenMaximum(Block):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(self.a(x), self.b(x))


class Matmul(Block):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.matmul(x.permute(0, 2, 3, 1), self.w)).movedim(-1, 1)


class Einsum(Block):
    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(torch.einsum("bchw,cd->bdhw", x, self.w), 0.2)


class Transposed(Block):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv_transpose2d(x, self.a.weight, self.a.bias, padding=1))


class Grouped(Block):
    def __init__(self, seed: int, bias: bool) -> None:
        super().__init__(seed, bias)
        self.depthwise = conv(seed, groups=CHANNELS, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.b(F.relu(self.depthwise(input=x)))).abs()


class Normalized(Block):
    """A batch-norm that follows no linear map, and one whose linear map is used beside it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(F.relu(self.norm(F.max_pool2d(x, 1))))
        return (self.norm(y).relu() + y) / 2


class Parametric(Block):
    def __init__(self, seed: int, bias: bool) -> None:
        super().__init__(seed, bias)
        self.prelu = nn.PReLU(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.a(x)).neg().roll(1, 1)


class Views(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).contiguous()
        z = y.reshape(x.shape).flip(2)
        return F.relu(z.clone().mul_(2))


class WrittenInto(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y[:, :2] = self.a(x)[:, 2:]
        z = x.clone()
        z[:, 2:] += self.b(x)[:, :2]
        return y - z


BLOCKS: tuple[type[Block], ...] = (
    *(Plain, InPlace, Residual, ResidualInPlace, Reused, Concatenated, Split, MaxPooled),
    *(AveragePooled, TakenMaximum, Matmul, Einsum, Transposed, Grouped, Normalized, Parametric),
    *(Views, WrittenInto),
)


class Network(nn.Module):
    """Blocks in a row (some used again), then one value per channel and a dense layer."""

    def __init__(self, blocks: list[tuple[type[Block], int]], head: str, bias: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, CHANNELS, 3, bias=bias)
        self.blocks = nn.ModuleList(block(seed, bias) for block, seed in blocks)
        self.again = bool(blocks[0][1] % 2)
        self.head = head
        self.dense = nn.Linear(CHANNELS, 3, bias=bias)
        self.last = weight(3, CHANNELS * 9, seed=7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in [*self.blocks, *([self.blocks[0]] if self.again else [])]:
            x = block(x)
        if self.head == "flat":
            return F.linear(x.flatten(1), self.last)
        x = {"mean": x.mean((2, 3)), "sum": x.sum(3).sum(2), "amax": x.amax((2, 3))}[self.head]
        return self.dense(x)


@dataclass(frozen=True)
class Drawn:
    """A network described by what it is made of, so that a failure prints it."""

    blocks: tuple[tuple[type[Block], int], ...]
    head: str
    seed: int

    def build(self, *, bias: bool = False) -> tuple[Network, Tensor]:
        torch.manual_seed(self.seed)
        model = Network(list(self.blocks), self.head, bias).double().eval()
        return model, torch.randn(2, 2, 5, 5)


def drawn(blocks: tuple[type[Block], ...] = BLOCKS) -> st.SearchStrategy[Drawn]:
    block = st.tuples(st.sampled_from(blocks), st.integers(0, 99))
    return st.builds(
        Drawn,
        st.lists(block, min_size=1, max_size=4).map(tuple),
        st.sampled_from(["mean", "sum", "amax", "flat"]),
        st.integers(0, 999),
    )


def assert_same(found: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


# -- LRP-0 -------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(drawn())
def test_lrp_0_is_gradient_times_input_without_biases(network: Drawn) -> None:
    """In every element, and so it conserves: f is homogeneous of degree one."""
    model, x = network.build()
    found = ZERO(model, x, [0, 2])
    expected = GradientTimesInput()(model, x, [0, 2])
    assert_same(found.relevance, expected.relevance)
    torch.testing.assert_close(found.relevance.flatten(1).sum(1), found.output)


@pytest.mark.parametrize("block", BLOCKS)
def test_lrp_0_is_gradient_times_input_in_every_block(block: type[Block]) -> None:
    """At the block's own input too, so that errors do not cancel."""
    model, x = Drawn(((Plain, 2), (block, 5)), "flat", 3).build()
    for at in (None, "blocks.0"):
        found = ZERO(model, x, 1, at=at).relevance
        assert_same(found, GradientTimesInput()(model, x, 1, at=at).relevance)


@settings(max_examples=40)
@given(drawn())
def test_lrp_0_is_gradient_times_input_with_biases_too(network: Drawn) -> None:
    """The biases then keep what is missing from f."""
    model, x = network.build(bias=True)
    assert_same(ZERO(model, x, 1).relevance, GradientTimesInput()(model, x, 1).relevance)


@settings(max_examples=25)
@given(drawn(), st.sampled_from(["zero", "gamma=0", "other spelling"]))
def test_other_names_of_lrp_0(network: Drawn, name: str) -> None:
    rule = {
        "zero": rules.zero(),
        "gamma=0": rules.gamma(gamma=0.0),
        "other spelling": rules.epsilon(epsilon=0.0),
    }[name]
    model, x = network.build()
    found = LRP(composite=Composite(((Where(kind="linear"), rule),)))(model, x, 0).relevance
    assert_same(found, GradientTimesInput()(model, x, 0).relevance, 1e-6)


# -- batches, targets, calls -------------------------------------------------------------------

COMPOSITES = (
    "epsilon",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2-beta1",
    "epsilon-gamma-box",
    "alpha1-beta0",
    "deep-taylor(maximum='winner')",
    "deep-taylor(hidden='nearest', input='nearest', maximum='winner')",
)


@settings(max_examples=40)
@given(drawn(), st.sampled_from(COMPOSITES), st.booleans())
def test_a_batch_is_explained_as_its_samples_are(network: Drawn, name: str, bias: bool) -> None:
    model, x = network.build(bias=bias)
    method = LRP(composite=name)
    together = method(model, x, [2, 0]).relevance
    for i, target in enumerate((2, 0)):
        assert_same(together[i], method(model, x[i : i + 1], target).relevance[0], 1e-9)


@settings(max_examples=25)
@given(drawn(), st.sampled_from(COMPOSITES))
def test_nothing_is_remembered_between_calls(network: Drawn, name: str) -> None:
    model, x = network.build(bias=True)
    bound = LRP(composite=name).bind(model)
    first = bound.attribute(x, 1)
    bound.attribute(x * 2, 0)
    torch.testing.assert_close(bound.attribute(x, 1), first, rtol=0, atol=0)


# -- conservation ------------------------------------------------------------------------------


@settings(max_examples=40)
@given(drawn(), st.sampled_from(COMPOSITES))
def test_the_books_balance(network: Drawn, name: str) -> None:
    """score = Σ relevance + Σ absorbed, with a cause for everything that is absorbed."""
    model, x = network.build(bias=True)
    explanation = LRP(composite=name)(model, x, 0)
    balance = explanation.balance
    size = max(1.0, *(abs(e.arrived) for e in balance.entries))
    assert abs(balance.gap) <= 1e-10 * size
    assert "unaccounted" not in balance.absorbed
    assert abs(balance.absorbed.get("rounding", 0.0)) <= 1e-10 * size
    assert abs(balance.score - explanation.output.sum().item()) <= 1e-10 * size
    assert abs(balance.relevance - explanation.relevance.sum().item()) <= 1e-10 * size


RECTIFYING = (Plain, InPlace, Reused)  # each unit that carries relevance has positive contributions


@settings(max_examples=40)
@given(drawn(RECTIFYING), st.sampled_from([rules.z_plus(), rules.alpha_beta(guard=True)]))
def test_positive_rules_conserve_where_every_unit_is_positive(network: Drawn, rule: Rule) -> None:
    """Layer by layer: at the input, after the first convolution, and after each block."""
    model, x = network.build()
    model.again = False
    linear = LRP(composite=Composite(((Where(kind="linear"), rule),)))

    def score(y: Tensor) -> Tensor:
        return y.clamp(min=0).sum(1)

    places = [None, "stem", *(f"blocks.{i}" for i in range(len(model.blocks)))]
    for at in places:
        found = linear(model, x, score, at=at)
        total = found.relevance.flatten(1).sum(1)
        torch.testing.assert_close(total, found.output, rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from((Plain, InPlace)), st.integers(0, 99)), min_size=1, max_size=3
    ),
    st.integers(0, 999),
    st.sampled_from([rules.flat(), rules.w_square(), rules.box(low=-5.0, high=5.0)]),
)
def test_rules_that_reach_zeros_conserve_everywhere(
    blocks: list[tuple[type[Block], int]], seed: int, rule: Rule
) -> None:
    """Units that are zero receive relevance and hand it on, through ReLUs too, biases or not."""
    model, x = Drawn(tuple(blocks), "flat", seed).build(bias=True)
    model.again = False
    assume((model(x) != 0).all())
    everywhere = LRP(composite=Composite(((Where(kind="linear"), rule),)))
    for at in (None, "stem", "blocks.0"):
        found = everywhere(model, x, 0, at=at)
        torch.testing.assert_close(found.relevance.flatten(1).sum(1), found.output)


@settings(max_examples=25)
@given(drawn(), st.sampled_from([rules.flat(), rules.w_square(), rules.box(low=-5.0, high=5.0)]))
def test_first_layer_rules_keep_what_reaches_the_first_layer(network: Drawn, rule: Rule) -> None:
    model, x = network.build(bias=True)
    method = LRP(
        composite=Composite(((Where(first=True), rule), (Where(kind="linear"), rules.zero())))
    )
    at_stem = method(model, x, 0, at="stem").relevance
    found = method(model, x, 0).relevance
    assert_same(found.flatten(1).sum(1), at_stem.flatten(1).sum(1), 1e-10)


def test_flat_relevance_does_not_depend_on_the_input_values() -> None:
    """With `flat` everywhere and the winner's share fixed, only f and the taps matter."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3)).eval()
    method = LRP(composite=Composite(((Where(kind="linear"), rules.flat()),)))
    maps = []
    for _ in range(2):
        found = method(model, torch.randn(1, 2, 4, 4), lambda y: y[:, 0, 0, 0])
        maps.append(found.relevance / found.output)
    assert_same(maps[0], maps[1], 1e-12)


# -- equivalences ------------------------------------------------------------------------------


@settings(max_examples=30)
@given(drawn((Plain, InPlace)), st.booleans())
def test_gamma_without_end_is_z_plus(network: Drawn, bias: bool) -> None:
    """Where outputs are positive; the bias is ignored, as it is in z⁺."""
    model, x = network.build(bias=bias)

    def score(y: Tensor) -> Tensor:
        return y.clamp(min=0).sum(1)

    def relevance(rule: Rule) -> Tensor:
        composite = Composite(((Where(module="dense"), rules.zero()), (Where(kind="linear"), rule)))
        return LRP(composite=composite)(model, x, score, at="stem").relevance

    found = relevance(rules.gamma(gamma=1e12, bias="ignore"))
    expected = relevance(rules.z_plus())
    assume(expected.isfinite().all())
    assert_same(found, expected, 1e-6)


@settings(max_examples=30)
@given(drawn(), st.sampled_from([True, False]))
def test_alpha_1_beta_0_is_z_plus(network: Drawn, bias: bool) -> None:
    model, x = network.build(bias=bias)
    linear = Where(kind="linear")
    found, expected = (
        LRP(composite=Composite(((linear, rule),)))(model, x, 0).relevance
        for rule in (rules.alpha_beta(alpha=1.0, beta=0.0), rules.z_plus())
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "rule", [rules.zero(), rules.epsilon(epsilon=0.0), rules.gamma(gamma=0.0)], ids=lambda r: r.name
)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_of_a_linear_model_each_input_has_its_own_term(rule: Rule, depth: int) -> None:
    """f(x) = wᵀx + b, however many maps it is made of: R_i = w_i x_i."""
    layers = [nn.Linear(4, 4) for _ in range(depth - 1)]
    model = nn.Sequential(*layers, nn.Linear(4, 2)).eval()
    x = torch.randn(3, 4)
    w = (
        torch.linalg.multi_dot([layer.weight for layer in model[::-1]])
        if depth > 1
        else model[0].weight
    )
    found = LRP(composite=Composite(((Where(kind="linear"), rule),)))(model, x, 1).relevance
    torch.testing.assert_close(found, x * w[1])


def test_relevance_is_linear_in_the_score() -> None:
    """The explanation of 2 f₀ − f₁ is 2 R₀ − R₁ where one rule fits all signs."""
    torch.manual_seed(1)
    model, x = Drawn(((Residual, 1), (MaxPooled, 2)), "flat", 5).build(bias=True)
    for name in ("epsilon", "epsilon-plus", "epsilon-alpha2-beta1", "epsilon-gamma-box"):
        bound = LRP(composite=name).bind(model)
        contrast = bound.attribute(x, lambda y: 2 * y[:, 0] - y[:, 1])
        first, second = bound.each(x, [0, 1])
        assert_same(contrast, 2 * first.relevance - second.relevance, 1e-9)


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_network_of_zeros_has_no_relevance(name: str) -> None:
    """0/0 = 0 everywhere: no NaN from an input, or weights, that are all zero."""
    model, x = Drawn(((Residual, 1), (MaxPooled, 2)), "mean", 5).build(bias=True)
    explained = LRP(composite=name)(model, torch.zeros_like(x), 0)
    assert explained.relevance.isfinite().all()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for zeros in (x, torch.zeros_like(x)):
        explained = LRP(composite=name)(model, zeros, 0)
        assert (explained.relevance == 0).all()
        assert (explained.output == 0).all()
