"""A classifier as a Parzen window estimate of its labels: any classifier becomes differentiable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.fitted import Fitted
from rootpoint.inputs import Model, batches, call, check
from rootpoint.progress import progress
from rootpoint.scoring import as_tensor

_WIDTHS = 30  # that are tried
_BLOCK = 512  # points whose distances to all others are held at once


@dataclass(frozen=True, eq=False)
class Parzen(Fitted):
    """log P̂(c|x) = log Σ_{i∈c} k_i − log Σ_i k_i,  k_i = exp(−‖x − x_i‖²/2σ²).

    A differentiable function from inputs (B, …) to (B, classes), computed in logarithms: finite
    however far x is from the points.

    points      x_i, (N, …)
    labels      of the points, (N,), whole numbers
    width       σ
    agreement   on how many of the points, as a fraction, the estimate from the other points gives
                the label, if it was measured
    """

    kind: ClassVar[str] = "Parzen windows"

    points: Tensor
    labels: Tensor
    width: float
    agreement: float | None = None

    def __post_init__(self) -> None:
        if len(self.points) != len(self.labels) or not len(self.points):
            raise InputError(f"{len(self.points)} points with {len(self.labels)} labels")
        if not self.width > 0:
            raise InputError(f"width={self.width}: σ must be positive")

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.points.shape[1:]:
            raise InputError(
                f"the Parzen windows were fitted to samples {tuple(self.points.shape[1:])}, "
                f"not {tuple(x.shape[1:])}"
            )
        logs = -_distances(x, self.points.to(x)).square() / (2 * self.width**2)
        each = _by_class(logs, self.labels.to(x.device), self.classes)
        return each - each.logsumexp(1, keepdim=True)


def fit_parzen(model: Model, data: Any, *, width: float | None = None) -> Parzen:
    """Parzen windows on data as a classifier labels it.

    model   gives (B, classes) scores, of which the largest is the label; (B,) whole numbers, the
            labels; or one score (B,) or (B, 1), positive for class 1. May compute with numpy
    data    a tensor or array (N, …), or an iterable of batches; all of it is kept
    width   σ; None: of 30 widths between half the median distance of nearest neighbours and the
            largest distance, that where most labels are met when each point's is estimated from
            the others; of several, the largest
    Raises InputError if all labels are the same. Cost: N forwards, and N² distances.
    """
    kept, found = [], []
    with progress(getattr(data, "shape", (0,))[0], "labelling data") as advance, torch.no_grad():
        for batch in batches(data):
            check(model, batch)
            kept.append(batch.detach())
            found.append(labels(as_tensor(call(model, batch)), len(batch)))
            advance(len(batch))
    if sum(map(len, kept)) < 2:
        raise InputError("Parzen windows need two points at least")
    points, label = torch.cat(kept), torch.cat(found).to(kept[0].device)
    if (label == label[0]).all():
        raise InputError(
            f"the classifier gives all {len(label)} points the label {int(label[0])}: Parzen "
            "windows need data of two classes at least"
        )
    widths = [width] if width is not None else _widths(points)
    if not widths:
        raise InputError("all points are the same: no width can be chosen")
    agreement = _agreements(points, label, widths)
    best = max(range(len(widths)), key=lambda i: (agreement[i], widths[i]))
    return Parzen(points, label, widths[best], agreement[best])


def labels(output: Any, batch: int) -> Tensor:
    """The label of each sample (B,) from a classifier's output (see `fit_parzen`).

    Raises InputError for an output that is none of a classifier's.
    """
    if isinstance(output, Tensor) and output.shape[:1] == (batch,):
        if output.dim() == 1 and not output.is_floating_point():
            return output.long()
        if output.dim() == 1 or (output.dim() == 2 and output.shape[1] == 1):
            return (output.reshape(batch) > 0).long()
        if output.dim() == 2:
            return output.argmax(1)
    what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(
        f"the model returns {what} for {batch} samples: a classifier gives (B, classes) scores, "
        "one score (B,), or whole numbers (B,)"
    )


def _distances(x: Tensor, points: Tensor) -> Tensor:
    mode = "donot_use_mm_for_euclid_dist"  # which would lose digits
    return torch.cdist(x.flatten(1), points.flatten(1), compute_mode=mode)


def _by_class(logs: Tensor, label: Tensor, classes: int) -> Tensor:
    """log Σ exp over the points of each class, (B, classes); −∞ for classes without points."""
    members = [logs[:, label == c] for c in range(classes)]
    none = logs.new_full((len(logs),), -torch.inf)
    return torch.stack([m.logsumexp(1) if m.shape[1] else none for m in members], 1)


def _blocks(points: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Distances of some points to all, those to themselves infinite, with the first one's index."""
    for start in range(0, len(points), _BLOCK):
        found = _distances(points[start : start + _BLOCK], points)
        own = torch.arange(len(found), device=points.device)
        found[own, start + own] = torch.inf
        yield start, found


def _widths(points: Tensor) -> list[float]:
    nearest, largest = [], 0.0
    for _, distance in _blocks(points):
        nearest.append(distance.amin(1))
        largest = max(largest, float(distance[distance.isfinite()].max()))
    apart = torch.cat(nearest)
    apart = apart[apart > 0]
    if not len(apart):
        return [largest] if largest else []
    least = float(apart.median()) / 2
    ratio = (largest / least) ** (1 / (_WIDTHS - 1))
    return [least * ratio**i for i in range(_WIDTHS)]


def _agreements(points: Tensor, label: Tensor, widths: list[float]) -> list[float]:
    """The fraction of points whose label the others give, for each width."""
    met = [0] * len(widths)
    classes = int(label.max()) + 1
    for start, distance in _blocks(points):
        own = label[start : start + len(distance)]
        for i, width in enumerate(widths):
            each = _by_class(-distance.square() / (2 * width**2), label, classes)
            met[i] += int((each.argmax(1) == own).sum())
    return [m / len(points) for m in met]
