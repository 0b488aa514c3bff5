"""Kernel k-means and its network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.datasets import make_circles
from torch import Tensor

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.neuralize.kernel_kmeans import KernelKMeans, fit_kernel_kmeans
from rootpoint.neuralize.kernels import CityBlockLaplace, Gaussian, Kernel, Laplace, Student

KERNELS = (Gaussian(0.5), Laplace(1.0), CityBlockLaplace(0.4), Student(2.0))


def t(values: object) -> Tensor:
    return torch.as_tensor(np.array(values), dtype=torch.float64)


def random(seed: int, kernel: Kernel, k: int = 3) -> tuple[KernelKMeans, np.ndarray]:
    """A clustering of random points that no fit has made, and samples near and far."""
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(k, size=20), np.arange(k))
    points = rng.normal(size=(20 + k, 3)) + np.eye(k, 3)[labels]
    return KernelKMeans(points, labels, kernel), rng.normal(size=(12, 3)) * 3


def test_distances_are_those_of_the_feature_space() -> None:
    """Of the features φ(x) = rows of a Cholesky factor, where points are samples too."""
    clustering, _ = random(0, Gaussian(0.5))
    x = clustering.points
    features = np.linalg.cholesky(clustering.kernel(x, x) + 1e-13 * np.eye(len(x)))
    means = np.stack([features[clustering.labels == c].mean(0) for c in range(3)])
    expected = ((features[:, None] - means) ** 2).sum(2)
    assert np.allclose(clustering.distances(x), expected, atol=1e-10)
    rivals = np.sort(expected, 1)[:, :2]
    assert np.allclose(clustering.margins(x).max(1), rivals[:, 1] - rivals[:, 0], atol=1e-10)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(KERNELS), st.integers(2, 4))
def test_the_network_decides_as_the_clustering(seed: int, kernel: Kernel, k: int) -> None:
    clustering, x = random(seed, kernel, k)
    apart = np.sort(clustering.distances(x), 1)
    clear = apart[:, 1] - apart[:, 0] > 1e-12
    scores = clustering.network()(t(x)).numpy()
    assert (scores.argmax(1) == clustering.predict(x))[clear].all()
    ordered = np.argsort(clustering.distances(x), 1)
    assert (np.argsort(-scores, 1) == ordered)[np.diff(apart, axis=1).min(1) > 1e-12].all()


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(KERNELS[:3]))
def test_scores_are_log_odds_of_mean_similarities(seed: int, kernel: Kernel) -> None:
    clustering, x = random(seed, kernel)
    d = clustering.distances(x)
    similarity = (1 + clustering.norms.max() - d) / 2  # mean k + b_c
    log = 1.5 * np.log(similarity.clip(1e-300))
    each = [log[:, c] - logsumexp(np.delete(log, c, 1), axis=1) for c in range(3)]
    scores = clustering.network(beta=1.5)(t(x)).numpy()
    some = similarity.min(1) > 1e-3  # the rest of a difference has no more digits
    assert np.allclose(scores[some], np.stack(each, 1)[some], rtol=1e-10, atol=1e-10)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(KERNELS), st.booleans())
def test_the_books_balance(seed: int, kernel: Kernel, rooted: bool) -> None:
    clustering, x = random(seed, kernel)
    found = rp.explain(clustering.network(rooted=rooted), x, method="lrp")
    size = float(found.output.abs().sum() + found.relevance.abs().sum())
    assert abs(found.balance.gap) <= 1e-10 * size
    assert set(found.balance.absorbed) <= {"constant", "rounding", "stabilizer"}


def test_two_rings_are_found_and_explained() -> None:
    x, y = make_circles(200, factor=0.3, noise=0.05, random_state=0)
    found = fit_kernel_kmeans(x, 2, Gaussian(4.0), seed=0)
    agreement = (found.labels == y).mean()
    assert max(agreement, 1 - agreement) == 1
    plain = KMeans(2, n_init=5, random_state=0).fit(x)
    assert 0.4 < (plain.labels_ == y).mean() < 0.6  # which k-means cannot
    assert (found.predict(x) == found.labels).all()
    inner = int(found.predict(np.zeros((1, 2)))[0])
    assert (found.network()(t(x)).argmax(1).numpy() == found.labels).all()
    outside = rp.explain(found.network(), t([[1.0, 0.0], [0.0, 1.0]]), 1 - inner, method="lrp")
    assert (outside.relevance.argmax(1) == torch.tensor([0, 1])).all()  # far right, far above
    assert outside.relevance.max(1).values.min() > 5 * -float(outside.relevance.min())
    inside = t([[0.3, 0.0], [0.0, 0.3]])  # set apart from the outer ring in both columns
    explained = rp.explain(found.network(norms=False), inside, inner, method="lrp")
    assert (explained.relevance > 0.9).all()
    assert explained.completeness_gap.abs().max() < 1e-10
    # the constants of the exact network, which knows that the inner ring is small, take most of it
    exact = rp.explain(found.network(), inside, inner, method="lrp")
    assert (exact.output > 0).all()
    assert exact.balance.absorbed["constant"] > float(exact.output.sum())


def test_a_fit_is_reproducible_and_no_single_point_lowers_its_sum() -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    one, two = (fit_kernel_kmeans(x, 4, Gaussian(1.0), seed=3) for _ in range(2))
    assert (one.labels == two.labels).all()
    assert (np.bincount(one.labels) > 0).all()
    assert (one.predict(x) == one.labels).mean() > 0.98
    few = fit_kernel_kmeans(x, 4, Gaussian(1.0), seed=3, restarts=1)
    total = [c.distances(x)[np.arange(60), c.labels].sum() for c in (one, few)]
    assert total[0] <= total[1] + 1e-12


def test_several_samples_are_explained_as_one_by_one() -> None:
    clustering, x = random(5, Gaussian(0.5))
    network = clustering.network()
    together = rp.explain(network, x, method="lrp").relevance
    alone = [rp.explain(network, one[None], method="lrp").relevance for one in x]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-10, atol=1e-12)


def test_what_is_no_clustering_is_refused() -> None:
    x, kernel = np.random.default_rng(0).normal(size=(6, 2)), Gaussian(1.0)
    with pytest.raises(InputError, match="kernel="):
        KernelKMeans(x, np.arange(6) % 2, "rbf")
    with pytest.raises(InputError, match="6 points with 2 labels"):
        KernelKMeans(x, np.arange(2), kernel)
    for labels in (np.zeros(6, dtype=int), np.full(6, 2), np.arange(6) % 2 * 2):
        with pytest.raises(InputError, match="a point in each"):
            KernelKMeans(x, labels, kernel)
    with pytest.raises(InputError, match="clusters=1"):
        fit_kernel_kmeans(x, 1, kernel)
    with pytest.raises(InputError, match="NaN"):
        fit_kernel_kmeans(x * np.nan, 2, kernel)
    clustering = KernelKMeans(x, np.arange(6) % 2, kernel)
    with pytest.raises(InputError, match="3 columns"):
        clustering.predict(np.ones((1, 3)))
    with pytest.raises(InputError, match="beta="):
        clustering.network(beta=0)
