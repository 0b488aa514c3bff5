"""Exact Shapley values of sums of trees against a background, computed by the library shap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rootpoint.additive.estimators import quietly
from rootpoint.additive.sums import Sums, fitted_columns, table
from rootpoint.errors import InputError, MissingExtraError, UnsupportedModelError
from rootpoint.fitted import Fitted

Array: TypeAlias = "NDArray[np.float64]"

MOST = 1000
"""Rows of a background, at most."""


_NODES = 32767  # that shap counts


@dataclass(frozen=True, eq=False)
class Background(Fitted):
    """The rows (N, D) that stand for what is not known; NaN where a value is missing."""

    kind: ClassVar[str] = "a background of trees"

    rows: Tensor


@dataclass(frozen=True, eq=False)
class Trees:
    """A fitted model as sums of trees.

    score       its own score of a table, (N,) or (N, K)
    parts       what shap reads the trees from; of several, each has one score
    factor      from the trees' sum to the score
    single      splits compare values in single precision
    rounding    of the model's own sum, relative to its size
    """

    score: Callable[[Array], Any]
    parts: tuple[Any, ...]
    factor: float = 1.0
    single: bool = True
    rounding: float = 1e-9


FAMILIES: dict[str, Callable[[Any], Trees]] = {}
"""From the name of an estimator's class, or of one it derives from, to what its trees are."""


def family(*names: str) -> Callable[[Callable[[Any], Trees]], Callable[[Any], Trees]]:
    """Make a function from a fitted estimator to its `Trees` known for classes of these names."""

    def known(function: Callable[[Any], Trees]) -> Callable[[Any], Trees]:
        FAMILIES.update(dict.fromkeys(names, function))
        return function

    return known


@family("DecisionTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier")
def voting(model: Any) -> Trees:
    """The mean of the trees' probabilities."""
    return Trees(model.predict_proba, (model,))


@family("DecisionTreeRegressor", "RandomForestRegressor", "ExtraTreesRegressor")
@family("GradientBoostingRegressor")
def predicting(model: Any) -> Trees:
    """The prediction."""
    return Trees(model.predict, (model,))


@family("GradientBoostingClassifier")
def boosting(model: Any) -> Trees:
    """The decision function; of several classes each has its own trees."""
    parts = tuple({"trees": [t.tree_ for t in each]} for each in model.estimators_.T)
    return Trees(model.decision_function, parts, factor=model.learning_rate)


@family("HistGradientBoostingClassifier")
def binned(model: Any) -> Trees:
    """The decision function."""
    _check_no_categories(model)
    return Trees(model.decision_function, (model,), single=False)


@family("HistGradientBoostingRegressor")
def binned_regression(model: Any) -> Trees:
    """The prediction, or its logarithm where that is the link."""
    _check_no_categories(model)
    if model.loss in ("poisson", "gamma"):
        return Trees(lambda x: np.log(model.predict(x)), (model,), single=False)
    return Trees(model.predict, (model,), single=False)


@family("IsolationForest")
def isolating(model: Any) -> Trees:
    """log₂ of the anomaly score 2^(−h/c): h is the mean length of x's path, c a random tree's."""
    n = model.max_samples_
    c = 2 * (log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n if n > 2 else 1.0
    return Trees(lambda x: np.log2(-model.score_samples(x)), (model,), factor=-1 / c)


@family("XGBClassifier", "XGBRegressor")
def extreme(model: Any) -> Trees:
    """The margin, which xgboost sums in single precision."""
    return Trees(lambda x: model.predict(x, output_margin=True), (model,), rounding=1e-6)


@family("LGBMClassifier", "LGBMRegressor")
def light(model: Any) -> Trees:
    """The raw score."""
    return Trees(lambda x: model.predict(x, raw_score=True), (model,), single=False)


def fit_background(model: Any, data: Any) -> Background:
    """A table (N, D) as the background of a model.

    Raises InputError for more than `MOST` rows, or columns that are not the model's.
    """
    _known(model)
    rows = _rows(model, data)
    if len(rows) > MOST:
        raise InputError(
            f"the background has {len(rows)} rows, and each is compared with each explained one: "
            f"at most {MOST} are taken; draw some, for example with numpy.random.default_rng(0)"
            f".choice({len(rows)}, 200, replace=False)"
        )
    return Background(rows)


def sums(model: Any, inputs: Any, background: Background) -> tuple[Sums, Sums]:
    """The model's own scores, as mean_n score(b_n) + one part, and as that + Σ_j φ_j.

    Arguments and errors are those of the method "tree-shapley".
    """
    trees = _known(model)(model)
    x, rows = (_rows(model, t).numpy() for t in (inputs, background.rows))
    own, others = _scores(model, trees, x), _scores(model, trees, rows)
    values, mean = _values(model, trees, (x, rows), (own, others)), others.mean(0)
    _check(model, mean + values.sum(1), own, 1e-6 * _size(own, others))
    classifier = hasattr(model, "classes_")
    whole = (own - mean)[:, None]
    return Sums.of(whole, mean, classifier), Sums.of(values, mean, classifier)


def _known(model: Any) -> Callable[[Any], Trees]:
    """What makes the trees of a model, which is fitted."""
    for cls in type(model).__mro__:
        if cls.__name__ in FAMILIES:
            _check_fitted(model)
            if isinstance(getattr(model, "classes_", None), list):
                raise _unsupported(model, "it tells several kinds of classes; fit a model for each")
            return FAMILIES[cls.__name__]
    raise _unsupported(model, "it is not known as a sum of trees")


def _check_readable(model: Any, explainers: list[Any]) -> None:
    """Raise UnsupportedModelError for what shap takes without complaint, but computes wrongly."""
    for each in explainers:
        if np.any(np.equal(getattr(each.model, "threshold_types", 0), 1)):
            raise _unsupported(model, "shap does not read its splits of categories; encode them")
        if max(each.model.num_nodes) > _NODES:
            raise _unsupported(
                model, f"shap takes {_NODES} nodes in a tree at most; limit max_depth"
            )


def _check_fitted(model: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise InputError(f"{type(model).__name__} is not fitted: call fit first") from error


def _check_no_categories(model: Any) -> None:
    if getattr(model, "is_categorical_", None) is not None:
        raise _unsupported(model, "shap does not read its splits of categories; encode them")


def _rows(model: Any, given: Any) -> Tensor:
    found = table(fitted_columns(given, names(model)), missing=True)
    if found.shape[1] != model.n_features_in_:
        raise InputError(
            f"the table has {found.shape[1]} columns, but the model was fitted to "
            f"{model.n_features_in_}"
        )
    return found


def names(model: Any) -> list[str] | None:
    """The columns of the data frame that a model was fitted to, if it was one."""
    found = getattr(model, "feature_names_in_", None)
    return None if found is None else list(map(str, found))


def _scores(model: Any, trees: Trees, rows: Array) -> Array:
    """The model's own scores, (N, K)."""
    try:
        found = np.asarray(quietly(trees.score, rows), dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{type(model).__name__} does not take the table: {error}") from error
    return found.reshape(len(rows), -1)


def _values(
    model: Any, trees: Trees, tables: tuple[Array, Array], own: tuple[Array, Array]
) -> Array:
    """φ of each row, column and score, (N, D, K), if shap finds the model's own scores."""
    x, rows = (t.astype(np.float32).astype(np.float64) if trees.single else t for t in tables)
    explainers = [_explainer(model, part, rows) for part in trees.parts]
    _check_readable(model, explainers)
    for given, expected in zip((x, rows), own, strict=True):
        found = [np.reshape(e.model.predict(given), (len(given), -1)) for e in explainers]
        sums = trees.factor * np.concatenate(found, 1)
        constant = (expected - sums).mean(0)
        _check(model, sums + constant, expected, trees.rounding * _size(*own))
    shares = [_shares(e, x) for e in explainers]
    return trees.factor * np.concatenate([s.reshape(*x.shape, -1) for s in shares], -1)


def _shares(explainer: Any, x: Array) -> Any:
    """shap's values, by ranks: its algorithm, not its predictions, rounds thresholds to single
    precision, and a value that meets one goes astray. x > t exactly if more thresholds than t's
    rank are below x.
    """
    trees, rows, x = explainer.model, explainer.data.copy(), x.copy()
    splits = trees.children_left >= 0
    for j in range(x.shape[1]):
        here = splits & (trees.features == j)
        edges, rank = np.unique(trees.thresholds[here], return_inverse=True)
        trees.thresholds[here] = rank + 0.5
        for values in (x[:, j], rows[:, j]):
            known = ~np.isnan(values)
            values[known] = np.searchsorted(edges, values[known])
    explainer.data = rows
    return explainer.shap_values(x, check_additivity=False)


def _explainer(model: Any, part: Any, rows: Array) -> Any:
    try:
        import shap
        from shap.maskers import Independent
    except ImportError as error:
        raise MissingExtraError("the method tree-shapley", "shap") from error
    masker: Any = Independent(rows, max_samples=len(rows))  # which else would draw 100 rows
    try:
        return shap.TreeExplainer(part, masker, feature_perturbation="interventional")
    except Exception as error:  # shap raises of every kind, and names what it does not support
        raise _unsupported(model, f"shap does not read it ({error})") from error


def _size(*scores: Array) -> float:
    return max(float(np.abs(s).max()) for s in scores)


def _check(model: Any, found: Array, own: Array, tolerance: float) -> None:
    if found.shape != own.shape or not np.allclose(found, own, rtol=0, atol=tolerance + 1e-12):
        raise _unsupported(model, "its own scores are not the sums of the trees that shap reads")


def _unsupported(model: Any, problem: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"tree-shapley cannot explain {type(model).__name__}: {problem}; known: "
        f"{', '.join(sorted(FAMILIES))}; of a pipeline, explain the last step on the table that "
        "the others make; the method 'shapley' explains any function"
    )
