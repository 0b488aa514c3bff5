"""How sure a mean over samples is, and a difference of two."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean over samples and its 95 % interval."""

    mean: float
    low: float
    high: float
    samples: int

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


class Difference(NamedTuple):
    """A mean of paired differences, its 95 % interval, and the chance of one so far from zero."""

    mean: float
    low: float
    high: float
    samples: int
    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}], p = {self.p:.2g}"


def estimate(values: ArrayLike, *, seed: int = 0) -> Estimate:
    """The mean of the values (n,) and its 95 % interval, by bootstrap over samples (percentiles).

    NaN, a sample the metric is not defined for, is left out; with none left all is NaN. Values may
    be infinite, and then so are the mean and the ends that they reach.
    Source: Efron 1979, Annals of Statistics 7:1.
    """
    kept = _defined(np.asarray(values, dtype=np.float64))
    if not len(kept):
        return Estimate(np.nan, np.nan, np.nan, 0)
    low, high = np.quantile(_resampled(kept, seed), _tails(), method="nearest")
    return Estimate(float(kept.mean()), float(low), float(high), len(kept))


def difference(a: ArrayLike, b: ArrayLike, *, seed: int = 0) -> Difference:
    """The mean of a − b over samples measured in both, its interval, and p.

    p   of the sign-flip test: the share of random exchanges of a and b within samples whose mean
        difference is as far from zero (Fisher 1935, The Design of Experiments); NaN if it is ∞
    """
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is no difference
        kept = _defined(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
    mean, low, high, count = estimate(kept, seed=seed)
    if not np.isfinite(mean):
        return Difference(mean, low, high, count, np.nan)
    signs = np.random.default_rng(seed).integers(0, 2, (RESAMPLES, count), dtype=np.int8) * 2 - 1
    flipped = np.abs(signs @ kept) / count
    extreme = np.count_nonzero(flipped >= abs(mean) * (1 - 1e-12))
    return Difference(mean, low, high, count, (extreme + 1) / (RESAMPLES + 1))


def bands(lines: ArrayLike, *, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    """The mean of curves (n, k) over samples, and the ends of its 95 % interval at each point."""
    kept = np.asarray(lines, dtype=np.float64)
    kept = kept[np.isfinite(kept).all(1)]
    if not len(kept):
        nothing = np.full(kept.shape[1], np.nan)
        return nothing, nothing, nothing
    low, high = np.quantile(_resampled(kept, seed, 1000), _tails(), axis=0)
    return kept.mean(0), low, high


def _defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def _resampled(
    values: NDArray[np.float64], seed: int, times: int = RESAMPLES
) -> NDArray[np.float64]:
    """The means of samples drawn with replacement, (times, …)."""
    count = len(values)
    drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=times)
    infinite = np.isinf(values)
    if not infinite.any():
        return drawn @ values / count
    rest = np.where(infinite, 0.0, values)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is no mean
        gone = np.where(drawn[:, infinite] > 0, values[infinite], 0.0).sum(1)
        return (drawn @ rest + gone) / count


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
