"""Multilayer perceptrons of scikit-learn, as the networks that they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rootpoint.neuralize.linear import checked
from rootpoint.neuralize.network import Network
from rootpoint.neuralize.neuralize import names_of, network

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "logistic": nn.Tanh,  # of half the input: see _layers
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


class Dense(nn.Module):
    """x W + b, with constant weights (inputs, outputs), in double precision."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        for name, value in (("weight", weight.T), ("bias", bias)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Perceptron(Network):
    """Dense layers with an activation between them. `at="layers.0"` names the first layer.

    The recommended rule is LRP-0 on every layer: nothing is absorbed but biases, and a column that
    is zero has no relevance. The rules for pixels (box, flat, w²) would give it some: they need a
    range common to all columns. Logistic units are ½ + ½ tanh(z/2), the ½ in the next layer's bias:
    a unit's relevance is that of its distance from ½, not that of a constant.
    opposed   give the one score s as (−s, s)
    single    give it as (B,)
    """

    def __init__(
        self, estimator: Any, outputs: Sequence[Any], *, opposed: bool = False, single: bool = False
    ) -> None:
        weights, biases = _layers(estimator)
        names, width = names_of(estimator), max(map(len, biases))
        super().__init__(len(weights[0]), outputs, names, width=width)
        if opposed:
            weights[-1] = np.hstack([-weights[-1], weights[-1]])
            biases[-1] = np.hstack([-biases[-1], biases[-1]])
        layers: list[nn.Module] = []
        for weight, bias in zip(weights, biases, strict=True):
            layers += [Dense(weight, bias), _ACTIVATIONS[estimator.activation]()]
        self.layers = nn.Sequential(*layers[:-1])
        self.single = single

    def forward(self, x: Tensor) -> Tensor:
        scores = self.layers(x)
        return scores[:, 0] if self.single else scores


def _layers(estimator: Any) -> tuple[list[Any], list[Any]]:
    """Weights (inputs, outputs) and biases, with logistic units as hyperbolic tangents."""
    weights = [np.asarray(w, dtype=np.float64) for w in estimator.coefs_]
    biases = [np.asarray(b, dtype=np.float64) for b in estimator.intercepts_]
    if estimator.activation == "logistic":
        for i in range(len(weights) - 1):
            weights[i], biases[i] = weights[i] / 2, biases[i] / 2
            biases[i + 1] = biases[i + 1] + weights[i + 1].sum(0) / 2
            weights[i + 1] = weights[i + 1] / 2
    return weights, biases


@network("MLPClassifier")
def perceptron_classifier(estimator: Any) -> Network:
    """The logits: softmax of them is predict_proba, (B, K) in the order of classes_.

    Two classes (−s, s): the logistic function of s is the probability of the second. Where labels
    may occur together (B, K), the logistic function of each is its probability.
    """
    classes = tuple(estimator.classes_)
    opposed = len(estimator.intercepts_[-1]) == 1 and len(classes) == 2
    found = Perceptron(estimator, classes, opposed=opposed)
    softmax = estimator.out_activation_ == "softmax"
    link = partial(torch.softmax, dim=1) if softmax else torch.sigmoid
    return checked(found, estimator, estimator.predict_proba, link)


@network("MLPRegressor")
def perceptron_regressor(estimator: Any) -> Network:
    """predict: (B,), of several targets (B, K); with loss="poisson" its logarithm."""
    single = len(estimator.intercepts_[-1]) == 1
    outputs = ("prediction",) if single else tuple(range(len(estimator.intercepts_[-1])))
    found = Perceptron(estimator, outputs, single=single)
    if estimator.out_activation_ == "exp":
        return checked(found, estimator, estimator.predict, torch.exp)
    return checked(found, estimator, estimator.predict)
