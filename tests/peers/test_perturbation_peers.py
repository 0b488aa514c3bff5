"""The same curves as Quantus's perturbation metrics, where they compute what the papers define.

- Its PixelFlipping and ROAD flip the values of an image one by one, each channel for itself; ROAD's
  indices are then taken as those of pixels, and so only work with one channel. The papers flip
  pixels. Images of one channel are compared.
- Its RegionPerturbation returns f(x⁰) − f(xᵏ) for k = 1 … L: the mean is AOPC · (L+1) / L.
- Its curves lack the point at which nothing is gone; its areas (of IROF, and of PixelFlipping if
  asked) call numpy.trapz, which numpy 2.4 does not have: curves are compared.
- Its "black" is the least value that is left in any channel, its "uniform" noise one number of
  [0, 1] for all values that go in a step: a number is compared.
- Its Selectivity is the same curve over all regions, without an area.
- It breaks ties by their place, which makes the value of a constant map depend on the image's
  upper left corner: maps without ties are compared.
Captum has no perturbation curves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.imputation import imputed
from rootpoint.evaluation.metric import metric

quantus = pytest.importorskip("quantus")
perturb = pytest.importorskip("quantus.functions.perturb_func")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # theirs, about what users should know
]

COUNT, SIZE, CLASSES = 3, 8, 4


def network(channels: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, CLASSES)]
    return nn.Sequential(*layers).eval()


def problem(channels: int) -> tuple[nn.Module, Tensor, Tensor, list[int]]:
    """A network, images, maps and targets."""
    model = network(channels)
    images, maps = torch.rand(COUNT, channels, SIZE, SIZE), torch.randn(COUNT, 1, SIZE, SIZE)
    return model, images, maps, [0, 2, 3]


def ours(name: str, given: tuple[nn.Module, Tensor, Tensor, list[int]], **parameters: Any) -> Any:
    model, images, maps, targets = given
    one = metric(name, replacement=0.0, **parameters)
    found = evaluate(model, images, {"one": lambda m, x, t: maps}, one, target=targets)
    return found.values(name, "one"), found.results["one"].curves[str(one)].lines


def theirs(kind: Any, given: tuple[nn.Module, Tensor, Tensor, list[int]], **parameters: Any) -> Any:
    model, images, maps, targets = given
    judge = kind(
        abs=False,
        normalise=False,
        perturb_baseline=0.0,
        return_aggregate=False,
        disable_warnings=True,
        **parameters,
    )
    found = judge(
        model=model,
        x_batch=images.numpy(),
        y_batch=np.array(targets),
        a_batch=maps.numpy(),
        device="cpu",
        softmax=False,
    )
    return np.asarray(found)


def test_pixel_flipping_of_one_channel_is_quantus_pixel_flipping() -> None:
    given = problem(1)
    _, lines = ours("aopc", given, region=1, per_step=8)
    wanted = theirs(quantus.PixelFlipping, given, features_in_step=8)
    np.testing.assert_allclose(lines["morf"][:, 1:], wanted, atol=1e-5)


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_regions_are_flipped_as_quantus_region_perturbation_does(order: str) -> None:
    given = problem(3)
    _, lines = ours("abpc", given, region=2, steps=10)
    wanted = theirs(
        quantus.RegionPerturbation, given, patch_size=2, regions_evaluation=10, order=order
    )
    np.testing.assert_allclose(lines[order][:, :1] - lines[order][:, 1:], wanted, atol=1e-5)


def test_aopc_counts_the_first_point_which_quantus_leaves_out() -> None:
    given, steps = problem(3), 10
    values, _ = ours("aopc", given, region=2, steps=steps)
    wanted = theirs(
        quantus.RegionPerturbation, given, patch_size=2, regions_evaluation=steps, order="morf"
    )
    np.testing.assert_allclose(values * (steps + 1) / steps, wanted.mean(1), atol=1e-5)


def test_selectivity_follows_quantus_curve_over_all_regions() -> None:
    given = problem(3)
    _, lines = ours("selectivity", given, region=4)
    wanted = theirs(quantus.Selectivity, given, patch_size=4)
    np.testing.assert_allclose(lines["morf"][:, 1:], wanted, atol=1e-5)


def test_linear_imputation_is_that_of_quantus_without_noise() -> None:
    image, missing = torch.rand(3, 9, 7).double(), torch.rand(1, 9, 7) < 0.6
    gone = missing.flatten().nonzero().flatten().numpy()
    wanted = perturb.noisy_linear_imputation(image.numpy(), gone, noise=0.0)
    np.testing.assert_allclose(imputed(image[None], missing[None])[0], wanted, atol=1e-5)


def test_road_keeps_as_many_decisions_as_quantus() -> None:
    """Their accuracy for each share of pixels, of the most relevant ones."""
    model, images, maps, _ = problem(1)
    targets = model(images).argmax(1).tolist()
    judge = quantus.ROAD(
        percentages=list(range(10, 100, 10)),
        noise=0.01,
        abs=False,
        normalise=False,
        disable_warnings=True,
    )
    wanted = judge(
        model=model,
        x_batch=images.numpy(),
        y_batch=np.array(targets),
        a_batch=maps.numpy(),
        device="cpu",
    )
    found = evaluate(model, images, {"one": lambda m, x, t: maps}, "road", target=targets)
    kept = found.results["one"].curves["road"].lines["morf"].mean(0)[1:]
    shares = [wanted[p] for p in range(10, 100, 10)]
    assert np.abs(kept - shares).max() <= 1 / COUNT + 1e-9  # noise is drawn differently
    assert np.abs(kept - shares).mean() <= 0.1
