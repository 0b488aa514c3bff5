"""Naive Bayes classifiers, whose score is a sum of the evidence in each column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.neuralize.linear import Linear, checked
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network
from rootpoint.propagation.functions import columnwise


class Evidence(Network):
    """s_c(x) = Σ_i e_ci(x_i) + b_c: R_i = e_ci(x_i) of the explained c; b_c is booked as bias.

    Of two classes the scores are (s_0 − s_1, s_1 − s_0).
    evidence   for each class a function from values (B, columns) to the evidence in each
    """

    bias: Tensor

    def __init__(
        self,
        evidence: Sequence[Callable[[Tensor], Tensor]],
        bias: Any,
        columns: int,
        outputs: Sequence[Any],
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, outputs, names, width=columns * len(evidence))
        self.evidence = tuple(evidence)
        self.constant("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.stack([columnwise(x, e).sum(1) for e in self.evidence], 1) + self.bias
        return scores - scores.flip(1) if len(self.evidence) == 2 else scores


@network("MultinomialNB", "ComplementNB")
def counted(estimator: Any) -> Network:
    """predict_joint_log_proba, (B, K): s_c = Σ_i x_i log P(i | c) + log P(c).

    Of two classes (−s, s), s the log odds of the second. ComplementNB has −log P(i | not c),
    perhaps normalized, in place of log P(i | c), and no prior. Columns are counts: R_i = x_i log
    P(i | c).
    """
    weight = estimator.feature_log_prob_
    prior = 0.0 if hasattr(estimator, "norm") else estimator.class_log_prior_
    bias = np.broadcast_to(prior, len(weight)).copy()
    if len(weight) == 2:
        weight, bias = weight - weight[::-1], bias - bias[::-1]
    found = Linear(weight, bias, _classes(estimator), names_of(estimator))
    return _checked(found, estimator)


@network("BernoulliNB")
def present_or_absent(estimator: Any) -> Network:
    """predict_joint_log_proba, (B, K): s_c = Σ_i log P(x_i | c) + log P(c); two classes: `counted`.

    P(x_i | c) is P(i | c) where x_i > binarize, else 1 − P(i | c): what is absent is evidence too.
    """
    there = torch.as_tensor(estimator.feature_log_prob_)
    absent = torch.log1p(-torch.exp(there))
    evidence = [
        partial(_presence, there=a, absent=b, threshold=estimator.binarize)
        for a, b in zip(there, absent, strict=True)
    ]
    return _summed(estimator, evidence, torch.stack([there, absent]))


def _presence(x: Tensor, there: Tensor, absent: Tensor, threshold: float | None) -> Tensor:
    if threshold is not None:
        x = (x > threshold).to(x) + 0 * x  # a gradient of zero, not none
    return x * there.to(x) + (1 - x) * absent.to(x)


@network("GaussianNB")
def normal(estimator: Any) -> Network:
    """predict_joint_log_proba, (B, K): s_c = Σ_i log N(x_i; θ_ci, σ²_ci) + log P(c).

    Of two classes (−s, s), s the log odds of the second.
    """
    mean, variance = (torch.as_tensor(a) for a in (estimator.theta_, estimator.var_))
    evidence = [
        partial(_log_normal, mean=m, variance=v) for m, v in zip(mean, variance, strict=True)
    ]
    return _summed(estimator, evidence, 1 / variance)


def _log_normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    variance = variance.to(x)
    return -((x - mean.to(x)) ** 2 / variance + torch.log(2 * torch.pi * variance)) / 2


def _summed(
    estimator: Any, evidence: Sequence[Callable[[Tensor], Tensor]], finite: Tensor
) -> Network:
    if not torch.isfinite(finite).all():
        raise InputError(
            f"{type(estimator).__name__} gives a value the likelihood zero: fit it with Laplace "
            "smoothing, alpha > 0 (GaussianNB: var_smoothing > 0)"
        )
    log_prior = getattr(estimator, "class_log_prior_", None)
    bias = np.log(estimator.class_prior_) if log_prior is None else log_prior
    found = Evidence(
        evidence, bias, estimator.n_features_in_, _classes(estimator), names_of(estimator)
    )
    return _checked(found, estimator)


def _classes(estimator: Any) -> list[Any]:
    found = list(estimator.classes_)
    if len(found) == 1:
        raise InputError(f"{type(estimator).__name__} was fitted to one class: it decides nothing")
    return found


def _checked(found: Network, estimator: Any) -> Network:
    def own(table: Any) -> Any:
        scores = estimator.predict_joint_log_proba(table)
        return scores - scores[:, ::-1] if scores.shape[1] == 2 else scores

    return checked(found, estimator, own)
