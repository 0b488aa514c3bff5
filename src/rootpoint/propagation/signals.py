"""How well estimates of the signal leave only distractors, and patterns of linear models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import InputError, UnknownNameError
from rootpoint.inputs import Model
from rootpoint.propagation.call import CONVOLUTIONS, Call
from rootpoint.propagation.patterns import ESTIMATORS, Names, meet, patterns_of, unit_axes

_RIDGE = 1e-4  # added to the distractors' covariance, relative to the mean variance of the inputs


def signal_quality(
    model: Model,
    data: Any,
    estimator: str = "two-component",
    *,
    patches: int = 3000,
    units: int = 32,
    seed: int = 0,
) -> dict[str, Tensor]:
    """ρ(S) = 1 − max_v corr(wᵀx, vᵀ(x − S(x))): whether the signal S(x) holds all that y follows.

    The residual x − S(x) should be distractor, of which nothing in y = wᵀx (without bias) can be
    told: ρ near 1 is good, near 0 is bad. Returns for each linear map, named as in `Patterns`, the
    ρ of `units` of its units in order, drawn at random if it has more; NaN where y is constant.

    estimator   "linear" S(x) = a y; "two-component" S(x) = a₊ y where y > 0, else a₋ y (see
                `fit_patterns`; a₋ is over samples with y ≤ 0); "filter" S(x) = w y / wᵀw;
                "identity" S(x) = x, which leaves no residual, so that ρ = 1 says nothing
    data        as for `fit_patterns`
    patches     drawn at random from all samples of each map, in three parts: for a, for v (least
                squares with a small ridge, so of maps with more inputs than patches ρ is a little
                too high) and for the correlation, which errs by some 1 / √(patches / 3); they are
                all kept in memory
    Cost: about three forwards of the data, then a linear solve for each unit.
    Source: Kindermans et al. 2018, ICLR, arXiv 1705.05598.
    """
    if estimator not in _SIGNALS:
        raise UnknownNameError("estimator of signals", estimator, _SIGNALS)
    if patches < 30 or units < 1:
        raise InputError(f"signal_quality needs patches ≥ 30 and units ≥ 1, not {patches}, {units}")
    names, drawn = Names(model), dict[str, _Drawn]()
    generator = torch.Generator().manual_seed(seed)

    def see(met: Call) -> None:
        drawn.setdefault(names(met), _Drawn()).add(met, patches, generator)

    meet(model, data, see, "drawing patches")
    return {name: d.quality(_SIGNALS[estimator], units, generator) for name, d in drawn.items()}


# -- the signal in x, by what was estimated from other samples ---------------------------------

Signal = Callable[[Tensor, Tensor], Tensor]
"""S(x) of samples (n, d), given their outputs (n,)."""


def _identity(x: Tensor, y: Tensor, w: Tensor) -> Signal:
    return lambda x, y: x


def _filter(x: Tensor, y: Tensor, w: Tensor) -> Signal:
    return lambda x, y: y[:, None] * w / (w @ w).clamp(min=torch.finfo(w.dtype).tiny)


def _linear(x: Tensor, y: Tensor, w: Tensor) -> Signal:
    a = _direction(x, y, w, torch.ones_like(y))
    return lambda x, y: y[:, None] * a


def _two_component(x: Tensor, y: Tensor, w: Tensor) -> Signal:
    p = ESTIMATORS["two-component"](y)
    above, below = _direction(x, y, w, p), _direction(x, y, w, 1 - p)
    return lambda x, y: y[:, None] * torch.where(y[:, None] > 0, above, below)


def _direction(x: Tensor, y: Tensor, w: Tensor, p: Tensor) -> Tensor:
    """The pattern of one unit, with means over the samples where p = 1."""
    sums = p.sum()[None], (p @ x)[None], ((p * _centered(y)) @ x)[None]
    return patterns_of(w[None], *sums, y.new_zeros(1), torch.finfo(torch.float32).eps)[0]


_SIGNALS: dict[str, Callable[[Tensor, Tensor, Tensor], Signal]] = {
    "identity": _identity,
    "filter": _filter,
    "linear": _linear,
    "two-component": _two_component,
}


def _quality(x: Tensor, y: Tensor, w: Tensor, estimate: Callable[..., Signal]) -> float:
    """ρ of one unit: signal, v and correlation each from a third of the samples."""
    (x1, x2, x3), (y1, y2, y3) = x.tensor_split(3), y.tensor_split(3)
    signal = estimate(x1, y1, w)
    ridge = _RIDGE * x2.var(0).mean() * len(x2)
    v = _ridge(_centered(x2 - signal(x2, y2)), _centered(y2), ridge)
    told, y3 = _centered(x3 - signal(x3, y3)) @ v, _centered(y3)
    if y3.norm() == 0:
        return float("nan")
    if told.norm() == 0:
        return 1.0
    correlation = (told @ y3) / (told.norm() * y3.norm())
    return 1 - max(0.0, correlation.item())  # v = 0 tells nothing: the maximum is not below 0


def _ridge(d: Tensor, y: Tensor, ridge: Tensor) -> Tensor:
    """The v that minimizes |d v − y|² + ridge · |v|², in the smaller of both dimensions."""
    ridge = ridge.clamp(min=torch.finfo(d.dtype).tiny)
    if len(d) < d.shape[1]:
        return d.T @ torch.linalg.solve(d @ d.T + ridge * torch.eye(len(d)).to(d), y)
    return torch.linalg.solve(d.T @ d + ridge * torch.eye(d.shape[1]).to(d), d.T @ y)


def _centered(x: Tensor) -> Tensor:
    return x - x.mean(0)


# -- patches drawn from the stream ---------------------------------------------------------------


@dataclass
class _Drawn:
    """Patches of one linear map, drawn uniformly from all that streamed by: those of least keys."""

    keys: Tensor = field(default_factory=lambda: torch.empty(0))
    x: Tensor = field(default_factory=lambda: torch.empty(0))  # (n, groups, inputs of a unit)
    y: Tensor = field(default_factory=lambda: torch.empty(0))  # (n, units)
    weight: Tensor = field(default_factory=lambda: torch.empty(0))  # (units, inputs of a unit)

    def add(self, met: Call, patches: int, generator: torch.Generator) -> None:
        y = met.run(met.input, met.weight)
        axis, units = unit_axes(met, y)
        self.weight = met.weight.detach().movedim(units, 0).flatten(1).double().cpu()
        y = y.movedim(axis, -1)
        keys = torch.rand(y[..., 0].numel(), generator=generator)
        least = keys.sort().indices[:patches]
        if len(self.keys) == patches:
            least = least[keys[least] < self.keys.max()]
        x = _patches(met, least, list(y.shape[:-1])).double().cpu()
        x = x.reshape(len(least), -1, self.weight.shape[1])
        drawn = y.flatten(0, -2)[least.to(y.device)].double().cpu()
        order = torch.cat([self.keys, keys[least]]).sort()
        self.keys, kept = order.values[:patches], order.indices[:patches]
        self.x = torch.cat([self.x, x])[kept] if len(self.x) else x
        self.y = torch.cat([self.y, drawn])[kept] if len(self.y) else drawn

    def quality(
        self, estimate: Callable[..., Signal], units: int, generator: torch.Generator
    ) -> Tensor:
        count = len(self.weight)
        chosen = torch.randperm(count, generator=generator)[:units].sort().values.tolist()
        each = count // self.x.shape[1]  # units in a group
        x, y, w = self.x, self.y, self.weight
        found = [_quality(x[:, j // each], y[:, j], w[j], estimate) for j in chosen]
        return torch.tensor(found)


def _patches(met: Call, chosen: Tensor, shape: list[int]) -> Tensor:
    """The inputs that the chosen positions of the output see, one row each."""
    x, name = met.input, met.step.name
    if name not in CONVOLUTIONS:
        return x.flatten(0, -2)[chosen.to(x.device)]
    given = met.step.bound(met.tensors, *CONVOLUTIONS[name])
    kernel = met.weight.shape[2:]
    dims = len(kernel)

    def each(option: str, default: int) -> list[int]:
        value = given.get(option, default)
        value = list(value) if isinstance(value, list | tuple) else [value]
        return value * dims if len(value) == 1 else value

    stride, dilation = each("stride", 1), each("dilation", 1)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = [(p, p) for p in each("padding", 0)]
    if given.get("padding") == "same":
        padding = [(r // 2, r - r // 2) for r in reach]
    elif given.get("padding") == "valid":
        padding = [(0, 0)] * dims
    x = F.pad(x, [n for pair in reversed(padding) for n in pair])
    x = x if x.dim() == dims + 2 else x[None]
    rows = []
    for sample, *position in zip(*torch.unravel_index(chosen, shape), strict=True):
        starts = [int(p) * s for p, s in zip(position, stride, strict=True)]
        window = [slice(a, a + r + 1, d) for a, r, d in zip(starts, reach, dilation, strict=True)]
        rows.append(x[(int(sample), slice(None), *window)].flatten())
    return torch.stack(rows) if rows else x.new_empty(0, met.weight[0].numel())


# -- linear models -------------------------------------------------------------------------------


def activation_patterns(weights: Any, data: Any) -> Any:
    """A = Σ_x W Σ_ŝ⁻¹: how each feature of the data changes with the outputs ŝ = Wᵀx of a model.

    Weights say how outputs are computed, patterns say where in the data they come from: a feature
    that only cancels noise has a weight, and no pattern. For one output a = cov(x, y) / var(y).

    weights   (outputs, features) or (features,), a tensor or array; or a linear scikit-learn
              estimator, whose `coef_` is taken (of a pipeline, the last step, with data as it
              sees them)
    data      (samples, features)
    Returns patterns in the shape of the weights, in float64: a tensor for tensors, else an array.
    Outputs that depend on each other, such as a softmax's, share by the pseudo-inverse of Σ_ŝ.
    Source: Haufe et al. 2014, NeuroImage 87:96.
    """
    given = weights if isinstance(weights, Tensor | np.ndarray) else _coefficients(weights)
    w = torch.as_tensor(given).detach().double()
    x = torch.as_tensor(data).detach().double()
    if w.dim() not in (1, 2) or x.dim() != 2 or w.shape[-1] != x.shape[1] or len(x) < 2:
        raise InputError(
            f"weights of shape {tuple(w.shape)} and data of shape {tuple(x.shape)} do not fit: "
            "they must be (outputs, features), or (features,), and (samples, features), with at "
            "least two samples"
        )
    if not (w.isfinite().all() and x.isfinite().all()):
        raise InputError("the weights or the data hold NaN or infinity: clean them first")
    centered, rows = _centered(x), w.reshape(-1, w.shape[-1]).to(x.device)
    outputs = centered @ rows.T
    covariance = outputs.T @ centered / (len(x) - 1)
    inverse = torch.linalg.pinv(outputs.T @ outputs / (len(x) - 1), hermitian=True)
    patterns = (inverse @ covariance).reshape(w.shape)
    return patterns if isinstance(given, Tensor) else patterns.cpu().numpy()


def _coefficients(estimator: Any) -> Any:
    if hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    found = getattr(estimator, "coef_", None)
    if found is None:
        raise InputError(
            f"{type(estimator).__name__} has no coef_: give the weights of a linear model, or a "
            "linear scikit-learn estimator that is fitted"
        )
    return found.toarray() if hasattr(found, "toarray") else np.asarray(found)
