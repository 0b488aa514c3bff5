"""Kernel densities as outlier scores, support vector data description, and Parzen windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.neuralize.kernels import CityBlockLaplace, Gaussian, Kernel, Laplace
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network, unsupported
from rootpoint.neuralize.one_class import Outlierness
from rootpoint.neuralize.parzen import Parzen
from rootpoint.propagation.functions import soft_minimum

_EUCLIDEAN, _CITY_BLOCK = ("euclidean", "l2"), ("manhattan", "cityblock", "l1")


class Density(Outlierness):
    """o(x) = −log Σ_j w_j k(x, x_j) with Σ w = 1: o ≥ 0, and log density = peak − o.

    peak   the log density where all points would lie at x: that of the kernel's centre
    """

    peak: float

    def log_density(self, x: Tensor) -> Tensor:
        """The estimator's own `score_samples`: (B,)."""
        return self.peak - self(x)


@network("KernelDensity")
def kernel_density(estimator: Any, *, rooted: bool = False) -> Density:
    """How improbable: o(x) = −log Σ_j w_j k(x, x_j), Σ w = 1, which is peak − `score_samples`.

    The density itself depends on the units of the columns, so its logarithm has no meaningful zero;
    o has one: it is 0 only where all points lie at x. With the Gaussian kernel o is 1/(2h²) times
    the soft minimum of squared distances of the published network. Kernels: "gaussian",
    "exponential", of Euclidean distances; "exponential" of city-block distances, too.

    rooted   explain by the variant with the non-attributable part D⁺ (`kernel_composite`)
    Raises UnsupportedModelError for other kernels and metrics. `score_samples` itself approximates
    where atol or rtol are set; this does not. Cost: the distances to all points it was fitted to.
    Source: Kauffmann et al. 2025 (arXiv 2408.08041); Montavon et al. 2022, LNAI 13200, ch. 7.
    """
    points = np.asarray(estimator.tree_.data)
    weights = estimator.tree_.sample_weight
    weights = np.ones(len(points)) if weights is None else np.asarray(weights)
    kernel = _density_kernel(estimator)
    made = Density(
        points, weights / weights.sum(), kernel, names=names_of(estimator), rooted=rooted
    )
    made.peak = -_log_volume(estimator.kernel, points.shape[1], float(estimator.bandwidth_))
    return made


def _density_kernel(estimator: Any) -> Kernel:
    kind, h, metric = estimator.kernel, float(estimator.bandwidth_), estimator.metric
    if kind not in ("gaussian", "exponential"):
        raise unsupported(
            estimator,
            f"its kernel {kind!r} is zero beyond the bandwidth, so the density of an outlier is "
            "zero and its logarithm infinite: there is no score to explain; fit it with "
            "kernel='gaussian' or 'exponential'",
        )
    further = dict(estimator.metric_params or {})
    power = further.pop("p", 2) if metric in ("minkowski", "p") else None
    if metric in _EUCLIDEAN or power == 2:
        known = Gaussian(1 / (2 * h**2)) if kind == "gaussian" else Laplace(1 / h)
    elif kind == "exponential" and (metric in _CITY_BLOCK or power == 1):
        known = CityBlockLaplace(1 / h)
    else:
        known = None
    if known is None or further:
        raise unsupported(
            estimator,
            f"its kernel {kind!r} of the metric {metric!r} (metric_params="
            f"{estimator.metric_params!r}) has no rule; fit it with metric='euclidean', or with "
            "'manhattan' and kernel='exponential'",
        )
    return known


def _log_volume(kind: str, columns: int, h: float) -> float:
    """log ∫ k: scikit-learn takes that of the Euclidean kernel for all metrics."""
    if kind == "gaussian":
        return columns * (0.5 * math.log(2 * math.pi) + math.log(h))
    sphere = math.log(2) + columns / 2 * math.log(math.pi) - math.lgamma(columns / 2)
    return sphere + math.lgamma(columns) + columns * math.log(h)


class DataDescription(Outlierness):
    """o(x) = −log Σ_j α_j k(x, u_j), with the distance to the centre Σ_j α_j φ(u_j) it stands for.

    k(x, x) = 1, so ‖φ(x) − Σ α φ‖² = 1 − 2 f(x) + αᵀKα falls as f rises: o orders all x alike.
    """

    alpha: Tensor

    def __init__(self, points: Any, weights: Any, kernel: Kernel, *, rooted: bool = False) -> None:
        points, weights = (np.asarray(a, dtype=np.float64) for a in (points, weights))
        points, weights = points[weights > 0], weights[weights > 0]
        super().__init__(points, weights, kernel, rooted=rooted)
        self.kernel, self.spread = kernel, float(weights @ kernel(points, points) @ weights)
        self.constant("alpha", weights)

    def squared_distance(self, x: Tensor) -> Tensor:
        """‖φ(x) − Σ_j α_j φ(u_j)‖² of each sample, (B,): what SVDD compares with its radius²."""
        return 1 + self.spread - 2 * self.kernel.of(self.distances(x)) @ self.alpha


def svdd(points: Any, weights: Any, kernel: Kernel, *, rooted: bool = False) -> DataDescription:
    """Support vector data description, which scikit-learn lacks, as network of a one-class machine.

    A kernel with k(x, x) = 1 puts all inputs at the same distance from the origin, and then the
    sphere's and the one-class SVM's solution are one (`OneClassSVM`'s α over Σα).

    points    the support vectors u (M, D)
    weights   α (M,) ≥ 0, Σα = 1: the coefficients of the sphere's centre Σ_j α_j φ(u_j)
    kernel    of `rootpoint.neuralize.kernels`
    Raises InputError for other weights. Source: Tax, Duin 2004, Machine Learning 54:45.
    """
    points, weights = (np.asarray(a, dtype=np.float64) for a in (points, weights))
    if points.ndim != 2 or weights.shape != points.shape[:1]:
        raise InputError(f"{weights.shape} weights for points of the shape {points.shape}")
    if not (np.isfinite(points).all() and (weights >= 0).all() and abs(weights.sum() - 1) < 1e-6):
        raise InputError(
            "points must be finite, and weights the coefficients of the sphere's centre: none "
            "negative, with the sum 1 (divide them by their sum)"
        )
    return DataDescription(points, weights, kernel, rooted=rooted).eval()


class Windows(Network):
    """log P(c|x) / (1 − P(c|x)) of Parzen windows: the pool of the other classes less the own one.

    s_c = −log Σ_{i∈c} exp(−‖x − x_i‖²/2σ²); f_c = −log Σ_{k≠c} exp(−s_k) − s_c.
    """

    def __init__(self, points: Tensor, labels: Tensor, width: float) -> None:
        found = labels.unique().tolist()
        if len(found) < 2:
            raise InputError("Parzen windows of one class have no log-odds: give two at least")
        flat = points.detach().cpu().double().flatten(1).numpy()
        super().__init__(flat.shape[1], found, width=len(flat))
        self.distances = Gaussian(1 / (2 * width**2)).distances(flat)
        self.members = nn.Module()
        for c, label in enumerate(found):
            self.members.register_buffer(str(c), (labels.cpu() == label).nonzero().squeeze(1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.distances(x.flatten(1))
        pools = [soft_minimum(a.index_select(1, at)) for at in self.members.buffers()]
        return torch.stack([self._odds(pools, c) for c in range(len(pools))], 1)

    @staticmethod
    def _odds(pools: list[Tensor], c: int) -> Tensor:
        others = [pool for k, pool in enumerate(pools) if k != c]
        return soft_minimum(torch.stack(others, 1)) - pools[c]


@network("Parzen")
def parzen_windows(windows: Parzen) -> Windows:
    """Log-odds of each class that has points, from P(c|x) of `Parzen`: log P_c − log(1 − P_c).

    Both pools are explained by their distances, so relevance conserves: what is far from the points
    of other classes speaks for a class, what is far from its own against it. Points of several
    dimensions, as images, are taken flat in tables, and as they are in tensors.
    Raises InputError for points of one class. Cost: the distances to all points.
    """
    return Windows(windows.points, windows.labels, windows.width)
