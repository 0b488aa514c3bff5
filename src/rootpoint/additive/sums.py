"""Scores that are sums, tables as such models take them, and the choice of the explained class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.inputs import batches, check_scores
from rootpoint.target import Target, scores


class Share(NamedTuple):
    """The sum that is explained: score (N,) = base (N,) + Σ_m parts (N, M), and its target."""

    parts: Tensor
    base: Tensor
    score: Tensor
    target: Sequence[Any]


@dataclass(frozen=True, eq=False)
class Sums:
    """score[n, k] = base[k] + Σ_m parts[n, m, k] of N samples, K classes or predicted values.

    classifier   whether the K scores are of classes. Two classes have the log-odds (or the signed
                 distance) s of the second as their one score: they are made the columns (−s, s).
    """

    parts: Tensor
    base: Tensor
    classifier: bool

    @classmethod
    def of(cls, parts: Any, base: Any, classifier: bool) -> Sums:
        """From arrays; a classifier's one score becomes two opposed ones."""
        parts, base = (torch.from_numpy(np.array(a, dtype=np.float64)) for a in (parts, base))
        if classifier and parts.shape[-1] == 1:
            parts, base = torch.cat((-parts, parts), -1), torch.cat((-base, base), -1)
        return cls(parts, base, classifier)

    @property
    def scores(self) -> Tensor:
        return self.base + self.parts.sum(1)

    def share(self, target: Target) -> Share:
        """The sum of each sample's target.

        Raises InputError for a target that does not fit, or a score that is not finite.
        """
        output = self.scores
        check_scores(output)
        if isinstance(target, str) and not self.classifier and output.shape[1] > 1:
            raise InputError(
                f"the model predicts {output.shape[1]} values, not classes: give as target the "
                "index of the one to explain"
            )
        score, resolved = scores(output, target, len(output))
        if not isinstance(resolved, list):
            raise InputError(
                "an additive model is explained class by class: give as target the index of a "
                "class, one for each sample, or 'predicted', not a function"
            )
        samples = torch.arange(len(output))
        return Share(self.parts[samples, :, resolved], self.base[resolved], score, resolved)


def table(inputs: Any, *, missing: bool = False) -> Tensor:
    """A table of numbers, as a double-precision tensor (N, D).

    inputs   a tensor, array, data frame or sparse matrix
    missing  whether NaN may stand for a missing value
    Raises InputError if it is no such table, or holds NaN or infinity.
    """
    if isinstance(inputs, Tensor):
        values = inputs.detach().cpu().double()
    else:
        dense = inputs.toarray() if hasattr(inputs, "toarray") else inputs
        try:
            values = torch.from_numpy(np.array(dense, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the input, a {type(inputs).__name__}, is not a table of numbers: {error}"
            ) from error
    if values.dim() != 2 or not values.numel():
        raise InputError(
            f"the input has shape {tuple(values.shape)}: give samples in rows and features in "
            "columns, (N, D)"
        )
    if not (torch.isfinite(values) | values.isnan() if missing else torch.isfinite(values)).all():
        raise InputError("the input holds NaN or infinity: clean the data before explaining it")
    return values


def fitted_columns(table: Any, names: Sequence[str] | None) -> Any:
    """A table with the columns that a model was fitted to: a data frame's are taken by name.

    Raises InputError if one is missing.
    """
    if not hasattr(table, "columns") or names is None:
        return table
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(
            f"the table has no column {missing[0]!r} ({len(missing)} of {len(names)} missing); "
            f"it has {', '.join(map(str, list(table.columns)[:10]))}"
        )
    return table[list(names)]


def given_columns(relevance: Tensor, table: Any, names: Sequence[str] | None) -> Tensor:
    """The relevance of `fitted_columns(table, names)` in the table's own columns; 0 in others."""
    if not hasattr(table, "columns") or names is None:
        return relevance
    found = relevance.new_zeros(len(relevance), len(table.columns))
    found[:, [list(table.columns).index(name) for name in names]] = relevance
    return found


def tables(data: Any) -> Iterable[Any]:
    """A data set as tables: itself if it is one, or its batches (see `inputs.batches`)."""
    one = isinstance(data, Tensor | np.ndarray) or hasattr(data, "columns")
    return [data] if one or hasattr(data, "toarray") else batches(data)
