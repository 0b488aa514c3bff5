"""Tree Shapley values: those of the game over all coalitions, with the same background."""

from __future__ import annotations

import sys
from itertools import product
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import ensemble, linear_model, tree
from sklearn.datasets import load_breast_cancer

import rootpoint as rp
from rootpoint.additive import trees
from rootpoint.additive.trees import Background
from rootpoint.errors import InputError, MissingExtraError, UnsupportedModelError
from rootpoint.methods import tree_shapley

pytest.importorskip("shap")
TreeShapley: Any = tree_shapley.TreeShapley

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
VALUE = X[:, 0] * X[:, 1] + X[:, 2]
THREE = np.digitize(VALUE, [-0.5, 0.5])
TWO = (VALUE > 0).astype(int)
HOLES = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
BACKGROUND = 15  # rows

FEW = {"n_estimators": 6, "random_state": 0}
BINNED = {"max_iter": 6, "min_samples_leaf": 5, "random_state": 0}


def brute(score: Any, x: Any, background: Any) -> Any:
    """φ (D, K) by the definition: every coalition, every row of the background."""
    d = len(x)
    game = {
        s: np.mean(score(np.where(np.array(s, bool), x, background)), 0)
        for s in product((0, 1), repeat=d)
    }
    phi = []
    for j in range(d):
        without = [s for s in game if not s[j]]
        weights = [factorial(sum(s)) * factorial(d - sum(s) - 1) / factorial(d) for s in without]
        gains = [game[(*s[:j], 1, *s[j + 1 :])] - game[s] for s in without]
        phi.append(sum(w * g for w, g in zip(weights, gains, strict=True)))
    return np.array(phi)


def probability(model: Any) -> Any:
    return model.predict_proba


def margin(model: Any) -> Any:
    def both(x: Any) -> Any:
        s = model.decision_function(x)
        return np.stack([-s, s], 1) if s.ndim == 1 else s

    return both


def prediction(model: Any) -> Any:
    return lambda x: model.predict(x)[:, None]


def logarithm(model: Any) -> Any:
    return lambda x: np.log(model.predict(x))[:, None]


def anomaly(model: Any) -> Any:
    return lambda x: np.log2(-model.score_samples(x))[:, None]


CASES = [
    (tree.DecisionTreeClassifier(max_depth=4, random_state=0), THREE, probability),
    (tree.ExtraTreeClassifier(max_depth=4, random_state=0), TWO, probability),
    (ensemble.RandomForestClassifier(**FEW), THREE, probability),
    (ensemble.ExtraTreesClassifier(**FEW), TWO, probability),
    (tree.DecisionTreeRegressor(max_depth=4, random_state=0), VALUE, prediction),
    (ensemble.RandomForestRegressor(**FEW), VALUE, prediction),
    (ensemble.RandomForestRegressor(**FEW), np.stack([VALUE, TWO], 1), None),
    (ensemble.ExtraTreesRegressor(**FEW), VALUE, prediction),
    (ensemble.GradientBoostingRegressor(**FEW), VALUE, prediction),
    (ensemble.GradientBoostingClassifier(**FEW), TWO, margin),
    (ensemble.GradientBoostingClassifier(loss="exponential", **FEW), TWO, margin),
    (ensemble.GradientBoostingClassifier(**FEW), THREE, margin),
    (ensemble.HistGradientBoostingClassifier(**BINNED), TWO, margin),
    (ensemble.HistGradientBoostingClassifier(**BINNED), THREE, margin),
    (ensemble.HistGradientBoostingRegressor(**BINNED), VALUE, prediction),
    (
        ensemble.HistGradientBoostingRegressor(loss="poisson", **BINNED),
        np.exp(VALUE),
        logarithm,
    ),
    (ensemble.IsolationForest(**FEW), None, anomaly),
    (ensemble.IsolationForest(max_features=2, max_samples=30, **FEW), None, anomaly),
]
WITH_HOLES = [
    (tree.DecisionTreeClassifier(random_state=0), THREE, probability),
    (ensemble.RandomForestRegressor(**FEW), VALUE, prediction),
    (ensemble.ExtraTreesClassifier(**FEW), THREE, probability),
    (ensemble.HistGradientBoostingRegressor(**BINNED), VALUE, prediction),
]


@pytest.mark.parametrize(
    ("model", "y", "own", "data"),
    [(*case, X) for case in CASES] + [(*case, HOLES) for case in WITH_HOLES],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
def test_relevance_is_the_shapley_value_over_all_coalitions(
    model: Any, y: Any, own: Any, data: Any
) -> None:
    """To shap's weights, which are of single precision."""
    model.fit(data, y)
    score = model.predict if own is None else own(model)
    method = TreeShapley().fit(model, data[:BACKGROUND])
    x = data[20:23]
    expected = np.stack([brute(score, row, data[:BACKGROUND]) for row in x])
    size = np.abs(score(data)).max()
    for k in range(expected.shape[-1]):
        found = method(model, x, k)
        np.testing.assert_allclose(found.relevance, expected[..., k], rtol=0, atol=1e-7 * size)
        np.testing.assert_allclose(found.output, score(x)[:, k], rtol=0, atol=1e-12 * size)
        np.testing.assert_allclose(found.prediction, score(x), rtol=0, atol=1e-12 * size)
        mean = score(data[:BACKGROUND])[:, k].mean()
        np.testing.assert_allclose(found.baseline_output, mean, rtol=0, atol=1e-12 * size)
        assert found.completeness_gap.abs().max() < 1e-7 * size


def test_of_two_classes_the_relevance_is_opposed_and_the_predicted_one_is_explained() -> None:
    model = ensemble.GradientBoostingClassifier(**FEW).fit(X, TWO)
    method = TreeShapley().fit(model, X[:BACKGROUND])
    zero, one = (method(model, X[20:30], k).relevance for k in (0, 1))
    torch.testing.assert_close(zero, -one, rtol=0, atol=0)
    assert method(model, X).target == list(model.predict(X))


def test_a_column_that_no_tree_asks_for_has_no_relevance() -> None:
    y = np.where(X[:, 1] > 0, 3.0, 1.0)
    model = tree.DecisionTreeRegressor(random_state=0).fit(X, y)
    found = TreeShapley().fit(model, X)(model, X)
    assert not found.relevance[:, [0, 2, 3]].any()
    expected = y - y.mean()
    np.testing.assert_allclose(found.relevance[:, 1], expected, rtol=0, atol=1e-7)


def test_all_rows_of_a_large_background_count() -> None:
    """shap's own default draws 100 rows of it."""
    data = RNG.normal(size=(150, 2))
    model = tree.DecisionTreeRegressor(max_depth=3).fit(data, data[:, 0])
    found = TreeShapley().fit(model, data)(model, data[:3])
    np.testing.assert_allclose(found.baseline_output, model.predict(data).mean(), atol=1e-12)
    expected = np.stack([brute(prediction(model), x, data)[:, 0] for x in data[:3]])
    np.testing.assert_allclose(found.relevance, expected, rtol=0, atol=1e-7)


def test_values_are_compared_as_the_trees_do_in_single_precision() -> None:
    data = np.array([[0.1], [0.3], [0.5], [0.7]])
    model = tree.DecisionTreeRegressor().fit(data, [0.0, 1, 2, 3])
    edge = float(np.float32(model.tree_.threshold[0]))
    x = np.array([[edge + 1e-9], [edge - 1e-9]])
    found = TreeShapley().fit(model, x)(model, x)
    np.testing.assert_allclose(found.output, model.predict(x), atol=1e-12)
    assert found.completeness_gap.abs().max() < 1e-7


def test_many_samples_at_once_are_explained_as_one_by_one() -> None:
    model = ensemble.RandomForestClassifier(**FEW).fit(X, THREE)
    method = TreeShapley().fit(model, X[:BACKGROUND])
    alone = [method(model, X[i : i + 1], 2).relevance for i in range(5)]
    torch.testing.assert_close(method(model, X[:5], 2).relevance, torch.cat(alone))


def test_columns_of_a_data_frame_are_taken_by_name_and_kept() -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = ensemble.RandomForestRegressor(**FEW).fit(frame, VALUE)
    method = TreeShapley().fit(model, frame[:BACKGROUND])
    plain = method(model, X).relevance
    turned = frame[["d", "b", "a", "c"]].assign(more=1.0)
    found = method(model, turned)
    torch.testing.assert_close(found.relevance[:, [2, 1, 3, 0]], plain, rtol=0, atol=0)
    assert not found.relevance[:, 4].any()
    theirs = found.to_shap()
    assert theirs.feature_names == ["d", "b", "a", "c", "more"]
    with pytest.raises(InputError, match="no column 'b'"):
        method(model, frame[["a", "c", "d"]])


def test_the_background_is_a_table_or_a_file(tmp_path: Path) -> None:
    model = ensemble.RandomForestRegressor(**FEW).fit(X, VALUE)
    fitted = TreeShapley().fit(model, X[:BACKGROUND])
    expected = fitted(model, X[:3]).relevance
    given = rp.explain(model, X[:3], method="tree-shapley", background=X[:BACKGROUND])
    torch.testing.assert_close(given.relevance, expected, rtol=0, atol=0)
    path = Background(torch.as_tensor(X[:BACKGROUND])).save(tmp_path / "rows.safetensors")
    read = TreeShapley(background=str(path))(model, X[:3])
    torch.testing.assert_close(read.relevance, expected, rtol=0, atol=0)


class Doubled(tree.DecisionTreeRegressor):
    """Predicts otherwise than its tree."""

    def predict(self, X: Any, check_input: bool = True) -> Any:
        return 2 * super().predict(X)


def test_what_shap_reads_otherwise_is_refused() -> None:
    model = Doubled(max_depth=2).fit(X, VALUE)
    with pytest.raises(UnsupportedModelError, match="not the sums of the trees that shap reads"):
        TreeShapley().fit(model, X)(model, X)
    started = ensemble.GradientBoostingRegressor(init=linear_model.Ridge(), **FEW).fit(X, VALUE)
    with pytest.raises(UnsupportedModelError, match=r"shap does not read it .Unsupported init"):
        TreeShapley().fit(started, X)(started, X)
    started = ensemble.GradientBoostingClassifier(
        init=linear_model.LogisticRegression(), **FEW
    ).fit(X, TWO)
    with pytest.raises(UnsupportedModelError, match="not the sums of the trees that shap reads"):
        TreeShapley().fit(started, X)(started, X)


def test_models_that_are_not_known_are_refused() -> None:
    for model in (ensemble.AdaBoostClassifier(**FEW), linear_model.Ridge()):
        with pytest.raises(UnsupportedModelError, match=r"RandomForestClassifier.*of a pipeline"):
            TreeShapley().fit(model.fit(X, TWO), X)
    several = ensemble.RandomForestClassifier(**FEW).fit(X, np.stack([TWO, THREE], 1))
    with pytest.raises(UnsupportedModelError, match="fit a model for each"):
        TreeShapley().fit(several, X)
    coded = X.copy()
    coded[:, 3] = THREE
    categories = ensemble.HistGradientBoostingRegressor(categorical_features=[3], **BINNED)
    categories.fit(coded, VALUE)
    with pytest.raises(UnsupportedModelError, match="does not read its splits of categories"):
        TreeShapley().fit(categories, coded)(categories, coded)


def test_tables_and_backgrounds_that_do_not_fit_are_refused() -> None:
    model = tree.DecisionTreeRegressor(max_depth=2)
    with pytest.raises(InputError, match="not fitted: call fit first"):
        TreeShapley().fit(model, X)
    model.fit(X, VALUE)
    with pytest.raises(InputError, match=r"1001 rows.*at most 1000 are taken; draw some"):
        TreeShapley().fit(model, np.zeros((1001, 4)))
    with pytest.raises(InputError, match="tree-shapley is not fitted"):
        TreeShapley()(model, X)
    method = TreeShapley().fit(model, X)
    with pytest.raises(InputError, match="3 columns, but the model was fitted to 4"):
        method(model, X[:, :3])
    boosted = ensemble.GradientBoostingRegressor(**FEW).fit(X, VALUE)
    with pytest.raises(InputError, match=r"does not take the table: .*NaN"):
        method(boosted, np.full((1, 4), np.nan))
    with pytest.raises(InputError, match="NaN or infinity"):
        method(model, np.full((1, 4), np.inf))
    with pytest.raises(InputError, match="leave out at="):
        method(model, X, at="trees")


def test_without_shap_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tree.DecisionTreeRegressor(max_depth=2).fit(X, VALUE)
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(MissingExtraError, match=r"rootpoint\[shap\]"):
        TreeShapley().fit(model, X)(model, X)


def test_values_that_meet_a_threshold_go_the_right_way() -> None:
    """shap's algorithm rounds thresholds to single precision: 0.9 of 11 it lost here."""
    x, y = load_breast_cancer(return_X_y=True)
    model = ensemble.HistGradientBoostingClassifier(random_state=0).fit(x, y)
    found = TreeShapley().fit(model, x[:50])(model, x[:50], 1)
    assert found.completeness_gap.abs().max() < 1e-5
    values = np.array([[0.1, 1.0], [0.2, 0.0], [0.2, 1.0], [0.3, 0.0]] * 10)
    model = ensemble.HistGradientBoostingRegressor(**BINNED).fit(values, values.prod(1))
    edges = {float(n["num_threshold"]) for p in model._predictors for n in p[0].nodes}
    met = np.array([[edge, one] for edge in edges for one in (0.0, 1.0)])
    found = TreeShapley().fit(model, met)(model, met)
    expected = np.stack([brute(prediction(model), row, met)[:, 0] for row in met])
    np.testing.assert_allclose(found.relevance, expected, rtol=0, atol=1e-7)


def test_trees_of_more_nodes_than_shap_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_NODES", 6)
    model = tree.DecisionTreeRegressor(max_depth=3, random_state=0).fit(X, VALUE)
    with pytest.raises(UnsupportedModelError, match="6 nodes in a tree at most; limit max_depth"):
        TreeShapley().fit(model, X)(model, X)
