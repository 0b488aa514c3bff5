"""What windows are filled with: Gaussians of patches, and other images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from rootpoint.errors import InputError
from rootpoint.perturbation.fillings import conditional_filling, marginal_filling
from rootpoint.perturbation.patch_gaussian import PatchGaussian, conditional, fit_patch_gaussian
from rootpoint.perturbation.reference_images import ReferenceImages, fit_reference_images
from rootpoint.perturbation.windows import windows


def data(number: int = 40) -> Tensor:
    """Images whose neighbouring pixels are alike."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(number, 2, 9, 8, generator=generator, dtype=torch.float64)
    return x + x.roll(1, 2) + x.roll(1, 3) + torch.tensor([0.0, 5])[:, None, None]


def test_a_conditional_gaussian_by_hand() -> None:
    """Σ = [[2, 1], [1, 1]], x2 = 1.5: mean 1.5, variance 1."""
    covariance = torch.tensor([[2.0, 1], [1, 1]], dtype=torch.float64)
    gain, spread = conditional(covariance, torch.tensor([True, False]))
    assert (gain * 1.5).item() == pytest.approx(1.5, abs=1e-12)
    assert (spread @ spread.mT).item() == pytest.approx(1, abs=1e-12)


def test_conditionals_agree_with_the_precision_matrix() -> None:
    """Given x2, the covariance of x1 is the inverse of its block of the inverse covariance."""
    root = torch.randn(3, 6, 6, dtype=torch.float64)
    covariance, inner = root @ root.mT, torch.tensor([1, 0, 0, 1, 1, 0]).bool()
    gain, spread = conditional(covariance, inner)
    precision = torch.linalg.inv(covariance)[:, inner]
    expected = torch.linalg.inv(precision[..., inner])
    assert torch.allclose(spread @ spread.mT, expected, rtol=1e-8)
    assert torch.allclose(gain, -expected @ precision[..., ~inner], rtol=1e-8)


def test_singular_covariances_are_no_trouble() -> None:
    covariance = torch.ones(1, 3, 3, dtype=torch.float64)
    covariance[:, 2] = covariance[:, :, 2] = 0  # a pixel that never changes
    gain, spread = conditional(covariance, torch.tensor([True, False, False]))
    assert torch.allclose(gain, torch.tensor([[[1.0, 0]]]).double())
    assert spread.abs().max() < 1e-6


def test_without_a_border_windows_are_drawn_from_the_gaussian_itself() -> None:
    root = torch.randn(4, 4, dtype=torch.float64)
    gain, spread = conditional(root @ root.mT, torch.ones(4).bool())
    assert gain.shape == (4, 0)
    assert torch.allclose(spread @ spread.mT, root @ root.mT)


def every_patch(x: Tensor, side: int) -> Tensor:
    """(patches, C, side²)."""
    return x.unfold(2, side, 1).unfold(3, side, 1).flatten(4).permute(0, 2, 3, 1, 4).flatten(0, 2)


def test_moments_are_those_of_the_patches_drawn() -> None:
    """Images as large as a patch have one patch: all of them are drawn."""
    x = data()[:, :, :5, :5]
    found = fit_patch_gaussian(x, window=3, border=1, patches=len(x))
    patches = x.flatten(2)
    assert torch.allclose(found.mean, patches.mean(0), rtol=1e-10)
    for channel in range(2):
        assert torch.allclose(found.covariance[channel], patches[:, channel].T.cov(), rtol=1e-10)
    assert torch.equal(found.low, x.amin(0))
    assert torch.equal(found.high, x.amax(0))


def test_places_are_drawn_all_over_the_images() -> None:
    x = data(200)
    found = fit_patch_gaussian(x, window=2, border=1, patches=4000)
    patches = every_patch(x, 4)
    assert torch.allclose(found.mean, patches.mean(0), atol=0.2)
    assert torch.allclose(found.covariance[0], patches[:, 0].T.cov(), atol=0.4)


def test_batches_of_any_kind_and_size_give_the_same_gaussian() -> None:
    x = data()
    loader = DataLoader(TensorDataset(x, torch.zeros(40)), batch_size=7)
    kinds: list[Any] = [x, x.numpy(), list(x.split(9)), loader]
    first, *others = [fit_patch_gaussian(k, window=3, border=1, patches=500) for k in kinds]
    for other in others:
        assert torch.allclose(first.mean, other.mean, rtol=1e-12)
        assert torch.allclose(first.covariance, other.covariance, rtol=1e-12)


def test_large_means_cost_no_digits() -> None:
    x = data()
    near, far = (fit_patch_gaussian(x + s, window=2, border=1, patches=400) for s in (0, 1e6))
    assert torch.allclose(near.covariance, far.covariance, atol=1e-8)


def test_what_is_fitted_is_saved_and_loaded(tmp_path: Path) -> None:
    fitted = fit_patch_gaussian(data(), window=3, border=1, patches=100)
    loaded = PatchGaussian.load(fitted.save(tmp_path / "patches.safetensors"))
    assert (loaded.window, loaded.border) == (3, 1)
    assert torch.equal(loaded.covariance, fitted.covariance)
    images = fit_reference_images(data(), images=5)
    path = images.save(tmp_path / "images.safetensors")
    assert torch.equal(ReferenceImages.load(path).images, images.images)


def test_data_that_no_gaussian_can_be_fitted_to() -> None:
    with pytest.raises(InputError, match=r"image 0 has shape \(2, 9, 8\).*patches of 14 × 14"):
        fit_patch_gaussian(data())
    with pytest.raises(InputError, match="image 7 has shape"):
        fit_patch_gaussian([data()[:7], data()[:, :, :5]], window=2, border=1)
    with pytest.raises(InputError, match=r"\(N, C, H, W\)"):
        fit_patch_gaussian(torch.zeros(3, 8, 8), window=2)
    with pytest.raises(InputError, match="must be known before"):
        fit_patch_gaussian(iter([data()]), window=2)
    with pytest.raises(InputError, match="at least 2 patches"):
        fit_patch_gaussian(data(), patches=1)
    with pytest.raises(InputError, match="too little data"):
        fit_patch_gaussian(data()[:0], window=2, border=1)


def test_reference_images_are_drawn_evenly() -> None:
    numbered = torch.arange(20.0)[:, None, None, None].expand(20, 1, 2, 2)
    chosen = torch.zeros(20)
    for seed in range(400):
        kept = fit_reference_images(numbered.split(3), images=5, seed=seed).images
        indices = kept[:, 0, 0, 0].long()
        assert len(set(indices.tolist())) == 5
        chosen[indices] += 1
    assert (chosen - 100).abs().max() < 40
    assert len(fit_reference_images(numbered, images=50).images) == 20


def test_data_that_no_reference_images_are_in() -> None:
    with pytest.raises(InputError, match="no image to keep"):
        fit_reference_images([])
    with pytest.raises(InputError, match="image 0 has shape"):
        fit_reference_images(torch.zeros(4, 5))


def test_conditional_fillings_follow_what_is_around_the_window() -> None:
    """The window's law given its border, also where the patch is moved inside at the edges."""
    x = data()
    state = fit_patch_gaussian(x, window=2, border=1, patches=4000)
    wide = PatchGaussian(state.mean, state.covariance, state.low - 99, state.high + 99, 2, 1)
    fill = conditional_filling(wide, 2, x, 4000, 0)
    for top, left in ((3, 4), (0, 0), (7, 3), (1, 6)):
        place = (slice(0, 2), slice(top, top + 2), slice(left, left + 2))
        found = fill(x[0], 0, place)
        assert found.shape == (4000, 2, 2, 2)
        start = min(max(top - 1, 0), 5), min(max(left - 1, 0), 4)
        patch = x[0, :, start[0] : start[0] + 4, start[1] : start[1] + 4].flatten(1)
        inner = torch.zeros(4, 4).bool()
        inner[top - start[0] :, left - start[1] :][:2, :2] = True
        inner = inner.flatten()
        for channel in range(2):
            gain, spread = conditional(state.covariance[channel], inner)
            rest = (patch - state.mean)[channel, ~inner]
            drawn = found[:, channel].flatten(1)
            assert torch.allclose(drawn.mean(0), state.mean[channel, inner] + gain @ rest, atol=0.1)
            assert torch.allclose(drawn.T.cov(), spread @ spread.mT, atol=0.2)


def test_fillings_stay_within_the_data_and_are_the_same_for_every_image() -> None:
    x = data()
    state = fit_patch_gaussian(x, window=3, border=1, patches=400)
    for index, place in enumerate(windows((2, 9, 8), (2, 3, 3), (2, 3, 3), whole=True)):
        found = conditional_filling(state, 3, x, 20, 0)(x[0], index, place)
        assert (found >= state.low[place]).all()
        assert (found <= state.high[place]).all()
        again = conditional_filling(state, 3, x[:1], 20, 0)(x[0], index, place)
        assert torch.equal(found, again)
        assert not torch.equal(found, conditional_filling(state, 3, x, 20, 1)(x[0], index, place))


def test_marginal_fillings_are_the_same_window_of_other_images() -> None:
    x = data()
    fill = marginal_filling(ReferenceImages(x), x, 30, 0)
    place = (slice(0, 2), slice(2, 5), slice(1, 4))
    found, known = fill(x[0], 0, place), x[(slice(None), *place)]
    assert all(any(torch.equal(f, k) for k in known) for f in found)
    assert len({float(f.sum()) for f in found}) > 10
    assert torch.equal(found, fill(x[1], 0, place))
