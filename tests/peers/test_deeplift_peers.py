"""The same maps as Captum's DeepLift, DeepLiftShap and SHAP's DeepExplainer, where they are right.

- They hook modules: every activation is a module of its own, used once.
- Captum's rescale uses the gradient where |Δa| < 1e-10, ours where |Δa| < 1e-7: none is that near.
- Captum's max-pooling in a network with activations loses the sum, as its own convergence delta
  says: it is compared without; SHAP's is compared with both.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from rootpoint.methods.deeplift import DeepLift

captum = pytest.importorskip("captum.attr")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting forward, backward hooks"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require grad"),
]

TARGETS = [0, 3, 1]


def network(activation: type[nn.Module] = nn.ReLU, *, pool: bool = False) -> nn.Sequential:
    """Convolutions, activations, mean or max-pooling, and dense layers."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 8), (8, 12)):
        layers += [nn.Conv2d(before, after, 3, padding=1), activation()]
        layers += [nn.MaxPool2d(2) if pool else nn.AvgPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(48, 16), activation(), nn.Linear(16, 5)]
    return nn.Sequential(*layers).double().eval()


def images(n: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 8, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    "activation", [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.ELU, nn.Identity]
)
def test_rescale_is_captums(activation: type[nn.Module]) -> None:
    """To 1e-9 of the greatest relevance."""
    model, x, baseline = network(activation), images(3), images(1, seed=2)
    if activation is nn.Identity:
        model = network(activation, pool=True)
    expected = captum.DeepLift(deepcopy(model)).attribute(x, baseline, target=torch.tensor(TARGETS))
    found = DeepLift(rule="rescale", baseline=baseline[0])(model, x, TARGETS).relevance
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_the_mean_over_baselines_is_captums_deepliftshap() -> None:
    model, x, baselines = network(), images(3), images(4, seed=2)
    expected = captum.DeepLiftShap(deepcopy(model)).attribute(
        x, baselines, target=torch.tensor(TARGETS)
    )
    found = DeepLift(rule="rescale", baseline=baselines)(model, x, TARGETS).relevance
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.filterwarnings("ignore")
def test_the_mean_over_baselines_is_shaps_deep_explainer() -> None:
    shap = pytest.importorskip("shap")
    model, x, baselines = network(pool=True), images(3), images(4, seed=2)
    values = shap.DeepExplainer(deepcopy(model), baselines).shap_values(x, check_additivity=False)
    found = DeepLift(rule="rescale", baseline=baselines)(model, x, 2).relevance
    expected = torch.from_numpy(values[..., 2]).to(found)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
