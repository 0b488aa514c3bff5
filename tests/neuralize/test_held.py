"""Estimators that hold another one: the network is that one's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import calibration, compose, frozen, linear_model, model_selection, multiclass, svm

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.neuralize import neuralize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4))
THREE = np.digitize(X[:, 0] - X[:, 1], [-0.5, 0.5])
VALUE = X @ np.array([1.0, -2.0, 0.0, 0.5]) + 0.3


@pytest.mark.parametrize(
    "search",
    [
        model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 9.0]}),
        model_selection.RandomizedSearchCV(
            linear_model.Ridge(), {"alpha": [0.1, 9.0]}, n_iter=2, random_state=0
        ),
        frozen.FrozenEstimator(linear_model.Ridge().fit(X, VALUE)),
        linear_model.RANSACRegressor(random_state=0),
    ],
    ids=lambda s: type(s).__name__,
)
def test_the_held_estimator_is_explained(search: Any) -> None:
    network = neuralize(search.fit(X, VALUE))
    np.testing.assert_allclose(network(torch.as_tensor(X)), search.predict(X), atol=1e-10)


def test_options_are_those_of_the_held_estimator() -> None:
    search = model_selection.GridSearchCV(
        svm.OneClassSVM(), {"nu": [0.5]}, scoring=lambda e, X, y=None: 0.0
    ).fit(X)
    network = neuralize(search, alpha="raw")
    f = search.best_estimator_.decision_function(X) + search.best_estimator_.offset_
    np.testing.assert_allclose(network(torch.as_tensor(X)), -np.log(f), atol=1e-10)
    with pytest.raises(InputError, match="network of OneClassSVM has no option 'beta'"):
        neuralize(search, beta=1)


def test_a_search_without_the_best_estimator_says_so() -> None:
    grid = {"alpha": [0.1, 9.0]}
    search = model_selection.GridSearchCV(linear_model.Ridge(), grid, refit=False).fit(X, VALUE)
    with pytest.raises(InputError, match="search with refit=True"):
        neuralize(search)


@pytest.mark.parametrize(
    "labels", [THREE, THREE > 0, np.eye(3, dtype=int)[THREE]], ids=["3", "2", "sets"]
)
def test_one_network_for_each_class(labels: Any) -> None:
    estimator = multiclass.OneVsRestClassifier(svm.LinearSVC(random_state=0)).fit(X, labels)
    network = neuralize(estimator)
    own = estimator.decision_function(X)
    own = np.stack([-own, own], 1) if own.ndim == 1 else own
    np.testing.assert_allclose(network(torch.as_tensor(X)), own, atol=1e-10)
    assert list(network.outputs) == list(estimator.classes_)
    found = rp.explain(network, X, own.shape[1] - 1)
    coefficients = estimator.estimators_[-1].coef_
    np.testing.assert_allclose(found.relevance, coefficients * X, atol=1e-10)
    assert abs(found.balance.gap) < 1e-10


def test_one_for_each_needs_decision_values() -> None:
    from sklearn.naive_bayes import GaussianNB

    estimator = multiclass.OneVsRestClassifier(GaussianNB()).fit(X, THREE)
    with pytest.raises(UnsupportedModelError, match="need a decision_function"):
        neuralize(estimator)
    with pytest.warns(UserWarning, match="present in all"):
        constant = multiclass.OneVsRestClassifier(svm.LinearSVC()).fit(
            X, np.stack([np.ones(40, dtype=int), THREE > 0, THREE > 1], 1)
        )
    with pytest.raises(UnsupportedModelError, match="in all of the data, or in none"):
        neuralize(constant)


@pytest.mark.parametrize(
    ("estimator", "remedy"),
    [
        (
            calibration.CalibratedClassifierCV(linear_model.RidgeClassifier()),
            "before calibration",
        ),
        (compose.TransformedTargetRegressor(linear_model.Ridge()), "neuralize its regressor_"),
        (
            model_selection.FixedThresholdClassifier(
                linear_model.LogisticRegression(), threshold=0.3
            ),
            "neuralize its estimator_",
        ),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_decides_by_more_than_the_held_estimator_is_refused(
    estimator: Any, remedy: str
) -> None:
    y = VALUE if isinstance(estimator, compose.TransformedTargetRegressor) else THREE > 0
    with pytest.raises(UnsupportedModelError, match=remedy):
        neuralize(estimator.fit(X, y))
