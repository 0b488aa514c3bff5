"""Naive Bayes: the relevance of a column is its evidence, as the method "evidence" has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import naive_bayes

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.methods import additive
from rootpoint.neuralize.neuralize import neuralize

NONE: Any = None
ESTIMATORS = [
    naive_bayes.MultinomialNB(),
    naive_bayes.ComplementNB(),
    naive_bayes.ComplementNB(norm=True),
    naive_bayes.BernoulliNB(binarize=0.5),
    naive_bayes.BernoulliNB(binarize=NONE),
    naive_bayes.GaussianNB(),
]


def data(estimator: Any, seed: int, columns: int = 4) -> Any:
    rng = np.random.default_rng(seed)
    if isinstance(estimator, naive_bayes.GaussianNB):
        return rng.normal(size=(30, columns))
    counts = rng.integers(0, 3, (30, columns)).astype(float)
    return np.minimum(counts, 1) if getattr(estimator, "binarize", 0) is None else counts


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("classes", [2, 3])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_scores_are_the_joint_log_likelihoods_and_relevance_the_evidence(
    estimator: Any, classes: int, seed: int
) -> None:
    x, y = data(estimator, seed), np.arange(30) % classes
    estimator.fit(x, y)
    network = neuralize(estimator)
    own = estimator.predict_joint_log_proba(x)
    own = own - own[:, ::-1] if classes == 2 else own
    np.testing.assert_allclose(network(torch.as_tensor(x)), own, rtol=1e-10, atol=1e-10)
    for target in range(classes):
        found = rp.explain(network, x[:5], target)
        expected: Any = additive.Evidence()
        evidence = expected(estimator, x[:5], target)
        np.testing.assert_allclose(found.relevance, evidence.relevance, rtol=1e-10, atol=1e-10)
        books = found.balance
        assert abs(books.gap) <= 1e-10 * max(1, abs(books.score))
        prior = books.absorbed.get("bias", 0) + books.absorbed.get("constant", 0)
        np.testing.assert_allclose(prior, float(evidence.baseline_output.sum()), atol=1e-9)


def test_the_published_example_of_absent_and_present_evidence() -> None:
    """P(1 | +) = .8, .3 and P(1 | −) = .2, .6: log .8/.2 = 1.386294, log .7/.4 = .559616."""
    rows = [[a < 8, a < 3] for a in range(10)] * 4 + [[a < 2, a < 6] for a in range(10)] * 6
    estimator = naive_bayes.BernoulliNB(alpha=0.0)
    estimator.fit(np.array(rows, float), [1] * 40 + [0] * 60)
    found = rp.explain(neuralize(estimator), np.array([[1.0, 0.0]]), 1)
    np.testing.assert_allclose(found.relevance, [[np.log(4), np.log(0.7 / 0.4)]], atol=1e-12)


def test_gradients_of_presence_are_zero() -> None:
    estimator = naive_bayes.BernoulliNB(binarize=0.5)
    x = data(estimator, 0)
    network = neuralize(estimator.fit(x, np.arange(30) % 2))
    assert not rp.explain(network, x, 1, method="gradient").relevance.any()


def test_a_likelihood_of_zero_and_a_single_class_are_refused() -> None:
    never = naive_bayes.BernoulliNB(alpha=0.0)
    with np.errstate(divide="ignore"):
        never.fit(np.array([[1.0, 0.0], [1.0, 1.0]] * 3), [0, 1] * 3)
    with pytest.raises(InputError, match="likelihood zero: fit it with Laplace smoothing"):
        neuralize(never)
    with pytest.raises(InputError, match="fitted to one class"):
        neuralize(naive_bayes.MultinomialNB().fit(np.ones((4, 2)), [1] * 4))
