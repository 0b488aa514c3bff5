"""Similarity of maps: closed forms, scipy and scikit-image, what is not defined."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootpoint.errors import InputError, MissingExtraError
from rootpoint.evaluation.metrics.sanity import SIMILARITIES as NAMES
from rootpoint.evaluation.similarity import SIMILARITIES, cosine, ranks, similarity, ssim


def test_the_metric_offers_every_similarity() -> None:
    assert tuple(SIMILARITIES) == NAMES


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_equals_share_their_mean_rank(values: list[int]) -> None:
    from scipy.stats import rankdata

    found = ranks(torch.tensor([values], dtype=torch.float64))
    assert found[0].tolist() == rankdata(values).tolist()


def test_closed_forms() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 2.0, -3.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 3.0, 2.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    assert similarity("spearman", a, b).tolist() == pytest.approx([0.5, 1.0], abs=1e-14)
    assert similarity("signed-spearman", a, b).tolist() == pytest.approx([0.5, -0.5], abs=1e-14)
    assert similarity("cosine", a, b).tolist() == pytest.approx([13 / 14, -3 / 7], abs=1e-14)


def test_spearman_is_that_of_scipy() -> None:
    from scipy.stats import spearmanr

    a, b = torch.randn(2, 3, 40, dtype=torch.float64).round(decimals=1)
    signed = similarity("signed-spearman", a, b)
    absolute = similarity("spearman", a, b)
    for i in range(3):
        assert float(signed[i]) == pytest.approx(spearmanr(a[i], b[i])[0], abs=1e-12)
        expected = spearmanr(a[i].abs(), b[i].abs())[0]
        assert float(absolute[i]) == pytest.approx(expected, abs=1e-12)


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = torch.rand(2, 3, 20, 17, dtype=torch.float64)
    b = 0.7 * a + 0.3 * b
    expected = [
        metrics.structural_similarity(
            x.numpy(),
            y.numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
        for x, y in zip(a, b, strict=True)
    ]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-12)


def test_hog_is_the_correlation_of_scikit_images_histograms() -> None:
    feature = pytest.importorskip("skimage.feature")
    import numpy as np

    a, b = torch.rand(2, 2, 1, 48, 48, dtype=torch.float64)
    for maps in (a, b):  # values of 0 to 1 already, so that none is changed by scaling
        maps[:, :, :5] = 1.0
        maps[:, :, 5, 5] = 0.0
    found = similarity("hog", a, b)
    for i in range(2):
        rows = [feature.hog(x[i, 0].numpy(), pixels_per_cell=(16, 16)) for x in (a, b)]
        assert float(found[i]) == pytest.approx(np.corrcoef(rows)[0, 1], abs=1e-12)


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_a_map_is_like_itself_however_small_and_less_like_noise(kind: str) -> None:
    a, noise = torch.randn(2, 2, 3, 24, 24, dtype=torch.float64)
    assert similarity(kind, a, 1e-200 * a).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    near, far = (similarity(kind, a, a + t * noise) for t in (0.3, 3.0))
    assert bool((far < near).all())
    assert bool((near < 1).all())


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_a_zero_map_is_like_nothing(kind: str) -> None:
    a = torch.randn(2, 1, 12, 12)
    b = torch.stack([torch.zeros_like(a[0]), a[1]])
    found = similarity(kind, a, b)
    assert bool(found[0].isnan())
    assert float(found[1]) == pytest.approx(1.0)


def test_channels_are_added_up_but_for_the_cosine() -> None:
    a = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    moved = a[:, [1, 2, 0]]
    for kind in ("spearman", "signed-spearman", "ssim"):
        assert similarity(kind, a, moved).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    assert bool((similarity("cosine", a, moved) < 0.5).all())


def test_texts_are_compared_one_by_one() -> None:
    a = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 1.0])]
    b = [torch.tensor([1.0, 3.0, 2.0]), torch.tensor([2.0, 1.0])]
    assert similarity("spearman", a, b).tolist() == pytest.approx([0.5, 1.0])


def test_float32_is_compared_in_float64() -> None:
    a = torch.tensor([[1e-30, 2e-30]])
    assert cosine(a, a).dtype == torch.float64
    assert float(cosine(a, a)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["ssim", "hog"])
def test_tables_are_refused_where_images_are_compared(kind: str) -> None:
    with pytest.raises(InputError, match=r"compares images .* not relevance of shape \(2, 5\)"):
        similarity(kind, torch.rand(2, 5), torch.rand(2, 5))


@pytest.mark.parametrize(("kind", "size"), [("ssim", 10), ("hog", 2)])
def test_maps_that_are_too_small_are_refused(kind: str, size: int) -> None:
    maps = torch.rand(1, 1, size, size)
    with pytest.raises(InputError, match=rf"{size} × {size}: choose similarity='spearman'"):
        similarity(kind, maps, maps)


def test_hog_without_scikit_image_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    maps = torch.rand(1, 1, 12, 12)
    with pytest.raises(MissingExtraError, match=r"rootpoint\[superpixels\]"):
        similarity("hog", maps, maps)
