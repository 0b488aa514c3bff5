"""Sums of kernels of either sign: support vector machines and kernel ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rootpoint.neuralize.kernels import (
    CityBlockLaplace,
    Gaussian,
    Kernel,
    Student,
    support_vectors,
)
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network, unsupported
from rootpoint.propagation.functions import exponential_difference

DOT_PRODUCTS = ("linear", "poly", "polynomial", "sigmoid")


class Difference(nn.Module):
    """f = Σ_j w_j k_j of scaled distances a, as the difference of a positive and a negative pool.

    With o⁺ = −log Σ_{w>0} w k and o⁻ likewise, both with weights over the same c: f = c (e^−o⁺ −
    e^−o⁻), which is explained as c M (o⁻ − o⁺), M the logarithmic mean. For the Student kernel o is
    1/Σ w k, and f = c (o⁻ − o⁺) / (o⁺ o⁻). Weights of one sign only are compared with the most
    that their sum can be, c: f = c (e^−o⁺ − e^−0) + c, here with o⁺ = −log for all kernels.

    base   what is to be added to the output: 0, or c with the sign of all weights
    """

    def __init__(self, weights: Any, kernel: Kernel) -> None:
        super().__init__()
        weights = np.asarray(weights, dtype=np.float64)
        self.scale = max(weights[weights > 0].sum(), -weights[weights < 0].sum())
        one_sided = (weights >= 0).all() or (weights <= 0).all()
        self.base = float(np.copysign(self.scale, weights.sum())) if one_sided else 0.0
        self.harmonic = isinstance(kernel, Student)
        self.chosen: list[Tensor | None] = []
        self.pools = nn.ModuleList()
        for sign in (1, -1):
            at = np.flatnonzero(sign * weights > 0)
            self.chosen.append(torch.from_numpy(at) if len(at) else None)
            self.pools.append(kernel.pool(sign * weights[at] / self.scale))

    def forward(self, a: Tensor) -> Tensor:
        if not self.scale:
            return a.sum(1) * 0
        positive, negative = (
            None if at is None else pool(a.index_select(1, at.to(a.device)))
            for at, pool in zip(self.chosen, self.pools, strict=True)
        )
        if positive is not None and negative is not None and self.harmonic:
            return (negative - positive) / (positive * negative) * self.scale
        return exponential_difference(*self._both(positive, negative)) * self.scale

    def _both(self, positive: Tensor | None, negative: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both pools; what is missing is 0, the logarithm of the most that the other can be."""
        if positive is not None and negative is not None:
            return positive, negative
        pool = negative if positive is None else positive
        assert pool is not None
        pool = torch.log(pool) if self.harmonic else pool
        most = torch.zeros_like(pool).detach()
        return (most, pool) if positive is None else (pool, most)


class Sums(Network):
    """Sums of kernels (B, P), and what an estimator decides by them: its `decision`."""

    decision: nn.Module

    def decided(self, decision: nn.Module, outputs: Sequence[Any]) -> Network:
        """This network with outputs that another layer makes of its sums."""
        self.decision, self.outputs = decision, tuple(outputs)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.decision(self.scores(x))

    def scores(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Expansion(Sums):
    """f_p(x) = Σ_j w_pj k(x, u_j) + b_p for kernels of distances; b is booked as constant.

    weights   (P, points), intercepts (P,)
    """

    intercepts: Tensor

    def __init__(
        self,
        points: Any,
        weights: Any,
        intercepts: Any,
        kernel: Kernel,
        outputs: Sequence[Any],
        names: Sequence[str] | None = None,
    ) -> None:
        weights = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        super().__init__(points.shape[1], outputs, names, width=len(points))
        self.decision = nn.Identity()
        self.distances = kernel.distances(points)
        sums = [Difference(w, kernel) for w in weights]
        self.sums = nn.ModuleList(sums)
        self.constant("intercepts", intercepts + np.array([each.base for each in sums]))

    def scores(self, x: Tensor) -> Tensor:
        a = self.distances(x)
        return torch.stack([each(a) for each in self.sums], 1) + self.intercepts


class DotProducts(Sums):
    """f_p(x) = Σ_j w_pj g(γ x·u_j + r) + b_p, g a power or tanh: two dense layers.

    A linear kernel is one layer of weights Σ_j w_pj u_j.
    """

    points: Tensor
    offset: Tensor
    weights: Tensor
    intercepts: Tensor

    def __init__(
        self,
        points: Any,
        weights: Any,
        intercepts: Any,
        kernel: tuple[str, float, float, float],
        outputs: Sequence[Any],
        names: Sequence[str] | None = None,
    ) -> None:
        kind, gamma, offset, degree = kernel
        super().__init__(points.shape[1], outputs, names, width=len(points))
        self.decision = nn.Identity()
        weights = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        self.kind, self.degree = kind, degree
        if kind == "linear":
            weights = weights @ points
        else:
            self.constant("points", gamma * points)
            self.constant("offset", np.full(len(points), offset))
        self.constant("weights", weights)
        self.constant("intercepts", np.broadcast_to(intercepts, (len(weights),)))

    def scores(self, x: Tensor) -> Tensor:
        if self.kind != "linear":
            x = linear(x, self.points, self.offset)
            x = torch.tanh(x) if self.kind == "sigmoid" else x**self.degree
        return linear(x, self.weights, self.intercepts)


class OneScore(nn.Module):
    """The only sum: as (B,), or for two classes as (−s, s)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, sums: Tensor) -> Tensor:
        s = sums[:, 0]
        return s if self.outputs == 1 else torch.stack((-s, s), 1)


class OneVersusRest(nn.Module):
    """scikit-learn's scores of the classes: their votes in all pairs, plus s / (3 |s| + 3).

    s is the sum of the class's decision values. The votes are booked as constant: what is explained
    is by how much a class wins its pairs.
    """

    wins: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second = np.triu_indices(classes, 1)
        wins = np.zeros((classes, len(first)))
        wins[first, np.arange(len(first))] = 1
        wins[second, np.arange(len(first))] = -1
        self.register_buffer("wins", torch.from_numpy(wins))

    def forward(self, decided: Tensor) -> Tensor:
        with torch.no_grad():
            signs = torch.where(decided.detach() < 0, -1.0, 1.0).to(decided)
            votes = linear(signs, self.wins).add_(len(self.wins) - 1).div_(2)
        s = linear(decided, self.wins)
        return s / (3 * (s.abs() + 1)) + votes


def expansion(
    estimator: Any, points: Any, weights: Any, intercepts: Any, outputs: Sequence[Any]
) -> Sums:
    """The sums of an estimator's kernel over these points."""
    points = np.asarray(points, dtype=np.float64)
    names = names_of(estimator)
    kernel = estimator.kernel
    if kernel in DOT_PRODUCTS:
        of = (kernel, _gamma(estimator, points), estimator.coef0, estimator.degree)
        return DotProducts(points, weights, intercepts, of, outputs, names)
    found = _distance_kernel(estimator, points)
    return Expansion(points, weights, intercepts, found, outputs, names)


def _distance_kernel(estimator: Any, points: Any) -> Kernel:
    kernel = estimator.kernel
    if isinstance(kernel, Kernel):
        return kernel
    if kernel == "rbf":
        return Gaussian(_gamma(estimator, points))
    if kernel == "laplacian":
        return CityBlockLaplace(_gamma(estimator, points))
    raise unsupported(
        estimator,
        f"its kernel {kernel!r} has no layers; supported are 'rbf', 'laplacian', "
        f"{', '.join(map(repr, DOT_PRODUCTS))}, and those of rootpoint.neuralize.kernels",
    )


def _gamma(estimator: Any, points: Any) -> float:
    gamma = getattr(estimator, "_gamma", getattr(estimator, "gamma", None))
    return 1 / points.shape[1] if gamma is None else float(gamma)


@network("BaseSVC")
def support_vector_classifier(estimator: Any) -> Network:
    """decision_function: of two classes (−s, s); of more as decision_function_shape says.

    "ovr": the votes of the pairs and a squashed sum of their decision values, (B, K); "ovo": the
    decision values of the pairs, (B, K(K−1)/2), positive for the first of both.
    """
    classes = list(estimator.classes_)
    points = support_vectors(estimator)
    dual = _dense(estimator.dual_coef_)
    if len(classes) == 2:
        inner = expansion(estimator, points, dual, estimator.intercept_, ["decision value"])
        return inner.decided(OneScore(2), classes)
    first, second = np.triu_indices(len(classes), 1)
    of_class = np.repeat(np.arange(len(classes)), estimator.n_support_)
    weights = np.stack(
        [
            np.where(of_class == i, dual[j - 1], 0) + np.where(of_class == j, dual[i], 0)
            for i, j in zip(first, second, strict=True)
        ]
    )
    pairs = [f"{classes[i]} or {classes[j]}" for i, j in zip(first, second, strict=True)]
    found = expansion(estimator, points, weights, estimator.intercept_, pairs)
    if estimator.decision_function_shape == "ovo":
        return found
    return found.decided(OneVersusRest(len(classes)), classes)


@network("SVR", "NuSVR")
def support_vector_regressor(estimator: Any) -> Network:
    """predict, (B,)."""
    points, dual = support_vectors(estimator), _dense(estimator.dual_coef_)
    inner = expansion(estimator, points, dual, estimator.intercept_, ["prediction"])
    return inner.decided(OneScore(1), inner.outputs)


@network("KernelRidge")
def kernel_ridge(estimator: Any) -> Network:
    """predict, (B,); of several targets (B, K)."""
    dual = np.asarray(estimator.dual_coef_)
    points = _dense(estimator.X_fit_)
    if dual.ndim == 1:
        inner = expansion(estimator, points, dual, 0.0, ["prediction"])
        return inner.decided(OneScore(1), inner.outputs)
    outputs = [f"prediction {k}" for k in range(dual.shape[1])]
    return expansion(estimator, points, dual.T, 0.0, outputs)


def _dense(array: Any) -> Any:
    return np.asarray(array.toarray() if hasattr(array, "toarray") else array, dtype=np.float64)
