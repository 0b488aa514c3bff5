"""Explainable boosting machines: local and global terms, as stored and purified."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from rootpoint.additive.boosting import Term, global_terms, purify
from rootpoint.errors import InputError, MissingExtraError, UnsupportedModelError
from rootpoint.methods import additive

EBM: Any = additive.EBM  # of machines and tables, which the types of all methods do not name

glassbox = pytest.importorskip("interpret.glassbox")

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(200, 3))
TABLE[:, 2] = RNG.integers(0, 3, 200)
PRODUCT = TABLE[:, 0] * TABLE[:, 1] + TABLE[:, 0] + 0.5 * TABLE[:, 2]
SMALL: dict[str, Any] = {"outer_bags": 1, "max_rounds": 40, "n_jobs": 1, "interactions": 2}


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> bool:
    return bool(np.allclose(found, expected, rtol=0, atol=tolerance))


@pytest.fixture(scope="module")
def binary() -> Any:
    model = glassbox.ExplainableBoostingClassifier(**SMALL, max_bins=64, max_interaction_bins=20)
    return model.fit(TABLE, PRODUCT > 0.4)


@pytest.fixture(scope="module")
def mixed() -> Any:
    """Numbers with missing ones, and words."""
    frame = pd.DataFrame(
        {"size": TABLE[:, 0], "kind": np.array(list("abc"))[TABLE[:, 2].astype(int)]}
    )
    frame.loc[::9, "size"] = np.nan
    labels = TABLE[:, 0] * (TABLE[:, 2] - 1) > 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Missing values detected")
        return glassbox.ExplainableBoostingClassifier(**SMALL).fit(frame, labels)


@pytest.mark.parametrize("purified", [True, False])
def test_terms_sum_to_the_logit(binary: Any, purified: bool) -> None:
    logits = binary.decision_function(TABLE)
    for target, sign in ((1, 1), (0, -1)):
        found = EBM(purified=purified)(binary, torch.tensor(TABLE), target)
        assert close(found.output, sign * logits, 1e-10)
        assert found.completeness_gap is not None
        assert close(found.completeness_gap, 0)
        assert found.baseline_output is not None
        assert close(found.details["values"].sum(1) + found.baseline_output, found.output)
    predicted = EBM(purified=purified)(binary, TABLE)
    assert predicted.target == (logits > 0).astype(int).tolist()


def test_an_interaction_is_shared_equally(binary: Any) -> None:
    found = EBM()(binary, TABLE, 1)
    terms, values = found.details["terms"], found.details["values"]
    assert any(len(term) == 2 for term in terms)
    for j in range(3):
        expected = sum(v / len(t) for t, v in zip(terms, values.T, strict=True) if j in t)
        assert close(found.relevance[:, j], expected)


def test_pure_terms_have_no_mean_along_any_feature(binary: Any) -> None:
    """And the stored ones do: without purification mains and pairs are not identifiable."""
    pairs = [term for term in global_terms(binary) if len(term.features) == 2]
    stored = [t for t in global_terms(binary, purified=False) if len(t.features) == 2]
    assert pairs
    for axis in (0, 1):
        assert all(close((t.scores * t.weights).sum(axis), 0, 1e-10) for t in pairs)
        assert not all(close((t.scores * t.weights).sum(axis), 0, 1e-2) for t in stored)
    values = EBM()(binary, TABLE, 1).details["values"]
    assert close(values.mean(0), 0, 1e-10)


def test_purification_leaves_the_model_alone(binary: Any) -> None:
    before = [(id(s), s.copy()) for s in binary.term_scores_]
    state = dict(vars(binary))
    EBM()(binary, TABLE)
    global_terms(binary)
    assert dict(vars(binary)) == state
    for scores, (identity, copied) in zip(binary.term_scores_, before, strict=True):
        assert id(scores) == identity
        assert np.array_equal(scores, copied)


@pytest.mark.parametrize("purified", [True, False])
def test_regression_sums_to_the_value(purified: bool) -> None:
    model = glassbox.ExplainableBoostingRegressor(**SMALL).fit(TABLE, PRODUCT)
    found = EBM(purified=purified)(model, TABLE)
    assert close(found.output, model.predict(TABLE), 1e-10)
    assert found.target == [0] * 200


@pytest.mark.filterwarnings("ignore:For multiclass we cannot currently visualize")
@pytest.mark.parametrize("purified", [True, False])
def test_each_of_several_classes_has_its_logit(purified: bool) -> None:
    labels = np.digitize(PRODUCT, [-0.2, 1.0])
    model = glassbox.ExplainableBoostingClassifier(**SMALL).fit(TABLE, labels)
    for target in range(3):
        found = EBM(purified=purified)(model, TABLE, target)
        assert close(found.output, model.decision_function(TABLE)[:, target], 1e-10)
    terms = global_terms(model, purified=False)
    importance = dict(zip(model.term_names_, model.term_importances(), strict=True))
    assert {t.name: t.importance for t in terms} == pytest.approx(importance)


@pytest.mark.parametrize("purified", [True, False])
def test_missing_and_unseen_values_have_bins_of_their_own(mixed: Any, purified: bool) -> None:
    strange = pd.DataFrame({"size": [np.nan, 0.3, np.nan], "kind": ["a", "new", None]})
    found = EBM(purified=purified)(mixed, strange, 1)
    assert close(found.output, mixed.decision_function(strange), 1e-10)
    assert found.completeness_gap is not None
    assert close(found.completeness_gap, 0)
    if not purified:  # as interpret has it: what fitting did not see says nothing
        alone = found.details["terms"].index((1,))
        assert found.details["values"][1:, alone].tolist() == [0.0, 0.0]


@pytest.mark.filterwarnings("ignore:Interactions with 3 or more terms")
def test_interactions_of_three_are_purified_too() -> None:
    model = glassbox.ExplainableBoostingRegressor(**(SMALL | {"interactions": [(2, 0, 1), (1, 0)]}))
    model.fit(TABLE, PRODUCT * TABLE[:, 2])
    assert close(EBM()(model, TABLE).output, model.predict(TABLE), 1e-10)
    names = {term.features for term in global_terms(model)}
    assert names == {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)}


def test_global_terms_describe_their_bins(mixed: Any) -> None:
    terms = {term.features: term for term in global_terms(mixed)}
    assert isinstance(terms[(0,)], Term)
    assert terms[(1,)].bins == (["a", "b", "c"],)
    assert terms[(1,)].scores.shape == (5,)  # missing, a, b, c, unseen
    (cuts,) = terms[(0,)].bins
    assert len(terms[(0,)].scores) == len(cuts) + 3
    assert all(t.weights.sum() == pytest.approx(200) for t in terms.values())
    assert (0, 1) in terms
    importance = [term.importance for term in global_terms(mixed)]
    assert importance == sorted(importance, reverse=True)


@pytest.mark.parametrize(
    ("inputs", "message"), [(TABLE[0], r"shape \(3,\)"), (TABLE[:, :2], "cannot take this input")]
)
def test_tables_that_do_not_fit_a_machine_are_refused(
    binary: Any, inputs: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        EBM()(binary, inputs)


def test_a_machine_must_be_fitted_to_two_classes() -> None:
    machine = glassbox.ExplainableBoostingClassifier(**SMALL)
    with pytest.raises(InputError, match=r"is not fitted: call fit\(X, y\) first"):
        EBM()(machine, TABLE)
    machine.classes_, machine.term_scores_ = np.array([0]), []
    with pytest.raises(InputError, match="Classifier was fitted to one class"):
        EBM()(machine, TABLE)


def test_other_models_are_no_boosting_machines() -> None:
    with pytest.raises(UnsupportedModelError, match=r"not LinearRegression: method 'evidence'"):
        EBM()(LinearRegression().fit(TABLE, PRODUCT), TABLE)


def test_without_interpret_the_extra_is_named(binary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "interpret.glassbox", None)
    monkeypatch.setitem(sys.modules, "interpret.utils", None)
    with pytest.raises(MissingExtraError, match=r"rootpoint\[ebm\]"):
        EBM()(binary, TABLE)
    with pytest.raises(MissingExtraError, match=r"rootpoint\[ebm\]"):
        purify([[0, 1], [1, 4]], np.ones((2, 2)))


# -- purification --------------------------------------------------------------------------------


def test_purification_of_the_published_table() -> None:
    found = purify([[0, 1], [1, 4]], np.ones((2, 2)))
    assert close(found.intercept, 1.5)
    assert close(found.parts[(0,)], [-1, 1])
    assert close(found.parts[(1,)], [-1, 1])
    assert close(found.parts[(0, 1)], [[0.5, -0.5], [-0.5, 0.5]])


@settings(max_examples=25)
@given(st.integers(2, 4), st.integers(2, 4), st.integers(0, 3), st.integers(0, 10_000))
def test_purified_parts_are_pure_and_sum_to_the_table(i: int, j: int, k: int, seed: int) -> None:
    """With any weights, and each of several classes (k) on its own."""
    rng = np.random.default_rng(seed)
    scores, weights = rng.normal(size=(i, j, k) if k else (i, j)), rng.uniform(0.1, 3, (i, j))
    found = purify(scores, weights)
    total = found.parts[(0, 1)] + found.parts[(0,)][:, None] + found.parts[(1,)][None]
    assert close(total + found.intercept, scores)
    per_cell = weights[..., None] if k else weights
    for axis in (0, 1):
        assert close((found.parts[(0, 1)] * per_cell).sum(axis), 0, 1e-9)
        alone = weights.sum(1 - axis)
        assert close(np.tensordot(alone, found.parts[(axis,)], 1), 0, 1e-9)


@pytest.mark.parametrize(
    ("scores", "weights", "message"),
    [
        ([[0, 1]], [[1, 1, 1]], "do not fit"),
        ([[0, 1]], [[1, -1]], "weights ≥ 0"),
        ([[0, 1]], [[0, 0]], "not all zero"),
        ([[0, np.inf]], [[1, 1]], "finite scores"),
    ],
)
def test_tables_that_cannot_be_purified(scores: Any, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        purify(scores, weights)
