"""Multilayer perceptrons of scikit-learn as the networks that they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier, MLPRegressor

import rootpoint as rp
from rootpoint.errors import UnsupportedModelError
from rootpoint.neuralize.neuralize import neuralize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4))
THREE = np.array(["a", "b", "c"])[np.digitize(X[:, 0] - X[:, 1], [-0.5, 0.5])]
SETS = np.stack([X[:, 0] > 0, X[:, 1] > 0.2], 1).astype(int)
VALUES = np.stack([X[:, 0] * 2 + 1, X[:, 1] ** 2], 1)
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fitted(cls: Any, y: Any, x: Any = X, **options: Any) -> Any:
    given = {"hidden_layer_sizes": (6, 5), "max_iter": 15, "random_state": 0} | options
    return cls(**given).fit(x, y)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_softmax_of_the_logits_is_the_probability(activation: str) -> None:
    estimator = fitted(MLPClassifier, THREE, activation=activation)
    network = neuralize(estimator)
    logits = network(torch.as_tensor(X))
    assert list(network.outputs) == ["a", "b", "c"]
    np.testing.assert_allclose(logits.softmax(1), estimator.predict_proba(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_of_two_classes_the_second_logit_is_the_log_odds_and_the_first_its_negative(
    activation: str,
) -> None:
    estimator = fitted(MLPClassifier, THREE == "a", activation=activation)
    logits = neuralize(estimator)(torch.as_tensor(X))
    torch.testing.assert_close(logits[:, 0], -logits[:, 1], rtol=0, atol=0)
    p = estimator.predict_proba(X)
    np.testing.assert_allclose(logits.sigmoid(), p, rtol=0, atol=1e-12)
    np.testing.assert_allclose(logits[:, 1], np.log(p[:, 1] / p[:, 0]), rtol=0, atol=1e-10)


def test_of_labels_that_occur_together_each_has_a_logit() -> None:
    estimator = fitted(MLPClassifier, SETS)
    logits = neuralize(estimator)(torch.as_tensor(X))
    np.testing.assert_allclose(logits.sigmoid(), estimator.predict_proba(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_regressors_are_their_prediction(activation: str) -> None:
    for y in (VALUES[:, 0], VALUES):
        estimator = fitted(MLPRegressor, y, activation=activation)
        scores = neuralize(estimator)(torch.as_tensor(X))
        np.testing.assert_allclose(scores, estimator.predict(X), rtol=0, atol=1e-10)


def test_of_poisson_loss_the_logarithm_of_the_prediction_is_the_score() -> None:
    estimator = fitted(MLPRegressor, VALUES[:, 1], loss="poisson")
    scores = neuralize(estimator)(torch.as_tensor(X))
    np.testing.assert_allclose(scores, np.log(estimator.predict(X)), rtol=0, atol=1e-10)


@given(
    st.integers(0, 10_000), st.sampled_from(ACTIVATIONS), st.lists(st.integers(1, 5), max_size=3)
)
@settings(max_examples=15, deadline=None)
def test_random_perceptrons_are_exact_and_conserve(
    seed: int, activation: str, hidden: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    estimator = fitted(
        MLPRegressor, y, x, activation=activation, hidden_layer_sizes=hidden, max_iter=3,
        random_state=seed,
    )  # fmt: skip
    found = rp.explain(neuralize(estimator), x[:4], 0)
    np.testing.assert_allclose(found.output, estimator.predict(x[:4]), rtol=0, atol=1e-10)
    books = found.balance
    assert abs(books.gap) <= 1e-10 * max(1, abs(books.score))
    assert set(books.absorbed) <= {"bias", "rounding"}


def test_identity_units_give_the_relevance_of_the_linear_model_that_they_are() -> None:
    estimator = fitted(MLPRegressor, VALUES[:, 0], activation="identity")
    weight = estimator.coefs_[0] @ estimator.coefs_[1] @ estimator.coefs_[2]
    found = rp.explain(neuralize(estimator), X, 0)
    np.testing.assert_allclose(found.relevance, X * weight[:, 0], rtol=0, atol=1e-10)


def test_a_logistic_unit_passes_on_what_it_differs_from_one_half() -> None:
    """One unit, v σ(w·x) + c: R_i = w_i x_i / (w·x) · v (σ − ½), the rest is bias."""
    estimator = fitted(
        MLPRegressor, VALUES[:, 0], activation="logistic", hidden_layer_sizes=(1,), max_iter=5
    )
    estimator.intercepts_[0][:] = 0
    w, v = estimator.coefs_[0][:, 0], estimator.coefs_[1][0, 0]
    z = X @ w
    expected = X * w / z[:, None] * (v * (1 / (1 + np.exp(-z)) - 0.5))[:, None]
    found = rp.explain(neuralize(estimator), X, 0)
    np.testing.assert_allclose(found.relevance, expected, rtol=0, atol=1e-10)


def test_a_column_that_is_zero_has_no_relevance_and_layers_can_be_explained() -> None:
    network = neuralize(fitted(MLPClassifier, THREE))
    x = X.copy()
    x[:, 2] = 0
    found = rp.explain(network, x)
    assert not found.relevance[:, 2].any()
    assert found.relevance[:, 0].any()
    assert rp.explain(network, x, at="layers.0").relevance.shape == (40, 6)


def test_many_samples_at_once_are_explained_as_one_by_one() -> None:
    network = neuralize(fitted(MLPClassifier, THREE, activation="tanh"))
    together = rp.explain(network, X, 1).relevance
    alone = [rp.explain(network, X[i : i + 1], 1).relevance for i in range(10)]
    torch.testing.assert_close(together[:10], torch.cat(alone), rtol=0, atol=1e-12)


class Tempered(MLPClassifier):
    """Its probabilities are not those of its logits."""

    def predict_proba(self, X: Any) -> Any:
        p = super().predict_proba(X) ** 0.5
        return p / p.sum(1, keepdims=True)


def test_a_derived_class_that_decides_otherwise_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="does not compute what the class it derives"):
        neuralize(fitted(Tempered, THREE))
