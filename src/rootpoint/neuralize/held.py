"""Estimators that hold another one, which decides: searches, and one classifier for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import REFUSED, names_of, network, neuralize, unsupported

REFUSED.update(
    CalibratedClassifierCV="its probabilities are averages of calibrated ones, no score of one "
    "estimator; neuralize the estimator before calibration, calibrated_classifiers_[0].estimator",
    TransformedTargetRegressor="its prediction is another function of what the regressor gives; "
    "neuralize its regressor_, whose score is the transformed target",
    FixedThresholdClassifier="it decides by another threshold than its estimator; neuralize its "
    "estimator_, whose score is the same",
    TunedThresholdClassifierCV="it decides by another threshold than its estimator; neuralize its "
    "estimator_, whose score is the same",
)


@network("BaseSearchCV")
def best(estimator: Any, **options: Any) -> Network:
    """The network of best_estimator_ of GridSearchCV, RandomizedSearchCV and the halving ones.

    options   those of that estimator's network
    Raises InputError if the search did not refit.
    """
    if not hasattr(estimator, "best_estimator_"):
        raise InputError(
            f"{type(estimator).__name__} holds no best_estimator_: search with refit=True, or "
            "neuralize an estimator fitted with best_params_"
        )
    return neuralize(estimator.best_estimator_, **options)


@network("FrozenEstimator")
def frozen(estimator: Any, **options: Any) -> Network:
    """The network of the estimator that is frozen. options: of its network."""
    return neuralize(estimator.estimator, **options)


@network("RANSACRegressor")
def consensus(estimator: Any, **options: Any) -> Network:
    """predict: the network of estimator_, fitted to the inliers. options: of its network."""
    return neuralize(estimator.estimator_, **options)


class OneForEach(Network):
    """The scores of several networks side by side, (B, K): of two-class ones the second score."""

    def __init__(
        self, networks: Sequence[Network], outputs: Sequence[Any], names: Sequence[str] | None
    ) -> None:
        super().__init__(networks[0].columns, outputs, names)
        self.rootpoint_rows = min(n.rootpoint_rows for n in networks)
        self.rootpoint_composite = networks[0].rootpoint_composite
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        found = [n(x) for n in self.networks]
        return torch.stack([s if s.dim() == 1 else s[:, -1] for s in found], 1)


@network("OneVsRestClassifier")
def one_for_each(estimator: Any, **options: Any) -> Network:
    """decision_function: (B, K), also of labels that may occur together; two classes (−s, s).

    options   those of the network of each class's estimator
    Raises UnsupportedModelError if they have no decision_function, or one of them is constant.
    """
    inner = estimator.estimators_
    if not all(hasattr(each, "decision_function") for each in inner):
        raise unsupported(estimator, "its estimators need a decision_function each")
    if any(type(each).__name__ == "_ConstantPredictor" for each in inner):
        raise unsupported(estimator, "one of its classes is in all of the data, or in none")
    networks = [neuralize(each, **options) for each in inner]
    if len(networks) == 1:
        found = networks[0]
        found.outputs = tuple(estimator.classes_)
        return found
    return OneForEach(networks, list(estimator.classes_), names_of(estimator))
