"""Transformers of scikit-learn as layers: from the columns before to the columns after."""

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
    A first layer may read what is no table of numbers: `encode(table) → Tensor` gives what
    `forward` takes, `decode(relevance, table)` its relevance back to what was read. `behind` is
    then the layer for numbers, or an error.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def behind(self) -> Layer:
        """This layer where it takes the columns that another one has made, not a table."""
        return self

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
        f"{', '.join(sorted(TRANSFORMERS))}. Explain the steps behind it on the table that it "
        "makes, or register its layer with rootpoint.neuralize.transformers.transformer"
    )


class Columnwise(Layer):
    """Each column by itself, by a function of the tensor and of constants: relevance stays in its
    column.
    """

    def __init__(self, columns: int, function: Callable[..., Tensor], **constants: Any) -> None:
        super().__init__(columns)
        self.function = function
        for name, value in constants.items():
            self.constant(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return columnwise(x, lambda t: self.function(t, **dict(self.named_buffers())))


def _given(value: Any, default: float) -> Any:
    return default if value is None else value


@transformer("StandardScaler")
def standard(step: Any) -> Layer:
    """(x − mean) / deviation."""
    return _scaled(step, step.mean_ if step.with_mean else None, step.scale_)


@transformer("RobustScaler")
def robust(step: Any) -> Layer:
    """(x − median) / range of the quantiles."""
    center = step.center_ if step.with_centering else None
    return _scaled(step, center, step.scale_ if step.with_scaling else None)


def _scaled(step: Any, mean: Any, scale: Any) -> Layer:
    return Columnwise(
        step.n_features_in_,
        lambda x, mean, scale: (x - mean) / scale,
        mean=_given(mean, 0),
        scale=_given(scale, 1),
    )


@transformer("MinMaxScaler")
def minmax(step: Any) -> Layer:
    """x · scale + min, clipped to the range if the scaler clips."""
    low, high = step.feature_range if step.clip else (None, None)

    def scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        x = x * scale + shift
        return x.clamp(low, high) if step.clip else x

    return Columnwise(step.n_features_in_, scaled, scale=step.scale_, shift=step.min_)


@transformer("MaxAbsScaler")
def maxabs(step: Any) -> Layer:
    """x / the greatest size, clipped to ±1 if the scaler clips."""
    clips = getattr(step, "clip", False)

    def scaled(x: Tensor, scale: Tensor) -> Tensor:
        return (x / scale).clamp(-1, 1) if clips else x / scale

    return Columnwise(step.n_features_in_, scaled, scale=step.scale_)


@transformer("PowerTransformer")
def power(step: Any) -> Layer:
    """Yeo-Johnson's or Box and Cox' power of each column, standardized if the transformer does."""
    bent = _yeo_johnson if step.method == "yeo-johnson" else _box_cox
    scaler = step._scaler if step.standardize else None
    return Columnwise(
        step.n_features_in_,
        lambda x, exponents, mean, scale: (bent(x, exponents) - mean) / scale,
        exponents=step.lambdas_,
        mean=0 if scaler is None else scaler.mean_,
        scale=1 if scaler is None else scaler.scale_,
    )


def _box_cox(x: Tensor, exponent: Tensor) -> Tensor:
    if (x <= 0).any():
        raise InputError("the Box-Cox transformation takes positive values only")
    return _raised(x.log(), exponent)


def _yeo_johnson(x: Tensor, exponent: Tensor) -> Tensor:
    above = _raised(x.clamp(min=0).log1p(), exponent)
    below = -_raised((-x).clamp(min=0).log1p(), 2 - exponent)
    return torch.where(x >= 0, above, below)


def _raised(log: Tensor, exponent: Tensor) -> Tensor:
    """(e^(p log) − 1) / p, and its limit at p = 0."""
    flat = exponent == 0
    return torch.where(flat, log, torch.expm1(exponent * log) / torch.where(flat, 1, exponent))


@transformer("Binarizer")
def binarizer(step: Any) -> Layer:
    """1 above the threshold, else 0."""
    return Columnwise(step.n_features_in_, lambda x: (x > step.threshold).to(x.dtype))


@transformer("QuantileTransformer")
def quantiles(step: Any) -> Layer:
    """The share of values below x, interpolated, or the normal quantile of it."""
    normal = step.output_distribution == "normal"

    def shares(x: Tensor, known: Tensor, levels: Tensor) -> Tensor:
        edge = 1e-7 if normal else 0.0
        below, above = x - edge <= known[:, :1].T, x + edge >= known[:, -1:].T
        if normal:
            below, above = x - edge < known[:, :1].T, x + edge > known[:, -1:].T
        t = torch.maximum(torch.minimum(x, known[:, -1:].T), known[:, :1].T).T.contiguous()
        both = [_interpolated(t, known, levels, right) for right in (True, False)]
        y = ((both[0] + both[1]) / 2).T.masked_fill(above, 1.0).masked_fill(below, 0.0)
        return torch.special.ndtri(y.clamp(_EDGE, 1 - _EDGE)) if normal else y

    return Columnwise(
        step.n_features_in_, shares, known=step.quantiles_.T.copy(), levels=step.references_
    )


_EDGE = 1e-7 - float(np.spacing(1))


def _interpolated(x: Tensor, known: Tensor, levels: Tensor, right: bool) -> Tensor:
    """Levels at x between the known values of each row; of equal values the last, or the first."""
    high = torch.searchsorted(known, x, right=right).clamp(1, known.shape[1] - 1)
    start, stop = known.gather(1, high - 1), known.gather(1, high)
    gap = stop - start
    part = (x - start) / gap.masked_fill(gap == 0, 1)
    return torch.lerp(levels[high - 1], levels[high], part)


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

    chosen: Tensor

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
        deviation = np.sqrt(step.explained_variance_)[:, None]
        matrix = matrix / np.maximum(deviation, np.finfo(deviation.dtype).eps)
    return Projected(matrix, step.mean_)


@transformer("TruncatedSVD", "GaussianRandomProjection", "SparseRandomProjection")
def projection(step: Any) -> Layer:
    """x on the components."""
    matrix = step.components_
    return Projected(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


@transformer("LinearDiscriminantAnalysis")
def discriminant(step: Any) -> Layer:
    """(x − mean) on the discriminant directions."""
    matrix = step.scalings_[:, : step._max_components].T
    return Projected(matrix, step.xbar_ if step.solver == "svd" else None)


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
    """R_i = Σ_d e_di / Σ_i e_di · R_d: the factors of a monomial share equally.

    Conserves, but for what reaches the monomial of degree 0, which is constant.
    """
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
