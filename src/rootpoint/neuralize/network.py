"""What a neuralized model is: a network that computes the same, and reads the same tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.propagation.composites import Composite, Where
from rootpoint.propagation.rules import distance, harmonic_minimum, soft_minimum, zero

_HELD = 1 << 22  # values of the widest layer that are held at once


def kernel_composite(rooted: bool = False) -> Composite:
    """The rules of neuralized models; zeros may carry relevance everywhere.

    rooted   take off what no input can explain (see the rule "soft-minimum")
    """
    entries = (
        (Where(kind="distance"), distance()),
        (Where(kind="soft-minimum"), soft_minimum(rooted=rooted)),
        (Where(kind="harmonic-minimum"), harmonic_minimum(rooted=rooted)),
        (Where(kind="linear"), zero()),  # exact: an ε would absorb
    )
    return Composite(entries, "kernel(rooted=True)" if rooted else "kernel")


class Network(nn.Module):
    """A fitted model as a network in double precision that computes its score exactly.

    columns   how many columns its tables have
    outputs   what is scored, in the order of the targets: the classes, or a name for the one score
    names     of the columns, if the model was fitted to a data frame
    width     values of the widest layer for one sample: decides how many samples are explained at
              once, so that memory is bounded
    rooted    which variant explains pools of distances (`kernel_composite`)
    It stays in eval mode: there is nothing to train.
    """

    def __init__(
        self,
        columns: int,
        outputs: Sequence[Any],
        names: Sequence[str] | None = None,
        *,
        width: int = 1,
        rooted: bool = False,
    ) -> None:
        super().__init__()
        self.columns = columns
        self.outputs = tuple(outputs)
        self.names = None if names is None else tuple(map(str, names))
        self.rootpoint_rows = max(1, _HELD // max(width, columns))
        self.rootpoint_composite = kernel_composite(rooted)

    def train(self, mode: bool = True) -> Network:
        return super().train(False)

    def constant(self, name: str, value: Any) -> None:
        """Keep an array of the fitted model as a buffer in double precision."""
        self.register_buffer(name, torch.from_numpy(np.array(value, dtype=np.float64)))

    def rootpoint_encode(self, table: Any) -> Tensor:
        """A table as the tensor (B, columns) that this network takes.

        table   an array, data frame or sparse matrix of numbers
        Raises InputError for another number of columns, missing ones, NaN, or what is no number.
        """
        return numeric(table, self.columns, self.names)

    def rootpoint_decode(self, relevance: Tensor, table: Any) -> Any:
        """The relevance of the encoded table as that of what was given, column by column."""
        from rootpoint.additive.sums import given_columns

        return given_columns(relevance, table, self.names)


def numeric(table: Any, columns: int, names: Sequence[str] | None) -> Tensor:
    """A table of numbers as a tensor (B, columns); a data frame's columns are taken by name."""
    from rootpoint.additive.sums import fitted_columns
    from rootpoint.additive.sums import table as read

    found = read(fitted_columns(table, names))
    if found.shape[1] != columns:
        raise InputError(
            f"the table has {found.shape[1]} columns, but the model was fitted to {columns}"
        )
    return found
