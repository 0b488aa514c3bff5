"""Explainable boosting machines of the library interpret: their terms, as stored and pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rootpoint.additive.sums import Sums
from rootpoint.errors import InputError, MissingExtraError, UnsupportedModelError


class Purified(NamedTuple):
    """A table as intercept + Σ parts: the table's own pure part, and those of fewer of its axes.

    parts   by axes, ascending: {(0, 1): (I, J), (0,): (I,), (1,): (J,)} of a table (I, J)
    """

    intercept: NDArray[np.float64]
    parts: Mapping[tuple[int, ...], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Term:
    """One term of an explainable boosting machine, over its whole domain.

    features     the one or more columns it depends on
    importance   its mean absolute value over the training data, and over several classes
    scores       its value in every bin of each of its features; classes last if more than two
    weights      the training data in each of these bins
    bins         of each feature the cuts between its bins, or its categories. Before them stands
                 the bin of missing values, after them that of unseen categories: the first and
                 the last in `scores`
    """

    name: str
    features: tuple[int, ...]
    importance: float
    scores: Tensor
    weights: Tensor
    bins: tuple[list[Any], ...]


def checked(model: Any) -> Any:
    """The model, if it is a fitted explainable boosting machine.

    Raises MissingExtraError without interpret, UnsupportedModelError for another model, InputError
    for one that is not fitted.
    """
    try:
        from interpret.glassbox import ExplainableBoostingClassifier as Classifier
        from interpret.glassbox import ExplainableBoostingRegressor as Regressor
    except ImportError as error:
        raise MissingExtraError("ebm", "ebm") from error
    if not isinstance(model, Classifier | Regressor):
        raise UnsupportedModelError(
            f"ebm explains an ExplainableBoostingClassifier or -Regressor of interpret, not "
            f"{type(model).__name__}: method 'evidence' explains additive models of scikit-learn, "
            "'shapley' any model"
        )
    if not hasattr(model, "term_scores_"):
        raise InputError(f"{type(model).__name__} is not fitted: call fit(X, y) first")
    if len(getattr(model, "classes_", (0, 1))) < 2:
        raise InputError(f"{type(model).__name__} was fitted to one class: it decides nothing")
    return model


def sums(ebm: Any, inputs: Any) -> Sums:
    """The scores of samples as sums of the terms, on the scale of the link."""
    X = inputs.detach().cpu().numpy() if isinstance(inputs, Tensor) else inputs
    if getattr(X, "ndim", 2) != 2 or len(X) == 0:
        raise InputError(
            f"the input has shape {np.shape(X)}: give samples in rows and features in columns"
        )
    try:
        values = ebm.eval_terms(X)
    except ValueError as error:
        raise InputError(f"the model cannot take this input: {error}") from error
    values = values[..., None] if values.ndim == 2 else values
    return Sums.of(values, np.atleast_1d(ebm.intercept_), classifier=hasattr(ebm, "classes_"))


def global_terms(ebm: Any, *, purified: bool = True) -> list[Term]:
    """The terms of a whole model, the most important first: f = β_0 + Σ_u f_u.

    purified   move from interactions to single features what these explain; False: as stored.
               The bins of a feature of its own are then split where interactions have other cuts,
               their weights evenly.
    Raises what method `ebm` raises. Source: Caruana et al. 2015, KDD.
    """
    model = with_pure_terms(ebm) if purified else checked(ebm)
    terms = []
    for name, term, scores, weights in zip(
        model.term_names_,
        model.term_features_,
        model.term_scores_,
        model.bin_weights_,
        strict=True,
    ):
        size = np.abs(scores) if scores.ndim == weights.ndim else np.abs(scores).mean(-1)
        bins = tuple(_described(_level(model.bins_[f], len(term))) for f in term)
        terms.append(
            Term(
                name=name,
                features=tuple(term),
                importance=float(np.average(size, weights=weights)),
                scores=torch.tensor(scores),
                weights=torch.tensor(weights),
                bins=bins,
            )
        )
    return sorted(terms, key=lambda term: -term.importance)


def purify(scores: ArrayLike, weights: ArrayLike) -> Purified:
    """The functional analysis of variance of a table: parts with weighted mean zero on every axis.

    scores    (I, J, …), or with classes in one more dimension, each of which is purified alone
    weights   (I, J, …), not negative: the data in each cell
    The parts and the intercept sum to the table exactly. Where a row has no weight, its mean is
    taken as zero. Raises InputError for weights that do not fit, MissingExtraError without
    interpret. Source: Lengerich et al. 2020, AISTATS, arXiv 1911.04974.
    """
    scores, weights = (np.ascontiguousarray(a, dtype=np.float64) for a in (scores, weights))
    if scores.shape[: weights.ndim] != weights.shape or scores.ndim - weights.ndim not in (0, 1):
        raise InputError(f"weights of shape {weights.shape} do not fit scores of {scores.shape}")
    if not np.isfinite(scores).all() or not (weights >= 0).all() or not weights.sum() > 0:
        raise InputError("purify needs finite scores, and weights ≥ 0 that are not all zero")
    if scores.ndim == weights.ndim:
        return _purify(scores, weights)
    # interpret would also shift the classes against each other, which changes their logits.
    each = [_purify(np.ascontiguousarray(scores[..., k]), weights) for k in range(scores.shape[-1])]
    return Purified(
        np.stack([one.intercept for one in each], -1),
        {axes: np.stack([one.parts[axes] for one in each], -1) for axes in each[0].parts},
    )


def _purify(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> Purified:
    try:
        from interpret.utils import purify as interpret_purify
    except ImportError as error:
        raise MissingExtraError("purify", "ebm") from error
    pure, impure, intercept = interpret_purify(scores, weights, is_randomized=False)
    return Purified(intercept[0], {tuple(range(weights.ndim)): pure, **dict(impure)})


def with_pure_terms(ebm: Any) -> Any:
    """A copy that decides as `ebm` does, by pure terms; good for `eval_terms` alone.

    What an interaction says of one feature stands in the bins that interactions have, which need
    not be unions of those of the feature's own term: the latter are split.
    """
    pure = copy.copy(checked(ebm))
    pure.bins_ = [_nested(levels) for levels in ebm.bins_]
    pure.intercept_ = np.array(ebm.intercept_, dtype=np.float64).reshape(-1)
    scores: dict[tuple[int, ...], Any] = {}
    weights: dict[tuple[int, ...], Any] = {}
    names: dict[tuple[int, ...], str] = {}
    # Single features first: their weights are in their own bins.
    for i in sorted(range(len(ebm.term_features_)), key=lambda i: len(ebm.term_features_[i])):
        term, found, among = _purified_term(ebm, i)
        names[term] = ebm.term_names_[i]
        pure.intercept_ += found.intercept
        for axes, part in found.parts.items():
            of = tuple(term[a] for a in axes)
            here = [_level(ebm.bins_[f], len(term)) for f in of]
            finer = [_level(pure.bins_[f], len(of)) for f in of]
            maps = [_places(*pair) for pair in zip(here, finer, strict=True)]
            scores[of] = scores.get(of, 0) + part[np.ix_(*maps)]
            if of not in weights:
                weights[of] = _split(_marginal(among, axes), maps)
                names.setdefault(of, " & ".join(ebm.feature_names_in_[f] for f in of))
    pure.term_features_ = sorted(scores, key=lambda term: (len(term), term))
    pure.term_names_ = [names[term] for term in pure.term_features_]
    pure.term_scores_ = [scores[term] for term in pure.term_features_]
    pure.bin_weights_ = [weights[term] for term in pure.term_features_]
    return pure


def _purified_term(ebm: Any, i: int) -> tuple[tuple[int, ...], Purified, NDArray[np.float64]]:
    """The features of one term, ascending, what it consists of, and the weights of its bins."""
    ascending = np.argsort(ebm.term_features_[i])
    scores, weights = ebm.term_scores_[i], ebm.bin_weights_[i].transpose(ascending)
    classes = range(weights.ndim, scores.ndim)
    found = purify(scores.transpose(*ascending, *classes), weights)
    return tuple(ebm.term_features_[i][a] for a in ascending), found, weights


def _level(levels: Sequence[Any], dimensions: int) -> Any:
    """The bins a feature has in terms of so many features."""
    return levels[min(len(levels), dimensions) - 1]


def _nested(levels: Sequence[Any]) -> list[Any]:
    """The bins of each level, split where a later level splits."""
    return [_common(levels[i:]) for i in range(len(levels))]


def _common(levels: Sequence[Any]) -> Any:
    if not isinstance(levels[0], dict):
        return np.unique(np.concatenate(levels))
    if all(level == levels[0] for level in levels):
        return levels[0]
    return {key: i for i, key in enumerate(sorted(set().union(*levels)), start=1)}


def _places(bins: Any, finer: Any) -> NDArray[np.int64]:
    """For each of the finer bins the one that contains it: missing first, unseen last."""
    if isinstance(bins, dict):
        last = max(bins.values(), default=0) + 1
        place = np.full(max(finer.values(), default=0) + 2, last)
        place[0] = 0
        for key, i in finer.items():
            place[i] = bins.get(key, last)
        return place
    inner = np.searchsorted(bins, finer, side="right") + 1
    return np.concatenate([[0, 1], inner, [len(bins) + 2]])


def _marginal(weights: NDArray[np.float64], axes: tuple[int, ...]) -> NDArray[np.float64]:
    return weights.sum(axis=tuple(a for a in range(weights.ndim) if a not in axes))


def _split(weights: NDArray[np.float64], maps: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Weights in finer bins: each shared evenly among the bins its own is split into."""
    for axis, place in enumerate(maps):
        into = np.bincount(place, minlength=weights.shape[axis])
        share = weights.swapaxes(axis, -1)[..., place] / into[place]
        weights = share.swapaxes(axis, -1)
    return weights


def _described(bins: Any) -> list[Any]:
    return [float(cut) for cut in bins] if not isinstance(bins, dict) else list(bins)
