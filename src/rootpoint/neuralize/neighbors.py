"""Nearest neighbours by soft pooling: the log-odds of classes by distances to their points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.neuralize.clusters import log_odds, stiffness
from rootpoint.neuralize.kernels import Distances, SoftMinimum
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network, unsupported

_SAMPLE = 1000  # points whose distance to their k-th neighbour is looked up


class Pools(Network):
    """Log-odds of classes (B, K), each a pool S_c of distances to its own points:

    f_c = −log Σ_{k≠c} exp(−β(S_k − S_c) − b_k + b_c).

    `distances` has one neuron for each point, class by class: `at="distances"` explains by points.

    distances   to all points, those of the first class first
    sizes       how many points each class has
    pools       the layer of each class, from the distances of its points to S_c
    scale, offset   β and the constants b
    """

    offset: Tensor

    def __init__(
        self,
        distances: Distances,
        sizes: Sequence[int],
        pools: Sequence[nn.Module],
        outputs: Sequence[Any],
        names: Sequence[str] | None = None,
        *,
        scale: float = 1.0,
        offset: Any = 0.0,
        rooted: bool = False,
    ) -> None:
        columns = distances.points.shape[1]
        super().__init__(columns, outputs, names, width=sum(sizes), rooted=rooted)
        self.distances, self.sizes, self.scale = distances, list(sizes), scale
        self.pools = nn.ModuleList(pools)
        self.constant("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.distances(x).split(self.sizes, 1)
        pooled = [pool(part) for pool, part in zip(self.pools, parts, strict=True)]
        return log_odds(torch.stack(pooled, 1) * self.scale + self.offset)


@network("KNeighborsClassifier")
def k_neighbors(estimator: Any, *, beta: float | None = None, rooted: bool = False) -> Network:
    """Log-odds of each class where all its points vote by exp(−β d_j): **not the vote itself**.

    P_c ∝ Σ_{j∈c} exp(−β d_j), d_j = ‖x − x_j‖_p^p: a vote of k points has no explanation by
    features, as it does not change with small changes of x. β → ∞ decides as the nearest neighbour.

    beta     None: 2/m, m the median of d from points to their k-th neighbours among the others: so
             those at this distance have the weight e^−2
    rooted   see `kernel_composite`
    S_c = −log of the mean of exp(−β d_j) is the pool of a class; the classes' sizes are constants.
    Both "uniform" and "distance" weights are approximated so. Metrics: Euclidean, Manhattan,
    Minkowski with finite p. Raises UnsupportedModelError for others, for weights of one's own, and
    for several outputs.
    """
    p = _order(estimator)
    found = estimator._fit_X
    points = np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=np.float64)
    labels = np.asarray(estimator._y)
    sizes = np.bincount(labels, minlength=len(estimator.classes_))
    scale = stiffness(_of_neighbors(estimator, points, p) if beta is None else beta)
    return Pools(
        Distances(points[np.argsort(labels, kind="stable")], scale, p, p),
        sizes.tolist(),
        [SoftMinimum(np.full(n, np.log(n))) for n in sizes],
        estimator.classes_,
        names_of(estimator),
        offset=-np.log(sizes / sizes.sum()),
        rooted=rooted,
    )


def _order(estimator: Any) -> float:
    """p of the Minkowski distance, if the estimator is one that can be approximated."""
    if estimator.outputs_2d_:
        raise unsupported(estimator, "it predicts several outputs; fit one for each")
    if len(estimator.classes_) < 2:
        raise unsupported(estimator, "it has one class, so that the log-odds are infinite")
    if callable(estimator.weights):
        raise unsupported(estimator, "its weights are a function of one's own")
    metric, given = estimator.effective_metric_, dict(estimator.effective_metric_params_)
    if given.get("w", "") is None:
        del given["w"]
    orders = {"euclidean": 2.0, "manhattan": 1.0, "minkowski": float(given.pop("p", 2))}
    p = orders.get(metric, np.inf)
    if not np.isfinite(p) or given:
        raise unsupported(
            estimator,
            f"its metric {metric!r} {given or ''} is none of 'euclidean', 'manhattan' and "
            "'minkowski' with a finite p and no weights",
        )
    return p


def _of_neighbors(estimator: Any, points: np.ndarray[Any, Any], p: float) -> float:
    some = points[:: -(-len(points) // _SAMPLE)]
    others = min(estimator.n_neighbors, len(points) - 1)
    apart, _ = estimator.kneighbors(some, others + 1)
    middle = float(np.median(apart[:, -1] ** p))
    if not middle > 0:
        raise InputError(
            "KNeighborsClassifier: most points have equal ones as k nearest neighbours, so that "
            "no stiffness can be chosen: give beta="
        )
    return 2 / middle
