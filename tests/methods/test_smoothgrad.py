"""Gradients averaged over noise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rootpoint import Explanation, Gradient
from rootpoint.errors import InputError
from rootpoint.methods.smoothgrad import SmoothGrad


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)]
    model = nn.Sequential(*layers).double().eval()
    nn.init.uniform_(model[1].running_var, 0.5, 2)
    return model


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 2, 5, 5, dtype=torch.float64)


def test_one_sample_without_noise_is_the_gradient(x: Tensor) -> None:
    found = SmoothGrad(samples=1, level=0)(network(), x)
    torch.testing.assert_close(found.relevance, Gradient()(network(), x).relevance)
    assert found.standard_error is None
    assert found.passes == (2, 1)


@given(level=st.floats(0, 3), samples=st.integers(1, 9), seed=st.integers(0, 99))
def test_linear_models_are_exact(level: float, samples: int, seed: int) -> None:
    w = torch.tensor([[1.0], [-2.0], [0.5]]).double()
    x = torch.tensor([[0.3, 1.0, -1.0], [2.0, 0.1, 0.0]]).double()
    found = SmoothGrad(samples=samples, level=level, seed=seed)(lambda x: x @ w, x)
    torch.testing.assert_close(found.relevance, w.T.expand(2, 3))
    squared = SmoothGrad(samples=samples, level=level, aggregate="squared")(lambda x: x @ w, x)
    torch.testing.assert_close(squared.relevance, w.T.square().expand(2, 3))
    if samples > 1:
        assert found.standard_error.abs().max() < 1e-12
        variance = SmoothGrad(samples=samples, aggregate="variance")(lambda x: x @ w, x)
        assert variance.relevance.abs().max() < 1e-12


def test_the_aggregates_are_those_of_the_noisy_gradients(x: Tensor) -> None:
    """f = Σ x³/6, so that the gradient is x²/2 and the noise can be read from it."""

    def cubes(x: Tensor) -> Tensor:
        return (x**3).flatten(1).sum(1, keepdim=True) / 6

    n = 400
    sigma = 0.2 * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).reshape(-1, 1, 1, 1)
    gradient = SmoothGrad(samples=n, level=0.2)(cubes, x)
    spread = gradient.standard_error * n**0.5
    expected = (x.square() + sigma.square()) / 2  # E (x + ε)²/2
    assert ((gradient.relevance - expected) / gradient.standard_error).abs().max() < 4.5
    squared = SmoothGrad(samples=n, level=0.2, aggregate="squared")(cubes, x).relevance
    variance = SmoothGrad(samples=n, level=0.2, aggregate="variance")(cubes, x).relevance
    torch.testing.assert_close(squared - gradient.relevance.square(), variance)
    torch.testing.assert_close(variance * n / (n - 1), spread.square())
    deviation = x.square() * sigma**2 + sigma**4 / 2  # Var (x + ε)²/2
    torch.testing.assert_close(variance, deviation, rtol=0.5, atol=0.05)


def test_the_standard_error_says_how_far_other_seeds_are(x: Tensor) -> None:
    found = [SmoothGrad(samples=20, seed=s)(network(), x, 0) for s in range(30)]
    spread = torch.stack([e.relevance for e in found]).std(0)
    ratio = torch.stack([e.standard_error for e in found]).mean(0) / spread
    assert 0.8 < ratio.median() < 1.2


def test_a_batch_is_explained_as_its_samples_are_one_by_one(x: Tensor) -> None:
    x = x * torch.tensor([1.0, 5.0, 0.2])[:, None, None, None]  # noise by each one's own range
    method = SmoothGrad(samples=7)
    together = method(network(), x)
    for i in range(3):
        alone = method(network(), x[i : i + 1])
        torch.testing.assert_close(together.relevance[i], alone.relevance[0])
        torch.testing.assert_close(together.standard_error[i], alone.standard_error[0])


def test_the_same_seed_gives_the_same_noise_and_leaves_torchs_alone(x: Tensor) -> None:
    model = network()
    state = torch.get_rng_state()
    first, again, other = (SmoothGrad(samples=3, seed=s)(model, x, 1) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.relevance, again.relevance)
    assert not torch.equal(first.relevance, other.relevance)


def test_several_targets_share_the_noise(x: Tensor) -> None:
    bound = SmoothGrad(samples=5).bind(network())
    for target, found in zip((0, "predicted"), bound.each(x, [0, "predicted"]), strict=True):
        torch.testing.assert_close(found.relevance, bound(x, target).relevance)


def test_several_inputs_have_noise_of_their_own(x: Tensor) -> None:
    def model(a: Tensor, b: Tensor) -> Tensor:
        return (a.flatten(1).sum(1) * b.flatten(1).sum(1)).reshape(-1, 1)

    found: Explanation = SmoothGrad(samples=4)(model, {"a": x, "b": x[:, :1]})
    assert found.relevance["a"].shape == x.shape
    assert found.relevance["b"].shape == (3, 1, 5, 5)
    assert SmoothGrad(samples=4)(model, (x, x)).relevance[1].shape == x.shape


def test_inner_modules_are_explained_under_noise_on_the_input(x: Tensor) -> None:
    model = network()
    found = SmoothGrad(samples=1, level=0)(model, x, 0, at="0")
    torch.testing.assert_close(found.relevance, Gradient()(model, x, 0, at="0").relevance)
    assert SmoothGrad(samples=3)(model, x, 0, at="2").relevance.shape == (3, 4, 3, 3)


def test_a_constant_input_is_said_to_have_no_noise() -> None:
    found = SmoothGrad(samples=2)(network(), torch.ones(1, 2, 5, 5, dtype=torch.float64))
    assert found.notes == ("an input is constant: its range is zero, and so was the noise on it",)


def test_low_precision_is_summed_in_more() -> None:
    x = torch.randn(1, 4).bfloat16()
    found = SmoothGrad(samples=9)(lambda x: x.square().sum(1, keepdim=True), x)
    assert found.relevance.dtype == torch.bfloat16


def test_what_cannot_be_averaged_is_refused(x: Tensor) -> None:
    with pytest.raises(InputError, match="variance needs samples=2"):
        SmoothGrad(samples=1, aggregate="variance")
    with pytest.raises(InputError, match="samples=0 is out of range"):
        SmoothGrad(samples=0)

    def root(x: Tensor) -> Tensor:
        return (x - x.detach()).sqrt().flatten(1).sum(1, keepdim=True)

    with pytest.raises(InputError, match="a gradient is NaN or infinite while adding noise"):
        SmoothGrad(samples=2)(root, x)
