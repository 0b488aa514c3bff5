"""Tables of categories and numbers: encoders, imputers and what joins them, as first layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.additive.sums import fitted_columns, given_columns, table as numbers
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.transformers import Layer, layer_of, transformer
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.functions import columnwise, overridable
from rootpoint.propagation.rules import rule

UNKNOWN = -1.0
"""The code of a category that was not met in fitting."""


@overridable
def indicators(codes: Tensor, column: Tensor, category: Tensor) -> Tensor:
    """1 where the code of a column is a category: from (B, columns) to (B, all categories)."""
    return (codes.index_select(1, column) == category).to(codes.dtype)


@rule("indicators", operation=indicators, exact=True)
def join_indicators(call: Call, m: Tensor) -> Back:
    """A column gets what its categories have, present and absent ones: R = Σ R. Conserves."""
    column = call.step.bound(call.tensors, "codes", "column", "category")["column"]
    found = torch.zeros_like(call.input).index_add_(1, column, call.relevance(m))
    return Back(relevance=found)


class Categories(Layer):
    """A table of categories, read as their codes; an unknown one is `UNKNOWN`, or an error."""

    def __init__(self, step: Any) -> None:
        super().__init__(len(step.categories_))
        self.categories = step.categories_
        self.names = getattr(step, "feature_names_in_", None)
        self.accepts_unknown = step.handle_unknown != "error"

    def encode(self, table: Any) -> Tensor:
        values = as_objects(fitted_columns(table, self.names), self.columns)
        codes = np.full(values.shape, UNKNOWN)
        for j, known in enumerate(self.categories):
            for code, category in enumerate(known):
                codes[_same(values[:, j], category), j] = code
        unknown = np.argwhere(codes == UNKNOWN)
        if len(unknown) and not self.accepts_unknown:
            row, j = unknown[0]
            name = j if self.names is None else repr(str(self.names[j]))
            raise InputError(
                f"row {row}, column {name}: the category {values[row, j]!r} was not met in fitting; "
                "fit the encoder with handle_unknown='ignore'"
            )
        return torch.from_numpy(codes)

    def decode(self, relevance: Tensor, table: Any) -> Tensor:
        return given_columns(relevance, table, self.names)


class Indicators(Categories):
    """One column for each category."""

    def __init__(self, step: Any) -> None:
        super().__init__(step)
        dropped = [None] * self.columns if step.drop_idx_ is None else step.drop_idx_
        kept = [
            (j, k)
            for j, known in enumerate(self.categories)
            for k in range(len(known))
            if k != dropped[j]
        ]
        self.register_buffer("column", torch.tensor([j for j, _ in kept]))
        self.register_buffer("category", torch.tensor([float(k) for _, k in kept]).double())

    def forward(self, x: Tensor) -> Tensor:
        return indicators(x, self.column, self.category)


class Codes(Categories):
    """The code of each category, as a number."""

    def __init__(self, step: Any) -> None:
        super().__init__(step)
        self.unknown = float(step.unknown_value) if step.unknown_value is not None else UNKNOWN

    def forward(self, x: Tensor) -> Tensor:
        return columnwise(x, lambda codes: codes.masked_fill(codes == UNKNOWN, self.unknown))


@transformer("OneHotEncoder")
def one_hot(step: Any) -> Layer:
    """One column for each category; a dropped one is none: its absence is in the others."""
    if getattr(step, "min_frequency", None) is not None or step.max_categories is not None:
        raise UnsupportedModelError(
            "the step OneHotEncoder joins infrequent categories, which has no layer: fit it without "
            "min_frequency and max_categories"
        )
    return Indicators(step)


@transformer("OrdinalEncoder")
def ordinal(step: Any) -> Layer:
    """The codes of the categories."""
    return Codes(step)


class Imputed(Layer):
    """Numbers, the missing ones filled in as they are read."""

    def __init__(self, step: Any) -> None:
        super().__init__(len(step.statistics_))
        self.statistics = np.asarray(step.statistics_, dtype=np.float64)
        self.names = getattr(step, "feature_names_in_", None)

    def encode(self, table: Any) -> Tensor:
        found = numbers(fitted_columns(table, self.names), missing=True)
        if found.shape[1] != self.columns:
            raise InputError(
                f"the table has {found.shape[1]} columns, but the model was fitted to {self.columns}"
            )
        return torch.where(found.isnan(), torch.from_numpy(self.statistics), found)

    def decode(self, relevance: Tensor, table: Any) -> Tensor:
        return given_columns(relevance, table, self.names)

    def forward(self, x: Tensor) -> Tensor:
        return x


@transformer("SimpleImputer")
def imputer(step: Any) -> Layer:
    """What is missing (NaN) becomes the column's statistic; relevance is that of the filled value."""
    missing = step.missing_values
    unlike = not (isinstance(missing, float) and np.isnan(missing))
    if unlike or step.add_indicator or np.asarray(step.statistics_).dtype.kind not in "fiu":
        raise UnsupportedModelError(
            "the step SimpleImputer is supported for numbers, with missing_values=nan and without "
            "add_indicator"
        )
    if np.isnan(np.asarray(step.statistics_, dtype=np.float64)).any():
        raise UnsupportedModelError(
            "the step SimpleImputer drops columns that had no value in fitting: leave them out"
        )
    return Imputed(step)


class Joined(Layer):
    """Several layers, each on columns of its own, side by side (`ColumnTransformer`).

    What is read is one block for each layer; a column that two of them read gets both relevances.
    """

    def __init__(self, parts: Sequence[tuple[Layer, list[int]]], names: Any, width: int) -> None:
        super().__init__(sum(layer.columns for layer, _ in parts))
        self.parts = nn.ModuleList(layer for layer, _ in parts)
        self.positions = [positions for _, positions in parts]
        self.names, self.width = names, width

    def encode(self, table: Any) -> Tensor:
        table = fitted_columns(table, self.names)
        if getattr(table, "shape", (0, 0))[1] != self.width:
            raise InputError(
                f"the table has shape {getattr(table, 'shape', None)}, but the model was fitted to "
                f"{self.width} columns"
            )
        each = zip(self.parts, self.positions, strict=True)
        return torch.cat([read(layer, _columns(table, at)) for layer, at in each], 1)

    def decode(self, relevance: Tensor, table: Any) -> Tensor:
        found = relevance.new_zeros(len(relevance), self.width)
        blocks = relevance.split([layer.columns for layer in self.parts], 1)
        for layer, block, at in zip(self.parts, blocks, self.positions, strict=True):
            inner = decoded(layer, block, _columns(table, at))
            found.index_add_(1, torch.tensor(at), inner)
        return given_columns(found, table, self.names)

    def forward(self, x: Tensor) -> Tensor:
        blocks = x.split([layer.columns for layer in self.parts], 1)
        each = [layer(block) for layer, block in zip(self.parts, blocks, strict=True)]
        return torch.cat(each, 1)


class Through(Layer):
    """Columns that pass as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@transformer("FunctionTransformer")
def function(step: Any) -> Layer:
    """The columns as they are, if the transformer has no function."""
    if step.func is not None:
        raise UnsupportedModelError(
            "the step FunctionTransformer applies a function of its own, which has no layer: apply it "
            "to the table before"
        )
    return Through(step.n_features_in_)


class Steps(Layer):
    """Layers one behind the other: a pipeline of transformers."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers[0].columns)
        self.layers = nn.ModuleList(layers)

    def encode(self, table: Any) -> Tensor:
        return read(self.layers[0], table)

    def decode(self, relevance: Tensor, table: Any) -> Any:
        return decoded(self.layers[0], relevance, table)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def decoded(layer: Any, relevance: Tensor, table: Any) -> Any:
    """The relevance of what a layer read, as that of the table it was read from."""
    return layer.decode(relevance, table) if hasattr(layer, "decode") else relevance


def read(layer: Any, table: Any) -> Tensor:
    """A table as the tensor that a layer takes: by its own `encode`, or as numbers."""
    if hasattr(layer, "encode"):
        return layer.encode(table)
    found = numbers(table)
    if found.shape[1] != layer.columns:
        raise InputError(
            f"the table has {found.shape[1]} columns, but the model was fitted to {layer.columns}"
        )
    return found


@transformer("ColumnTransformer")
def columns(step: Any) -> Layer:
    """Each transformer's layer on its columns; dropped columns have no relevance."""
    names = getattr(step, "feature_names_in_", None)
    parts: list[tuple[Layer, list[int]]] = []
    for _, inner, chosen in step.transformers_:
        at = _positions(chosen, names, step.n_features_in_)
        if isinstance(inner, str) and inner == "drop" or not at:
            continue
        passes = inner is None or isinstance(inner, str)
        parts.append((Through(len(at)) if passes else layer_of(inner), at))
    return Joined(parts, names, step.n_features_in_)


def _positions(chosen: Any, names: Any, count: int) -> list[int]:
    """The positions of columns given by name, position, slice or mask."""
    if isinstance(chosen, str | int):
        chosen = [chosen]
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


def _columns(table: Any, at: Sequence[int]) -> Any:
    return table.iloc[:, list(at)] if hasattr(table, "iloc") else np.asarray(table)[:, list(at)]


def as_objects(table: Any, columns: int) -> Any:
    """A table of anything as an array of objects (B, columns)."""
    values = np.asarray(table, dtype=object)
    if values.ndim != 2 or values.shape[1] != columns:
        raise InputError(
            f"the table has shape {values.shape}, but the model was fitted to {columns} columns"
        )
    return values


def _same(values: Any, category: Any) -> Any:
    """Where values are a category; all missing ones are the same."""
    if category is None or (isinstance(category, float) and np.isnan(category)):
        return np.array([v is None or v != v for v in values])
    return np.array([v == category for v in values])
