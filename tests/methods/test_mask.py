"""Meaningful perturbation: what it deletes where the answer is known, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.methods.mask import MeaningfulPerturbation
from rootpoint.perturbation.blur import blurred
from rootpoint.perturbation.masks import Deletion, _moved


def free(**parameters: Any) -> MeaningfulPerturbation:
    """A mask of single pixels that costs nothing."""
    chosen = {"area": 0.0, "variation": 0.0, "scale": 1, "smooth": 0.0, "jitter": 1}
    return MeaningfulPerturbation(**{**chosen, "softmax": False, "iterations": 60, **parameters})


def images(number: int = 2, size: int = 16) -> Tensor:
    return torch.randn(number, 3, size, size, dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 5, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(216, 4)).double().eval()


@pytest.mark.parametrize("start", ["circle", "random"])
def test_of_a_linear_score_all_is_deleted_that_speaks_for_it(start: str) -> None:
    """Without cost, m is 1 where w · (x − blur) < 0, and 0 elsewhere."""
    x, weight = images(), images(1)[0]
    found = free(start=start)(lambda x: (x * weight).flatten(1).sum(1), x)
    gain = (weight * (x - blurred(x, 10.0))).sum(1, keepdim=True)
    kept = (1 - found.relevance).round(decimals=12)
    assert torch.equal(kept, (gain < 0).double().expand(x.shape))


def test_what_matters_nowhere_is_kept_for_its_cost() -> None:
    x, weight = images(), torch.zeros(3, 16, 16, dtype=torch.float64)
    weight[:, :8] = images(1)[0, :, :8]
    found = free(area=1e-3)(lambda x: (x * weight).flatten(1).sum(1), x).relevance
    assert found[:, :, 8:].abs().max() == 0
    assert found[:, :, :8].max() == 1


def test_roughness_costs() -> None:
    x, weight = images(), images(1)[0]
    score = lambda x: (x * weight).flatten(1).sum(1)  # noqa: E731

    def roughness(variation: float) -> float:
        relevance = free(variation=variation)(score, x).relevance
        return float(relevance.diff(dim=-1).abs().mean() + relevance.diff(dim=-2).abs().mean())

    assert roughness(10.0) < 0.5 * roughness(0.0)


def test_the_score_falls_and_stays_low() -> None:
    """After ten steps it rises no more on average, up to what jitter adds."""
    model, x = network(), images(3)
    found = MeaningfulPerturbation(iterations=120, scale=2, smooth=1.0, start="random")(model, x)
    scores = found.details["scores"]
    assert scores.shape == (3, 120)
    early, late = scores[:, :10].mean(1), scores[:, 10:].reshape(3, 11, 10).mean(2)
    assert (late[:, -1] < early).all()
    assert (late.diff(dim=1) < 0.02).all()


def test_images_are_learned_each_for_itself() -> None:
    model, x = network(), images(3)
    explain = MeaningfulPerturbation(iterations=15, scale=2, smooth=1.0)
    together = explain(model, x, [0, 1, 2])
    for i in range(3):
        alone = explain(model, x[i : i + 1], i)
        assert torch.allclose(together.relevance[i], alone.relevance[0], rtol=1e-6, atol=1e-8)


def test_all_channels_share_a_mask_between_zero_and_one() -> None:
    found = MeaningfulPerturbation(iterations=5)(network(), images(2))
    relevance = found.relevance
    assert relevance.shape == (2, 3, 16, 16)
    assert torch.equal(relevance, relevance[:, :1].expand_as(relevance))
    assert 0 <= relevance.min() <= relevance.max() <= 1
    assert found.passes is not None
    assert found.passes.backward == 5
    assert found.passes.forward <= 1 + 36 + 5


def test_masks_of_sizes_that_the_scale_does_not_divide() -> None:
    score = lambda x: x.flatten(1).square().sum(1)  # noqa: E731
    x = torch.randn(1, 2, 13, 18)
    assert free(scale=8, iterations=3)(score, x).relevance.shape == x.shape


def test_the_circle_is_the_smallest_that_removes_the_score() -> None:
    """The score is that of the middle 4 × 4 pixels of 64 × 64."""
    x, null = torch.ones(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    task = Deletion(lambda x: x[:, 0, 30:34, 30:34].mean((1, 2)), [0], x, null, 1, 0.0)
    random = task.random(torch.Generator().manual_seed(0))
    disc = task.circle(random)
    assert task.score(disc).item() <= 0.01 + 1e-6
    assert disc[0, 0, 0, 0] > 0.7
    smaller = task._outside((task.spent - 3 - 1) / 34)
    assert task.score(smaller).item() > 0.01


def test_where_no_circle_removes_the_score_the_start_is_random() -> None:
    x, null = torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    corner = Deletion(lambda x: -x.mean((1, 2, 3)), [0, 0], x, null, 1, 0.0)
    random = corner.random(torch.Generator().manual_seed(0))
    assert torch.equal(corner.circle(random), random)
    assert torch.equal(random[0], random[1])


def test_images_are_moved_with_their_edges_repeated() -> None:
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert _moved(x, (1, 0))[0, 0].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert _moved(x, (0, -2))[0, 0, 0].tolist() == [2, 3, 3, 3]
    assert torch.equal(_moved(x, (0, 0)), x)


@pytest.mark.parametrize("baseline", ["blur", "noise", 0.0, torch.zeros(3, 1, 1)])
def test_null_images_of_every_kind(baseline: Any) -> None:
    found = MeaningfulPerturbation(iterations=3, baseline=baseline)(network(), images(2))
    assert found.relevance.isfinite().all()


def test_seeds_are_all_the_randomness() -> None:
    model, x = network(), images(1)
    state = torch.get_rng_state()
    explain = MeaningfulPerturbation(iterations=4, start="random", baseline="noise")
    first = explain(model, x).relevance
    assert torch.equal(first, explain(model, x).relevance)
    assert torch.equal(state, torch.get_rng_state())
    other = MeaningfulPerturbation(iterations=4, start="random", baseline="noise", seed=1)
    assert not torch.equal(first, other(model, x).relevance)


def test_the_model_comes_back_untouched_and_gradients_need_not_be_on() -> None:
    model, x = network(), images(1)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    with torch.no_grad():
        MeaningfulPerturbation(iterations=2)(model, x)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())


def test_models_without_gradients_are_refused() -> None:
    explain = MeaningfulPerturbation(iterations=2, start="random", softmax=False)
    x = images(1)
    for model in (
        lambda x: x.detach().flatten(1).sum(1),
        lambda x: x.numpy().sum((1, 2, 3)),
        lambda x: np.asarray(x.detach()).sum((1, 2, 3)),
    ):
        with pytest.raises(UnsupportedModelError, match="no gradient goes from the score"):
            explain(model, x)


def test_what_is_no_image_or_no_null_is_refused() -> None:
    with pytest.raises(InputError, match=r"images \(B, C, H, W\)"):
        MeaningfulPerturbation()(lambda x: x, torch.randn(2, 5))
    with pytest.raises(InputError, match="needs features"):
        MeaningfulPerturbation(baseline="mean")(network(), images(1))
    with pytest.raises(InputError, match="not inner modules"):
        MeaningfulPerturbation()(network(), images(1), at="0")
