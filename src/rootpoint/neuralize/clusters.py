"""Clusterings around centres: the log-odds of an assignment, explained by distances to centres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.neuralize.kernels import Distances
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network, unsupported
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.functions import overridable
from rootpoint.propagation.rules import rule


@overridable
def log_odds(a: Tensor, hard: bool = False) -> Tensor:
    """f_c = −log Σ_{k≠c} exp(−(a_k − a_c)) over the last dimension, for all c at once.

    The log-odds log P_c / (1 − P_c) of P = softmax(−a), without the loss of digits in 1 − P.
    hard   f_c = min_{k≠c} a_k − a_c, the margin to the nearest rival
    Cost: linear in the number of classes.
    """
    nearest, index = a.min(-1, keepdim=True)
    others = a.scatter(-1, index, torch.inf)
    if hard:
        second = others.amin(-1, keepdim=True)
        return nearest.expand_as(a).scatter(-1, index, second) - a
    second = -torch.logsumexp(-others, -1, keepdim=True)
    besides = torch.exp(nearest - second) - torch.exp(nearest - others)
    return (nearest - torch.log1p(besides.clamp(min=0))).scatter(-1, index, second) - a


@rule("log-odds", operation=log_odds, exact=True)
def shared_by_rivals(call: Call, m: Tensor, *, epsilon: float = 0.1) -> Back:
    """R_k = p_k · R for the rivals k of class c, p = softmax_{k≠c}(−h), h_k = a_k − a_c; and in the
    difference h_k each operand takes its part: q_k = R_k / h_k for a_k, −q_k for a_c.

    As f = h_k + log p_k for every k, q_k = p_k (1 + log p_k / h_k) · R/f. Where class and rival are
    equally near, |h_k| < ε, 1/h_k is replaced by h_k/ε²: so q_k stays within p_k ± |p_k log p_k|/ε,
    on boundaries and everywhere. What is missing there, at most the entropy of p, the stabilizer
    absorbs. Two classes need none (p = 1), nor does the hard minimum (q = p).
    epsilon   in units of log-odds; elsewhere the rule conserves
    Source: Kauffmann et al. 2022, IEEE TNNLS (arXiv 1906.07633), whose layers are here taken
    together; the stabilizer is ours.
    """
    given = call.step.bound(call.tensors, "a", "hard")
    samples, classes = m.nonzero(as_tuple=True)
    a, f, own = call.input[samples], call.output[samples, classes], classes.unsqueeze(1)
    h = (a - a.gather(1, own)).scatter_(1, own, torch.inf)
    if given.get("hard", False):
        q = (h == h.amin(1, keepdim=True)).to(h)
        q /= q.sum(1, keepdim=True)
    else:
        p, h = torch.softmax(-h, 1), h.scatter(1, own, 1.0)
        limit = h.square().clamp_(min=max(epsilon**2, torch.finfo(h.dtype).tiny))
        q = p * (1 + (f.unsqueeze(1) - h) * h / limit)
    q *= m[samples, classes].unsqueeze(1)
    q.scatter_(1, own, -q.sum(1, keepdim=True))
    return Back(multiplier=torch.zeros_like(m).index_add_(0, samples, q))


class Assignment(Network):
    """log P_c / (1 − P_c) of P = softmax(−a), a_c = β ‖x/s − u_c‖_p^power + b_c: (B, K).

    `distances` has one neuron for each centre: `at="distances"` explains an assignment by centres.
    The explanation of class c by squared distances is that of the published network, where neuron
    h_k = wₖᵀ(x − m_k), w_k = 2β(u_c − u_k), has its root at the midpoint m_k between two centres:
    (x_i − m_ik) w_ik = β (x_i − u_ik)² − β (x_i − u_ic)². Constants b_c explain nothing.

    scale      β
    stretch    s, one for each column
    offset     b, one for each centre
    hard       β-scaled differences to the nearest rival, min_{k≠c} a_k − a_c, in place of log-odds
    """

    stretch: Tensor
    offset: Tensor

    def __init__(
        self,
        points: Any,
        outputs: Sequence[Any],
        names: Sequence[str] | None = None,
        *,
        scale: float = 1.0,
        p: float = 2.0,
        power: float = 2.0,
        stretch: Any = None,
        offset: Any = None,
        hard: bool = False,
    ) -> None:
        points = np.asarray(points, dtype=np.float64)
        super().__init__(points.shape[1], outputs, names, width=len(points))
        self.hard = hard
        self.stretched, self.shifted = stretch is not None, offset is not None
        if stretch is not None:
            self.constant("stretch", stretch)
            points = points / np.asarray(stretch)
        if offset is not None:
            self.constant("offset", offset)
        self.distances = Distances(points, scale, p, power)

    def forward(self, x: Tensor) -> Tensor:
        a = self.distances(x / self.stretch if self.stretched else x)
        return log_odds(a + self.offset if self.shifted else a, self.hard)


@network("KMeans", "MiniBatchKMeans", "BisectingKMeans")
def k_means(estimator: Any, *, beta: float | None = None, hard: bool = False) -> Network:
    """f_c = −log Σ_{k≠c} exp(−β(‖x − μ_k‖² − ‖x − μ_c‖²)) for each cluster c: the log-odds of its
    assignment. The largest is the cluster that `predict` gives, where it is positive for K = 2.

    beta   None: 1/(2σ²) of the estimator's own variance per column, σ² = inertia_ / (n · D), so
           that f_c are the log-odds of the mixture of equal spherical Gaussians that k-means
           stands for. (The paper takes 1/β as the mean score.)
    hard   f_c = β (min_{k≠c} ‖x − μ_k‖² − ‖x − μ_c‖²): β only scales
    Raises UnsupportedModelError for one cluster, and for BisectingKMeans with more than two, whose
    `predict` descends a tree and may not choose the nearest centre; InputError where β cannot be
    found. Cost: one set of distances for all clusters.
    Source: Kauffmann et al. 2022, IEEE TNNLS (arXiv 1906.07633).
    """
    centers = np.asarray(estimator.cluster_centers_)
    several(estimator, len(centers))
    if hasattr(estimator, "_bisecting_tree") and len(centers) > 2:
        raise unsupported(
            estimator,
            f"with {len(centers)} clusters its predict descends a tree of bisections, which may "
            "not end at the nearest centre; fit KMeans(init=its cluster_centers_) instead",
        )
    scale = stiffness(_of_variance(estimator) if beta is None else beta)
    return Assignment(centers, range(len(centers)), names_of(estimator), scale=scale, hard=hard)


@network("NearestCentroid")
def nearest_centroid(estimator: Any, *, beta: float | None = None, hard: bool = False) -> Network:
    """Log-odds of each class, by the distances that `predict` compares in the fitted estimator.

    With uniform priors these are a_c = β ‖x − μ_c‖², or β ‖x − μ_c‖₁ for metric="manhattan", to the
    (perhaps shrunken) centroids. With other priors a_c = β (‖(x − μ_c)/s‖² − 2 log π_c), s the
    standard deviations within classes: −β times scikit-learn's discriminant scores, so that with
    β = 1 the log-odds are those of `predict_proba`, and of two classes the `decision_function`.
    (With uniform priors scikit-learn's own `decision_function` is not what it predicts by.)

    beta   None: 1 with other priors; 1/(2σ²), or √2/σ for "manhattan", with uniform ones: equal
           spherical Gaussians, or Laplace distributions, of the mean variance σ² within classes
    hard   min_{k≠c} a_k − a_c, the margin, in place of log-odds
    Source: Tibshirani et al. 2002, PNAS 99:6567 (shrunken centroids).
    """
    priors = np.asarray(estimator.class_prior_)
    p = {"euclidean": 2.0, "manhattan": 1.0}[estimator.metric]
    known: dict[str, Any] = {"p": p, "hard": hard, "names": names_of(estimator)}
    deviation = np.asarray(estimator.within_class_std_dev_, dtype=np.float64)
    if np.isclose(priors, 1 / len(priors)).all():
        variance = float(np.square(deviation).mean())
        if beta is None and variance == 0:
            raise InputError("NearestCentroid: the variance within classes is zero: give beta=")
        usual = (
            np.inf if beta is not None else (0.5 / variance if p == 2 else (2 / variance) ** 0.5)
        )
        scale = stiffness(usual if beta is None else beta)
        return Assignment(estimator.centroids_, estimator.classes_, scale=scale, power=p, **known)
    if (priors == 0).any():
        raise unsupported(estimator, "a class has the prior 0, so that its log-odds are infinite")
    scale = stiffness(1.0 if beta is None else beta)
    return Assignment(
        estimator.centroids_,
        estimator.classes_,
        scale=scale,
        power=2.0,
        stretch=np.where(deviation == 0, 1, deviation),
        offset=-2 * scale * np.log(priors),
        **known,
    )


def stiffness(beta: Any) -> float:
    """β as a number. Raises InputError if it is not positive and finite."""
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta < np.inf:
        raise InputError(f"beta={beta!r}: give a positive number, or hard=True for β → ∞")
    return float(beta)


def several(estimator: Any, clusters: int) -> None:
    """Raise UnsupportedModelError for less than two clusters: nothing competes."""
    if clusters < 2:
        raise unsupported(estimator, "it has one cluster, so that the log-odds are infinite")


def _of_variance(estimator: Any) -> float:
    inertia, labels = (getattr(estimator, name, None) for name in ("inertia_", "labels_"))
    if inertia is None or labels is None or not inertia > 0:
        raise InputError(
            f"{type(estimator).__name__} has no positive inertia_ and labels_ that tell the "
            "variance of its clusters: give beta="
        )
    return 0.5 * len(labels) * estimator.cluster_centers_.shape[1] / float(inertia)
