from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import rootpoint.prototypes as rp
from rootpoint.errors import InputError, MissingExtraError

sklearn_mixture = pytest.importorskip("sklearn.mixture")


@pytest.fixture
def points() -> Tensor:
    """Two clouds in the plane, one of them long."""
    noise = torch.randn(200, 2, dtype=torch.float64)
    noise[100:] = noise[100:] @ torch.tensor([[2.0, 1.0], [0.0, 0.3]]).double() + 6
    return noise


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_the_density_is_scikit_learn_s(points: Tensor, covariance: str) -> None:
    estimator = sklearn_mixture.GaussianMixture(3, covariance_type=covariance, random_state=0)
    estimator.fit(points.numpy())
    x = 5 * torch.randn(50, 2, dtype=torch.float64)
    found = rp.GaussianMixture.from_sklearn(estimator)(x)
    np.testing.assert_allclose(found.numpy(), estimator.score_samples(x.numpy()), rtol=1e-10)


def test_its_gradient_is_that_of_the_log_density(points: Tensor) -> None:
    density = rp.fit_density(points, 3)
    x = (3 * torch.randn(4, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(density, (x,))


def test_it_is_saved_without_loss(points: Tensor, tmp_path: Path) -> None:
    density = rp.fit_density(points, 2, covariance="tied")
    again = rp.GaussianMixture.load(density.save(tmp_path / "density.safetensors"))
    assert torch.equal(again(points), density(points))


def test_the_same_seed_fits_the_same_to_batches(points: Tensor) -> None:
    whole, batched = rp.fit_density(points, 2), rp.fit_density(points.split(7), 2)
    assert torch.equal(whole.means, batched.means)


def test_as_an_expert_it_pulls_a_prototype_towards_the_data(points: Tensor, linear) -> None:
    density = rp.fit_density(points, 2)
    mean = points[:100].mean(0)
    alone = rp.prototype(linear, 0, start=mean, steps=100, rate=0.2)
    pulled = rp.prototype(linear, 0, start=mean, expert=density, steps=100, rate=0.2)
    assert density(pulled.images) > density(alone.images) + 5
    assert pulled.score > linear(mean)


def test_with_one_gaussian_the_prototype_is_the_mean_plus_covariance_times_w(linear) -> None:
    density = rp.GaussianMixture(
        torch.ones(1).double(),
        torch.tensor([[1.0, 2.0]]).double(),
        torch.tensor([[2.0, 0.5]]).double(),
    )  # variances 1/4 and 4
    found = rp.prototype(
        linear, 0, start=torch.tensor([1.0, 10.0]).double(), expert=density, steps=500, rate=0.5
    )
    torch.testing.assert_close(
        found.images, torch.tensor([[1.75, 18.0]]).double(), atol=1e-4, rtol=0
    )


def test_what_does_not_fit_is_named(points: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="call its fit"):
        rp.GaussianMixture.from_sklearn(sklearn_mixture.GaussianMixture())
    with pytest.raises(InputError, match="of 2 values, not of 3"):
        rp.fit_density(points, 2)(torch.zeros(1, 3))
    with pytest.raises(InputError, match="as many samples"):
        rp.fit_density(points[:3], 4)
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(MissingExtraError, match="sklearn"):
        rp.fit_density(points)
