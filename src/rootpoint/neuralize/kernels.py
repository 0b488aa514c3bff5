"""Kernels that are distances in disguise: −log k, or 1/k, grows from zero at k(x, x) = 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.neuralize.neuralize import unsupported
from rootpoint.propagation.functions import distances, harmonic_minimum, soft_minimum


@dataclass(frozen=True)
class Kernel:
    """k(x, u) of a distance a = scale · ‖x − u‖_p^power. As scikit-learn's estimators take kernels:
    `OneClassSVM(kernel=Laplace(0.5))`.

    scale   positive
    """

    scale: float
    p: ClassVar[float] = 2.0
    power: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise InputError(f"{type(self).__name__}: the scale {self.scale!r} must be positive")

    def __call__(self, X: Any, Y: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The kernel matrix of two tables, as scikit-learn asks for it; of two rows, its value."""
        x, y = (torch.as_tensor(np.atleast_2d(dense(t))) for t in (X, Y))
        found = self.of(distances(x, y, self.p, self.power) * self.scale).numpy()
        return found[0, 0] if np.ndim(X) == np.ndim(Y) == 1 else found

    def of(self, a: Tensor) -> Tensor:
        """k of the scaled distance a."""
        return torch.exp(-a)

    def distances(self, points: Any) -> Distances:
        return Distances(points, self.scale, self.p, self.power)

    def pool(self, weights: Any) -> nn.Module:
        """The layer from scaled distances to −log Σ_j w_j k_j (exponential) or 1 / Σ_j w_j k_j."""
        return SoftMinimum(-np.log(np.asarray(weights, dtype=np.float64)))


@dataclass(frozen=True)
class Gaussian(Kernel):
    """exp(−γ ‖x − u‖²), γ the scale."""


@dataclass(frozen=True)
class Laplace(Kernel):
    """exp(−γ ‖x − u‖), γ the scale."""

    power: ClassVar[float] = 1.0


@dataclass(frozen=True)
class CityBlockLaplace(Kernel):
    """exp(−γ ‖x − u‖₁), γ the scale: scikit-learn's "laplacian"."""

    p: ClassVar[float] = 1.0
    power: ClassVar[float] = 1.0


@dataclass(frozen=True)
class Student(Kernel):
    """1 / (1 + ‖x − u‖² / ν), 1/ν the scale."""

    def of(self, a: Tensor) -> Tensor:
        return 1 / (1 + a)

    def pool(self, weights: Any) -> nn.Module:
        return HarmonicMinimum(weights)


class Distances(nn.Module):
    """a_j = scale · ‖x − u_j‖_p^power: one neuron for each point."""

    points: Tensor

    def __init__(self, points: Any, scale: float = 1.0, p: float = 2.0, power: float = 2.0) -> None:
        super().__init__()
        self.register_buffer("points", torch.as_tensor(np.asarray(points, dtype=np.float64)))
        self.scale, self.p, self.power = float(scale), float(p), float(power)

    def forward(self, x: Tensor) -> Tensor:
        return distances(x, self.points, self.p, self.power, self.scale)


class SoftMinimum(nn.Module):
    """−log Σ_j exp(−(a_j + c_j)) over the last dimension."""

    def __init__(self, offset: Any) -> None:
        super().__init__()
        self.register_buffer("offset", torch.as_tensor(np.asarray(offset, dtype=np.float64)))

    def forward(self, a: Tensor) -> Tensor:
        return soft_minimum(a, self.offset)


class HarmonicMinimum(nn.Module):
    """1 / Σ_j w_j / (1 + a_j) over the last dimension."""

    def __init__(self, weights: Any) -> None:
        super().__init__()
        self.register_buffer("weights", torch.as_tensor(np.asarray(weights, dtype=np.float64)))

    def forward(self, a: Tensor) -> Tensor:
        return harmonic_minimum(a, self.weights)


def kernel_of(estimator: Any) -> Kernel:
    """The kernel of a support vector machine, if it is one of distances.

    Raises UnsupportedModelError for others.
    """
    kernel = estimator.kernel
    if isinstance(kernel, Kernel):
        return kernel
    if kernel == "rbf":
        return Gaussian(float(estimator._gamma))
    raise unsupported(
        estimator,
        f"its kernel {kernel!r} is none of distances; give 'rbf', or rootpoint.neuralize.kernels' "
        "Laplace(γ), CityBlockLaplace(γ) or Student(1/ν) as kernel=",
    )


def support_vectors(estimator: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The support vectors; those of a kernel function are kept by the estimator in private."""
    if callable(estimator.kernel):
        return dense(estimator._BaseLibSVM__Xfit)[estimator.support_]
    return dense(estimator.support_vectors_)


def dense(table: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """An array of numbers, or a sparse one, as estimators fitted to sparse tables keep them."""
    return np.asarray(table.toarray() if hasattr(table, "toarray") else table, dtype=np.float64)
