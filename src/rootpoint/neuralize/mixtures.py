"""Gaussian mixtures: which component, or how improbable, by Mahalanobis distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.neuralize.clusters import log_odds, several
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import choose, names_of, network
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.composites import Where
from rootpoint.propagation.functions import overridable, soft_minimum
from rootpoint.propagation.rules import gradient, rule


@overridable
def mahalanobis(x: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """‖(x − μ_k) U_k‖² = (x − μ_k)ᵀ Λ_k (x − μ_k), Λ = U Uᵀ, of samples (B, D): (B, K).

    factors   U (K, D, D), or (1, D, D) for all; or its diagonal (K, D)
    Cost: B · K · D², with a diagonal B · K · D; memory B · D.
    """
    every = (_scaled(x - u, _of(factors, k)).square().sum(1) for k, u in enumerate(means))
    return torch.stack(list(every), 1)


@rule("mahalanobis", operation=mahalanobis, exact=True)
def quadratic_form(call: Call, m: Tensor) -> Back:
    """R_i = Σ_k (x − μ_k)_i [Λ_k (x − μ_k)]_i / ‖x − μ_k‖²_Λ · R_k: the root point is μ_k.

    A quadratic form is half its gradient times its argument (Euler), so the shares sum to one;
    correlated columns may have negative ones. At x = μ_k all columns share equally. Conserves.
    """
    given = call.step.bound(call.tensors, "x", "means", "factors")
    x, relevance = call.input, torch.zeros_like(call.input)
    for k, u in enumerate(given["means"]):
        z, factor = x - u, _of(given["factors"], k)
        if factor.dim() == 1:
            terms = _scaled(z, factor).square_()
        else:
            terms = _scaled(z, factor) @ factor.T * z
        here = (call.output[:, k] == 0).unsqueeze(1)
        relevance += m[:, k : k + 1] * torch.where(here, 1 / x.shape[1], terms)
    return Back(relevance=relevance)


def _of(factors: Tensor, k: int) -> Tensor:
    return factors[k % len(factors)]


def _scaled(z: Tensor, factor: Tensor) -> Tensor:
    return z * factor if factor.dim() == 1 else z @ factor


class Mahalanobis(nn.Module):
    """½ ‖x − μ_k‖²_Λ for each component."""

    def __init__(self, means: Any, factors: Any) -> None:
        super().__init__()
        self.register_buffer("means", torch.as_tensor(np.asarray(means, dtype=np.float64)))
        halved = np.asarray(factors, dtype=np.float64) * 0.5**0.5
        self.register_buffer("factors", torch.as_tensor(halved))

    def forward(self, x: Tensor) -> Tensor:
        return mahalanobis(x, self.means, self.factors)


class Mixture(Network):
    """Of a_k = ½ ‖x − μ_k‖²_Λ + b_k = −log π_k N_k(x): log-odds of components (B, K), or the
    outlier score −log Σ_k exp(−a_k) (B,).

    `distances` has one neuron for each component. The constants b_k (weights and determinants)
    explain nothing: the books name their share "constant". So do they for all of an outlier score
    but Σ_k p_k ½ ‖x − μ_k‖²_Λ, p the responsibilities: it may be negative, having no natural zero.
    """

    offset: Tensor

    def __init__(self, means: Any, factors: Any, offset: Any, names: Any, output: str) -> None:
        means = np.asarray(means)
        outlier = output == "outlier"
        outputs = ("outlier score",) if outlier else range(len(means))
        super().__init__(means.shape[1], outputs, names, width=len(means))
        self.outlier = outlier
        if outlier:
            self.rootpoint_composite = self.rootpoint_composite.override(
                Where(kind="soft-minimum"), gradient()
            )
        self.distances = Mahalanobis(means, factors)
        self.constant("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        a = self.distances(x) + self.offset
        return soft_minimum(a) if self.outlier else log_odds(a)


@network("GaussianMixture", "BayesianGaussianMixture")
def gaussian_mixture(estimator: Any, *, output: str = "assignment") -> Network:
    """A Gaussian mixture of any covariance type.

    output   "assignment": log P_k / (1 − P_k) of `predict_proba`, for each component, also where
             1 − P_k would round to zero; "outlier": −`score_samples`
    Raises UnsupportedModelError for assignments to one component.
    """
    if choose("output", output, ("assignment", "outlier")) == "assignment":
        several(estimator, len(estimator.means_))
    factors = np.asarray(estimator.precisions_cholesky_, dtype=np.float64)
    means, kind = estimator.means_, estimator.covariance_type
    diagonals = np.diagonal(factors, axis1=-2, axis2=-1) if kind in ("full", "tied") else factors
    if kind == "tied":
        factors = factors[None]
    elif kind == "spherical":
        factors = diagonals = np.repeat(factors[:, None], means.shape[1], 1)
    offset = 0.5 * means.shape[1] * np.log(2 * np.pi) - np.log(diagonals).sum(-1)
    offset = offset - estimator._estimate_log_weights() + _uncertainty(estimator)
    return Mixture(means, factors, offset, names_of(estimator), output)


def _uncertainty(estimator: Any) -> Any:
    """What a variational posterior of the precisions adds to −log N_k (Bishop 2006, 10.64-65)."""
    if not hasattr(estimator, "degrees_of_freedom_"):
        return 0.0
    from scipy.special import digamma

    freedom = np.atleast_1d(estimator.degrees_of_freedom_)
    columns = estimator.means_.shape[1]
    halves = 0.5 * (freedom[:, None] - np.arange(columns))
    determinant = columns * np.log(2) + digamma(halves).sum(1)
    return 0.5 * (columns * np.log(freedom) - determinant + columns / estimator.mean_precision_)
