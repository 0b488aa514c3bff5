"""Kernel k-means: clusters around means in a kernel's feature space, and their network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint.errors import InputError
from rootpoint.neuralize.clusters import log_odds, stiffness
from rootpoint.neuralize.kernels import Kernel
from rootpoint.neuralize.neighbors import Pools
from rootpoint.neuralize.network import Network, numeric

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KernelKMeans:
    """A clustering of points: cluster c is what is nearest to μ_c, the mean of φ over its points.

    points   (N, D)
    labels   (N,), whole numbers from 0; each cluster has a point
    kernel   one of distances, k(x, x) = 1 (`rootpoint.neuralize.kernels`)
    Raises InputError if these do not fit together.
    """

    points: Array
    labels: NDArray[np.int64]
    kernel: Kernel

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, Kernel):
            raise InputError(
                f"kernel={self.kernel!r}: give Gaussian(γ), or another of "
                "rootpoint.neuralize.kernels"
            )
        if len(self.points) != len(self.labels) or not len(self.labels):
            raise InputError(f"{len(self.points)} points with {len(self.labels)} labels")
        if len(self.sizes) < 2 or (self.sizes == 0).any():
            raise InputError(
                f"the clusters have {self.sizes.tolist()} points: kernel k-means needs two "
                "clusters at least, and a point in each"
            )

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """How many points each cluster has, (K,)."""
        return np.bincount(self.labels)

    @cached_property
    def norms(self) -> Array:
        """‖μ_c‖² = mean of k over all pairs of points in c, (K,)."""
        return np.array([self.kernel(u, u).mean() for u in self._members])

    @property
    def _members(self) -> list[Array]:
        return [self.points[self.labels == c] for c in range(len(self.sizes))]

    def distances(self, X: Any) -> Array:
        """‖φ(x) − μ_c‖² = 1 − 2 · mean_{j∈c} k(x, x_j) + ‖μ_c‖², (B, K)."""
        x = numeric(X, self.points.shape[1], None).numpy()
        near = [self.kernel(x, u).mean(1) for u in self._members]
        return 1 - 2 * np.stack(near, 1) + self.norms

    def margins(self, X: Any) -> Array:
        """min_{k≠c} ‖φ(x) − μ_k‖² − ‖φ(x) − μ_c‖², (B, K): the exact score of an assignment."""
        return log_odds(torch.from_numpy(self.distances(X)), hard=True).numpy()

    def predict(self, X: Any) -> NDArray[np.int64]:
        """The nearest cluster of each sample, (B,)."""
        return self.distances(X).argmin(1)

    def network(self, *, beta: float = 1.0, norms: bool = True, rooted: bool = False) -> Network:
        """The network that decides as this clustering: the same cluster scores highest.

        It compares similarities s_c = mean_{j∈c} k(x, x_j) + b_c, b_c = ½(max_k ‖μ_k‖² − ‖μ_c‖²),
        largest where `distances` is least, in pools S_c = −log s_c (1/s_c for the Student kernel),
        up to a constant: a soft minimum over distances to the cluster's points. The score of c,
        f_c = −log Σ_{k≠c} exp(−β(S_k − S_c)), is a log-ratio where `margins` are differences: the
        values differ, the signs of the pairwise differences do not. b_c explains nothing.

        beta     how hard the minimum over other clusters is; of two clusters it only scales
        norms    False: b_c = 0, so that distances explain all of f_c; but where ‖μ_c‖² differ, the
                 mean similarities decide otherwise than the clustering
        rooted   see `kernel_composite`
        Source: Kauffmann et al. 2022, IEEE TNNLS (arXiv 1906.07633): minima of differences of soft
        minima, as with norms=False. The constants b_c, which make the decisions exact, are ours.
        """
        floor = 0.5 * (self.norms.max() - self.norms) * norms
        total = 1 + floor.max()  # so that s_c ≤ 1 and pools are not negative
        pools = [
            _Floored(self.kernel, np.full(n, 1 / n) / total, b / total)
            for n, b in zip(self.sizes, floor, strict=True)
        ]
        made = Pools(
            self.kernel.distances(np.concatenate(self._members)),
            self.sizes.tolist(),
            pools,
            range(len(self.sizes)),
            scale=stiffness(beta),
            rooted=rooted,
        )
        return made.eval()


class _Floored(nn.Module):
    """A pool of weighted kernels plus a constant b: a point more, which is everywhere at hand."""

    def __init__(self, kernel: Kernel, weights: Array, floor: float) -> None:
        super().__init__()
        self.floored = floor > 0
        self.pool = kernel.pool(np.append(weights, floor) if self.floored else weights)

    def forward(self, a: Tensor) -> Tensor:
        return self.pool(F.pad(a, (0, 1)) if self.floored else a)


def fit_kernel_kmeans(
    X: Any, clusters: int, kernel: Kernel, seed: int = 0, *, restarts: int = 20
) -> KernelKMeans:
    """Kernel k-means by Lloyd's steps in feature space: the best of several random beginnings.

    X          a table (N, D)
    clusters   how many, from 2 to N
    restarts   beginnings: points drawn far apart (k-means++) in feature space
    Cost: N² kernel values, held at once, and N² · K for each step.
    Source: Schölkopf, Smola, Müller 1998, Neural Computation 10:1299; Arthur, Vassilvitskii 2007.
    """
    points = numeric(X, np.shape(X)[-1], None).numpy()
    if not 2 <= clusters <= len(points):
        raise InputError(f"clusters={clusters}: give a number from 2 to that of points")
    rng, near = np.random.default_rng(seed), kernel(points, points)
    found = [_lloyd(near, _beginning(near, clusters, rng)) for _ in range(restarts)]
    _, best = min(found, key=lambda one: one[0])
    return KernelKMeans(points, best, kernel)


def _beginning(near: Array, clusters: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each point to the most similar of seeds, drawn by squared distances from those before."""
    seeds = [int(rng.integers(len(near)))]
    while len(seeds) < clusters:
        apart = (1 - near[:, seeds].max(1)).clip(min=0)
        apart[seeds] = 0
        total = apart.sum()
        seeds.append(int(rng.choice(len(near), p=apart / total if total else None)))
    labels = near[:, seeds].argmax(1)
    labels[seeds] = np.arange(clusters)
    return labels


def _lloyd(near: Array, labels: NDArray[np.int64]) -> tuple[float, NDArray[np.int64]]:
    """The sum of squared distances, which no step lowers any more, and the labels."""
    clusters = int(labels.max()) + 1
    total, apart = _distances(near, labels)
    while True:
        after = apart.argmin(1)
        if len(np.unique(after)) < clusters:
            return total, labels
        lower, apart = _distances(near, after)
        if not lower < total - 1e-12 * len(near):
            return total, labels
        labels, total = after, lower


def _distances(near: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    """Squared distances of all points to all means (N, K), and the sum of those to their own."""
    member = np.eye(labels.max() + 1)[labels]
    member /= member.sum(0)
    means = near @ member
    apart = 1 - 2 * means + (member * means).sum(0)
    return float(apart[np.arange(len(labels)), labels].sum()), apart
