"""The same Shapley values as SHAP's and Captum's, to rounding where both are exact.

- KernelExplainer keeps at most ten features unless l1_reg is False, and takes the mean score over
  the background, as our data baselines do.
- Captum answers in float32. Its sampled values take one evaluation per feature and order; its
  kernel SHAP draws with repetition and without pairs: both agree with ours within their errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.methods.shapley import Shapley

captum = pytest.importorskip("captum.attr")
shap = pytest.importorskip("shap")

pytestmark = pytest.mark.filterwarnings("ignore")  # of theirs, about numpy, tqdm and plotting


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 3)]
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def background() -> Tensor:
    return torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def score(network: nn.Module) -> Any:
    """The first class of a network, as a function of arrays."""

    def function(rows: Any) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(np.asarray(rows)))[:, 0].numpy()

    return function


@pytest.mark.slow  # SHAP compiles its loops
@pytest.mark.parametrize("estimator", ["exact", "kernel"])
def test_shap_exact_over_a_background(
    network: nn.Module, x: Tensor, background: Tensor, estimator: str
) -> None:
    masker = shap.maskers.Independent(background.numpy())
    theirs = shap.explainers.Exact(score(network), masker)(x.numpy()).values
    method = Shapley(baseline=background, estimator=estimator, budget=6 * 2**8)
    found = method(network, x, 0)
    assert np.allclose(found.relevance.numpy(), theirs, rtol=0, atol=1e-9)


def test_shap_kernel_with_all_coalitions(network: nn.Module, x: Tensor, background: Tensor) -> None:
    explainer = shap.KernelExplainer(score(network), background.numpy())
    theirs = explainer.shap_values(x.numpy(), nsamples=2**8, l1_reg=False, silent=True)
    found = Shapley(baseline=background, estimator="kernel", budget=6 * 2**8)(network, x, 0)
    assert np.allclose(found.relevance.numpy(), theirs, rtol=0, atol=1e-8)
    assert found.baseline_output is not None
    assert float(found.baseline_output[0]) == pytest.approx(explainer.expected_value, abs=1e-12)


def test_captum_with_all_orders(network: nn.Module, x: Tensor) -> None:
    x = x[:1, :6]
    padded = nn.Sequential(nn.ConstantPad1d((0, 2), 0.3), network).eval()
    theirs = captum.ShapleyValues(padded).attribute(x, target=0, perturbations_per_eval=64)
    found = Shapley()(padded, x, 0)
    assert torch.allclose(found.relevance, theirs.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("estimator", ["kernel", "permutation"])
def test_captum_sampled_within_the_errors(network: nn.Module, x: Tensor, estimator: str) -> None:
    torch.manual_seed(0)
    theirs = captum.ShapleyValueSampling(network).attribute(
        x[:1], target=0, n_samples=400, perturbations_per_eval=8
    )
    found = Shapley(estimator=estimator, budget=120)(network, x[:1], 0)
    assert torch.allclose(found.relevance, theirs.double(), rtol=0, atol=0.05)


def test_captum_kernel_with_features_of_several_values(network: nn.Module, x: Tensor) -> None:
    torch.manual_seed(0)
    mask = torch.tensor([0, 0, 1, 1, 2, 3, 3, 4])
    theirs = captum.KernelShap(network).attribute(
        x[:1], target=0, feature_mask=mask[None], n_samples=3000, perturbations_per_eval=100
    )
    found = Shapley(features=mask)(network, x[:1], 0)
    values = found.details["values"][0]
    assert torch.allclose(values[mask], theirs[0].double(), rtol=0, atol=0.02)


def test_fewer_than_half_of_captums_evaluations_for_an_error(network: nn.Module) -> None:
    x = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    wanted = Shapley(estimator="exact")(network, x, 0).relevance
    torch.manual_seed(0)
    theirs = captum.ShapleyValueSampling(network).attribute(
        x, target=0, n_samples=20, perturbations_per_eval=8
    )  # 160 evaluations for each sample
    ours = torch.stack(
        [
            Shapley(estimator="kernel", budget=80, seed=seed)(network, x, 0).relevance
            for seed in range(4)
        ]
    )
    assert float((ours - wanted).square().mean()) < float((theirs - wanted).square().mean())
