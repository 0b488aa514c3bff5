"""Evidence: the terms of additive models of scikit-learn, relative to a population, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model, naive_bayes, preprocessing, svm
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from rootpoint.additive import estimators
from rootpoint.additive.population import Population, fit_population, speculate
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.methods import additive

# It takes estimators and tables of any kind, which the types of all methods do not name.
Evidence: Any = additive.Evidence

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
TWO = (X[:, 0] + 0.5 * X[:, 1] > 0.1).astype(int)
THREE = np.digitize(X[:, 0] - X[:, 2], [-0.7, 0.7])
COUNTS = RNG.integers(0, 3, size=(60, 4)).astype(float)
VALUES = X @ np.array([1.0, -2.0, 0.0, 0.5]) + 0.3


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> bool:
    return bool(np.allclose(found, expected, rtol=0, atol=tolerance))


# -- the published example -----------------------------------------------------------------------


def likelihoods() -> naive_bayes.BernoulliNB:
    """P(1 | +) = .8, .3 and P(1 | −) = .2, .6, P(+) = .4: from counts, without smoothing."""
    rows = [[a < 8, b < 3] for a, b in zip(range(10), range(10), strict=True)] * 4
    rows += [[a < 2, b < 6] for a, b in zip(range(10), range(10), strict=True)] * 6
    return naive_bayes.BernoulliNB(alpha=0.0).fit(np.array(rows, float), [1] * 40 + [0] * 60)


def test_naive_bayes_gives_the_published_evidence() -> None:
    found = Evidence()(likelihoods(), torch.ones(1, 2), 1)
    assert close(found.relevance, [[1.386294, -0.693147]], 5e-7)
    assert found.baseline_output is not None
    assert close(found.baseline_output, [-0.405465], 5e-7)
    assert close(found.output, [0.287682], 5e-7)
    assert found.relevance.dtype == torch.float64


def test_the_other_class_has_the_opposite_evidence() -> None:
    for_one = Evidence()(likelihoods(), torch.ones(1, 2), 1)
    for_zero = Evidence()(likelihoods(), torch.ones(1, 2), 0)
    assert close(for_zero.relevance, -for_one.relevance, 0)
    assert close(for_zero.output, -for_one.output, 0)
    assert Evidence()(likelihoods(), torch.ones(1, 2)).target == [1]


# -- every known model ---------------------------------------------------------------------------

NO_THRESHOLD: Any = None
CLASSIFIERS: list[tuple[Any, Any]] = [
    (naive_bayes.GaussianNB(), X),
    (naive_bayes.MultinomialNB(), COUNTS),
    (naive_bayes.ComplementNB(norm=True), COUNTS),
    (naive_bayes.BernoulliNB(binarize=0.2), X),
    (naive_bayes.BernoulliNB(binarize=NO_THRESHOLD), np.minimum(COUNTS, 1)),
    (naive_bayes.CategoricalNB(), COUNTS),
    (linear_model.LogisticRegression(), X),
    (linear_model.RidgeClassifier(), X),
    (linear_model.SGDClassifier(random_state=0), X),
    (linear_model.Perceptron(random_state=0), X),
    (svm.LinearSVC(random_state=0), X),
    (LinearDiscriminantAnalysis(), X),
    (make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), X),
    (make_pipeline("passthrough", preprocessing.MinMaxScaler(), naive_bayes.GaussianNB()), X),
]
TWO_CLASSES = [(svm.SVC(kernel="linear"), X), (svm.NuSVC(kernel="linear"), X)]
REGRESSORS = [
    linear_model.LinearRegression(),
    linear_model.LinearRegression(fit_intercept=False),
    linear_model.Ridge(),
    linear_model.Lasso(alpha=0.01),
    linear_model.SGDRegressor(random_state=0),
    linear_model.HuberRegressor(),
    linear_model.TweedieRegressor(power=0, alpha=0),
    svm.LinearSVR(random_state=0),
    svm.SVR(kernel="linear"),
    make_pipeline(preprocessing.RobustScaler(), linear_model.Ridge()),
]


def name_of(value: Any) -> str | None:
    return None if isinstance(value, np.ndarray) else str(value).replace("\n", "")[:60]


def own_scores(estimator: Any, data: np.ndarray) -> np.ndarray:
    """The score of each class as scikit-learn tells it; of two, the log-odds and its negative."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if hasattr(last, "predict_joint_log_proba"):
        inner = estimator[:-1].transform(data) if hasattr(estimator, "steps") else data
        scores = last.predict_joint_log_proba(inner)
        scores = scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores
    else:
        scores = estimator.decision_function(data)
    return np.stack([-scores, scores], 1) if scores.ndim == 1 else scores


@pytest.mark.parametrize(
    ("estimator", "data", "labels"),
    [(*case, y) for case in CLASSIFIERS for y in (TWO, THREE)] + [(*c, TWO) for c in TWO_CLASSES],
    ids=name_of,
)
def test_evidence_sums_to_the_score_of_every_classifier(
    estimator: Any, data: np.ndarray, labels: np.ndarray
) -> None:
    estimator.fit(data, labels)
    method = Evidence().fit(estimator, data)
    scores = own_scores(estimator, data)
    for target in range(labels.max() + 1):
        raw, found = (m(estimator, data, target) for m in (Evidence(), method))
        assert close(raw.output, scores[:, target], 1e-9)
        for one in (raw, found):
            assert one.completeness_gap is not None
            assert close(one.completeness_gap, 0)
        assert close(found.relevance.mean(0), 0)
        assert found.baseline_output is not None
        assert close(found.baseline_output, scores[:, target].mean(), 1e-9)
    predicted = Evidence()(estimator, data)
    assert predicted.target == [list(range(3)).index(c) for c in estimator.predict(data)]


@pytest.mark.parametrize("estimator", REGRESSORS, ids=name_of)
def test_evidence_sums_to_the_value_of_every_regressor(estimator: Any) -> None:
    found = Evidence().fit(estimator.fit(X, VALUES), X)(estimator, X)
    assert close(found.output, estimator.predict(X), 1e-9)
    assert found.completeness_gap is not None
    assert close(found.completeness_gap, 0)


@pytest.mark.parametrize(
    "estimator",
    [
        linear_model.PoissonRegressor(),
        linear_model.GammaRegressor(),
        linear_model.TweedieRegressor(power=1.5),
    ],
    ids=name_of,
)
def test_generalized_linear_models_are_additive_in_the_link(estimator: Any) -> None:
    estimator.fit(X, np.exp(0.3 * VALUES))
    found = Evidence()(estimator, X)
    assert close(found.output, np.log(estimator.predict(X)), 1e-9)


def test_several_predicted_values_need_a_target() -> None:
    model = linear_model.LinearRegression().fit(X, np.stack([VALUES, -VALUES], 1))
    assert close(Evidence()(model, X, 1).output, model.predict(X)[:, 1], 1e-9)
    with pytest.raises(InputError, match="predicts 2 values, not classes"):
        Evidence()(model, X)


def test_linear_evidence_is_weight_times_distance_from_the_mean() -> None:
    model = linear_model.LogisticRegression().fit(X, TWO)
    found = Evidence().fit(model, X)(model, X[:5], 1)
    assert close(found.relevance, model.coef_ * (X[:5] - X.mean(0)))


@settings(max_examples=20)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_any_linear_model_has_evidence_w_x(weights: list[float], x: list[float]) -> None:
    model = linear_model.LinearRegression()
    model.coef_, model.intercept_ = np.array(weights), 0.5
    found = Evidence()(model, torch.tensor([x], dtype=torch.float64))
    assert close(found.relevance, np.array(weights) * x)


def test_one_by_one_and_at_once_are_the_same_for_all_kinds_of_tables() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = linear_model.LogisticRegression().fit(frame, THREE)
    bound = Evidence().fit(model, frame).bind(model)
    expected = bound(torch.tensor(X), THREE).relevance
    one_by_one = [bound(X[i : i + 1], int(THREE[i])).relevance for i in range(60)]
    assert close(torch.cat(one_by_one), expected, 0)
    ranks = [bound(X[i : i + 1], int(THREE[i])).details["rank"] for i in range(60)]
    assert close(torch.cat(ranks), bound(X, THREE).details["rank"], 0)
    for inputs in (X, frame, X.tolist()):
        assert close(bound(inputs, THREE).relevance, expected, 0)
    first, second = bound.each(torch.tensor(X), [0, 2])
    assert close(second.relevance, bound(torch.tensor(X), 2).relevance, 0)
    assert first.passes == (1, 0)


# -- the population ------------------------------------------------------------------------------


def test_a_rank_is_the_fraction_of_the_population_with_less_evidence() -> None:
    model = linear_model.LinearRegression()
    model.coef_, model.intercept_ = np.array([2.0, -1.0]), 0.0
    people = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 1.0]])
    found = Evidence().fit(model, people)(model, np.array([[2.0, 1.0], [9.0, 0.0]]))
    assert found.details["rank"].tolist() == [[0.625, 0.125], [1.0, 0.625]]
    assert found.details["evidence"].tolist() == [[4.0, -1.0], [18.0, 0.0]]


def test_a_population_is_fitted_in_batches_and_kept_in_a_file(tmp_path: Path) -> None:
    model = naive_bayes.GaussianNB().fit(X, THREE)
    whole = fit_population(model, X)
    parts = fit_population(model, [torch.tensor(X[:25]), (torch.tensor(X[25:]), THREE[25:])])
    assert torch.equal(whole.evidence, parts.evidence)
    file = str(whole.save(tmp_path / "population.safetensors"))
    assert torch.equal(Population.load(file).evidence, whole.evidence)
    found = Evidence(population=file)(model, X, 2)
    assert close(found.relevance, Evidence(population=whole)(model, X, 2).relevance, 0)


def test_the_population_of_another_model_is_refused() -> None:
    one = linear_model.LogisticRegression().fit(X, TWO)
    other = linear_model.LogisticRegression().fit(X, 1 - TWO)
    for wrong in (other, linear_model.LogisticRegression().fit(X[:, :2], TWO)):
        method = Evidence().fit(wrong, X[:, : wrong.n_features_in_])
        with pytest.raises(InputError, match="population is that of another estimator"):
            method(one, X)
    with pytest.raises(InputError, match="no data"):
        fit_population(one, [])


def test_speculation_gives_the_score_at_other_values() -> None:
    model = naive_bayes.GaussianNB().fit(X, TWO)
    values = [-1.0, 0.0, 2.5]
    changed = np.repeat(X[:1], 3, 0)
    changed[:, 2] = values
    scores = own_scores(model, changed)
    assert close(speculate(model, X[0], 2, values, target=1), scores[:, 1], 1e-9)
    assert close(speculate(model, X[:1], -2, values, target=0), scores[:, 0], 1e-9)
    predicted = int(model.predict(X[:1])[0])
    assert close(speculate(model, X[0], 2, values), scores[:, predicted], 1e-9)


@pytest.mark.parametrize(
    ("x", "feature", "message"),
    [(X[0], 4, "no feature 4: the sample has 4"), (X[:2], 0, "2 samples were given")],
)
def test_speculation_about_what_is_not_there_is_refused(x: Any, feature: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        speculate(naive_bayes.GaussianNB().fit(X, TWO), x, feature, [0.0])


# -- what evidence cannot explain ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_zero_likelihood_asks_for_smoothing() -> None:
    data, labels = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]), [1, 1, 0, 0]
    for kind in (naive_bayes.BernoulliNB, naive_bayes.MultinomialNB, naive_bayes.CategoricalNB):
        model = kind(alpha=0.0).fit(data, labels)
        with pytest.raises(InputError, match=r"feature 0 of sample 0 is infinite.*alpha > 0"):
            Evidence()(model, data[:1])
        assert Evidence()(kind(alpha=1.0).fit(data, labels), data).output.isfinite().all()
    constant = naive_bayes.GaussianNB(var_smoothing=0).fit(data, labels)
    with pytest.raises(InputError, match="var_smoothing > 0"):
        Evidence()(constant, data)
    impossible = naive_bayes.GaussianNB(priors=[0.0, 1.0]).fit(X, TWO)
    with pytest.raises(InputError, match="prior probability zero"):
        Evidence()(impossible, X)


def test_an_unknown_category_is_named() -> None:
    model = naive_bayes.CategoricalNB().fit(COUNTS, TWO)
    with pytest.raises(InputError, match=r"category 7 of feature 1 in sample 0 .* knows 0 to 2"):
        Evidence()(model, np.array([[0.0, 7.0, 0.0, 0.0]]))


class Impostor(linear_model.LinearRegression):
    def predict(self, X: Any) -> Any:
        return super().predict(X) ** 2


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            RandomForestClassifier(2),
            r"RandomForestClassifier, not known to be additive; known: Bern",
        ),
        (svm.SVC(kernel="rbf"), "not additive with the kernel 'rbf'"),
        (svm.SVR(kernel="rbf"), "SVR, not known to be additive"),
        (Impostor(), "its scores are not intercept_"),
        (
            make_pipeline(preprocessing.PolynomialFeatures(2), linear_model.Ridge()),
            r"step 'polynomialfeatures'.* may mix features",
        ),
        (make_pipeline(preprocessing.StandardScaler(), RandomForestClassifier(2)), "Forest"),
    ],
    ids=name_of,
)
def test_models_that_are_not_additive_are_refused(estimator: Any, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        Evidence()(estimator.fit(X, TWO), X)


def test_one_class_is_no_decision() -> None:
    with pytest.raises(InputError, match="GaussianNB was fitted to one class"):
        Evidence()(naive_bayes.GaussianNB().fit(X, 0 * TWO), X)


class Squares(BaseEstimator):
    """f(x) = 1 + Σ_j x_j²."""

    def fit(self, X: Any, y: Any) -> Squares:
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> Any:
        return 1 + (X**2).sum(1)


def test_a_model_is_made_known_by_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "ADDITIVE", dict(estimators.ADDITIVE))
    model = Squares().fit(X, VALUES)
    with pytest.raises(UnsupportedModelError, match="register its terms"):
        Evidence()(model, X)

    @estimators.additive("Squares")
    def squares(estimator: Any) -> estimators.Additive:
        return estimators.Additive(lambda X: (X**2)[..., None], np.ones(1), estimator.predict)

    found = Evidence()(model, X)
    assert close(found.relevance, X**2)
    assert close(found.output, model.predict(X))


def test_votes_of_pairs_of_classes_are_no_sum() -> None:
    with pytest.raises(UnsupportedModelError, match=r"by votes of pairs.*LinearSVC"):
        Evidence()(svm.SVC(kernel="linear").fit(X, THREE), X)


@pytest.mark.parametrize("model", [torch.nn.Linear(4, 2), naive_bayes.GaussianNB, lambda x: x])
def test_networks_and_classes_are_no_estimators(model: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="no fitted estimator of scikit-learn"):
        Evidence()(model, X)


def test_an_estimator_must_be_fitted() -> None:
    for model in (
        naive_bayes.GaussianNB(),
        make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()),
    ):
        with pytest.raises(InputError, match=r"is not fitted: call fit\(X, y\) first"):
            Evidence()(model, X)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (X[0], r"shape \(4,\)"),
        (X[:, :3], "3 columns, but GaussianNB was fitted to 4"),
        (np.full((1, 4), np.nan), "NaN or infinity"),
        (X[:0], r"shape \(0, 4\)"),
        ([["a", "b", "c", "d"]], "is not a table of numbers"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Evidence()(naive_bayes.GaussianNB().fit(X, TWO), inputs)


@pytest.mark.parametrize(
    ("target", "message"),
    [(2, "out of range"), ([0], "1 targets for 60"), (lambda y: y[:, 0], "not a function")],
)
def test_targets_that_do_not_fit_are_refused(target: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Evidence()(naive_bayes.GaussianNB().fit(X, TWO), X, target)


def test_there_are_no_inner_modules() -> None:
    with pytest.raises(InputError, match="not inner modules"):
        Evidence()(naive_bayes.GaussianNB().fit(X, TWO), X, at="layer")
