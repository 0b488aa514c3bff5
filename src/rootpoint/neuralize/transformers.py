"""Transformers of scikit-learn as layers: from the columns before them to the columns after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.functions import columnwise, overridable
from rootpoint.propagation.rules import rule

Maker = Callable[[Any], "Layer"]

TRANSFORMERS: dict[str, Maker] = {}
"""From the name of a transformer's class, or of one it derives from, to what makes its layer."""


class Layer(nn.Module):
    """From a table (B, columns) to the one that a fitted transformer makes of it, in float64.

    columns   how many columns it takes
    A first layer may read what is no table of numbers: `encode` gives the tensor that `forward`
    takes, `decode` gives its relevance back to what was read.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def constant(self, name: str, value: Any) -> None:
        """Keep an array of the fitted transformer as a buffer in double precision."""
        self.register_buffer(name, torch.from_numpy(np.array(value, dtype=np.float64)))


def transformer(*names: str) -> Callable[[Maker], Maker]:
    """Make a function from a fitted transformer to its `Layer` known for classes of these names."""

    def known(function: Maker) -> Maker:
        TRANSFORMERS.update(dict.fromkeys(names, function))
        return function

    return known


def layer_of(step: Any) -> Layer:
    """The layer of a fitted transformer. Raises UnsupportedModelError if it has none."""
    for cls in type(step).__mro__:
        if cls.__name__ in TRANSFORMERS:
            return TRANSFORMERS[cls.__name__](step)
    raise UnsupportedModelError(
        f"the step {type(step).__name__} cannot be neuralized; supported transformers: "
        f"{', '.join(sorted(TRANSFORMERS))}. Explain the steps behind it on the table that it makes, "
        "or register its layer with rootpoint.neuralize.transformers.transformer"
    )


class Columnwise(Layer):
    """Each column by itself, by a function of the tensor: relevance stays in its column."""

    def __init__(self, columns: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(columns)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return columnwise(x, self.function)


def _tensor(value: Any, default: float) -> Tensor:
    return torch.from_numpy(np.array(default if value is None else value, dtype=np.float64))


@transformer("StandardScaler")
def standard(step: Any) -> Layer:
    """(x − mean) / deviation."""
    mean = _tensor(step.mean_ if step.with_mean else None, 0)
    scale = _tensor(step.scale_, 1)
    return Columnwise(step.n_features_in_, lambda x: (x - mean) / scale)


@transformer("MinMaxScaler")
def minmax(step: Any) -> Layer:
    """x · scale + min, clipped to the range if the scaler clips."""
    scale, shift = _tensor(step.scale_, 1), _tensor(step.min_, 0)
    if not step.clip:
        return Columnwise(step.n_features_in_, lambda x: x * scale + shift)
    low, high = step.feature_range
    return Columnwise(step.n_features_in_, lambda x: (x * scale + shift).clamp(low, high))


@transformer("MaxAbsScaler")
def maxabs(step: Any) -> Layer:
    """x / the greatest size."""
    scale = _tensor(step.scale_, 1)
    if getattr(step, "clip", False):
        return Columnwise(step.n_features_in_, lambda x: (x / scale).clamp(-1, 1))
    return Columnwise(step.n_features_in_, lambda x: x / scale)


@transformer("RobustScaler")
def robust(step: Any) -> Layer:
    """(x − median) / range of the quantiles."""
    center = _tensor(step.center_ if step.with_centering else None, 0)
    scale = _tensor(step.scale_ if step.with_scaling else None, 1)
    return Columnwise(step.n_features_in_, lambda x: (x - center) / scale)


@transformer("PowerTransformer")
def power(step: Any) -> Layer:
    """Yeo-Johnson's or Box and Cox' power of each column, standardized if the transformer does."""
    exponents = _tensor(step.lambdas_, 1)
    bent = _yeo_johnson if step.method == "yeo-johnson" else _box_cox
    if not step.standardize:
        return Columnwise(step.n_features_in_, lambda x: bent(x, exponents))
    mean, scale = _tensor(step._scaler.mean_, 0), _tensor(step._scaler.scale_, 1)
    return Columnwise(step.n_features_in_, lambda x: (bent(x, exponents) - mean) / scale)


def _box_cox(x: Tensor, exponent: Tensor) -> Tensor:
    if (x <= 0).any():
        raise InputError("the Box-Cox transformation takes positive values only")
    flat = exponent == 0
    return torch.where(flat, x.log(), (x**exponent - 1) / torch.where(flat, 1, exponent))


def _yeo_johnson(x: Tensor, exponent: Tensor) -> Tensor:
    above = _box_cox(x.clamp(min=0) + 1, exponent)
    below = -_box_cox((-x).clamp(min=0) + 1, 2 - exponent)
    return torch.where(x >= 0, above, below)


@transformer("Binarizer")
def binarizer(step: Any) -> Layer:
    """1 above the threshold, else 0."""
    return Columnwise(step.n_features_in_, lambda x: (x > step.threshold).to(x.dtype))


class Normalized(Layer):
    """x / ‖x‖ of each row, whose norm counts as a constant; rows of zeros stay."""

    def __init__(self, columns: int, order: float) -> None:
        super().__init__(columns)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            norm = torch.linalg.vector_norm(x.detach(), self.order, 1, keepdim=True)
        return x / norm.masked_fill(norm == 0, 1)


@transformer("Normalizer")
def normalizer(step: Any) -> Layer:
    """x / ‖x‖ by l1, l2 or the maximum."""
    order = {"l1": 1.0, "l2": 2.0, "max": torch.inf}[step.norm]
    return Normalized(step.n_features_in_, order)


class Selected(Layer):
    """Some of the columns."""

    def __init__(self, columns: int, chosen: Any) -> None:
        super().__init__(columns)
        self.register_buffer("chosen", torch.as_tensor(np.asarray(chosen), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.chosen)


@transformer("SelectorMixin")
def selector(step: Any) -> Layer:
    """The columns that a feature selection keeps."""
    return Selected(len(step.get_support()), np.flatnonzero(step.get_support()))


class Projected(Layer):
    """(x − mean) Cᵀ of a matrix C (components, columns): no bias that could absorb."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, matrix: Any, mean: Any = None) -> None:
        super().__init__(matrix.shape[1])
        self.constant("matrix", matrix)
        self.constant("mean", np.zeros(matrix.shape[1]) if mean is None else mean)

    def forward(self, x: Tensor) -> Tensor:
        return linear(columnwise(x, lambda t: t - self.mean), self.matrix)


@transformer("PCA", "IncrementalPCA")
def principal(step: Any) -> Layer:
    """(x − mean) on the components, over their deviations if whitened."""
    matrix = step.components_
    if step.whiten:
        matrix = matrix / np.sqrt(step.explained_variance_)[:, None]
    return Projected(matrix, step.mean_)


@transformer("TruncatedSVD", "GaussianRandomProjection")
def projection(step: Any) -> Layer:
    """x on the components."""
    return Projected(step.components_)


@transformer("FastICA")
def independent(step: Any) -> Layer:
    """(x − mean) on the unmixing components."""
    return Projected(step.components_, step.mean_ if step.whiten else None)


@overridable
def monomials(x: Tensor, powers: Tensor) -> Tensor:
    """Π_i x_i^e_di for whole exponents e (M, D): (B, M)."""
    found = x.new_ones(len(x), len(powers))
    for i in range(int(powers.max()) if powers.numel() else 0):
        for column in range(powers.shape[1]):
            has = powers[:, column] > i
            if has.any():
                factor = torch.where(has, x[:, column : column + 1], x.new_ones(()))
                found = found * factor
    return found


@rule("monomials", operation=monomials, exact=True)
def share_monomials(call: Call, m: Tensor) -> Back:
    """R_i = Σ_d e_di / Σ_i e_di · R_d: the factors of a monomial share equally; a constant absorbs."""
    powers = call.step.bound(call.tensors, "x", "powers")["powers"].to(m.dtype)
    degree = powers.sum(1, keepdim=True)
    shares = powers / degree.masked_fill(degree == 0, 1)
    return Back(relevance=call.relevance(m) @ shares)


class Monomials(Layer):
    """Products of columns."""

    def __init__(self, powers: Any) -> None:
        super().__init__(powers.shape[1])
        self.register_buffer("powers", torch.from_numpy(np.array(powers, dtype=np.int64)))

    def forward(self, x: Tensor) -> Tensor:
        return monomials(x, self.powers)


@transformer("PolynomialFeatures")
def polynomial(step: Any) -> Layer:
    """The monomials of the columns, up to a degree."""
    return Monomials(step.powers_)
