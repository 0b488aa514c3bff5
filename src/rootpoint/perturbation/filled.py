"""Samples explained by what their score becomes when windows of them are filled in some way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rootpoint.explanation import Explanation, Passes
from rootpoint.inputs import Model
from rootpoint.method import Method
from rootpoint.perturbation.patched import Known, Patched
from rootpoint.perturbation.windows import Window, averaged
from rootpoint.scoring import Decision, Evaluator, check_changes

_WORTHWHILE = 16  # evaluations, of which two to try are no great part
_SMALLER = 3  # times, about, that boxes are than images on the way through a network

Fill = Callable[[int], Tensor]
"""Values (number, *its shape) for the window of an index."""


def explained(
    method: Method,
    x: Tensor,
    decision: Decision,
    at: Sequence[Window],
    number: int,
    fill: Callable[[int, int], Tensor],
    worth: Callable[[Tensor, Tensor], Tensor],
    advance: Callable[[int], None],
    *,
    network: Model,
    scored: Model | None = None,
) -> Explanation:
    """The relevance of each value: the mean worth of the windows that hold it.

    fill    `number` fillings of a window, by the indices of sample and window
    worth   of windows (n,), from the score of the whole sample and those without each window
    network, scored   what is run, and the function of it whose scores count, if not its own
    Raises InputError if no filling changes the score.
    """
    maps, spent = [], 0
    for index, sample in enumerate(x):
        evaluate = Evaluator(scored or network, decision.target, index, sample, advance)
        whole = evaluate(1, lambda start, stop, sample=sample: sample[None])
        fill_one = partial(fill, index)
        without = filled_scores(evaluate, sample, at, number, fill_one, network=network).mean(1)
        check_changes(method.name, index, len(x), whole, without)
        maps.append(averaged(at, worth(whole, without), sample))
        spent = max(spent, evaluate.spent)
    return Explanation(
        relevance=torch.stack(maps),
        output=decision.score,
        target=decision.target,
        prediction=decision.prediction,
        inputs=x,
        method=method,
        passes=Passes(1 + spent),
    )


def filled_scores(
    evaluate: Evaluator,
    sample: Tensor,
    at: Sequence[Window],
    number: int,
    fill: Fill,
    *,
    network: Model,
) -> Tensor:
    """f of the sample with each window filled in `number` ways, (windows, number).

    A convolutional network is run on what changes of an image alone (`Patched`), if it can be and
    the score of one of the fillings is the same so.

    network   what `evaluate` runs, perhaps within a function
    Cost: windows × number forwards, and two to try.
    """
    copies = _Copies(sample, at, number, fill)
    make, times = copies.whole, 1
    worthwhile = copies.small and len(at) * number >= _WORTHWHILE and _is_convolutional(network)
    if worthwhile and _agree(evaluate, copies):
        make, times = copies.patched, _SMALLER
    return evaluate(len(at) * number, make, times).reshape(-1, number)


def _is_convolutional(model: Model) -> bool:
    return isinstance(model, nn.Module) and any(isinstance(m, nn.Conv2d) for m in model.modules())


class _Copies:
    """Copies of a sample, so many for each window, as tensors or as what changes of an image."""

    def __init__(self, sample: Tensor, at: Sequence[Window], number: int, fill: Fill) -> None:
        self.sample, self.at, self.number, self.fill = sample, at, number, fill
        self.size = [max(w[d].stop - w[d].start for w in at) for d in range(sample.dim())]
        self._known = Known(sample[None])

    @property
    def small(self) -> bool:
        """Whether windows are boxes of at most half an image."""
        shape = self.sample.shape
        return len(shape) == 3 and 2 * self.size[1] * self.size[2] <= shape[1] * shape[2]

    def whole(self, start: int, stop: int) -> Tensor:
        made = self.sample.repeat(stop - start, *[1] * self.sample.dim())
        for index, rows, values in self._parts(start, stop):
            made[rows][(slice(None), *self.at[index])] = values
        return made

    def patched(self, start: int, stop: int) -> Patched:
        """Boxes of one size: those at the edges hold more than their window."""
        _, height, width = self.size
        boxes, corners = [], []
        for index, _, values in self._parts(start, stop):
            channels, rows, columns = self.at[index]
            top = min(rows.start, self.sample.shape[1] - height)
            left = min(columns.start, self.sample.shape[2] - width)
            box = self.sample[:, top : top + height, left : left + width]
            box = box.repeat(len(values), 1, 1, 1)
            inside = slice(rows.start - top, rows.stop - top)
            box[:, channels, inside, columns.start - left : columns.stop - left] = values
            boxes.append(box)
            corners += [(top, left)] * len(values)
        return Patched(self._known, torch.cat(boxes), corners)

    def _parts(self, start: int, stop: int) -> list[tuple[int, slice, Tensor]]:
        """Of copies start … stop: each window, the rows of the batch that it takes, and values."""
        found = []
        for index in range(start // self.number, (stop - 1) // self.number + 1):
            zero = index * self.number
            first, last = max(start, zero), min(stop, zero + self.number)
            values = self.fill(index)[first - zero : last - zero]
            found.append((index, slice(first - start, last - start), values))
        return found


def _agree(evaluate: Evaluator, copies: _Copies) -> bool:
    one = len(copies.at) // 2 * copies.number
    wanted = evaluate(1, lambda start, stop: copies.whole(one, one + 1))
    try:
        found = evaluate(1, lambda start, stop: copies.patched(one, one + 1))
    # A model may want a tensor itself, and say so by any error. Whole copies, which are next, work,
    # or raise what is wrong with the model.
    except Exception:
        return False
    tolerance = 1e-9 if wanted.dtype == torch.float64 else 1e-4
    return bool((wanted - found).abs() <= tolerance * wanted.abs())
