"""The evidence in each feature, for estimators of scikit-learn whose decision is a sum."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rootpoint.additive.sums import Sums, table
from rootpoint.errors import InputError, UnsupportedModelError

Array: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, eq=False)
class Additive:
    """How an estimator decides: score_k(x) = base_k + Σ_j evidence_jk(x_j).

    evidence   from samples (N, D) to the evidence (N, D, K) in each feature
    base       the score without any evidence, (K,)
    scores     the estimator's own scores (N, K), which the sums must equal
    """

    evidence: Callable[[Array], Array]
    base: Array
    scores: Callable[[Array], Array]


ADDITIVE: dict[str, Callable[[Any], Additive]] = {}
"""From the name of an estimator's class, or of one it derives from, to how it decides."""


def additive(*names: str) -> Callable[[Callable[[Any], Additive]], Callable[[Any], Additive]]:
    """Make a function from a fitted estimator to `Additive` known for classes of these names."""

    def known(function: Callable[[Any], Additive]) -> Callable[[Any], Additive]:
        ADDITIVE.update(dict.fromkeys(names, function))
        return function

    return known


def sums(estimator: Any, inputs: Any) -> Sums:
    """The scores of samples as sums of evidence, compared with the estimator's own.

    Two classes: s = e_0 + Σ e_j is the log-odds (or signed distance) of the second one, and −s of
    the first. More classes: each has its own sum. Cost: one call of the estimator.
    Raises UnsupportedModelError if the estimator is not additive, InputError if it is not fitted,
    or the evidence is infinite.
    """
    model, last = decision(estimator), final(estimator)
    X = table(inputs).numpy()
    expected = getattr(estimator, "n_features_in_", X.shape[1])
    if X.shape[1] != expected:
        raise InputError(
            f"the input has {X.shape[1]} columns, but {type(estimator).__name__} was fitted to "
            f"{expected}"
        )
    classes = len(getattr(last, "classes_", ()))
    if classes == 1:
        raise InputError(f"{type(last).__name__} was fitted to one class: it decides nothing")
    with np.errstate(divide="ignore", invalid="ignore"):
        evidence, base = model.evidence(X), model.base
        if classes == 2 and base.shape == (2,):
            evidence, base = evidence[..., 1:] - evidence[..., :1], base[1:] - base[:1]
    _check_finite(last, evidence, base)
    _check_sums(estimator, evidence, base, quietly(model.scores, X))
    return Sums.of(evidence, base, classifier=classes > 0)


def decision(estimator: Any) -> Additive:
    """How a fitted estimator decides."""
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise _unsupported(estimator, "no fitted estimator of scikit-learn")
    last = final(estimator)
    if not any(name.endswith("_") and not name.startswith("__") for name in vars(last)):
        raise InputError(f"{type(last).__name__} is not fitted: call fit(X, y) first")
    for cls in type(estimator).__mro__:
        if cls.__name__ in ADDITIVE:
            return ADDITIVE[cls.__name__](estimator)
    return linear(estimator)


def final(estimator: Any) -> Any:
    """The estimator that decides: a pipeline's last step."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def linear(estimator: Any) -> Additive:
    """e_j(x_j) = w_j x_j of anything with `coef_` and `intercept_`; e_0 is the intercept."""
    if not hasattr(estimator, "coef_") or not hasattr(estimator, "intercept_"):
        raise _unsupported(estimator, "not known to be additive")
    dense = estimator.coef_.toarray() if hasattr(estimator.coef_, "toarray") else estimator.coef_
    weights = np.atleast_2d(np.asarray(dense, dtype=np.float64))
    base = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64), len(weights))
    own = getattr(estimator, "decision_function", None) or estimator.predict
    return Additive(lambda X: X[:, :, None] * weights.T, base, own)


_GENERALIZED = "_GeneralizedLinearRegressor"  # of Poisson, gamma and Tweedie


@additive(_GENERALIZED)
def generalized_linear(estimator: Any) -> Additive:
    """As `linear`: the score is the logarithm of the prediction, where that is the link."""
    found = linear(estimator)
    link = getattr(estimator, "link", "log")
    if link == "identity" or (link == "auto" and estimator.power <= 0):
        return found
    return Additive(found.evidence, found.base, lambda X: np.log(estimator.predict(X)))


@additive("BaseSVC")
def support_vectors(estimator: Any) -> Additive:
    """As `linear`: for a linear kernel and two classes."""
    if len(estimator.classes_) > 2:
        raise _unsupported(
            estimator,
            "decides between more than two classes by votes of pairs",
            "use LinearSVC, which has a score for each class",
        )
    if estimator.kernel != "linear":
        raise _unsupported(
            estimator,
            f"not additive with the kernel {estimator.kernel!r}",
            f"use kernel='linear', or {_ANY}",
        )
    return linear(estimator)


@additive("GaussianNB")
def gaussian(estimator: Any) -> Additive:
    """e_jc(x_j) = log N(x_j; θ_cj, σ²_cj); e_0 = log P(c)."""
    mean, variance = estimator.theta_.T, estimator.var_.T

    def evidence(X: Array) -> Array:
        distance = (X[:, :, None] - mean) ** 2 / variance
        return -0.5 * (np.log(2 * np.pi * variance) + distance)

    return Additive(evidence, _log(estimator.class_prior_), estimator.predict_joint_log_proba)


@additive("MultinomialNB")
def multinomial(estimator: Any) -> Additive:
    """e_jc(x_j) = x_j log P(j | c), x_j a count; e_0 = log P(c)."""
    return _naive_bayes(estimator, lambda X: X[:, :, None] * estimator.feature_log_prob_.T)


@additive("ComplementNB")
def complement(estimator: Any) -> Additive:
    """e_jc(x_j) = −x_j log P(j | not c), x_j a count; no prior."""
    found = multinomial(estimator)
    one = len(estimator.classes_) == 1
    return Additive(found.evidence, found.base if one else 0 * found.base, found.scores)


@additive("BernoulliNB")
def bernoulli(estimator: Any) -> Additive:
    """e_jc(x_j) = log P(j | c) if the feature is there, log (1 − P(j | c)) if not."""

    def evidence(X: Array) -> Array:
        there = X if estimator.binarize is None else estimator.binarize < X
        present = estimator.feature_log_prob_.T
        return np.where(there[:, :, None], present, _log(1 - np.exp(present)))

    return _naive_bayes(estimator, evidence)


@additive("CategoricalNB")
def categorical(estimator: Any) -> Additive:
    """e_jc(x_j) = log P(x_j | c), x_j the index of a category."""

    def evidence(X: Array) -> Array:
        known = np.asarray(estimator.n_categories_)
        bad = np.argwhere((X < 0) | (known <= X))
        if len(bad):
            sample, j = bad[0]
            raise InputError(
                f"category {X[sample, j]:g} of feature {j} in sample {sample} was not seen in "
                f"fitting, which knows 0 to {known[j] - 1}: fit with min_categories="
            )
        codes = X.astype(int)
        tables = estimator.feature_log_prob_
        return np.stack([tables[j][:, codes[:, j]].T for j in range(X.shape[1])], axis=1)

    return _naive_bayes(estimator, evidence)


def _naive_bayes(estimator: Any, evidence: Callable[[Array], Array]) -> Additive:
    return Additive(evidence, estimator.class_log_prior_, estimator.predict_joint_log_proba)


# These change each column on its own, so the evidence in it stays the evidence in it.
_COLUMN_BY_COLUMN = (
    "MaxAbsScaler",
    "MinMaxScaler",
    "PowerTransformer",
    "QuantileTransformer",
    "RobustScaler",
    "StandardScaler",
)


@additive("Pipeline")
def pipeline(estimator: Any) -> Additive:
    """The evidence of the last step in what the others, column by column, made of a feature."""
    steps = [
        (name, step) for name, step in estimator.steps[:-1] if step not in ("passthrough", None)
    ]
    for name, step in steps:
        if type(step).__name__ not in _COLUMN_BY_COLUMN:
            raise _unsupported(
                estimator,
                f"not known to be additive: step {name!r}, {type(step).__name__}, may mix features",
                "explain its last step, pipeline[-1], on pipeline[:-1].transform(X)",
            )
    last = decision(estimator.steps[-1][1])

    def transformed(X: Array) -> Array:
        for _, step in steps:
            X = quietly(step.transform, X)
        return X

    return Additive(
        lambda X: last.evidence(transformed(X)),
        last.base,
        lambda X: last.scores(transformed(X)),
    )


def _log(p: Any) -> Array:
    """log p without a warning at zero, which `_check_finite` reports."""
    with np.errstate(divide="ignore"):
        return np.log(p)


def quietly(function: Callable[[Array], Any], X: Array) -> Any:
    """An estimator fitted to a data frame warns at arrays, whose columns have no names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return function(X)


def _check_finite(estimator: Any, evidence: Array, base: Array) -> None:
    bad = np.argwhere(~np.isfinite(evidence))
    if len(bad):
        sample, feature, _ = bad[0]
        raise InputError(
            f"the evidence in feature {feature} of sample {sample} is infinite: "
            f"{type(estimator).__name__} gives this value the likelihood zero; fit it with Laplace "
            "smoothing, alpha > 0 (GaussianNB: var_smoothing > 0)"
        )
    if not np.isfinite(base).all():
        raise InputError(
            f"a class of {type(estimator).__name__} has the prior probability zero, so no evidence "
            "counts: fit it with data of every class, or positive priors"
        )


def _check_sums(estimator: Any, evidence: Array, base: Array, own: Any) -> None:
    """Raise UnsupportedModelError unless the sums are the scores by which the estimator decides."""
    found, own = (
        evidence.sum(1) + base,
        np.asarray(own, dtype=np.float64).reshape(len(evidence), -1),
    )
    if found.shape[1] == 1 and own.shape[1] == 2:
        own = own[:, 1:] - own[:, :1]
    scale = np.abs(evidence).sum(1).max(initial=1.0)
    if found.shape != own.shape or not np.allclose(found, own, rtol=1e-6, atol=1e-9 * scale):
        raise _unsupported(estimator, "not additive: its scores are not intercept_ + Σ coef_ · x")


_ANY = (
    "use a method for any model, such as 'shapley' of its decision_function, or register its terms "
    "with rootpoint.additive.estimators.additive"
)


def _unsupported(estimator: Any, problem: str, remedy: str = _ANY) -> UnsupportedModelError:
    known = ", ".join(sorted(name for name in ADDITIVE if name not in ("BaseSVC", _GENERALIZED)))
    return UnsupportedModelError(
        f"evidence cannot explain {type(estimator).__name__}, {problem}; known: {known} (of "
        "scalers and another), SVC of two classes with a linear kernel, and linear models with "
        f"coef_ and intercept_; {remedy}"
    )
