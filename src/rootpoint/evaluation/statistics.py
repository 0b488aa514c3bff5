"""How sure a mean over samples is, and a difference of two."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from rootpoint.visualize import number

RESAMPLES = 10_000
CONFIDENCE = 0.95
BLOCK = 2**21  # random numbers held at once

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean over samples and its 95 % interval."""

    mean: float
    low: float
    high: float
    samples: int

    def __str__(self) -> str:
        return f"{number(self.mean)} [{number(self.low)}, {number(self.high)}]"


class Difference(NamedTuple):
    """A mean of paired differences, its 95 % interval, and the chance of one so far from zero."""

    mean: float
    low: float
    high: float
    samples: int
    p: float

    @property
    def interval(self) -> str:
        """The mean and the ends of its interval, with signs."""
        mean, low, high = (
            f"{'+' if end >= 0 else ''}{number(end)}" for end in (self.mean, self.low, self.high)
        )
        return f"{mean} [{low}, {high}]"

    def __str__(self) -> str:
        return f"{self.interval}, p = {self.p:.2g}"


def estimate(values: ArrayLike, *, seed: int = 0) -> Estimate:
    """The mean of the values (n,) and its 95 % interval, by bootstrap over samples (percentiles).

    NaN, a sample the metric is not defined for, is left out; with none left all is NaN. Values may
    be infinite, and then so are the mean and the ends that they reach.
    Source: Efron 1979, Annals of Statistics 7:1.
    """
    kept = _defined(np.asarray(values, dtype=np.float64))
    if not len(kept):
        return Estimate(np.nan, np.nan, np.nan, 0)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is no mean
        mean, means = kept.mean(), _resampled(kept, seed)
    low, high = np.quantile(means, _tails(), method="nearest")
    return Estimate(float(mean), float(low), float(high), len(kept))


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

    def flipped(rng: Generator, times: int) -> Array:
        signs = rng.integers(0, 2, (times, count), dtype=np.int8) * 2.0 - 1.0
        return np.abs(signs @ kept) / count

    extreme = np.count_nonzero(_drawn(flipped, RESAMPLES, count, seed) >= abs(mean) * (1 - 1e-12))
    return Difference(mean, low, high, count, (extreme + 1) / (RESAMPLES + 1))


def bands(lines: ArrayLike, *, seed: int = 0) -> tuple[Array, Array, Array]:
    """The mean of curves (n, k) over samples, and the ends of its 95 % interval at each point.

    Values that are NaN or infinite are left out; points without any other are NaN.
    """
    given = np.asarray(lines, dtype=np.float64)
    known = np.isfinite(given)
    values = np.where(known, given, 0.0)
    mean, low, high = (np.full(given.shape[1], np.nan) for _ in range(3))
    some = known.any(0)

    def means(rng: Generator, times: int) -> Array:
        counts = _counts(rng, times, len(given))
        with np.errstate(invalid="ignore"):  # where all that was drawn is left out
            return (counts @ values[:, some]) / (counts @ known[:, some])

    mean[some] = values.sum(0)[some] / known.sum(0)[some]
    drawn = _drawn(means, RESAMPLES // 10, len(given), seed)
    low[some], high[some] = np.nanquantile(drawn, _tails(), axis=0)
    return mean, low, high


def _defined(values: Array) -> Array:
    return values[~np.isnan(values)]


def _resampled(values: Array, seed: int) -> Array:
    """The means of samples drawn with replacement."""
    count = len(values)

    def means(rng: Generator, times: int) -> Array:
        return values[rng.integers(0, count, (times, count), dtype=np.int32)].mean(1)

    return _drawn(means, RESAMPLES, count, seed)


def _counts(rng: Generator, times: int, count: int) -> Array:
    """How often each of `count` samples is drawn, (times, count)."""
    drawn = rng.integers(0, count, (times, count)) + np.arange(times)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=times * count).reshape(times, count).astype(float)


def _drawn(of: Callable[[Generator, int], Array], times: int, size: int, seed: int) -> Array:
    """`of(rng, rows)` for `times` rows, of so many random numbers each, block by block."""
    rng, rows = np.random.default_rng(seed), max(1, BLOCK // max(size, 1))
    return np.concatenate([of(rng, min(rows, times - i)) for i in range(0, times, rows)])


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
