"""Support vector machines and kernel ridge regression: exact scores, conserved relevance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

import rootpoint as rp
from rootpoint.errors import UnsupportedModelError
from rootpoint.neuralize.expansions import Expansion
from rootpoint.neuralize.kernels import CityBlockLaplace, Gaussian, Kernel, Laplace, Student
from rootpoint.neuralize.projections import ProjectedDistances

NAMED = ["rbf", "linear", "poly", "sigmoid"]
KERNELS = [Gaussian(0.3), Laplace(0.5), CityBlockLaplace(0.2), Student(0.4)]


def data(seed: int, classes: int = 2) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 4)) + rng.normal(size=4)
    z = x[:, 0] - x[:, 1] + 0.3 * rng.normal(size=30)
    return x, np.array(["a", "b", "c"])[np.argsort(np.argsort(z)) * classes // 30]


def checked(model: Any, x: Any, own: Any) -> Any:
    """The explanation, after scores were compared and the books were checked."""
    network = rp.neuralize(model)
    scores = network(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(scores, own, rtol=1e-10, atol=1e-10)
    found = rp.explain(network, x)
    size = max(1.0, float(found.relevance.abs().sum()))
    kept = float(found.relevance.sum()) + sum(found.balance.absorbed.values())
    assert abs(float(found.output.sum()) - kept) <= 1e-10 * size
    assert "unaccounted" not in found.balance.absorbed
    assert found.relevance.isfinite().all()
    single = torch.cat([rp.explain(network, x[i : i + 1]).relevance for i in (0, len(x) - 1)])
    torch.testing.assert_close(found.relevance[[0, -1]], single, rtol=1e-9, atol=1e-11)
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([*NAMED, *KERNELS]), st.sampled_from([SVC, NuSVC]))
def test_two_classes_have_the_decision_function_and_its_opposite(
    seed: int, kernel: Any, kind: Any
) -> None:
    x, y = data(seed)
    machine = kind(kernel=kernel, gamma=0.2, coef0=0.5).fit(x, y)
    s = machine.decision_function(x)
    found = checked(machine, x, np.stack([-s, s], 1))
    assert rp.neuralize(machine).outputs == ("a", "b")
    assert (found.prediction.argmax(1).numpy() == (s > 0)).all()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([*NAMED, *KERNELS]), st.sampled_from(["ovr", "ovo"]))
def test_three_classes_have_the_decision_function(seed: int, kernel: Any, shape: str) -> None:
    x, y = data(seed, 3)
    machine = SVC(kernel=kernel, gamma=0.2, decision_function_shape=shape).fit(x, y)
    checked(machine, x[:9], machine.decision_function(x[:9]))
    names = ("a", "b", "c") if shape == "ovr" else ("a or b", "a or c", "b or c")
    assert rp.neuralize(machine).outputs == names


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([*NAMED, *KERNELS]), st.sampled_from([SVR, NuSVR]))
def test_support_vector_regressors_have_predict(seed: int, kernel: Any, kind: Any) -> None:
    x, _ = data(seed)
    machine = kind(kernel=kernel, gamma=0.2).fit(x, x[:, 0] - x[:, 2] ** 2)
    checked(machine, x[:9], machine.predict(x[:9]))


@pytest.mark.parametrize("kernel", [*NAMED, "laplacian", "polynomial", *KERNELS])
@pytest.mark.parametrize("targets", [1, 2])
def test_kernel_ridge_has_predict_for_each_target(kernel: Any, targets: int) -> None:
    x, _ = data(3)
    y = x[:, :targets] ** 2 if targets > 1 else x[:, 0] ** 2
    ridge = KernelRidge(kernel=kernel, gamma=0.1).fit(x, y)
    checked(ridge, x[:9], ridge.predict(x[:9]))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weights", [[[1.0, 0.5]], [[-1.0, -0.5]], [[0.0, 0.0]], [[1.0, -0.5]]])
def test_weights_of_one_sign_or_none_are_exact(kernel: Kernel, weights: Any) -> None:
    points, x = np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 1.0], [9.0, 9.0]])
    network = Expansion(points, weights, 0.25, kernel, ["s"]).eval()
    expected = kernel(x, points) @ np.transpose(weights) + 0.25
    found = rp.explain(network, x, target=0)
    np.testing.assert_allclose(found.output.numpy(), expected[:, 0], rtol=1e-12)
    kept = float(found.relevance.sum()) + sum(found.balance.absorbed.values())
    assert kept == pytest.approx(float(expected.sum()), rel=1e-10)


def test_two_gaussians_are_explained_as_the_logarithmic_mean_of_their_pools() -> None:
    """k(x, u) − k(x, v) = M (‖x−v‖² − ‖x−u‖²)/2, at (1, 1): u = (0, 0), v = (2, 3): 2.5, 1."""
    network = Expansion(np.array([[0.0, 0], [2, 3]]), [[1, -1]], 0.0, Gaussian(0.5), ["s"]).eval()
    mean = (np.exp(-1.0) - np.exp(-2.5)) / 1.5
    found = rp.explain(network, np.array([[1.0, 1.0]]), target=0).relevance[0]
    assert found.tolist() == pytest.approx([0.0, mean * (4 - 1) / 2], abs=1e-12)


def test_narrow_kernels_are_explained_wherever_one_pool_is_beyond_all_digits() -> None:
    rng = np.random.default_rng(0)
    x = 10 * rng.normal(size=(40, 5))
    machine = SVC(gamma=5.0).fit(x, (x[:, 0] > 0).astype(int))
    found = rp.explain(rp.neuralize(machine), x)
    constant = found.balance.absorbed.get("constant", 0.0)
    assert found.relevance.isfinite().all()
    assert float(found.relevance.sum()) == pytest.approx(float(found.output.sum()) - constant)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_weights_of_one_sign_are_explained_by_what_distance_takes_from_the_most(
    kernel: Kernel, sign: float
) -> None:
    """On the only point nothing is lost; far from it all is, also where the kernel underflows."""
    network = Expansion(np.zeros((1, 2)), [[2 * sign]], 0.5, kernel, ["s"]).eval()
    x = np.array([[0.0, 0.0], [3.0, 4.0], [3e5, 4e5]])
    found = rp.explain(network, x, target=0).relevance.sum(1).numpy()
    lost = 2 * sign * (kernel(x, np.zeros((1, 2)))[:, 0] - 1)
    np.testing.assert_allclose(found, lost, rtol=1e-10, atol=1e-12)


def planted(seed: int) -> tuple[Any, Any, Any]:
    """A machine where two of ten columns, alike in size, decide; more samples, and relevance."""
    x = np.random.default_rng(seed).normal(size=(400, 10))
    machine = SVC(gamma=0.1).fit(x[:300], x[:300, :2].sum(1) > 0)
    return machine, x[300:], rp.explain(rp.neuralize(machine), x[300:]).relevance.numpy()


def test_planted_columns_hold_most_relevance() -> None:
    found = np.abs(planted(0)[2]).mean(0)
    assert found[:2].min() > 2.5 * found[2:].max()
    assert found[:2].sum() > 2 * 0.2 * found.sum()


def test_columns_of_most_relevance_turn_decisions_when_they_are_taken_off() -> None:
    machine, x, found = planted(1)
    rng = np.random.default_rng(0)

    def turned(order: Any) -> float:
        off = x.copy()
        np.put_along_axis(off, order[:, :2], -x[:, :2].mean(), 1)
        return float((machine.predict(off) != machine.predict(x)).mean())

    chance = turned(rng.permuted(np.tile(np.arange(10), (len(x), 1)), axis=1))
    assert turned(np.argsort(-found, 1)) > chance + 0.1
    assert turned(np.argsort(found, 1)) < chance + 0.02


def test_machines_behind_a_projection_do_not_explode_where_a_component_is_zero() -> None:
    x, y = data(0)
    for machine in (SVC(gamma=0.1), SVR(gamma=0.1)):
        target = y if isinstance(machine, SVC) else x[:, 0] ** 2
        pipe = make_pipeline(PCA(2), machine).fit(x, target)
        at = pipe[0].inverse_transform([[1e-9, 1.0], [0.0, 0.0], [1.0, 1e-12]])
        network = rp.neuralize(pipe)
        assert isinstance(network.distances, ProjectedDistances)
        found = rp.explain(network, at)
        own = pipe.predict(at) if isinstance(machine, SVR) else pipe.decision_function(at)
        scores = found.prediction if found.prediction.dim() == 1 else found.prediction[:, 1]
        np.testing.assert_allclose(scores.numpy(), own, rtol=1e-10)
        assert float(found.relevance.abs().max()) < 20 * float(np.abs(own).max())


def test_sparse_tables_are_fitted_as_dense_ones() -> None:
    x, y = data(1)
    machine = SVC(gamma=0.2).fit(sparse.csr_matrix(x), y)
    s = machine.decision_function(sparse.csr_matrix(x))
    checked(machine, x, np.stack([-s, s], 1))


def test_other_kernels_are_refused_and_the_supported_ones_named() -> None:
    x, y = data(0)
    machines = (
        SVC(kernel="precomputed").fit(x @ x.T, y),
        SVC(kernel=lambda a, b: a @ b.T).fit(x, y),
        KernelRidge(kernel="chi2", gamma=1.0).fit(np.abs(x), x[:, 0]),
    )
    for machine in machines:
        with pytest.raises(UnsupportedModelError, match=r"supported are 'rbf', 'laplacian'"):
            rp.neuralize(machine)
