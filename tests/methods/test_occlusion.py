"""Occlusion: what each window is worth, at every kind of input, baseline and model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.method import method
from rootpoint.methods.occlusion import Occlusion


def fixture() -> nn.Module:
    """T1: f(1, 2) = 4.5."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1, 1], [-1, 2]]))  # type: ignore[operator]
        model[0].bias.copy_(torch.tensor([0, -1]))  # type: ignore[operator]
        model[2].weight.copy_(torch.tensor([[2, -1]]))  # type: ignore[operator]
        model[2].bias.fill_(0.5)  # type: ignore[operator]
    return model


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(320, 5)]
    return nn.Sequential(*layers).double().eval()


def images(number: int = 2) -> Tensor:
    return torch.randn(number, 3, 10, 12, dtype=torch.float64)


def slowly(
    model: nn.Module, x: Tensor, window: int, stride: int, cover: Any, target: int
) -> Tensor:
    """One window after the other; `cover` makes what replaces a window's values."""
    total, number = torch.zeros_like(x), torch.zeros_like(x)
    _, height, width = x.shape
    for top in range(0, height - window + stride, stride):
        for left in range(0, width - window + stride, stride):
            place = (slice(None), slice(top, top + window), slice(left, left + window))
            covered = x.clone()
            covered[place] = cover(x[place])
            with torch.no_grad():
                total[place] += (model(x[None]) - model(covered[None]))[0, target]
            number[place] += 1
    return total / number


def test_the_two_inputs_of_a_small_network() -> None:
    x = torch.tensor([[1, 2]], dtype=torch.float64)
    found = Occlusion()(fixture(), x)
    assert torch.allclose(found.relevance, torch.tensor([[3.0, 2.0]]).double(), atol=1e-12)
    assert found.output.tolist() == [4.5]
    assert found.baseline_output is None
    assert found.passes == (4, 0)


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (4, 3), (5, 2), (1, 1)])
def test_windows_are_covered_one_by_one_and_averaged(window: int, stride: int) -> None:
    model, x = network(), images()
    found = Occlusion(window=window, stride=stride, baseline=0.5)(model, x, [1, 3]).relevance
    for relevance, sample, target in zip(found, x, [1, 3], strict=True):
        expected = slowly(model, sample, window, stride, lambda v: 0.5, target)
        assert torch.allclose(relevance, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("stride", [3, 2])
def test_a_mean_is_that_of_its_window_also_where_windows_overlap(stride: int) -> None:
    model, x = network(), images(1)
    found = Occlusion(window=4, stride=stride, baseline="mean")(model, x, 2).relevance[0]
    expected = slowly(model, x[0], 4, stride, lambda v: v.mean((1, 2), keepdim=True), 2)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("baseline", ["mean", "inpaint", "blur", "noise"])
def test_samples_are_explained_each_for_itself_with_each_baseline(baseline: str) -> None:
    model, x = network(), images(3)
    explain = Occlusion(window=5, stride=3, baseline=baseline)
    together = explain(model, x, 1).relevance
    alone = torch.cat([explain(model, one[None], 1).relevance for one in x])
    assert torch.allclose(together, alone, rtol=1e-10, atol=1e-12)


def test_data_as_a_baseline_counts_by_its_mean_score() -> None:
    model, x = network(), images(1)
    data = images(4)
    found = Occlusion(window=5, baseline=data)(model, x, 1)
    each = [Occlusion(window=5, baseline=one)(model, x, 1).relevance for one in data]
    assert torch.allclose(found.relevance, torch.stack(each).mean(0), rtol=1e-10)
    assert found.passes == (4 + 4 * 6, 0)  # two to try what is faster


def test_a_linear_score_gives_each_value_its_own_share() -> None:
    weight = torch.randn(6, dtype=torch.float64)
    x = torch.randn(3, 6, dtype=torch.float64)
    found = Occlusion(baseline=0.25)(lambda x: x @ weight, x).relevance
    assert torch.allclose(found, (x - 0.25) * weight, rtol=1e-10, atol=1e-13)


def test_the_window_is_a_fourteenth_of_an_image_and_one_value_of_others() -> None:
    model = lambda x: x.flatten(1).sum(1)  # noqa: E731
    assert Occlusion()(model, torch.rand(1, 3, 28, 42)).passes == (2 + 14 * 21, 0)
    assert Occlusion()(model, torch.rand(1, 4, 5)).passes == (2 + 20, 0)


def test_one_number_per_dimension() -> None:
    model = lambda x: x.flatten(1).sum(1)  # noqa: E731
    x = torch.rand(1, 3, 8, 8)
    assert Occlusion(window=(4, 2))(model, x).passes == (2 + 2 * 4, 0)
    assert Occlusion(window=(1, 4, 2))(model, x).passes == (2 + 3 * 2 * 4, 0)
    assert Occlusion(window=100)(model, x).passes == (3, 0)


def test_several_targets_share_the_windows() -> None:
    model, x = network(), images(1)
    bound = Occlusion(window=5).bind(model)
    first, second = bound.each(x, [0, 1])
    assert torch.equal(first.relevance, bound(x, 0).relevance)
    assert torch.equal(second.relevance, bound(x, 1).relevance)


def test_a_scikit_learn_classifier_is_explained_column_by_column() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rows = np.random.default_rng(0).normal(size=(60, 4))
    labels = (rows[:, 0] - 2 * rows[:, 2] > 0).astype(int)
    classifier = linear.LogisticRegression().fit(rows, labels)
    x = torch.from_numpy(rows[:2])
    found = Occlusion()(lambda x: classifier.predict_proba(x.numpy()), x, 1)
    for column in range(4):
        covered = rows[:2].copy()
        covered[:, column] = 0
        expected = classifier.predict_proba(rows[:2]) - classifier.predict_proba(covered)
        assert np.allclose(found.relevance[:, column], expected[:, 1], rtol=1e-12)


def test_it_prints_and_is_made_from_text() -> None:
    made = method("occlusion", window="(4, 2)", stride="2", baseline="mean")
    assert made == Occlusion(window=(4, 2), stride=2, baseline="mean")
    assert eval(repr(Occlusion())) == Occlusion()


@pytest.mark.parametrize("window", [0, -1, 2.5, True, (), (3, 0), "4 by 4"])
def test_sizes_are_whole_numbers(window: Any) -> None:
    with pytest.raises(InputError, match="give a whole number"):
        Occlusion(window=window)


def test_what_cannot_be_occluded() -> None:
    model, x = network(), images(1)
    with pytest.raises(InputError, match="leaves gaps"):
        Occlusion(window=3, stride=4)(model, x)
    with pytest.raises(InputError, match="has 4 numbers for samples of 3 dimensions"):
        Occlusion(window=(1, 2, 3, 4))(model, x)
    with pytest.raises(InputError, match="one tensor, not a tuple"):
        Occlusion()(model, (x, x))
    with pytest.raises(InputError, match="not inner modules"):
        Occlusion()(model, x, at="0")
    with pytest.raises(InputError, match="does not fit a sample"):
        Occlusion(baseline=torch.zeros(2, 2, 2))(model, x)


def test_a_constant_score_is_an_error() -> None:
    with pytest.raises(InputError, match=r"the score of sample 1 stays 0 whatever is taken away"):
        Occlusion(window=5)(
            lambda x: x.flatten(1).sum(1), torch.stack([images(1)[0], 0 * images(1)[0]])
        )


def test_scores_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        Occlusion()(lambda x: 1 / x.prod(1), torch.rand(1, 3) + 1)
