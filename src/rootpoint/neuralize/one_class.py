"""One-class support vector machines as detection layer and soft minimum pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rootpoint.neuralize.kernels import Kernel, dense, kernel_of, support_vectors
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import choose, names_of, network


class Outlierness(Network):
    """How far x is from all points, judged by f(x) = Σ_j w_j k(x, u_j).

    Exponential kernels k = exp(−γ‖x − u‖^q): o(x) = −log f(x), a soft minimum over a_j = γ‖x −
    u_j‖^q − log w_j. Student kernel: o(x) = 1 / f(x), a harmonic minimum. `distances` has one
    neuron for each point: `at="distances"` explains the score by points.
    """

    def __init__(
        self,
        points: Any,
        weights: Any,
        kernel: Kernel,
        *,
        names: Sequence[str] | None = None,
        rooted: bool = False,
    ) -> None:
        points, weights = (np.asarray(a, dtype=np.float64) for a in (points, weights))
        points, weights = points[weights > 0], weights[weights > 0]
        super().__init__(
            points.shape[1], ("outlier score",), names, width=len(points), rooted=rooted
        )
        self.distances = kernel.distances(points)
        self.pool = kernel.pool(weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.distances(x))


@network("OneClassSVM")
def one_class_svm(estimator: Any, *, alpha: str = "unit", rooted: bool = False) -> Network:
    """o(x) of f(x) = Σ_j α_j k(x, u_j), the decision function without its threshold ρ.

    alpha    "unit": Σα = 1, so that o ≥ 0; "raw": scikit-learn's, Σα = νn, where o may be negative;
             "boundary": α/ρ, so that o = log ρ − log f is 0 on the boundary and positive for
             outliers. An inlier's score is then negative, and so is its relevance: the difference
             to the boundary that lies behind x, seen from the points
    rooted   explain by the variant with the non-attributable part D⁺ (`kernel_composite`)
    Source: Kauffmann, Müller, Montavon 2020, Pattern Recognition 101:107198.
    """
    weights = dense(estimator.dual_coef_).ravel()
    divisors = {
        "unit": weights.sum(),
        "raw": 1.0,
        "boundary": float(np.ravel(estimator.offset_)[0]),
    }
    scale = divisors[choose("alpha", alpha, tuple(divisors))]
    return Outlierness(
        support_vectors(estimator),
        weights / scale,
        kernel_of(estimator),
        names=names_of(estimator),
        rooted=rooted,
    )
