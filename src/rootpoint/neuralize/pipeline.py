"""Pipelines: the layers of the transformers, then the network of the last step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rootpoint.additive.sums import fitted_columns, given_columns
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import network, neuralize, unsupported
from rootpoint.neuralize.projections import through
from rootpoint.neuralize.reading import Steps, Through, decoded, read
from rootpoint.neuralize.transformers import Layer, Projected, layer_of, transformer


class Chain(Network):
    """A network behind the layers of transformers: relevance arrives at what the first reads."""

    def __init__(self, layers: Steps, last: Network, names: Any) -> None:
        super().__init__(layers.columns, last.outputs, names)
        self.layers = layers
        self.last = last
        self.rootpoint_rows = min(self.rootpoint_rows, last.rootpoint_rows)
        self.rootpoint_composite = last.rootpoint_composite

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x))

    def rootpoint_encode(self, table: Any) -> Tensor:
        return read(self.layers, fitted_columns(table, self.names))

    def rootpoint_decode(self, relevance: Tensor, table: Any) -> Any:
        found = decoded(self.layers, relevance, fitted_columns(table, self.names))
        return given_columns(found, table, self.names) if isinstance(found, Tensor) else found


@network("Pipeline")
def pipeline(estimator: Any, **options: Any) -> Network:
    """The last step's score of what the other steps make of a table.

    options   those of the last step's network
    Raises UnsupportedModelError if a step has no layer, or the last one no network.
    """
    *before, (_, last) = estimator.steps
    while hasattr(last, "steps"):
        before, last = [*before, *last.steps[:-1]], last.steps[-1][1]
    if last is None or isinstance(last, str):
        raise unsupported(estimator, "its last step decides nothing: it passes the table through")
    layers = _layers(before)
    found = neuralize(last, **options)
    # one that stretches its columns has no distances of x itself
    if layers and isinstance(layers[-1], Projected) and not getattr(found, "stretched", False):
        inner = through(layers[-1].mean, layers[-1].matrix, getattr(found, "distances", None))
        if inner is not None:
            found.distances = inner
            found.columns = layers.pop().columns
    if not layers:
        found.names = _names(estimator)
        return found
    return Chain(Steps(layers), found, _names(estimator))


@transformer("Pipeline")
def transforming(step: Any) -> Layer:
    """A pipeline of transformers."""
    layers = _layers(step.steps)
    return Steps(layers) if layers else Through(step.n_features_in_)


def _layers(steps: Any) -> list[Layer]:
    """One layer for each step, those of pipelines within included."""
    found: list[Layer] = []
    for _, step in steps:
        if hasattr(step, "steps"):
            found += _layers(step.steps)
        elif step is not None and step != "passthrough":
            found.append(layer_of(step))
    return found


def _names(estimator: Any) -> tuple[str, ...] | None:
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))
