"""Gaussian processes: posterior and latent means, exact and conserved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(25, 3))
KERNELS: dict[str, Any] = {
    "rbf": RBF(1.3),
    "lengths": 2.0 * RBF([0.5, 1.0, 2.0]),
    "noisy": RBF(1.1) * 0.7 + WhiteKernel(0.2),
    "constants": ConstantKernel(2.0) * ConstantKernel(0.4) * RBF(1.5),
    "laplace": 3.0 * Matern(1.2, nu=0.5),
    "smooth": Matern(1.2, nu=np.inf),
    "student": 0.5 * RationalQuadratic(0.8, alpha=1),
    "linear": DotProduct(0.6) * 2.0,
}


def regressor(kernel: Any, y: Any, **options: Any) -> Any:
    return GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None, **options).fit(X, y)


def checked(model: Any, own: Any) -> Any:
    network = rp.neuralize(model)
    scores = network(torch.as_tensor(X)).numpy()
    np.testing.assert_allclose(scores, own, rtol=1e-10, atol=1e-10)
    found = rp.explain(network, X)
    kept = float(found.relevance.sum()) + sum(found.balance.absorbed.values())
    size = max(1.0, float(found.relevance.abs().sum()))
    assert abs(float(found.output.sum()) - kept) <= 1e-10 * size
    assert "unaccounted" not in found.balance.absorbed
    single = rp.explain(network, X[4:5]).relevance
    torch.testing.assert_close(found.relevance[4:5], single, rtol=1e-9, atol=1e-11)
    return network


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("normalized", [False, True])
def test_the_posterior_mean_is_exact(name: str, normalized: bool) -> None:
    y = 3 + X[:, 0] ** 2 - X[:, 1]
    model = regressor(KERNELS[name], y, normalize_y=normalized)
    checked(model, model.predict(X))


@pytest.mark.parametrize("name", ["lengths", "student", "linear"])
def test_several_targets_have_a_mean_each(name: str) -> None:
    model = regressor(KERNELS[name], X[:, :2] ** 2 + [1, 5], normalize_y=True)
    assert checked(model, model.predict(X)).outputs == ("prediction 0", "prediction 1")
    one = regressor(KERNELS[name], X[:, :1] ** 2)
    checked(one, one.predict(X))


@pytest.mark.parametrize("name", ["rbf", "lengths", "laplace", "student", "linear"])
def test_two_classes_have_the_latent_mean_and_its_opposite(name: str) -> None:
    y = np.where(X[:, 0] > X[:, 1], "yes", "no")
    model = GaussianProcessClassifier(KERNELS[name], optimizer=None).fit(X, y)
    base = model.base_estimator_
    s = base.kernel_(X, base.X_train_) @ (base.y_train_ - base.pi_)
    network = checked(model, np.stack([-s, s], 1))
    assert network.outputs == ("no", "yes")
    labels = np.asarray(network.outputs)[network(torch.as_tensor(X)).argmax(1)]
    assert (labels == model.predict(X)).all()


def test_three_classes_have_a_latent_mean_against_the_rest() -> None:
    y = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    model = GaussianProcessClassifier(RBF([1.0, 2.0, 2.0]), optimizer=None).fit(X, y)
    each = model.base_estimator_.estimators_
    own = [e.kernel_(X, e.X_train_) @ (e.y_train_ - e.pi_) for e in each]
    assert checked(model, np.stack(own, 1)).outputs == ("a", "b", "c")


def test_columns_are_found_by_name() -> None:
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    model = GaussianProcessRegressor(RBF(), alpha=0.1, optimizer=None).fit(table, X[:, 0])
    network = rp.neuralize(model)
    expected = rp.explain(network, table).relevance
    found = rp.explain(network, table[["c", "a", "b"]].assign(more=1)).relevance
    torch.testing.assert_close(found[:, [1, 2, 0]], expected)
    assert not found[:, 3].any()


@pytest.mark.parametrize(
    "kernel",
    [
        Matern(nu=1.5),
        RationalQuadratic(alpha=2),
        RBF() + DotProduct(),
        RBF() * RBF(),
        ConstantKernel(2.0),
        ConstantKernel(2.0) * ConstantKernel(3.0),
        WhiteKernel(),
    ],
)
def test_other_kernels_are_refused_and_the_supported_ones_named(kernel: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"supported are RBF, Matern\(nu=0.5\)"):
        rp.neuralize(regressor(kernel, X[:, 0]))


def test_pairs_of_classes_are_refused() -> None:
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    model = GaussianProcessClassifier(RBF(), optimizer=None, multi_class="one_vs_one").fit(X, y)
    with pytest.raises(UnsupportedModelError, match="multi_class='one_vs_rest'"):
        rp.neuralize(model)


def test_a_process_that_was_not_fitted_is_an_error() -> None:
    with pytest.raises(InputError, match="not fitted"):
        rp.neuralize(GaussianProcessRegressor())
