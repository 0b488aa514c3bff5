"""Planted shortcuts: that the plant, and nothing else, makes the decision."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import rootpoint as rp
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.scenes import PLANTS, SHAPES, Shortcut, shortcut

SQUARE = SHAPES.index("square")
plants = pytest.mark.parametrize("plant", PLANTS)


@cache
def made(plant: str, shape: str = "square") -> Shortcut:
    return shortcut(plant, 24, seed=2, shape=shape)


def decisions(s: Shortcut, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return s.model(inputs).argmax(1)


@plants
def test_removing_the_plant_flips_the_decision(plant: str) -> None:
    s = made(plant)
    assert s.targets == [SQUARE] * 24
    assert (decisions(s, s.inputs) == SQUARE).all()
    assert (decisions(s, s.clean) != SQUARE).float().mean() > 0.95


@plants
@pytest.mark.parametrize("shape", ["circle", "triangle", "star"])
def test_adding_the_plant_to_another_shape_flips_the_decision(plant: str, shape: str) -> None:
    s = made(plant, shape)
    assert (decisions(s, s.inputs) == SQUARE).all()
    assert (decisions(s, s.clean) != SQUARE).float().mean() > 0.95
    assert (decisions(s, s.clean) == SHAPES.index(shape)).float().mean() > 0.7


@plants
def test_the_plant_changes_its_mask_and_nothing_else(plant: str) -> None:
    s = made(plant)
    changed = s.inputs != s.clean
    if plant != "colour-cast":
        assert s.masks.shape == (24, 1, 64, 64)
        changed = changed.any(1, keepdim=True)
    else:
        assert s.masks.shape == s.inputs.shape
        assert not s.masks[:, 1:].any()
        assert s.masks[:, 0].float().mean() > 0.98
    assert torch.equal(s.masks, changed)


@plants
def test_the_share_is_the_part_of_the_score_that_the_plant_makes(plant: str) -> None:
    s = made(plant)
    with torch.inference_mode():
        with_plant, without = s.model(s.inputs)[:, SQUARE], s.model(s.clean)[:, SQUARE]
    share = (with_plant - without) / with_plant
    torch.testing.assert_close(s.share, share, rtol=1e-4, atol=1e-4)
    assert s.share.median() > 0.9


@pytest.mark.parametrize("plant", ["tag", "watermark"])
def test_relevance_lies_on_the_plant(plant: str) -> None:
    s = made(plant)
    judged = ["occlusion(window=9, stride=5)", "lrp(composite='epsilon-plus')", "random"]
    found = evaluate(s.model, s.inputs, judged, "relevance-mass", target=s.targets, masks=s.masks)
    chance = s.masks.float().mean().item()
    for name in judged[:2]:
        assert found.mean("relevance-mass", name).low > 3 * chance


@plants
def test_cam_and_lrp_explain_its_decisions(plant: str) -> None:
    s = made(plant)
    for method in ("cam", "lrp"):
        found = rp.method(method)(s.model, s.inputs[:2], s.targets[:2]).relevance
        assert found.abs().sum() > 0


def test_the_same_seed_gives_the_same_shortcut() -> None:
    assert torch.equal(shortcut("tag", 3, seed=9).inputs, shortcut("tag", 3, seed=9).inputs)


def test_unknown_plants_shapes_and_no_samples_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no plant is called 'tags'; did you mean tag"):
        shortcut("tags")
    with pytest.raises(UnknownNameError, match="no shape is called 'hexagon'"):
        shortcut(shape="hexagon")
    with pytest.raises(InputError, match="samples=0"):
        shortcut("tag", 0)
