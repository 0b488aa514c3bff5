"""Gaussian process classification of two classes, as a function that autograd goes through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.fitted import Fitted

_LOGISTIC = 8 / math.pi  # Φ(z/√(8/π)) is the logistic function, nearly


@dataclass(frozen=True, eq=False)
class GaussianProcess(Fitted):
    """log P(c|x), c = 0, 1, of a Gaussian process with the approximate posterior of Laplace.

    P(1|x) = Φ(f̄ / √(s + v)),  f̄ = Σ_i α_i k(x, x_i),  v = k(x,x) − k*ᵀ (K + Σ)⁻¹ k*,
    k(x, z) = a · exp(−½ Σ_d (x_d − z_d)²/ℓ_d²); Φ is the normal distribution function.

    points      x_i, (N, …)
    weights     α, (N,)
    noise       the diagonal of Σ, (N,)
    length      ℓ, () or like one sample
    amplitude   a
    link        s: 1 for the probit link; 8/π for the logistic one, nearly (MacKay 1992)
    Cost: a system of N linear equations for each batch.
    """

    kind: ClassVar[str] = "Gaussian process"

    points: Tensor
    weights: Tensor
    noise: Tensor
    length: Tensor
    amplitude: float = 1.0
    link: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.points.shape[1:]:
            raise InputError(
                f"the Gaussian process was fitted to samples {tuple(self.points.shape[1:])}, "
                f"not {tuple(x.shape[1:])}"
            )
        points, weights = self.points.to(x), self.weights.to(x)
        near = self._kernel(x, points)
        covariance = self._kernel(points, points) + self.noise.to(x).diag()
        solved = torch.linalg.solve(covariance, near.T).T
        variance = (self.amplitude - (near * solved).sum(1)).clamp(min=0)
        z = near @ weights / (self.link + variance).sqrt()
        return torch.special.log_ndtr(torch.stack([-z, z], 1))

    def _kernel(self, x: Tensor, z: Tensor) -> Tensor:
        x, z = ((t / self.length.to(t)).flatten(1) for t in (x, z))
        mode = "donot_use_mm_for_euclid_dist"
        return self.amplitude * (-torch.cdist(x, z, compute_mode=mode).square() / 2).exp()

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Self:
        """What scikit-learn's GaussianProcessClassifier has fitted, for two classes.

        Its kernel must be RBF, perhaps times a constant. Its link is logistic: probabilities differ
        from its `predict_proba` by the approximation of that link, about 0.01; labels do not.
        Raises UnsupportedModelError for other estimators.
        """
        fitted: Any = getattr(estimator, "base_estimator_", None)
        if not hasattr(fitted, "W_sr_"):
            raise UnsupportedModelError(
                "this is no GaussianProcessClassifier of scikit-learn fitted to two classes"
            )
        amplitude, length = _rbf(fitted.kernel_)
        curvature = torch.as_tensor(fitted.W_sr_).square()
        return cls(
            points=torch.as_tensor(fitted.X_train_),
            weights=torch.as_tensor(fitted.y_train_ - fitted.pi_),
            noise=1 / curvature,
            length=torch.as_tensor(length, dtype=torch.float64),
            amplitude=amplitude,
            link=_LOGISTIC,
        )


def _rbf(kernel: Any) -> tuple[float, Any]:
    """Amplitude and length of an RBF kernel, perhaps times a constant."""
    parts = [kernel.k1, kernel.k2] if type(kernel).__name__ == "Product" else [kernel]
    found = {type(part).__name__: part for part in parts}
    if "RBF" not in found or set(found) - {"RBF", "ConstantKernel"}:
        raise UnsupportedModelError(
            f"the kernel {kernel} is not supported: it must be RBF, or a constant times RBF"
        )
    constant = found.get("ConstantKernel")
    amplitude = 1.0 if constant is None else float(constant.constant_value)
    return amplitude, found["RBF"].length_scale
