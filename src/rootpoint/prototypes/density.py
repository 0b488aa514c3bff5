"""A density of the data, log p(x), as an expert that pulls a prototype towards the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from rootpoint.errors import InputError, MissingExtraError
from rootpoint.fitted import Fitted
from rootpoint.inputs import batches

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, eq=False)
class GaussianMixture(Fitted):
    """log p(x) = log Σ_k π_k N(x; μ_k, Σ_k), differentiable in x.

    weights  π, (K,)
    means    μ, (K, D): the inputs flattened
    roots    P with P Pᵀ = Σ⁻¹: (K, D, D), or (K, D) for diagonal covariances
    Calling it with inputs (N, …) of D values each gives (N,), computed in the precision of `means`.
    """

    kind: ClassVar[str] = "Gaussian mixture"

    weights: Tensor
    means: Tensor
    roots: Tensor

    @classmethod
    def from_sklearn(cls, mixture: Any) -> Self:
        """The density of a fitted scikit-learn GaussianMixture of any covariance type."""
        if not hasattr(mixture, "precisions_cholesky_"):
            raise InputError(f"{type(mixture).__name__} is no fitted GaussianMixture: call its fit")
        means = torch.from_numpy(mixture.means_).double()
        roots = torch.from_numpy(mixture.precisions_cholesky_).double()
        if mixture.covariance_type == "tied":
            roots = roots.expand(len(means), -1, -1)
        elif mixture.covariance_type == "spherical":
            roots = roots[:, None].expand_as(means)
        return cls(torch.from_numpy(mixture.weights_).double(), means, roots.contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.flatten(1).to(self.means.dtype)
        size = self.means.shape[1]
        if flat.shape[1] != size:
            raise InputError(
                f"the Gaussian mixture was fitted to inputs of {size} values, not of "
                f"{flat.shape[1]}: fit it to inputs of the shape {tuple(x.shape[1:])}"
            )
        roots, means, weights = (t.to(x.device) for t in (self.roots, self.means, self.weights))
        centred = flat[:, None] - means
        if roots.dim() == 3:
            white = torch.einsum("nkd,kde->nke", centred, roots)
            volume = roots.diagonal(dim1=1, dim2=2).log().sum(1)
        else:
            white, volume = centred * roots, roots.log().sum(1)
        log = volume - 0.5 * (white**2).sum(2) - 0.5 * size * math.log(2 * math.pi)
        return torch.logsumexp(log + weights.log(), 1).to(x.dtype)


def fit_density(
    data: Tensor | Iterable[Any],
    components: int = 10,
    *,
    covariance: str = "full",
    regularization: float = 1e-2,
    seed: int = 0,
) -> GaussianMixture:
    """A Gaussian mixture of the data by scikit-learn's expectation maximization.

    data            inputs as the model takes them: see `rootpoint.inputs.batches`; kept in memory
    components      K
    covariance      full, tied, diag or spherical
    regularization  added to each variance, in the input's squared unit
    Raises MissingExtraError without scikit-learn. Cost: no pass of the model.
    Source: Montavon, Samek, Müller 2018, Digital Signal Processing 73:1 (the expert).
    """
    try:
        from sklearn.mixture import GaussianMixture as Estimator
    except ImportError as error:
        raise MissingExtraError("fitting a Gaussian mixture", "sklearn") from error
    points = torch.cat([batch.flatten(1) for batch in batches(data)]).double().numpy()
    if len(points) < components:
        raise InputError(f"{components} components need as many samples, not {len(points)}")
    estimator = Estimator(
        components, covariance_type=covariance, reg_covar=regularization, random_state=seed
    )
    return GaussianMixture.from_sklearn(estimator.fit(points))
