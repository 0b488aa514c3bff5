"""DeepLIFT: closed forms, exact sums on every network, baselines, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, GradientTimesInput
from rootpoint.errors import InputError, UnsupportedModelError, UnsupportedOperationError
from rootpoint.methods.deeplift import DeepLift

RULES = ("rescale", "reveal-cancel", "mixed")


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def network(*layers: tuple[list[list[float]], list[float]]) -> nn.Sequential:
    """Dense layers (weights, rows = outputs, and biases) with ReLUs between them."""
    made: list[nn.Module] = []
    for weight, bias in layers:
        dense = nn.Linear(len(weight[0]), len(weight))
        dense.weight.data, dense.bias.data = torch.tensor(weight), torch.tensor(bias)
        made += [dense, nn.ReLU()]
    return nn.Sequential(*made[:-1]).eval()


T1 = (([[1.0, 1.0], [-1.0, 2.0]], [0.0, -1.0]), ([[2.0, -1.0]], [0.5]))


def assert_complete(model: Any, x: Any, rule: str, target: Any = 0, **given: Any) -> None:
    """Σ R = f(x) − f(x̃) to 1e-8 of the larger score, each sample."""
    e = DeepLift(rule=rule, **given)(model, x, target)
    gap, baseline = e.completeness_gap, e.baseline_output
    assert gap is not None
    assert baseline is not None
    size = torch.maximum(e.output.abs(), baseline.abs()).clamp(min=1e-3)
    assert (gap.abs() <= 1e-8 * size).all(), (gap, e.output)


# -- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("rescale", (8 / 3, 4 / 3)), ("reveal-cancel", (2.5, 1.5)), ("mixed", (2.5, 1.5))],
)
def test_t1_has_the_published_values(rule: str, expected: tuple[float, float]) -> None:
    e = DeepLift(rule=rule)(network(*T1), torch.tensor([[1.0, 2.0]]), 0)
    torch.testing.assert_close(e.relevance[0], torch.tensor(expected), rtol=1e-12, atol=0)
    assert e.baseline_output is not None
    assert (e.output.item(), e.baseline_output.item()) == (4.5, 0.5)


@pytest.mark.parametrize("x", [(2.0, 1.0), (1.0, 2.0)])
@pytest.mark.parametrize("form", ["functional", "dense"])
def test_reveal_cancel_shares_a_minimum_equally(x: tuple[float, float], form: str) -> None:
    """min(x1, x2) as x1 − relu(x1 − x2): rescale gives all to the lesser."""
    difference = network(([[1.0, -1.0]], [0.0]))

    def minimum(x: Tensor) -> Tensor:
        d = difference(x) if form == "dense" else x[:, :1] - x[:, 1:]
        return x[:, :1] - F.relu(d)

    given = torch.tensor([x])
    shared = DeepLift(rule="reveal-cancel")(minimum, given, 0).relevance
    torch.testing.assert_close(shared, torch.tensor([[0.5, 0.5]]))
    rescaled = DeepLift(rule="rescale")(minimum, given, 0).relevance
    torch.testing.assert_close(rescaled, (given == 1).double())


def test_an_unchanged_unit_passes_the_mean_of_its_parts_on() -> None:
    """h = relu(x1) − relu(−x2) stays 0, but its parts ±1 differ in what they do behind it."""
    model = network(
        ([[1.0, 0.0], [0.0, -1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [0.0]), ([[1.0]], [0.0])
    )
    x = torch.tensor([[1.0, -1.0]])
    found = DeepLift(rule="reveal-cancel")(model, x, 0).relevance
    torch.testing.assert_close(found, torch.tensor([[0.5, -0.5]]))
    assert_complete(model, x, "reveal-cancel")


@pytest.mark.parametrize("rule", RULES)
def test_a_linear_model_gives_each_input_its_own_term(rule: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).eval()
    x, baseline = torch.randn(3, 4), torch.randn(4)
    e = DeepLift(rule=rule, baseline=baseline)(model, x, 1)
    w = model[1].weight[1] @ model[0].weight  # type: ignore[index]
    torch.testing.assert_close(e.relevance, w * (x - baseline))


def test_where_nothing_differs_the_multiplier_is_the_gradient_at_the_baseline() -> None:
    """The root of x² has no slope at 0; it does not spoil the rest."""
    model = network(*T1)
    x = torch.tensor([[1.0, 2.0]])
    same = DeepLift(rule="rescale", baseline=x[0])(model, x, 0)
    assert (same.relevance == 0).all()
    nearly = DeepLift(rule="rescale", baseline=x[0] - 1e-9)(model, x, 0)
    torch.testing.assert_close(nearly.relevance, 1e-9 * torch.tensor([[3.0, 0.0]]))

    def root(x: Tensor) -> Tensor:
        return (x * x).sqrt().sum(1, keepdim=True)

    found = DeepLift(rule="rescale")(root, torch.tensor([[3.0, 0.0]]), 0).relevance
    torch.testing.assert_close(found, torch.tensor([[3.0, 0.0]]))


# -- which activations lie behind dense layers ---------------------------------------------------


class Net(nn.Module):
    """A convolution and a dense layer, each with a ReLU behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.dense, self.head = nn.Linear(12, 5), nn.Linear(5, 2)
        self.norm.running_mean.normal_()  # type: ignore[union-attr]
        self.split = True
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.conv(x))).flatten(1)
        return self.head(F.relu(self.dense(h)))


def test_mixed_reveals_behind_dense_layers_and_rescales_behind_convolutions() -> None:
    model, x = Net(), torch.randn(2, 2, 4, 4)

    def top(h: Tensor) -> Tensor:
        return model.head(F.relu(model.dense(h)))

    def bottom(x: Tensor) -> Tensor:
        return F.relu(model.norm(model.conv(x))).flatten(1)

    h, h0 = bottom(x).detach(), bottom(torch.zeros_like(x)).detach()[0]
    above = DeepLift(rule="reveal-cancel", baseline=h0)(top, h, 1).relevance
    m = torch.where(h == h0, 0.0, above / (h - h0))
    expected = DeepLift(rule="rescale")(bottom, x, lambda y: (y * m).sum(1)).relevance
    torch.testing.assert_close(DeepLift(rule="mixed")(model, x, 1).relevance, expected)


def test_without_hidden_dense_layers_mixed_is_rescale() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).eval()
    x = torch.randn(2, 2, 4, 4)
    found, expected = (DeepLift(rule=r)(model, x, 1).relevance for r in ("mixed", "rescale"))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


# -- the sum is exact ----------------------------------------------------------------------------

W = torch.randn(6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
CONV = nn.Conv2d(3, 3, 3, padding=1, dtype=torch.float64)


def attention(h: Tensor) -> Tensor:
    """A product of two branches, scaled by their norm."""
    return torch.matmul(h, torch.einsum("bchw,wv->bchv", h, W.to(h))) / 10


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": lambda h: F.relu6(h * 4),
    "clamp": lambda h: h.clamp(-0.2, 0.3),
    "gelu": F.gelu,
    "silu in place": lambda h: F.silu(h * 2, inplace=True),
    "relu of a view": lambda h: h.clone().view(len(h), -1).relu_().view_as(h),
    "hardswish": F.hardswish,
    "sigmoid gate": lambda h: h * torch.sigmoid(h.mean((2, 3), keepdim=True)),
    "hard-sigmoid gate": lambda h: F.hardsigmoid(h.sum(3, keepdim=True)) * h,
    "glu by hand": lambda h: h[:, :1] * torch.tanh(h[:, 1:2]) + h[:, 2:],
    "prelu": lambda h: F.prelu(h, torch.tensor([0.1, -0.5, 2.0])),
    "power": lambda h: (h.abs() + 0.1) ** 1.5 + h**3,
    "square of itself": lambda h: h * h,
    "max pool": lambda h: F.max_pool2d(h, 3, 2, 1),
    "max pool with indices": lambda h: F.max_pool2d(h, 2, return_indices=True)[0],
    "adaptive max pool": lambda h: F.adaptive_max_pool2d(h, 2),
    "amax and amin": lambda h: h.amax(3) - 2 * h.amin(2),
    "max over a dimension": lambda h: h.max(1).values,
    "maximum": lambda h: torch.maximum(h, h.flip(3)) - torch.minimum(h, 0.5 * h.flip(2)),
    "maximum with a constant": lambda h: torch.maximum(h, torch.tensor(0.1)),
    "live bound": lambda h: torch.clamp(h, max=h.mean(1, keepdim=True)),
    "quotient": lambda h: h / (1 + h.pow(2).sum(1, keepdim=True)),
    "constant over": lambda h: 2 / (1.5 + h.sigmoid()) - h,
    "quotient in place": lambda h: h.clone().div_(2 + torch.sigmoid(h)),
    "subtraction": lambda h: 1 - h.sub(torch.tanh(h), alpha=2),
    "layer norm": lambda h: F.layer_norm(h, (6, 6), W, W),
    "group norm": lambda h: F.group_norm(h, 3, torch.tensor([1.0, 2, -1]), torch.ones(3)),
    "instance norm": lambda h: F.instance_norm(h, weight=torch.tensor([1.0, 2, -1])),
    "rms norm": lambda h: F.rms_norm(h, (6,), W[0]),
    "response norm": lambda h: F.local_response_norm(h, 2, alpha=0.5),
    "batch norm": lambda h: F.batch_norm(h, W[0, :3], W[1, :3].abs() + 1, W[2, :3], W[3, :3]),
    "euclidean norm": lambda h: torch.linalg.vector_norm(h, dim=1),
    "norm": lambda h: h / h.norm(dim=1, keepdim=True).clamp_min(0.1),
    "normalize": lambda h: F.normalize(h, dim=1),
    "3-norm": lambda h: torch.linalg.vector_norm(h, 3, dim=(1, 2)),
    "greatest norm": lambda h: h.norm(float("inf"), dim=1),
    "p-norm pool": lambda h: F.lp_pool2d(F.relu(h), 2.0, 2),
    "average pool": lambda h: F.avg_pool2d(h, 3, 2, 1).relu(),
    "interpolation": lambda h: F.interpolate(h, scale_factor=2.0, mode="bilinear").relu(),
    "matrix product": attention,
    "weights from the input": lambda h: torch.stack([F.linear(s[0], s[1], s[2, 0]) for s in h]),
    "concatenation": lambda h: torch.cat([h, h.relu()], 1).roll(1, 2).tanh(),
    "split": lambda h: torch.stack([p.relu() for p in h.chunk(3, 1)], 2).sum(2) ** 2,
    "set in place": lambda h: _filled(h),
    "cumulative sum": lambda h: h.cumsum(3).relu(),
    "constants": lambda h: (h * W + W.sign()).relu() - torch.arange(6.0) * h,
    "dropout": lambda h: F.dropout(h, training=False).relu(),
}


def _filled(h: Tensor) -> Tensor:
    out = torch.empty(len(h), 6, 6, 6)
    out[:, ::2] = h
    out[:, 1::2] = h.relu()
    return out.tanh()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_the_sum_is_exact_for(operation: Callable[[Tensor], Tensor], rule: str) -> None:
    def model(x: Tensor) -> Tensor:
        h = operation(CONV(x)).flatten(1)
        return torch.stack([F.relu(h).sum(1), (h * h.tanh()).sum(1)], 1)

    x = torch.randn(2, 3, 6, 6)
    assert_complete(model, x, rule)
    assert_complete(model, x, rule, target=1, baseline=torch.randn(3, 6, 6))


@pytest.mark.parametrize("direct", ["max_pool2d", "relu", "tanh", "layer_norm"])
def test_the_sum_is_exact_of_operations_on_the_input_itself(direct: str) -> None:
    options = {"max_pool2d": (2,), "layer_norm": ((6, 6),)}.get(direct, ())
    function = getattr(F, direct)
    assert_complete(
        lambda x: function(x, *options).flatten(1), torch.randn(2, 3, 6, 6), "mixed", baseline=0.3
    )


class Block(nn.Module):
    def __init__(self, seed: int, residual: bool, dense: bool) -> None:
        super().__init__()
        torch.manual_seed(seed)
        make = (lambda: nn.Linear(4, 4)) if dense else (lambda: nn.Conv1d(4, 4, 3, padding=1))
        self.a, self.b, self.residual = make(), make(), residual

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(F.relu(self.a(x)))
        return F.relu(h + x if self.residual else h, inplace=True)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.booleans(), st.booleans()), min_size=1, max_size=4),
    st.integers(0, 99),
    st.sampled_from(RULES),
)
def test_the_sum_is_exact_of_residual_networks(
    blocks: list[tuple[int, bool, bool]], seed: int, rule: str
) -> None:
    model = nn.Sequential(*[Block(*block) for block in blocks], nn.Flatten()).eval()
    torch.manual_seed(seed)
    assert_complete(model, torch.randn(2, 4, 4), rule, target=3, baseline=torch.randn(4, 4))


@settings(max_examples=25)
@given(st.integers(0, 999), st.integers(1, 3))
def test_without_biases_rescale_from_zero_is_lrp_0_and_gradient_times_input(
    seed: int, depth: int
) -> None:
    """… and integrated gradients, whose integrand does not change along the way from zero."""
    torch.manual_seed(seed)
    layers = [m for _ in range(depth) for m in (nn.Linear(5, 5, bias=False), nn.ReLU())]
    model, x = nn.Sequential(*layers, nn.Linear(5, 2, bias=False)).eval(), torch.randn(2, 5)
    found = DeepLift(rule="rescale")(model, x, 1).relevance
    lrp = LRP(composite="epsilon(epsilon=0.0)")(model, x, 1).relevance
    torch.testing.assert_close(found, lrp, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found, GradientTimesInput()(model, x, 1).relevance)
    halfway = x.clone().div_(2).requires_grad_()
    (slope,) = torch.autograd.grad(model(halfway)[:, 1].sum(), halfway)
    torch.testing.assert_close(found, x * slope)


# -- baselines and inputs ------------------------------------------------------------------------


def test_several_baselines_give_the_mean_of_their_explanations() -> None:
    model, x, baselines = Net(), torch.randn(2, 2, 4, 4), torch.randn(3, 2, 4, 4)
    together = DeepLift(baseline=baselines)(model, x, 1)
    each = [DeepLift(baseline=b)(model, x, 1) for b in baselines]
    mean = torch.stack([e.relevance for e in each]).mean(0)
    torch.testing.assert_close(together.relevance, mean)
    assert str(together.passes) == "6 forward, 3 backward"
    expected = model(baselines)[:, 1].mean().expand(2)
    torch.testing.assert_close(together.baseline_output, expected)
    assert_complete(model, x, "mixed", baseline=baselines)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_gives_the_relevance_of_its_samples_for_each_of_several_targets(rule: str) -> None:
    model, x = Net(), torch.randn(3, 2, 4, 4)
    bound = DeepLift(rule=rule, baseline=0.1).bind(model)
    for target, together in zip((0, 1), bound.each(x, [0, 1]), strict=True):
        for i in range(3):
            alone = DeepLift(rule=rule, baseline=0.1)(model, x[i : i + 1], target)
            torch.testing.assert_close(together.relevance[i], alone.relevance[0])


def test_a_bound_method_runs_the_reference_once() -> None:
    model, x = Net(), torch.randn(2, 2, 4, 4)
    bound = DeepLift(baseline=0.2).bind(model)
    first, again = bound(x, 0), bound(x, 0)
    assert (str(first.passes), str(again.passes)) == (
        "2 forward, 1 backward",
        "1 forward, 1 backward",
    )
    torch.testing.assert_close(again.relevance, first.relevance, rtol=0, atol=0)
    other, alone = torch.randn(1, 2, 4, 4), DeepLift(baseline=0.2)
    torch.testing.assert_close(bound(other, 1).relevance, alone(model, other, 1).relevance)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("written", ["weight", "data", "new data", "buffer", "factor"])
def test_a_bound_method_sees_what_changes_in_the_model(rule: str, written: str) -> None:
    model, x = Net(), torch.randn(1, 2, 4, 4)
    factor = [2.0]

    def scaled(x: Tensor) -> Tensor:
        return model(x) * factor[0]

    bound = DeepLift(rule=rule).bind(scaled)
    bound(x, 0)
    with torch.no_grad():
        if written == "weight":
            model.dense.weight.mul_(-1)
        elif written == "data":
            model.conv.weight.data.add_(0.5)
        elif written == "new data":
            model.dense.bias.data = torch.ones(5)
        elif written == "buffer":
            model.norm.running_mean.add_(1.0)  # type: ignore[union-attr]
        else:
            factor[0] = -1.0
    expected = DeepLift(rule=rule)(scaled, x, 0)
    found = bound(x, 0)
    torch.testing.assert_close(found.relevance, expected.relevance)
    torch.testing.assert_close(found.baseline_output, expected.baseline_output)
    assert str(bound(x, 0).passes) < str(found.passes)


def test_a_baseline_tensor_that_was_written_to_is_another_baseline() -> None:
    model, x, baseline = Net(), torch.randn(1, 2, 4, 4), torch.zeros(2, 4, 4)
    bound = DeepLift(baseline=baseline).bind(model)
    bound(x, 0)
    baseline.add_(1)
    expected = DeepLift(baseline=1)(model, x, 0).relevance
    torch.testing.assert_close(bound(x, 0).relevance, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_are_explained(dtype: torch.dtype) -> None:
    model, x = Net().to(dtype), torch.randn(2, 2, 4, 4).to(dtype)
    bound = DeepLift().bind(model)
    for _ in range(2):
        e = bound(x, 0)
        assert e.relevance.dtype == torch.float32
        assert e.completeness_gap is not None
        assert (e.completeness_gap.abs() <= 20 * torch.finfo(dtype).eps).all()


def two(a: Tensor, b: Tensor) -> Tensor:
    return (F.relu(a @ W) * b).relu()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("baseline", [None, 0.5, (0.5, torch.ones(6)), (torch.zeros(3, 6), 1)])
def test_tuples_and_mappings_of_inputs_are_explained(rule: str, baseline: Any) -> None:
    a, b = torch.randn(2, 6), torch.randn(2, 6)
    e = DeepLift(rule=rule, baseline=baseline)(two, (a, b), 1)
    assert isinstance(e.relevance, tuple)
    assert_complete(two, (a, b), rule, baseline=baseline)
    if isinstance(baseline, tuple):
        baseline = dict(zip("ab", baseline, strict=True))
    named = DeepLift(rule=rule, baseline=baseline)(two, {"a": a, "b": b}, 1)
    torch.testing.assert_close(named.relevance["b"], e.relevance[1])


def test_the_model_and_its_input_come_back_untouched() -> None:
    model, x = Net(), torch.randn(2, 2, 4, 4)
    before = [(p.clone(), p.grad, p.requires_grad) for p in model.parameters()]
    kept = x.clone()
    DeepLift(rule="reveal-cancel")(model, x, 1)
    assert (x == kept).all()
    for p, (value, grad, requires) in zip(model.parameters(), before, strict=True):
        assert (p == value).all()
        assert (p.grad, p.requires_grad) == (grad, requires)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        ("zero", "give a number or a tensor"),
        (torch.zeros(3), r"\(3,\) does not fit samples of shape \(2, 4, 4\)"),
        (torch.full((2, 4, 4), torch.nan), "NaN or infinity"),
        ((0.0, 1.0), "same structure"),
    ],
)
def test_a_baseline_that_does_not_fit_is_refused(baseline: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        DeepLift(baseline=baseline)(Net(), torch.randn(1, 2, 4, 4), 0)


def test_baselines_of_several_inputs_must_be_as_many() -> None:
    with pytest.raises(InputError, match="given: 2, 3"):
        DeepLift(baseline=(torch.zeros(2, 6), torch.zeros(3, 6)))(
            two, (torch.randn(1, 6), torch.randn(1, 6)), 0
        )


def test_an_inner_module_is_refused() -> None:
    with pytest.raises(InputError, match="inner modules"):
        DeepLift()(Net(), torch.randn(1, 2, 4, 4), 0, at="conv")


@pytest.mark.parametrize(
    "model",
    [
        lambda x: torch.cumprod(x, 1),
        lambda x: torch.softmax(x, 1),
        lambda x: x.sort(1).values,
        lambda x: torch.div(x, 2, rounding_mode="floor") + x,
        lambda x: torch.einsum("bi,bi,bi->bi", x, x, x),
        lambda x: x.relu() ** x,
        lambda x: x.clamp(x.mean(1, keepdim=True), 2 + x.mean(1, keepdim=True)),
    ],
    ids=["unknown", "softmax", "sort", "rounding", "three operands", "exponent", "two bounds"],
)
def test_operations_without_exact_shares_are_refused_with_the_remedy(model: Any) -> None:
    with pytest.raises(UnsupportedOperationError, match="lrp or integrated-gradients"):
        DeepLift()(model, torch.rand(2, 4), 0)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x.relu() * 2 if x.sum() > 0 else x.tanh(),
        lambda x: x.relu().relu() if x.sum() > 0 else x.relu(),
        lambda x: x.relu() if x.sum() > 0 else x.relu().relu(),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x / x.max().item() if x.sum() else x / 2,
        lambda x: x * x.detach(),
        lambda x: x[:, x[0].argsort()],
    ],
    ids=["branch", "more", "fewer", "condition", "number", "detached", "index"],
)
def test_a_model_that_takes_another_path_at_the_baseline_is_refused(model: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="another path at the baseline"):
        DeepLift()(model, torch.tensor([[2.0, 1.0, -3.0, 4.0]]), 0)
