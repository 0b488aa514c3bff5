"""The same values as Quantus's randomization metrics, where both can draw the same.

- Its layers come in the order of registration, each drawn after `torch.manual_seed(seed + 1)`: it
  gets a network that runs in this order, and layers whose draws do not depend on a seed.
- Its random class is drawn from numpy's global state: of two classes there is one other.
- It computes in float32, and asks the explanation of the same target for one channel.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.evaluation.evaluate import evaluate

quantus = pytest.importorskip("quantus")
functions = pytest.importorskip("quantus.functions.similarity_func")

PLAIN = {"normalise": False, "abs": False, "disable_warnings": True, "display_progressbar": False}


class Known(nn.Linear):
    """A dense layer whose new parameters depend on nothing but its size."""

    def reset_parameters(self) -> None:
        source = torch.Generator().manual_seed(self.in_features)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=source))


def network(classes: int) -> nn.Sequential:
    torch.manual_seed(0)
    sizes = (3 * 8 * 8, 20, 16, classes)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [Known(before, after), nn.Tanh()]
    with torch.no_grad():
        for parameter in nn.Sequential(*layers).parameters():
            parameter.normal_(std=0.3)
    return nn.Sequential(*layers[:-1]).eval()


def gradient(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    x = inputs.detach().clone().requires_grad_()
    chosen = model(x).gather(1, targets[:, None])
    return torch.autograd.grad(chosen.sum(), x)[0].sum(1, keepdim=True)


def explained(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
    return gradient(model, torch.as_tensor(inputs), torch.as_tensor(targets)).numpy()


def judged(name: str, model: nn.Module, x: Tensor, y: Tensor) -> Any:
    return evaluate(model, x, {"it": gradient}, name, target=y.tolist())


@pytest.mark.parametrize(
    ("kind", "peer"), [("signed-spearman", "correlation_spearman"), ("cosine", "cosine")]
)
@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_parameter_randomization(kind: str, peer: str, order: str) -> None:
    model, x, y = network(5), torch.randn(3, 3, 8, 8), torch.tensor([0, 3, 1])
    theirs = quantus.MPRT(
        similarity_func=getattr(functions, peer) if peer != "cosine" else similar,
        layer_order="top_down" if order == "cascading" else order,
        **PLAIN,
    )(
        model=model,
        x_batch=x.numpy(),
        y_batch=y.numpy(),
        explain_func=explained,
        channel_first=True,
    )
    name = f"parameter-randomization(order='{order}', similarity='{kind}')"
    found = judged(name, model, x, y).results["it"].curves
    (curve,) = found.values()
    expected = {layer: values for layer, values in theirs.items() if layer != "original"}
    names = list(curve.x)
    if order == "independent":  # it goes from the bottom up there
        assert sorted(expected) == sorted(names)
    else:
        assert list(expected) == names
    lines = curve.lines["similarity"]
    for position, layer in enumerate(names):
        assert lines[:, position] == pytest.approx(expected[layer], abs=1e-5)


def similar(a: np.ndarray, b: np.ndarray, **_: Any) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_random_logit() -> None:
    model, x, y = network(2), torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 1])
    theirs = quantus.RandomLogit(
        num_classes=2, similarity_func=functions.correlation_spearman, **PLAIN
    )(
        model=model,
        x_batch=x.numpy(),
        y_batch=y.numpy(),
        explain_func=explained,
        channel_first=True,
    )
    name = "random-logit(similarity='signed-spearman')"
    mine = judged(name, model, x, y).values(name, "it")
    assert mine == pytest.approx(np.asarray(theirs).ravel(), abs=1e-5)
