"""Tables of categories and numbers: encoders, imputers, bins, and layers one behind another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.additive.sums import fitted_columns, given_columns
from rootpoint.additive.sums import table as numbers
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.transformers import Layer, transformer
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

    tolerant = "ignore"

    def __init__(self, step: Any) -> None:
        super().__init__(len(step.categories_))
        self.categories = step.categories_
        self.names = getattr(step, "feature_names_in_", None)
        self.accepts_unknown = step.handle_unknown != "error"

    def encode(self, table: Any) -> Tensor:
        values = as_objects(fitted_columns(table, self.names), self.columns)
        codes = np.full(values.shape, UNKNOWN)
        for j, known in enumerate(self.categories):
            code_of = {_key(category): code for code, category in enumerate(known)}
            codes[:, j] = [code_of.get(_key(value), UNKNOWN) for value in values[:, j]]
        unknown = np.argwhere(codes == UNKNOWN)
        if len(unknown) and not self.accepts_unknown:
            row, j = unknown[0]
            raise self._unmet(row, j, values[row, j])
        return torch.from_numpy(codes)

    def _unmet(self, row: int, j: int, value: Any) -> InputError:
        name = j if self.names is None else repr(str(self.names[j]))
        return InputError(
            f"row {row}, column {name}: the category {value!r} was not met in fitting; fit the "
            f"encoder with handle_unknown={self.tolerant!r}"
        )

    def decode(self, relevance: Tensor, table: Any) -> Tensor:
        return given_columns(relevance, table, self.names)

    def behind(self) -> Layer:
        return Coded(self)


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
        _indices(self, kept)

    def forward(self, x: Tensor) -> Tensor:
        return indicators(x, self.column, self.category)


def _indices(layer: Layer, kept: Sequence[tuple[int, int]]) -> None:
    layer.register_buffer("column", torch.tensor([j for j, _ in kept], dtype=torch.long))
    layer.register_buffer("category", torch.tensor([k for _, k in kept], dtype=torch.float64))


class Codes(Categories):
    """The code of each category, as a number; missing and unknown ones have codes of their own."""

    tolerant = "use_encoded_value"

    def __init__(self, step: Any) -> None:
        super().__init__(step)
        self.unknown = UNKNOWN if step.unknown_value is None else float(step.unknown_value)
        missing = [_place_of_missing(known) for known in self.categories]
        self.constant("missing", missing)
        self.missing_code = float(step.encoded_missing_value)
        if self.unknown != self.unknown or (
            self.missing_code != self.missing_code and max(missing) >= 0
        ):
            raise UnsupportedModelError(
                "the step OrdinalEncoder makes NaN of missing or unknown categories: fit it with a "
                "number as encoded_missing_value and unknown_value"
            )

    def forward(self, x: Tensor) -> Tensor:
        return columnwise(x, self._numbers)

    def _numbers(self, codes: Tensor) -> Tensor:
        numbers = codes.masked_fill(codes == UNKNOWN, self.unknown)
        return numbers.masked_fill((codes == self.missing) & (codes >= 0), self.missing_code)


def _place_of_missing(known: Any) -> int:
    found = [k for k, category in enumerate(known) if category is None or _key(category) == _NAN]
    return found[0] if found else -2


class Coded(Layer):
    """Categories that are numbers which another layer has made."""

    def __init__(self, inner: Categories) -> None:
        super().__init__(inner.columns)
        self.inner = inner
        try:
            for j, known in enumerate(inner.categories):
                self.constant(f"known{j}", np.asarray(known, dtype=np.float64))
        except ValueError as error:
            raise UnsupportedModelError(
                "a step encodes words that another step made, which has no layer: encode the "
                f"columns of the table ({error})"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(columnwise(x, self._codes))

    def _codes(self, x: Tensor) -> Tensor:
        codes = torch.full_like(x, UNKNOWN)
        for j in range(self.columns):
            row, code = (x[:, j : j + 1] == getattr(self, f"known{j}")).nonzero(as_tuple=True)
            codes[row, j] = code.to(x)
        unknown = (codes == UNKNOWN).nonzero()
        if len(unknown) and not self.inner.accepts_unknown:
            row, j = unknown[0].tolist()
            raise self.inner._unmet(row, j, x[row, j].item())
        return codes


@transformer("OneHotEncoder")
def one_hot(step: Any) -> Layer:
    """One column for each category; a dropped one is none: its absence is in the others."""
    if getattr(step, "min_frequency", None) is not None or step.max_categories is not None:
        raise UnsupportedModelError(
            "the step OneHotEncoder joins infrequent categories, which has no layer: fit it "
            "without min_frequency and max_categories"
        )
    return Indicators(step)


@transformer("OrdinalEncoder")
def ordinal(step: Any) -> Layer:
    """The codes of the categories."""
    if step.min_frequency is not None or step.max_categories is not None:
        raise UnsupportedModelError(
            "the step OrdinalEncoder joins infrequent categories, which has no layer: fit it "
            "without min_frequency and max_categories"
        )
    return Codes(step)


class Binned(Layer):
    """The number of the bin that a value falls into, of each column."""

    def __init__(self, edges: Sequence[Any]) -> None:
        super().__init__(len(edges))
        for j, inner in enumerate(edges):
            self.constant(f"edges{j}", inner[1:-1])

    def forward(self, x: Tensor) -> Tensor:
        return columnwise(x, self._bins)

    def _bins(self, x: Tensor) -> Tensor:
        each = (
            torch.searchsorted(getattr(self, f"edges{j}"), x[:, j].contiguous(), right=True)
            for j in range(self.columns)
        )
        return torch.stack(list(each), 1).to(x)


class Binwise(Layer):
    """One column for each bin; a column gets the relevance of all its bins."""

    def __init__(self, edges: Sequence[Any]) -> None:
        super().__init__(len(edges))
        self.bins = Binned(edges)
        _indices(self, [(j, k) for j, e in enumerate(edges) for k in range(len(e) - 1)])

    def forward(self, x: Tensor) -> Tensor:
        return indicators(self.bins(x), self.column, self.category)


@transformer("KBinsDiscretizer")
def bins(step: Any) -> Layer:
    """The bin of each value, as its number or as one column for each bin."""
    return (Binned if step.encode == "ordinal" else Binwise)(step.bin_edges_)


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
                f"the table has {found.shape[1]} columns, but the model was fitted to "
                f"{self.columns}"
            )
        return torch.where(found.isnan(), torch.from_numpy(self.statistics), found)

    def decode(self, relevance: Tensor, table: Any) -> Tensor:
        return given_columns(relevance, table, self.names)

    def behind(self) -> Layer:
        return Through(self.columns)

    def forward(self, x: Tensor) -> Tensor:
        return x


class Filled(Layer):
    """A table of words, the missing ones filled in before the next layer reads them."""

    def __init__(self, step: Any) -> None:
        super().__init__(len(step.statistics_))
        self.statistics, self.missing = step.statistics_, step.missing_values
        self.names = getattr(step, "feature_names_in_", None)

    def fill(self, table: Any) -> Any:
        values = as_objects(fitted_columns(table, self.names), self.columns).copy()
        for j, statistic in enumerate(self.statistics):
            gone = [_key(value) == _key(self.missing) for value in values[:, j]]
            values[gone, j] = statistic
        return values

    def behind(self) -> Layer:
        raise UnsupportedModelError("an imputer of words must be the first step on its columns")

    def forward(self, x: Tensor) -> Tensor:
        raise UnsupportedModelError(
            "the step SimpleImputer fills in words: an encoder must come right behind it"
        )


@transformer("SimpleImputer")
def imputer(step: Any) -> Layer:
    """What is missing becomes the column's statistic; relevance is that of the filled value.

    Of words, an encoder must follow.
    """
    if step.add_indicator:
        raise UnsupportedModelError("the step SimpleImputer has no layer with add_indicator")
    if any(_key(value) == _NAN for value in step.statistics_):
        raise UnsupportedModelError(
            "the step SimpleImputer drops columns that had no value in fitting: leave them out"
        )
    if np.asarray(step.statistics_).dtype.kind not in "fiu":
        return Filled(step)
    if _key(step.missing_values) != _NAN:
        raise UnsupportedModelError("the step SimpleImputer needs missing_values=nan for numbers")
    return Imputed(step)


class Through(Layer):
    """Columns that pass as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@transformer("FunctionTransformer")
def function(step: Any) -> Layer:
    """The columns as they are, if the transformer has no function."""
    if step.func is not None:
        raise UnsupportedModelError(
            "the step FunctionTransformer applies a function of its own, which has no layer: apply "
            "it to the table before"
        )
    return Through(step.n_features_in_)


class Steps(Layer):
    """Layers one behind the other: the first one reads the table, after words were filled in."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers[0].columns)
        self.fills = [layer for layer in layers[:-1] if isinstance(layer, Filled)]
        first, *others = layers[len(self.fills) :]
        self.columns = first.columns
        self.layers = nn.ModuleList([first, *(layer.behind() for layer in others)])

    def encode(self, table: Any) -> Tensor:
        return read(self.layers[0], self._filled(table))

    def decode(self, relevance: Tensor, table: Any) -> Any:
        found = decoded(self.layers[0], relevance, self._filled(table))
        if not self.fills:
            return found
        return given_columns(found, table, self.fills[0].names)

    def _filled(self, table: Any) -> Any:
        for layer in self.fills:
            table = layer.fill(table)
        return table

    def behind(self) -> Layer:
        first, *others = [*self.fills, *self.layers]
        return Steps([first.behind(), *others])

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


def as_objects(table: Any, columns: int) -> Any:
    """A table of anything as an array of objects (B, columns)."""
    values = np.asarray(table, dtype=object)
    if values.ndim != 2 or values.shape[1] != columns:
        raise InputError(
            f"the table has shape {values.shape}, but the model was fitted to {columns} columns"
        )
    return values


def _key(value: Any) -> Any:
    """A category as what it is found by: all NaN are one, and so is pandas' NA."""
    missing = type(value).__name__ in ("NAType", "NaTType")
    return _NAN if missing or (isinstance(value, float) and value != value) else value


_NAN = "\0NaN"
