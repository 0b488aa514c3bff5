"""The same maps as Captum's gradient methods."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.methods.gradient import Sensitivity
from rootpoint.methods.integrated_gradients import IntegratedGradients
from rootpoint.methods.smoothgrad import SmoothGrad

captum = pytest.importorskip("captum.attr")

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require grad")

TARGETS = [0, 2, 1]
QUADRATURES = {
    "midpoint": "riemann_middle",
    "gauss-legendre": "gausslegendre",
    "right": "riemann_right",
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    layers += [nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(288, 4)]
    model = nn.Sequential(*layers).double().eval()
    nn.init.uniform_(model[1].running_var, 0.5, 2)
    nn.init.normal_(model[1].running_mean)
    return model


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 16, 16, dtype=torch.float64)


@pytest.mark.parametrize("quadrature", QUADRATURES)
@pytest.mark.parametrize("steps", [2, 20, 50])
def test_integrated_gradients(x: Tensor, quadrature: str, steps: int) -> None:
    """To 1e-6 of the norm, the gap to 1e-6: Captum's nodes and weights are float32."""
    model = network()
    start = torch.randn(3, 3, 16, 16).double()
    expected, delta = captum.IntegratedGradients(model).attribute(
        x,
        start,
        target=TARGETS,
        n_steps=steps,
        method=QUADRATURES[quadrature],
        return_convergence_delta=True,
    )
    method = IntegratedGradients(steps=steps, quadrature=quadrature, baseline=start[:, None])
    found = method(model, x, TARGETS)
    assert (found.relevance - expected).norm() <= 1e-6 * expected.norm()
    torch.testing.assert_close(found.completeness_gap, -delta, rtol=0, atol=1e-6)


def test_integrated_gradients_in_single_precision(x: Tensor) -> None:
    """To 1e-4 of the norm, with the batch-norm folded."""
    model = network().float()
    expected = captum.IntegratedGradients(model).attribute(x.float(), target=TARGETS)
    method = IntegratedGradients(quadrature="gauss-legendre")
    found = method(model, x.float(), TARGETS).relevance
    assert (found - expected).norm() <= 1e-4 * expected.norm()


def test_sensitivity(x: Tensor) -> None:
    expected = captum.Saliency(network()).attribute(x.clone(), target=TARGETS)
    found = Sensitivity(aggregate="absolute")(network(), x, TARGETS).relevance
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("aggregate", "kind"),
    [("mean", "smoothgrad"), ("squared", "smoothgrad_sq"), ("variance", "vargrad")],
)
def test_smoothgrad_agrees_within_the_noise(x: Tensor, aggregate: str, kind: str) -> None:
    """Both draw 400 samples of their own: maps correlate as two halves of one sample would."""
    model, one = network(), x[:1]
    sigma = float(0.1 * (one.max() - one.min()))
    theirs = captum.NoiseTunnel(captum.Saliency(model)).attribute(
        one.clone(), nt_type=kind, nt_samples=400, stdevs=sigma, target=1, abs=False
    )
    ours: Any = SmoothGrad(samples=400, level=0.1, aggregate=aggregate)(model, one, 1)
    assert torch.corrcoef(torch.stack([ours.relevance.flatten(), theirs.flatten()]))[0, 1] > 0.97
    if ours.standard_error is not None:
        z = (ours.relevance - theirs) / (2**0.5 * ours.standard_error)
        assert 0.8 < z.std() < 1.2
        assert z.abs().max() < 6
