"""The same values as SHAP's for linear models, and as interpret's for its boosting machines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import linear_model, svm

from rootpoint.additive.boosting import global_terms
from rootpoint.methods import additive

Evidence: Any = additive.Evidence  # of estimators and arrays
EBM: Any = additive.EBM

shap = pytest.importorskip("shap")
glassbox = pytest.importorskip("interpret.glassbox")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 5)) @ RNG.normal(size=(5, 5))
Y = (X[:, 0] - X[:, 3] > 0).astype(int)


@pytest.mark.parametrize(
    "model",
    [linear_model.LogisticRegression(), svm.LinearSVC(random_state=0), linear_model.Ridge()],
    ids=lambda model: type(model).__name__,
)
def test_evidence_relative_to_a_population_is_shaps_for_linear_models(model: Any) -> None:
    model.fit(X, Y)
    found = Evidence().fit(model, X)(model, X, int(hasattr(model, "classes_")))
    explainer = shap.LinearExplainer(model, shap.maskers.Independent(X, max_samples=len(X)))
    theirs = explainer(X)
    np.testing.assert_allclose(found.relevance, theirs.values, rtol=0, atol=1e-10)
    assert found.baseline_output is not None
    np.testing.assert_allclose(found.baseline_output, theirs.base_values, rtol=0, atol=1e-10)
    ours = found.to_shap()
    np.testing.assert_allclose(ours.values, theirs.values, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(ours.data, theirs.data)


@pytest.mark.parametrize("regression", [False, True])
def test_stored_terms_are_interprets(regression: bool) -> None:
    kind = "ExplainableBoostingRegressor" if regression else "ExplainableBoostingClassifier"
    model = getattr(glassbox, kind)(outer_bags=2, max_rounds=50, n_jobs=1, interactions=3)
    model.fit(X, X[:, 1] * X[:, 2] if regression else Y)
    found = EBM(purified=False)(model, X, 0 if regression else 1)
    np.testing.assert_allclose(found.details["values"], model.eval_terms(X), rtol=0, atol=1e-10)
    local = model.explain_local(X[:5])
    for i in range(5):
        shown = local.data(i)
        assert shown["names"] == found.details["names"]
        scores = np.array(shown["scores"], dtype=float)
        np.testing.assert_allclose(found.details["values"][i], scores, rtol=0, atol=1e-10)
    stored = {t.name: t.importance for t in global_terms(model, purified=False)}
    assert stored == pytest.approx(
        dict(zip(model.term_names_, model.term_importances(), strict=True))
    )


def test_pure_terms_have_the_stored_terms_sum() -> None:
    model = glassbox.ExplainableBoostingClassifier(outer_bags=2, max_rounds=50, n_jobs=1).fit(X, Y)
    found = EBM()(model, X, 1)
    assert found.baseline_output is not None
    total = found.details["values"].sum(1) + found.baseline_output
    np.testing.assert_allclose(total, model.decision_function(X), rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        found.output, model.eval_terms(X).sum(1) + model.intercept_, rtol=0, atol=1e-10
    )
