"""LRP's own parameter: which composite, and the one that a network recommends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rootpoint as rp
from rootpoint.errors import UnknownNameError
from rootpoint.methods.lrp import DEFAULT, RECOMMENDED


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()


def test_a_network_that_recommends_none_gets_the_default_composite() -> None:
    found = rp.explain(network(), torch.rand(1, 1, 6, 6), 0)
    assert found.method == rp.LRP(composite=DEFAULT)


def test_the_composite_that_a_network_recommends_is_the_default_for_it() -> None:
    model, x = network(), torch.rand(2, 1, 6, 6)
    expected = rp.explain(model, x, 0, composite="epsilon-gamma-box")
    setattr(model, RECOMMENDED, "epsilon-gamma-box")
    found = rp.explain(model, x, 0)
    assert torch.equal(found.relevance, expected.relevance)
    assert found.method == rp.LRP(composite="epsilon-gamma-box")
    assert found.balance == expected.balance


def test_a_composite_that_is_named_outranks_the_recommended_one() -> None:
    model, x = network(), torch.rand(2, 1, 6, 6)
    expected = rp.explain(model, x, 0, composite="epsilon").relevance
    setattr(model, RECOMMENDED, "epsilon-gamma-box")
    assert torch.equal(rp.explain(model, x, 0, composite="epsilon").relevance, expected)


def test_a_recommendation_that_is_no_composite_is_an_error_that_names_it() -> None:
    model = network()
    setattr(model, RECOMMENDED, "epsilon-minus")
    with pytest.raises(UnknownNameError, match="epsilon-minus"):
        rp.explain(model, torch.rand(1, 1, 6, 6), 0)
