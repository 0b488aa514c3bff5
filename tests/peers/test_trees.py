"""Tree Shapley values of boosted trees of other libraries, where these are installed."""

from __future__ import annotations

from itertools import product
from math import factorial
from typing import Any

import numpy as np
import pytest

from rootpoint.methods import tree_shapley

pytest.importorskip("shap")
TreeShapley: Any = tree_shapley.TreeShapley

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
HOLES = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
VALUE = X[:, 0] * X[:, 1] + X[:, 2]
CLASSES = {2: (VALUE > 0).astype(int), 3: np.digitize(VALUE, [-0.5, 0.5])}


def brute(score: Any, x: Any, background: Any) -> Any:
    d = len(x)
    game = {
        s: np.mean(score(np.where(np.array(s, bool), x, background)), 0)
        for s in product((0, 1), repeat=d)
    }
    phi = np.zeros((d, *np.shape(game[(0,) * d])))
    for s in game:
        for j in range(d):
            if not s[j]:
                weight = factorial(sum(s)) * factorial(d - sum(s) - 1) / factorial(d)
                phi[j] += weight * (game[(*s[:j], 1, *s[j + 1 :])] - game[s])
    return phi


@pytest.mark.parametrize("data", [X, HOLES], ids=["full", "missing"])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_relevance_is_the_shapley_value_of_the_margin(library: str, data: Any) -> None:
    boosting = pytest.importorskip(library)
    prefix, raw = ("XGB", "output_margin") if library == "xgboost" else ("LGBM", "raw_score")
    options: Any = {"n_estimators": 8}
    options |= {"max_depth": 3} if prefix == "XGB" else {"min_child_samples": 5, "verbose": -1}
    regressor = getattr(boosting, f"{prefix}Regressor")(**options).fit(data, VALUE)
    classifiers = [
        getattr(boosting, f"{prefix}Classifier")(**options).fit(data, y) for y in CLASSES.values()
    ]
    for model in (regressor, *classifiers):

        def score(x: Any, model: Any = model) -> Any:
            found = model.predict(x, **{raw: True})
            return found if found.ndim == 1 else found[:, -1]

        method = TreeShapley().fit(model, data[:10])
        target = 0 if model is regressor else len(model.classes_) - 1
        found = method(model, data[20:23], target)
        expected = [brute(score, x, data[:10]) for x in data[20:23]]
        np.testing.assert_allclose(found.relevance, expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.output, score(data[20:23]), rtol=0, atol=1e-6)
