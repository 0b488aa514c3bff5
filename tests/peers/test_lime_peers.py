"""The same surrogates as scikit-learn's ridge regression and Captum's LIME on the same samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.perturbation.surrogates import nearness, ridge, surrogate

linear_model = pytest.importorskip("sklearn.linear_model")
captum = pytest.importorskip("captum.attr")

pytestmark = pytest.mark.filterwarnings("ignore")  # of Captum's about its regressions


@pytest.mark.parametrize("alpha", [0.01, 1.0, 30.0])
def test_ridge_of_scikit_learn(alpha: float) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(2, (200, 7), generator=g).double()
    y = x @ torch.randn(7, generator=g).double() + torch.randn(200, generator=g).double()
    weight = torch.rand(200, generator=g).double()
    theirs = linear_model.Ridge(alpha=alpha).fit(x.numpy(), y.numpy(), weight.numpy())
    found = ridge(x, y, weight, alpha)
    assert torch.allclose(found.coefficients, torch.from_numpy(theirs.coef_), rtol=0, atol=1e-10)
    assert found.intercept == pytest.approx(theirs.intercept_, abs=1e-10)
    r2 = theirs.score(x.numpy(), y.numpy(), weight.numpy())
    assert found.fit == pytest.approx(r2, abs=1e-10)


def test_lime_of_captum_on_the_same_samples() -> None:
    """In float32, as it computes."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2)).eval()
    x = torch.randn(1, 6)
    masks = torch.randint(2, (150, 6)).bool()
    masks[0] = True
    weight = nearness(masks, 0.25, cosine=True)
    order = iter(range(150))

    def perturb(inputs: Tensor, **_: Any) -> Tensor:
        return masks[next(order)][None].float()

    def similar(inputs: Tensor, perturbed: Tensor, mask: Tensor, **_: Any) -> Tensor:
        return nearness(mask.bool(), 0.25, cosine=True)

    theirs = captum.LimeBase(
        network,
        Ridge(),
        similarity_func=similar,
        perturb_func=perturb,
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda mask, inputs, **_: mask * inputs,
        to_interp_rep_transform=None,
    ).attribute(x, target=1, n_samples=150)
    with torch.no_grad():
        y = network(masks * x)[:, 1].double()
    found = surrogate(masks, y, weight).coefficients
    assert torch.allclose(found, theirs.double().flatten(), rtol=0, atol=1e-5)


class Ridge:
    """scikit-learn's ridge regression, as Captum's LIME wants a model."""

    def fit(self, data: Any, **_: Any) -> dict[str, Any]:
        x, y, weight = (part.numpy() for part in next(iter(data)))
        self.model = linear_model.Ridge(alpha=1.0).fit(x, y.reshape(-1), weight.reshape(-1))
        return {}

    def representation(self) -> Tensor:
        return torch.from_numpy(self.model.coef_)
