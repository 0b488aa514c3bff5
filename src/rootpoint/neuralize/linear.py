"""Linear models: one layer, whatever they were fitted by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from rootpoint.additive.estimators import quietly
from rootpoint.errors import InputError
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network, unsupported

N = TypeVar("N", bound=Network)


class Linear(Network):
    """s_k(x) = Σ_i w_ki x_i + b_k: R_i = w_ki x_i of the explained k; b_k is booked as bias.

    weight   (K, columns), bias (K,)
    single   give the only score as (B,) instead of (B, 1)
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        weight: Any,
        bias: Any,
        outputs: Sequence[Any],
        names: Sequence[str] | None = None,
        *,
        single: bool = False,
    ) -> None:
        super().__init__(weight.shape[1], outputs, names, width=len(weight))
        self.constant("weight", weight)
        self.constant("bias", bias)
        self.single = single

    def forward(self, x: Tensor) -> Tensor:
        scores = linear(x, self.weight, self.bias)
        return scores[:, 0] if self.single else scores


@network("LinearClassifierMixin")
def linear_classifier(estimator: Any) -> Network:
    """decision_function: (B, K) in the order of classes_; of two classes (−s, s)."""
    weight, bias = _coefficients(estimator)
    outputs = list(estimator.classes_)
    if len(outputs) == 1:
        raise InputError(f"{type(estimator).__name__} was fitted to one class: it decides nothing")
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
        found = Linear(weight, bias, outputs, names_of(estimator))
        return checked(found, estimator, estimator.decision_function, lambda s: s[:, 1])
    found = Linear(weight, bias, outputs, names_of(estimator))
    return checked(found, estimator, estimator.decision_function)


@network("LinearModel", "BaseSGDRegressor")
def linear_regressor(estimator: Any) -> Network:
    """predict: (B,), of several targets (B, K)."""
    weight, bias = _coefficients(estimator)
    return checked(_regression(estimator, weight, bias), estimator, estimator.predict)


@network("_GeneralizedLinearRegressor")
def generalized_linear(estimator: Any) -> Network:
    """w·x + b, (B,): the logarithm of predict; predict itself where TweedieRegressor has that link.

    So what is explained is the linear predictor, on whose scale evidence adds up.
    """
    weight, bias = _coefficients(estimator)
    link = getattr(estimator, "link", "log")
    identity = link == "identity" or (link == "auto" and estimator.power <= 0)
    found = _regression(estimator, weight, bias)
    if identity:
        return checked(found, estimator, estimator.predict)
    return checked(found, estimator, estimator.predict, torch.exp)


@network("SGDOneClassSVM")
def linear_one_class(estimator: Any) -> Network:
    """−decision_function = offset_ − w·x, (B,): positive for outliers, as other outlier scores."""
    weight = -np.atleast_2d(estimator.coef_)
    found = Linear(weight, estimator.offset_, ("outlier score",), names_of(estimator), single=True)
    return checked(found, estimator, lambda x: -estimator.decision_function(x))


@network("_PLS")
def partial_least_squares(estimator: Any) -> Network:
    """predict of PLSRegression, PLSCanonical and CCA: (B,), of several targets (B, K)."""
    weight = np.asarray(estimator.coef_, dtype=np.float64)
    zero = np.zeros((1, weight.shape[1]))
    bias = np.ravel(quietly(estimator.predict, zero))  # intercept_ is about the columns' means
    return checked(_regression(estimator, weight, bias), estimator, estimator.predict)


def _coefficients(estimator: Any) -> tuple[Any, Any]:
    """The weights (K, columns) and biases (K,); sparse ones made dense."""
    if not hasattr(estimator, "coef_"):
        raise unsupported(estimator, "it has no coef_")
    weight = estimator.coef_
    dense = weight.toarray() if hasattr(weight, "toarray") else weight
    weight = np.atleast_2d(np.asarray(dense, dtype=np.float64))
    bias = np.ravel(np.asarray(estimator.intercept_, dtype=np.float64))
    return weight, np.broadcast_to(bias, len(weight)).copy()


def _regression(estimator: Any, weight: Any, bias: Any) -> Linear:
    single = len(weight) == 1
    outputs = ("prediction",) if single else tuple(range(len(weight)))
    return Linear(weight, bias, outputs, names_of(estimator), single=single)


def checked(
    found: N,
    estimator: Any,
    own: Callable[[Any], Any],
    link: Callable[[Tensor], Tensor] = lambda scores: scores,
) -> N:
    """A network, if it computes what the estimator itself does.

    Estimators are known by names; a class that derives from scikit-learn's may decide otherwise.
    own    from a table to what the estimator gives for it
    link   from the network's scores to the same
    Raises UnsupportedModelError where they differ.
    """
    probe = np.random.default_rng(0).integers(0, 3, (4, found.columns)).astype(np.float64)
    scores = link(found(torch.as_tensor(probe))).numpy()
    theirs = np.asarray(quietly(own, probe), dtype=np.float64)
    if theirs.shape != scores.shape or not np.allclose(scores, theirs, rtol=1e-9, atol=1e-9):
        raise unsupported(estimator, "it does not compute what the class it derives from does")
    return found
