"""Transformers side by side: column transformers and feature unions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.additive.sums import fitted_columns, given_columns
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.reading import Steps, Through, decoded, read
from rootpoint.neuralize.transformers import Columnwise, Layer, layer_of, transformer

Positions = list[int] | int
"""Of the columns that a layer takes as a table, or of the one that it takes as a series."""


class Joined(Layer):
    """Several layers, each on columns of its own, side by side.

    What is read is one block for each layer; a column that two of them read gets both relevances.
    """

    def __init__(self, parts: Sequence[tuple[Layer, Positions]], names: Any, width: int) -> None:
        super().__init__(sum(layer.columns for layer, _ in parts))
        self.each = [layer for layer, _ in parts]
        self.parts = nn.ModuleList(self.each)
        self.positions = [positions for _, positions in parts]
        self.names, self.width = names, width

    def encode(self, table: Any) -> Tensor:
        table = self._table(table)
        each = zip(self.parts, self.positions, strict=True)
        return torch.cat([read(layer, _columns(table, at)) for layer, at in each], 1)

    def decode(self, relevance: Tensor, table: Any) -> Tensor:
        own = self._table(table)
        found = relevance.new_zeros(len(relevance), self.width)
        blocks = relevance.split([layer.columns for layer in self.parts], 1)
        for layer, block, at in zip(self.parts, blocks, self.positions, strict=True):
            inner = decoded(layer, block, _columns(own, at))
            if isinstance(at, int):  # a column of texts gets what its words have
                inner, at = torch.stack([torch.as_tensor(r).sum() for r in inner])[:, None], [at]
            found.index_add_(1, torch.tensor(at), inner.to(found))
        return given_columns(found, table, self.names)

    def _table(self, table: Any) -> Any:
        table = fitted_columns(table, self.names)
        table = table if hasattr(table, "shape") else np.asarray(table, dtype=object)
        if len(table.shape) != 2 or table.shape[1] != self.width:
            raise InputError(
                f"the table has shape {tuple(table.shape)}, but the model was fitted to "
                f"{self.width} columns"
            )
        return table

    def behind(self) -> Layer:
        return Beside(self)

    def forward(self, x: Tensor) -> Tensor:
        blocks = x.split([layer.columns for layer in self.parts], 1)
        each = [layer(block) for layer, block in zip(self.parts, blocks, strict=True)]
        return torch.cat(each, 1)


class Beside(Layer):
    """Joined layers that each select their columns of a table of numbers."""

    def __init__(self, joined: Joined) -> None:
        super().__init__(joined.width)
        self.parts = nn.ModuleList(layer.behind() for layer in joined.each)
        for i, at in enumerate(joined.positions):
            self.register_buffer(f"at{i}", torch.tensor([at] if isinstance(at, int) else at))

    def forward(self, x: Tensor) -> Tensor:
        each = enumerate(self.parts)
        return torch.cat(
            [layer(x.index_select(1, getattr(self, f"at{i}"))) for i, layer in each], 1
        )


@transformer("ColumnTransformer")
def columns(step: Any) -> Layer:
    """Each transformer's layer on its columns; dropped columns have no relevance."""
    names = getattr(step, "feature_names_in_", None)
    parts: list[tuple[Layer, Positions]] = []
    for name, inner, chosen in step.transformers_:
        at = _positions(chosen, names, step.n_features_in_)
        if _is(inner, "drop") or at == []:
            continue
        count = 1 if isinstance(at, int) else len(at)
        layer = _layer(inner, count)
        at = [at] if isinstance(at, int) and isinstance(layer, Through) else at
        parts.append((_weighted(step, name, layer), at))
    return _joined(step, parts, names)


@transformer("FeatureUnion")
def union(step: Any) -> Layer:
    """Each transformer's layer on all columns."""
    width = getattr(step, "n_features_in_", None)
    if width is None:
        raise UnsupportedModelError(
            "the step FeatureUnion joins what reads no table, which has no layer: use one "
            "vectorizer, or a ColumnTransformer with a column of texts"
        )
    parts: list[tuple[Layer, Positions]] = [
        (_weighted(step, name, _layer(inner, width)), list(range(width)))
        for name, inner in step.transformer_list
        if not _is(inner, "drop")
    ]
    return _joined(step, parts, getattr(step, "feature_names_in_", None))


def _joined(step: Any, parts: Sequence[tuple[Layer, Positions]], names: Any) -> Layer:
    if not parts:
        raise UnsupportedModelError(f"the step {type(step).__name__} drops all columns")
    return Joined(parts, names, step.n_features_in_)


def _layer(inner: Any, columns: int) -> Layer:
    return Through(columns) if inner is None or _is(inner, "passthrough") else layer_of(inner)


def _is(inner: Any, word: str) -> bool:
    return isinstance(inner, str) and inner == word


def _weighted(step: Any, name: str, layer: Layer) -> Layer:
    weight = (step.transformer_weights or {}).get(name)
    if weight is None:
        return layer
    return Steps([layer, Columnwise(0, lambda x, weight: x * weight, weight=weight)])


def _positions(chosen: Any, names: Any, count: int) -> Positions:
    """The positions of columns given by name, position, slice or mask; of one, as a number."""
    if isinstance(chosen, str):
        return list(names).index(chosen)
    if isinstance(chosen, int | np.integer):
        return int(chosen) % count
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            listed = list(names)
            start = 0 if chosen.start is None else listed.index(chosen.start)
            stop = count if chosen.stop is None else listed.index(chosen.stop) + 1
            return list(range(start, stop))[:: chosen.step or 1]
        return list(range(count))[chosen]
    listed = list(chosen)
    if listed and isinstance(listed[0], bool | np.bool_):
        return np.flatnonzero(listed).tolist()
    if listed and isinstance(listed[0], str):
        return [list(names).index(name) for name in listed]
    return [int(i) % count for i in listed]


def _columns(table: Any, at: Positions) -> Any:
    if hasattr(table, "iloc"):
        return table.iloc[:, at]
    dense = table.toarray() if hasattr(table, "toarray") else np.asarray(table)
    return dense[:, at]
