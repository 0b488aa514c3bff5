"""Gaussian processes of scikit-learn: the posterior mean is a sum of kernels of either sign."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.expansions import DotProducts, Expansion, OneScore, Sums
from rootpoint.neuralize.kernels import Gaussian, Kernel, Laplace, Student
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network, unsupported
from rootpoint.propagation.functions import columnwise


class Covariance(NamedTuple):
    """amplitude · k(x / length, u / length); without k amplitude · (x·u + offset), or, where the
    offset is None, the amplitude alone.
    """

    amplitude: float
    kernel: Kernel | None = None
    length: Any = 1.0
    offset: float | None = 0.0


class Stretched(Network):
    """A network of columns that are divided by lengths of their own, and its output a · s + b."""

    length: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, inner: Network, length: Any, scale: Any, shift: Any) -> None:
        super().__init__(inner.columns, inner.outputs, inner.names)
        self.rootpoint_rows = inner.rootpoint_rows
        self.inner = inner
        self.constant("length", np.broadcast_to(length, (inner.columns,)))
        self.constant("scale", scale)
        self.constant("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(columnwise(x, lambda t: t / self.length))
        return found * self.scale + self.shift


@network("GaussianProcessRegressor")
def regressor(estimator: Any) -> Network:
    """predict: the posterior mean, (B,); of several targets (B, K)."""
    if not hasattr(estimator, "alpha_"):  # scikit-learn predicts by the prior, which is zero
        raise InputError("GaussianProcessRegressor is not fitted: call fit first")
    alpha = np.asarray(estimator.alpha_, dtype=np.float64)
    scale, shift = np.asarray(estimator._y_train_std), np.asarray(estimator._y_train_mean)
    single = alpha.ndim == 1 or alpha.shape[1] == 1
    outputs = ["prediction"] if single else [f"prediction {k}" for k in range(alpha.shape[1])]
    weights = alpha.reshape(len(alpha), -1).T
    found = _mean(estimator, estimator.X_train_, estimator.kernel_, weights, outputs)
    inner = found.inner.decided(OneScore(1), outputs) if single else found.inner
    return Stretched(inner, found.length, np.squeeze(scale), np.squeeze(shift))


@network("GaussianProcessClassifier")
def classifier(estimator: Any) -> Network:
    """The latent mean f̄, whose sign decides: of two classes (−f̄, f̄), of more one for each class
    against the rest. Probabilities also depend on the latent variance, which is not explained.
    """
    base, classes = estimator.base_estimator_, list(estimator.classes_)
    if len(classes) == 2:
        return _latent(estimator, base, classes)
    if estimator.multi_class != "one_vs_rest":
        raise unsupported(estimator, "it decides by pairs: fit it with multi_class='one_vs_rest'")
    return Latent([_latent(estimator, each, [0, 1]) for each in base.estimators_], classes)


class Latent(Network):
    """The second score of several networks side by side."""

    def __init__(self, networks: list[Network], classes: list[Any]) -> None:
        super().__init__(networks[0].columns, classes, networks[0].names)
        self.rootpoint_rows = min(n.rootpoint_rows for n in networks)
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([n(x)[:, 1] for n in self.networks], 1)


def _latent(estimator: Any, base: Any, classes: list[Any]) -> Network:
    weights = (np.asarray(base.y_train_) - np.asarray(base.pi_))[None]
    found = _mean(estimator, base.X_train_, base.kernel_, weights, ["latent mean"])
    inner = found.inner.decided(OneScore(2), classes)
    return Stretched(inner, found.length, 1.0, 0.0)


class _Mean(NamedTuple):
    inner: Sums
    length: Any


def _mean(estimator: Any, points: Any, kernel: Any, weights: Any, outputs: list[str]) -> _Mean:
    found = covariance(estimator, kernel)
    points = np.asarray(points, dtype=np.float64) / found.length
    weights, names = found.amplitude * weights, names_of(estimator)
    if found.kernel is None:
        of = ("polynomial", 1.0, found.offset or 0.0, 1.0)
        return _Mean(DotProducts(points, weights, 0.0, of, outputs, names), 1.0)
    return _Mean(Expansion(points, weights, 0.0, found.kernel, outputs, names), found.length)


def covariance(estimator: Any, kernel: Any) -> Covariance:
    """A kernel object of scikit-learn as a scaled kernel of distances; white noise is none here.

    Raises UnsupportedModelError for others.
    """
    found = _part(estimator, kernel)
    if found.offset is None:
        raise _refused(estimator, kernel)
    return found


def _part(estimator: Any, kernel: Any) -> Covariance:
    kind = type(kernel).__name__
    if kind == "Product":
        parts = [_part(estimator, k) for k in (kernel.k1, kernel.k2)]
        constants = [p for p in parts if p.offset is None]
        if constants:
            other = parts[1 - parts.index(constants[0])]
            return other._replace(amplitude=other.amplitude * constants[0].amplitude)
    if kind == "Sum":
        parts = [k for k in (kernel.k1, kernel.k2) if type(k).__name__ != "WhiteKernel"]
        if len(parts) == 1:
            return _part(estimator, parts[0])
    if kind == "ConstantKernel":
        return Covariance(kernel.constant_value, offset=None)
    if kind == "RBF" or (kind == "Matern" and np.isinf(kernel.nu)):
        return Covariance(1.0, Gaussian(0.5), np.asarray(kernel.length_scale))
    if kind == "Matern" and kernel.nu == 0.5:
        return Covariance(1.0, Laplace(1.0), np.asarray(kernel.length_scale))
    if kind == "RationalQuadratic" and kernel.alpha == 1:
        return Covariance(1.0, Student(0.5), np.asarray(kernel.length_scale))
    if kind == "DotProduct":
        return Covariance(1.0, offset=kernel.sigma_0**2)
    raise _refused(estimator, kernel)


def _refused(estimator: Any, kernel: Any) -> UnsupportedModelError:
    return unsupported(
        estimator,
        f"its kernel {kernel} has no layers; supported are RBF, Matern(nu=0.5), RationalQuadratic("
        "alpha=1) and DotProduct, times a constant, plus white noise",
    )
