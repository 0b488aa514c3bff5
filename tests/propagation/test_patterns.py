"""Patterns: closed forms, explicit patches, streams, names, and the quality of estimators."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rootpoint import Composite, Where, inspect, rules
from rootpoint.errors import InputError, UnknownNameError, UnsupportedModelError
from rootpoint.propagation.engine import Propagation
from rootpoint.propagation.patterns import Patterns, fit_patterns, meet
from rootpoint.propagation.signals import activation_patterns, signal_quality

pytestmark = pytest.mark.usefixtures("double")

ESTIMATORS = ("linear", "two-component")


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None).eval()
    layer.weight.data = torch.tensor(weight)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def explicit(w: Tensor, x: Tensor, estimator: str) -> Tensor:
    """The published formulas for rows of weights (out, d) and samples (n, d)."""
    y = x @ w.T
    found = []
    for wj, yj in zip(w, y.T, strict=True):
        p = yj > 0 if estimator == "two-component" else torch.ones_like(yj, dtype=torch.bool)
        n = (x * yj[:, None])[p].sum(0) - x[p].sum(0) * yj.mean()
        found.append(n / (wj @ n) if p.any() else n)
    return torch.stack(found)


# -- closed forms --------------------------------------------------------------------------------

SIGNAL, DISTRACTOR = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])
MIXED = torch.stack([SIGNAL + DISTRACTOR, DISTRACTOR], 1).double()
POINTS = torch.tensor([[1.0, 0], [2, 1], [0, 1], [-1, 1]]).double()


def test_the_linear_pattern_is_the_signal_and_not_the_weight() -> None:
    found = fit_patterns(linear([[1.0, -1.0]]), MIXED, "linear").patterns["weight"]
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [("two-component", (1.5, 0.5)), ("linear", (0.814814814815, -0.185185185185))],
)
@pytest.mark.parametrize("bias", [None, [7.0]])
def test_patterns_of_four_points(
    estimator: str, expected: tuple[float, float], bias: list[float] | None
) -> None:
    """The output is taken without its bias."""
    found = fit_patterns(linear([[1.0, -1.0]], bias), POINTS, estimator)
    assert found.estimator == estimator
    torch.testing.assert_close(
        found.patterns["weight"], torch.tensor([expected]), rtol=0, atol=1e-10
    )


def test_a_constant_output_has_a_pattern_of_zero_not_nan() -> None:
    """0 / 0 counts as 0 / 1, also where a constant differs from itself by rounding."""
    for x in (torch.zeros(5, 3), torch.full((999, 3), 0.1)):
        model = linear([[0.3, 0.7, -0.2], [1.0, 1.0, 1.0]])
        for net, data in ((model, x), (deepcopy(model).float(), x.float())):
            for estimator in ESTIMATORS:
                found = fit_patterns(net, data, estimator).patterns["weight"]
                assert found.abs().max() < 1e-5


def test_a_unit_that_is_never_positive_has_no_two_component_pattern() -> None:
    found = fit_patterns(linear([[-1.0, -1.0], [1.0, 0.0]]), torch.rand(9, 2)).patterns["weight"]
    assert torch.equal(found[0], torch.zeros(2))
    assert found[1].abs().sum() > 0


# -- properties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(data=st.data())
def test_the_weights_of_a_unit_times_its_pattern_are_one(estimator: str, data: Any) -> None:
    seed = data.draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    out, d, n = (data.draw(st.integers(*b)) for b in ((1, 4), (1, 5), (5, 20)))
    w = torch.randn(out, d, generator=generator, dtype=torch.float64)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    x = torch.cat([x, -x]) + 0.1  # each unit is positive somewhere
    found = fit_patterns(linear(w.tolist()), x, estimator).patterns["weight"]
    torch.testing.assert_close((w * found).sum(1), torch.ones(out).double())
    torch.testing.assert_close(found, explicit(w, x, estimator), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_linear_pattern_is_found_beside_random_distractors(estimator: str) -> None:
    """x = s·a + d, and w sees s only: the pattern is a, wherever w points to cancel d."""
    d, n = 8, 20000
    a, basis = torch.randn(d), torch.randn(d, d - 2)
    s = torch.randn(n)
    x = s[:, None] * a + torch.randn(n, d - 2) @ basis.T
    q, _ = torch.linalg.qr(basis)
    w = a - q @ (q.T @ a)  # no distractor reaches y
    w = w / (w @ a)
    found = fit_patterns(linear([w.tolist()]), x, estimator).patterns["weight"][0]
    assert F.cosine_similarity(found, a, dim=0) > 0.995
    assert F.cosine_similarity(w, a, dim=0) < 0.9


CONVOLUTIONS = [
    (nn.Conv1d(2, 3, 4, stride=3, padding=2), (2, 11)),
    (nn.Conv2d(2, 3, 3, padding=1), (2, 5, 6)),
    (nn.Conv2d(4, 6, (2, 3), stride=(1, 2), dilation=(2, 1), groups=2), (4, 6, 7)),
    (nn.Conv2d(3, 3, 3, groups=3, padding="same"), (3, 4, 4)),
    (nn.Conv3d(2, 2, 2, stride=2, padding=1), (2, 3, 4, 4)),
]


def unfolded(layer: Any, x: Tensor) -> Tensor:
    """All patches, (groups, samples, inputs of a unit), by a convolution with an identity."""
    inputs, kernel = x.shape[1], layer.kernel_size
    taps = layer.weight[0, 0].numel()
    identity = torch.eye(taps).reshape(taps, 1, *kernel).repeat(inputs, 1, *[1] * len(kernel))
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[x.dim() - 2]
    z = conv(
        x, identity, None, layer.stride, layer.padding, layer.dilation, groups=inputs
    )  # (B, inputs · taps, …)
    patches = z.flatten(2).transpose(1, 2).flatten(0, 1)
    return patches.reshape(len(patches), layer.groups, -1).transpose(0, 1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS, ids=str)
def test_every_patch_of_a_convolution_is_a_sample(layer: Any, shape: Any, estimator: str) -> None:
    layer = deepcopy(layer).double().eval()
    x = torch.randn(40, *shape) + 0.5
    found = fit_patterns(layer, x, estimator).patterns["weight"]
    weights = layer.weight.detach().flatten(1).chunk(layer.groups)
    expected = [explicit(w, p, estimator) for w, p in zip(weights, unfolded(layer, x), strict=True)]
    torch.testing.assert_close(found.flatten(1), torch.cat(expected))


# -- streams -------------------------------------------------------------------------------------


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    ).eval()


def assert_same(found: Patterns, expected: Patterns) -> None:
    assert set(found.patterns) == set(expected.patterns)
    for name, pattern in expected.patterns.items():
        torch.testing.assert_close(found.patterns[name], pattern)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_streaming_in_pieces_is_fitting_all_at_once(estimator: str) -> None:
    model, x = small(), torch.rand(70, 1, 8, 8)
    expected = fit_patterns(model, [x], estimator)
    loader = DataLoader(TensorDataset(x, torch.zeros(70)), batch_size=7)
    for data in (x, x.numpy(), x.split(13), (b for b in x.split(1)), loader):
        assert_same(fit_patterns(model, data, estimator), expected)


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    """While the stream runs, no batch is alive but the last, and the rest stays of one size."""
    alive: list[int] = []

    def stream(count: int) -> Iterator[Tensor]:
        before: list[Any] = []
        for position in range(count):
            if position in (3, count - 1):
                kept = (o for o in gc.get_objects() if type(o) in (Tensor, nn.Parameter))
                alive.append(sum(t.numel() for t in kept))
            batch = torch.rand(4, 1, 8, 8)
            assert not any(ref() is not None for ref in before[:-1])
            before.append(weakref.ref(batch))
            yield batch

    fit_patterns(small(), stream(50))
    first, last = alive
    assert last == first


def test_a_large_mean_costs_few_digits() -> None:
    """In float32 with means a thousand deviations large, plain sums would lose cov(x, y)."""
    w, x = torch.randn(3, 6), torch.randn(4000, 6) @ torch.randn(6, 6) + 1000
    for estimator in ESTIMATORS:
        model = linear(w.tolist())
        found = fit_patterns(model.float(), x.float(), estimator).patterns["weight"].double()
        model.double()
        expected = fit_patterns(model, x, estimator).patterns["weight"]
        torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


def test_no_samples_and_unknown_estimators_are_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        fit_patterns(small(), iter(()))
    with pytest.raises(UnknownNameError, match="no estimator of patterns is called 'two'"):
        fit_patterns(small(), torch.rand(2, 1, 8, 8), "two")
    with pytest.raises(InputError, match="NaN"):
        fit_patterns(small(), torch.full((2, 1, 8, 8), torch.nan))
    with pytest.raises(UnsupportedModelError, match="training mode"):
        fit_patterns(small().train(), torch.rand(2, 1, 8, 8))


# -- networks ------------------------------------------------------------------------------------


def normed(linear: Any, norm: Any) -> tuple[nn.Module, nn.Module]:
    """A linear map with a batch-norm behind it, and the same as one linear map."""
    net = nn.Sequential(linear, norm).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    one = deepcopy(linear)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    one.weight = nn.Parameter(one.weight * scale.reshape(-1, *[1] * (one.weight.dim() - 1)))
    one.bias = nn.Parameter((one.bias - norm.running_mean) * scale + norm.bias)
    return net, one


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_folded_batch_norm_is_a_part_of_the_weights(estimator: str) -> None:
    for net, one, shape in (
        (*normed(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5)), (2, 6, 6)),
        (*normed(nn.Linear(4, 5), nn.BatchNorm1d(5)), (4,)),
    ):
        x = torch.randn(50, *shape)
        found = fit_patterns(net, x, estimator).patterns
        expected = fit_patterns(one, x, estimator).patterns
        assert set(found) == {"0.weight + 1.running_mean"}
        torch.testing.assert_close(found["0.weight + 1.running_mean"], expected["weight"])


class Functional(nn.Module):
    """Weights of all sorts: of functions, used twice, transposed, computed, no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4, bias=False)
        self.first = nn.Parameter(torch.randn(4, 3))
        self.matrix = nn.Parameter(torch.randn(4, 5))
        self.constant = torch.randn(2, 5)
        self.direction = nn.Parameter(torch.randn(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(F.linear(x, self.first))
        h = h + F.relu(self.shared(h))
        h = F.relu(self.shared(h) @ self.matrix)
        h = F.linear(h, self.constant)
        return F.linear(h, F.normalize(self.direction, dim=1))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_functional_networks_and_reused_weights(estimator: str) -> None:
    model, x = Functional().eval(), torch.randn(60, 3)
    found = fit_patterns(model, x, estimator).patterns
    computed = [name for name in found if name.startswith("linear")]
    assert set(found) == {"first", "shared.weight", "matrix", *computed}
    assert sorted(tuple(found[name].shape) for name in computed) == [(2, 5), (3, 2)]
    with torch.no_grad():
        a = F.relu(F.linear(x, model.first))
        b = a + F.relu(model.shared(a))
        c = model.shared(b)
    torch.testing.assert_close(found["first"], explicit(model.first.detach(), x, estimator))
    # uses share one pattern: their samples together
    both = torch.cat([a, b])
    shared = model.shared.weight.detach()
    torch.testing.assert_close(found["shared.weight"], explicit(shared, both, estimator))
    torch.testing.assert_close(found["matrix"], explicit(model.matrix.detach().T, c, estimator).T)


def test_a_network_without_modules_names_its_maps_in_order() -> None:
    w, v = torch.randn(3, 4), torch.randn(2, 3)

    def model(x: Tensor) -> Tensor:
        return F.linear(F.linear(x, w).relu(), v)

    x = torch.randn(30, 4)
    found = fit_patterns(model, x)
    assert set(found.patterns) == {"linear 0", "linear 2"}
    composite = Composite(
        ((Where(kind="linear"), rules.pattern_net(patterns=found.on(model))),), carries="gradient"
    )
    assert [str(s.rule) for s in inspect(model, x, composite) if s.linear] == [
        "pattern-net(patterns=Patterns(estimator='two-component'))"
    ] * 2


def test_sequences_have_a_sample_at_each_position() -> None:
    layer, x = linear(torch.randn(3, 4).tolist()), torch.randn(9, 5, 4)
    found = fit_patterns(layer, x).patterns["weight"]
    torch.testing.assert_close(
        found, explicit(layer.weight.detach(), x.flatten(0, 1), "two-component")
    )


def test_the_model_is_left_as_it_was() -> None:
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x, state = torch.rand(5, 1, 8, 8), torch.get_rng_state()
    fit_patterns(model, x)
    signal_quality(model, x, patches=30)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_what_has_no_patterns_is_refused() -> None:
    x = torch.rand(3, 2, 4, 4)
    with pytest.raises(UnsupportedModelError, match="conv_transpose2d in the model has no patt"):
        fit_patterns(nn.ConvTranspose2d(2, 3, 2, stride=2).eval(), x)
    with pytest.raises(UnsupportedModelError, match="matmul in the model has no patterns"):
        fit_patterns(lambda x: torch.ones(4, 4) @ x, x)
    for model in (nn.Flatten().eval(), lambda x: x.detach() @ torch.ones(4, 4)):
        with pytest.raises(UnsupportedModelError, match="no convolution or dense layer lies"):
            fit_patterns(model, x)


# -- files and other networks --------------------------------------------------------------------


def test_patterns_survive_their_file(tmp_path: Path) -> None:
    model, x = small(), torch.rand(20, 1, 8, 8)
    fitted = fit_patterns(model, x, "linear")
    loaded = Patterns.load(fitted.save(tmp_path / "patterns.safetensors"))
    assert loaded.estimator == "linear"
    assert set(loaded.patterns) == {"0.weight", "4.weight"}
    for name, pattern in fitted.patterns.items():
        assert torch.equal(loaded.patterns[name], pattern)


def test_patterns_of_another_network_are_refused(tmp_path: Path) -> None:
    model, x = small(), torch.rand(20, 1, 8, 8)
    fitted = fit_patterns(model, x)
    wider = nn.Sequential(*small(), nn.Linear(3, 2)).eval()
    other = small()
    other[0] = nn.Conv2d(1, 4, 3).eval()
    other[4] = nn.Linear(36, 5).eval()

    def back(net: nn.Module) -> None:
        rule = rules.pattern_net(patterns=fitted.on(net))
        engine = Propagation(Composite(((Where(kind="linear"), rule),), carries="gradient"), net)
        with engine:
            output = net(engine.enter(x))
        engine.settle(output).sum().backward()

    back(model)
    with pytest.raises(InputError, match=r"for 5\.weight \(linear of shape \(2, 3\)\).*no pattern"):
        back(wider)
    with pytest.raises(InputError, match=r"one of shape \(3, 36\).*fit them again"):
        back(other)


def test_a_rule_without_patterns_says_how_to_get_them() -> None:
    for rule in (rules.pattern_net(), rules.pattern_attribution()):
        model = linear([[1.0, 2.0]])
        engine = Propagation(Composite(((Where(kind="linear"), rule),), carries="gradient"), model)
        with engine:
            output = model(engine.enter(torch.ones(1, 2)))
        with pytest.raises(InputError, match=r"has no patterns: give it patterns=rootpoint\.fit"):
            engine.settle(output).sum().backward()


# -- quality of estimators -----------------------------------------------------------------------


def test_quality_tells_patterns_from_filters() -> None:
    """Distractors that w cancels: the filter leaves signal in the residual, patterns do not."""
    n = 20000
    signal, distractor = torch.randn(n), 0.5 * torch.randn(n)
    x = torch.stack([signal + distractor, distractor], 1) + 0.05 * torch.randn(n, 2)
    model = linear([[1.0, -1.0]])
    quality = {
        e: signal_quality(model, [x], e, patches=n)["weight"].item()
        for e in ("identity", "filter", "linear", "two-component")
    }
    assert quality["identity"] == 1
    assert quality["linear"] > 0.9
    assert quality["two-component"] > 0.9
    assert quality["filter"] < 0.5


def test_the_filters_quality_is_the_multiple_correlation() -> None:
    """ρ = 1 − R for the regression of y on the residuals, here by the covariance of x."""
    n, w = 20000, torch.tensor([1.0, 0.5])
    mix = torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    x = torch.randn(n, 2) @ mix
    found = signal_quality(linear([w.tolist()]), [x], "filter", patches=n)["weight"].item()
    cov = mix.T @ mix
    across = torch.tensor([-0.5, 1.0])  # the residual has one dimension: across w
    r = (across @ cov @ w).abs() / ((across @ cov @ across) * (w @ cov @ w)).sqrt()
    assert found == pytest.approx(1 - r.item(), abs=0.03)


def test_quality_is_of_each_unit_and_seeded() -> None:
    model, x = small(), torch.rand(40, 1, 8, 8)
    found = signal_quality(model, x, patches=300, units=2)
    assert {name: tuple(q.shape) for name, q in found.items()} == {
        "0.weight": (2,),
        "4.weight": (2,),
    }
    again = signal_quality(model, x, patches=300, units=2)
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert all(((q >= 0) & (q <= 1)).all() for q in found.values())


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS, ids=str)
def test_patches_are_drawn_as_the_convolution_sees_them(layer: Any, shape: Any) -> None:
    from rootpoint.propagation.signals import _Drawn

    layer = deepcopy(layer).double().eval()
    drawn, generator = _Drawn(), torch.Generator().manual_seed(0)
    x = torch.randn(20, *shape)
    meet(layer, x.split(3), lambda met: drawn.add(met, 50, generator), "drawing")
    assert len(drawn.x) == len(drawn.y) == 50
    units = torch.arange(len(drawn.weight)) // (len(drawn.weight) // layer.groups)
    y = torch.einsum("njd,jd->nj", drawn.x[:, units], drawn.weight)
    torch.testing.assert_close(y, drawn.y)


def test_quality_refuses_what_it_cannot_measure() -> None:
    x = torch.rand(40, 2)
    assert signal_quality(linear([[0.0, 0.0]]), x)["weight"].isnan().all()
    with pytest.raises(UnknownNameError, match="no estimator of signals is called 'fliter'"):
        signal_quality(small(), x, "fliter")
    with pytest.raises(InputError, match="patches ≥ 30"):
        signal_quality(small(), x, patches=10)


# -- linear models -------------------------------------------------------------------------------


def test_activation_pattern_of_one_output() -> None:
    w = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(activation_patterns(w, MIXED), torch.tensor([1.0, 0.0]))
    found = activation_patterns(w.numpy(), POINTS.numpy())
    y = (POINTS @ w).numpy()
    expected = [np.cov(POINTS.numpy()[:, i], y)[0, 1] / y.var(ddof=1) for i in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found, [0.814814814815, -0.185185185185], rtol=1e-11)


def test_activation_patterns_of_several_outputs_are_haufes() -> None:
    x, w = torch.randn(200, 5) @ torch.randn(5, 5), torch.randn(3, 5)
    expected = torch.cov(x.T) @ w.T @ torch.linalg.inv(torch.cov((x @ w.T).T))
    torch.testing.assert_close(activation_patterns(w, x), expected.T)


def test_activation_patterns_of_all_factors_are_the_mixing_matrix() -> None:
    """With as many outputs as factors, W = A⁻ᵀ: the patterns are what mixed the data."""
    mixing = torch.randn(4, 4)
    x = torch.randn(50, 4) @ mixing.T
    torch.testing.assert_close(activation_patterns(torch.linalg.inv(mixing), x), mixing.T)


def test_activation_patterns_of_estimators() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    pipeline = pytest.importorskip("sklearn.pipeline")
    generator = np.random.default_rng(0)
    s, d = generator.standard_normal((2, 3000))
    x = np.stack([s + d, d, 0.1 * generator.standard_normal(3000)], 1)
    model = linear_model.LinearRegression().fit(x, s)
    for estimator in (model, pipeline.make_pipeline(model)):
        found = activation_patterns(estimator, x)
        assert found.shape == (3,)
        np.testing.assert_allclose(found, [1, 0, 0], atol=0.05)
    np.testing.assert_allclose(model.coef_, [1, -1, 0], atol=1e-6)
    three = np.digitize(s, [-0.5, 0.5])
    several = linear_model.LogisticRegression().fit(x, three)
    assert np.isfinite(activation_patterns(several, x)).all()


def test_activation_patterns_refuse_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="object has no coef_"):
        activation_patterns(object(), MIXED)
    with pytest.raises(InputError, match=r"\(3,\) and data of shape \(4, 2\) do not fit"):
        activation_patterns(torch.ones(3), MIXED)
    with pytest.raises(InputError, match="NaN"):
        activation_patterns(torch.ones(2), MIXED * torch.nan)
