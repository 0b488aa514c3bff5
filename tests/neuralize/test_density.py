"""Kernel densities, support vector data description and Parzen windows as networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity
from sklearn.svm import OneClassSVM
from torch import Tensor

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.density import svdd
from rootpoint.neuralize.kernels import CityBlockLaplace, Gaussian, Kernel, Laplace, Student
from rootpoint.neuralize.parzen import Parzen

POINTS = [(0.0, 0.0), (2.0, 0.0), (0.0, 3.0)]
KINDS = (
    ("gaussian", {"metric": "euclidean"}),
    ("gaussian", {"metric": "minkowski"}),
    ("exponential", {"metric": "l2"}),
    ("exponential", {"metric": "manhattan"}),
    ("exponential", {"metric": "cityblock"}),
    ("exponential", {"metric": "minkowski", "metric_params": {"p": 1}}),
)


def t(values: object) -> Tensor:
    return torch.as_tensor(np.array(values), dtype=torch.float64)


def test_the_closed_form_of_kernel_densities_is_met() -> None:
    gamma = 0.5
    network = rp.neuralize(KernelDensity(bandwidth=(2 * gamma) ** -0.5).fit(POINTS))
    found = rp.explain(network, t([[1.0, 1.0]]), method="lrp")
    assert found.output.item() / gamma == pytest.approx(2.599392, abs=1e-6)
    assert (found.relevance[0] / gamma).tolist() == pytest.approx([1.221428, 1.377965], abs=1e-6)
    p = rp.explain(network, t([[1.0, 1.0]]), method="lrp", at="distances").relevance[0]
    expected = [0.449816, 0.449816, 0.100368]
    assert (p / found.output).tolist() == pytest.approx(expected, abs=1e-6)


def test_relevance_is_the_gradient_by_the_points() -> None:
    """R = −½ Σ_k (x − x_k) ⊙ ∂o/∂x_k · o / ‖x − x_k‖², o the soft minimum of squared distances."""
    x, points = t([1.0, 1.0]), t(POINTS).requires_grad_()
    gamma = 0.5
    apart = (x - points).square().sum(1)
    o = -(torch.logsumexp(-gamma * apart, 0) - np.log(3)) / gamma
    slope = torch.autograd.grad(o, points)[0]
    expected = -0.5 * ((x - points) * slope * o / apart.unsqueeze(1)).sum(0).detach()
    network = rp.neuralize(KernelDensity(bandwidth=1.0).fit(POINTS))
    found = rp.explain(network, x[None], method="lrp").relevance[0] / gamma
    assert torch.allclose(found, expected, rtol=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(KINDS), st.integers(1, 5), st.booleans())
def test_score_samples_is_the_peak_less_the_score(
    seed: int, kind: tuple[str, dict[str, object]], columns: int, weighted: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, columns)) + rng.normal(size=columns)
    weights = rng.random(30) * (rng.random(30) > 0.2) + 1e-3 if weighted else None
    name, options = kind
    made = KernelDensity(kernel=name, bandwidth=float(rng.uniform(0.2, 2)), **options)
    made.fit(x, sample_weight=weights)
    inputs = np.concatenate((x, rng.normal(size=(10, columns)) * 5))
    network = rp.neuralize(made)
    expected = made.score_samples(inputs)
    error = np.abs(network.log_density(t(inputs)).numpy() - expected).max()
    assert error <= 1e-10 * max(1, np.abs(expected).max())
    found = rp.explain(network, t(inputs), method="lrp")
    assert (found.output >= 0).all()
    assert torch.allclose(found.relevance.sum(1), found.output, rtol=1e-10, atol=1e-12)
    assert set(found.balance.absorbed) <= {"rounding"}


def test_bandwidths_by_rule_and_the_rooted_variant_are_known() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    made = KernelDensity(bandwidth="scott").fit(x)
    network = rp.neuralize(made, rooted=True)
    found = rp.explain(network, t(x), method="lrp")
    assert torch.allclose(network.log_density(t(x)), t(made.score_samples(x)), atol=1e-10)
    assert (found.relevance.sum(1) < found.output).all()
    assert found.balance.absorbed["constant"] > 0
    assert abs(found.balance.gap) <= 1e-10 * float(found.output.sum())


@pytest.mark.parametrize("kernel", ["tophat", "epanechnikov", "linear", "cosine"])
def test_kernels_of_bounded_width_are_refused(kernel: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"zero beyond .* kernel='gaussian'"):
        rp.neuralize(KernelDensity(kernel=kernel).fit(POINTS))


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ("gaussian", {"metric": "manhattan"}),
        ("exponential", {"metric": "chebyshev"}),
        ("gaussian", {"metric": "minkowski", "metric_params": {"p": 3}}),
    ],
)
def test_metrics_without_a_rule_are_refused(kernel: str, options: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"metric.*euclidean"):
        rp.neuralize(KernelDensity(kernel=kernel, **options).fit(POINTS))


@pytest.mark.parametrize("kernel", [Gaussian(0.5), Laplace(0.7), CityBlockLaplace(0.7), Student(1)])
def test_the_distance_of_svdd_is_that_of_its_kernel_expansion(kernel: Kernel) -> None:
    rng = np.random.default_rng(0)
    u, x, alpha = rng.normal(size=(6, 3)), rng.normal(size=(9, 3)), rng.dirichlet(np.ones(6))
    network = svdd(u, alpha, kernel)
    expected = [
        kernel(one, one)[0, 0] - 2 * (kernel(one, u) @ alpha)[0] + alpha @ kernel(u, u) @ alpha
        for one in x[:, None]
    ]
    found = network.squared_distance(t(x))
    assert np.abs(found.numpy() - expected).max() <= 1e-12
    assert (found.argsort() == network(t(x)).argsort()).all()
    assert torch.allclose(rp.explain(network, t(x), method="lrp").relevance.sum(1), network(t(x)))


def test_svdd_of_a_one_class_machines_coefficients_is_the_same_network() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    machine = OneClassSVM(nu=0.3, gamma=0.4).fit(x)
    alpha = machine.dual_coef_[0] / machine.dual_coef_.sum()
    network = svdd(machine.support_vectors_, alpha, Gaussian(0.4))
    expected = rp.explain(rp.neuralize(machine), t(x), method="lrp")
    found = rp.explain(network, t(x), method="lrp")
    assert torch.allclose(found.relevance, expected.relevance, rtol=1e-9)
    inside = network.squared_distance(t(machine.support_vectors_)).detach()
    free = (alpha > 1e-6) & (alpha < alpha.max() - 1e-6)  # on the sphere
    assert inside[free].std() < 1e-3


@pytest.mark.parametrize("weights", [[0.5, 0.7, -0.2], [1.0, 1.0, 1.0], [0.5, np.nan, 0.5], [1.0]])
def test_svdd_refuses_what_is_no_centre(weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        svdd(POINTS, weights, Gaussian(1.0))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_parzen_windows_have_the_log_odds_of_their_classes(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate((np.arange(classes), rng.integers(0, classes, 25)))
    points = rng.normal(size=(len(labels), 3)) + labels[:, None]
    windows = Parzen(t(points), torch.from_numpy(labels), float(rng.uniform(0.5, 2)))
    network = rp.neuralize(windows)
    assert network.outputs == tuple(range(classes))
    x = t(rng.normal(size=(12, 3)) * 2)
    log_p = windows(x)
    sure = (log_p > -12) & (log_p < -1e-5)
    odds = log_p - torch.log(-torch.expm1(log_p))
    assert torch.allclose(network(x)[sure], odds[sure], rtol=1e-9, atol=1e-9)
    others = torch.stack(
        [torch.cat((log_p[:, :c], log_p[:, c + 1 :]), 1).logsumexp(1) for c in range(classes)], 1
    )
    assert torch.allclose(network(x), log_p - others, rtol=1e-10, atol=1e-10)
    found = rp.explain(network, x, method="lrp")
    assert torch.allclose(found.relevance.sum(1), found.output, rtol=1e-10, atol=1e-10)
    assert set(found.balance.absorbed) <= {"rounding"}


def test_parzen_windows_of_images_and_classes_without_points() -> None:
    rng = np.random.default_rng(0)
    windows = Parzen(t(rng.normal(size=(8, 2, 3))), torch.tensor([1, 1, 1, 4, 4, 4, 1, 4]), 1.0)
    network = rp.neuralize(windows)
    x = t(rng.normal(size=(5, 2, 3)))
    assert network.outputs == (1, 4)
    assert torch.allclose(network(x)[:, 0], -network(x)[:, 1])
    found = rp.explain(network, x, method="lrp")
    assert found.relevance.shape == x.shape
    flat = rp.explain(network, x.flatten(1).numpy(), method="lrp")
    assert torch.allclose(torch.as_tensor(flat.relevance), found.relevance.flatten(1))


def test_parzen_windows_of_one_class_have_no_odds() -> None:
    with pytest.raises(InputError, match="two at least"):
        rp.neuralize(Parzen(t(POINTS), torch.zeros(3, dtype=torch.long), 1.0))
