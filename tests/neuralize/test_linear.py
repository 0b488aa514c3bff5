"""Linear models: R_i = w_i x_i, of every linear estimator that scikit-learn has."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model, svm
from sklearn.base import is_classifier
from sklearn.utils import all_estimators

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.linear import Linear
from rootpoint.neuralize.neuralize import neuralize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4))
CLASSES = {
    "two": np.array(["no", "yes"])[(X[:, 0] > 0.1).astype(int)],
    "three": np.array(["a", "b", "c"])[np.digitize(X[:, 0] - X[:, 1], [-0.5, 0.5])],
}
VALUE = X @ np.array([1.0, -2.0, 0.0, 0.5]) + 0.3 + 0.01 * RNG.normal(size=40)
VALUES = {"one": VALUE, "positive": np.exp(VALUE / 5), "several": np.stack([VALUE, 1 - X[:, 1]], 1)}

ELSEWHERE = {"SVC", "SVR", "NuSVC", "NuSVR", "OneClassSVM"}  # linear if their kernel is


@cache
def fits() -> dict[str, Any]:
    """Every estimator of scikit-learn that has `coef_` once fitted, by name and kind of target."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, cls in all_estimators():
            if not any(part in cls.__module__ for part in ("linear", "svm", "discr", "cross_d")):
                continue
            estimator = cls()
            for kind, y in (CLASSES if is_classifier(estimator) else VALUES).items():
                try:
                    fitted = cls().fit(X, y)
                except ValueError:  # this estimator does not take this kind of target
                    continue
                if name not in ELSEWHERE and hasattr(fitted, "coef_"):
                    found[f"{name}-{kind}"] = fitted
    return found


def own_score(estimator: Any, x: Any) -> Any:
    """The estimator's own: the decision value, or what the prediction is the exponential of."""
    if hasattr(estimator, "decision_function"):
        found = estimator.decision_function(x)
        if not is_classifier(estimator):
            return -found  # outliers are positive
        return np.stack([-found, found], 1) if found.ndim == 1 else found
    found = estimator.predict(x)
    name = type(estimator).__name__
    log = name in ("PoissonRegressor", "GammaRegressor") or getattr(estimator, "power", 0) > 0
    return np.log(found) if log else found


def test_all_linear_estimators_are_found() -> None:
    names = {key.split("-")[0] for key in fits()}
    assert len(names) >= 40
    assert {
        "LogisticRegressionCV",
        "LinearSVR",
        "CCA",
        "TweedieRegressor",
        "SGDOneClassSVM",
    } <= names


def test_every_linear_estimator_is_a_network_of_the_same_score_and_relevance_w_x() -> None:
    x = np.random.default_rng(1).normal(size=(7, 4)) * 2
    x[0, 1] = 0
    for name, estimator in fits().items():
        network = neuralize(estimator)
        own = own_score(estimator, x)
        scores = network(torch.as_tensor(x))
        assert scores.shape == own.shape, name
        np.testing.assert_allclose(scores, own, rtol=1e-10, atol=1e-10, err_msg=name)
        for target in range(1 if own.ndim == 1 else own.shape[1]):
            found = rp.explain(network, x, target)
            expected = np.asarray(network.weight[target]) * x
            np.testing.assert_allclose(found.relevance, expected, atol=1e-10, err_msg=name)
            np.testing.assert_allclose(
                found.relevance.sum(1) + network.bias[target], found.output, atol=1e-10
            )


@pytest.mark.parametrize("kind", ["two", "three"])
def test_the_highest_score_is_the_predicted_class(kind: str) -> None:
    estimator = linear_model.LogisticRegression().fit(X, CLASSES[kind])
    network = neuralize(estimator)
    assert list(network.outputs) == list(estimator.classes_)
    best = network(torch.as_tensor(X)).argmax(1)
    assert [network.outputs[k] for k in best] == list(estimator.predict(X))


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_random_classifiers_are_exact_and_conserve(seed: int, classes: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, columns)), np.arange(30) % classes
    estimator = linear_model.RidgeClassifier(alpha=rng.uniform(0.1, 3)).fit(x, y)
    table = 3 * rng.normal(size=(5, columns))
    found = rp.explain(neuralize(estimator), table)
    own = own_score(estimator, table)
    np.testing.assert_allclose(found.output, own.max(1), rtol=1e-10, atol=1e-10)
    books = found.balance
    assert abs(books.gap) <= 1e-10 * max(1, abs(books.score))
    assert set(books.absorbed) <= {"bias", "rounding"}


def test_many_samples_at_once_are_explained_as_one_by_one() -> None:
    network = neuralize(svm.LinearSVC(random_state=0).fit(X, CLASSES["three"]))
    together = rp.explain(network, X, 1).relevance
    alone = [rp.explain(network, X[i : i + 1], 1).relevance for i in range(len(X))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


def test_sparse_coefficients_are_read() -> None:
    estimator = linear_model.LogisticRegression().fit(X, CLASSES["three"])
    dense = neuralize(estimator)
    sparse = neuralize(estimator.sparsify())
    torch.testing.assert_close(dense.weight, sparse.weight, rtol=0, atol=0)


def test_columns_of_a_data_frame_are_taken_by_name() -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    network = neuralize(linear_model.Ridge().fit(frame, VALUE))
    assert network.names == ("a", "b", "c", "d")
    found = rp.explain(network, frame[["d", "c", "b", "a"]], 0)
    torch.testing.assert_close(found.relevance.flip(1), rp.explain(network, X, 0).relevance)


def test_a_linear_predictor_is_explained_where_the_prediction_is_its_exponential() -> None:
    estimator = linear_model.PoissonRegressor().fit(X, VALUES["positive"])
    found = rp.explain(neuralize(estimator), X, 0)
    np.testing.assert_allclose(torch.exp(found.output), estimator.predict(X), rtol=1e-10)


def test_no_options_are_taken() -> None:
    with pytest.raises(InputError, match="has no option 'rooted'; its options: none"):
        neuralize(linear_model.Ridge().fit(X, VALUE), rooted=True)


def test_what_is_not_fitted_or_was_fitted_otherwise_is_told() -> None:
    with pytest.raises(InputError, match="not fitted: call fit first"):
        neuralize(linear_model.Ridge())
    network = neuralize(linear_model.Ridge().fit(X, VALUE))
    with pytest.raises(InputError, match="3 columns, but the model was fitted to 4"):
        rp.explain(network, X[:, :3])
    with pytest.raises(InputError, match="NaN"):
        rp.explain(network, np.where(X > 1, np.nan, X))


class Squared(linear_model.Ridge):
    """Derives from a linear model, and is none."""

    def predict(self, X: Any) -> Any:
        return super().predict(X) ** 2


class Renamed(linear_model.Ridge):
    """Derives from a linear model, and decides as it does."""


class Custom(linear_model._base.LinearModel):
    """Fitted, but without coefficients."""

    def fit(self, X: Any, y: Any) -> Custom:
        self.fitted_ = True
        return self


def test_a_derived_class_that_decides_otherwise_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="does not compute what the class it derives"):
        neuralize(Squared().fit(X, VALUE))
    assert isinstance(neuralize(Renamed().fit(X, VALUE)), Linear)
    with pytest.raises(UnsupportedModelError, match="it has no coef_"):
        neuralize(Custom().fit(X, VALUE))


def test_one_class_decides_nothing() -> None:
    with pytest.raises(InputError, match="was fitted to one class"):
        neuralize(OneClass().fit(X, CLASSES["two"]))


class OneClass(linear_model.LogisticRegression):
    """As fitted to data of one class, which scikit-learn's own refuse."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> OneClass:
        super().fit(X, y)
        self.classes_ = self.classes_[:1]
        return self
