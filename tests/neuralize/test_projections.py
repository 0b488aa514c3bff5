"""Distances behind a linear map: the rule equals its formula, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rootpoint as rp
from rootpoint.neuralize.kernels import Distances
from rootpoint.neuralize.network import kernel_composite
from rootpoint.neuralize.projections import ProjectedDistances


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_rule_is_the_sum_over_points_of_eulers_shares(power: float) -> None:
    """R_i = (x − u′)_i [Cᵀ C (x − u′)]_i / ‖C (x − u′)‖² · a; evenly where x is u′."""
    rng = np.random.default_rng(0)
    c, mean, points, x = (rng.normal(size=s) for s in ((2, 5), 5, (3, 2), (4, 5)))
    before = Distances(points, 0.7, 2.0, power)
    layer = ProjectedDistances(torch.from_numpy(mean), torch.from_numpy(c), before).eval()
    preimages = points @ np.linalg.pinv(c).T
    x[3] = preimages[1] + mean
    for j in range(3):
        found = rp.explain(layer, torch.from_numpy(x), j, composite=kernel_composite())
        apart = x - mean - preimages[j]
        squared = ((apart @ c.T) ** 2).sum(1)
        score = 0.7 * squared ** (power / 2)
        np.testing.assert_allclose(found.output.numpy(), score, rtol=1e-10, atol=1e-7)
        rows = slice(0, 3 if j == 1 else 4)
        expected = apart * (apart @ c.T @ c) / squared[:, None] * score[:, None]
        np.testing.assert_allclose(found.relevance[rows].numpy(), expected[rows], rtol=1e-9)
        assert torch.allclose(found.relevance.sum(1), found.output, rtol=1e-9, atol=1e-12)
