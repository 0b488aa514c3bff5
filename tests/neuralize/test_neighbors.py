"""Nearest neighbours by soft pooling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.special import logsumexp
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import scale
from torch import Tensor

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError


def t(values: object) -> Tensor:
    return torch.as_tensor(np.array(values), dtype=torch.float64)


def points(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.append(rng.integers(3, size=n - 3), [0, 1, 2])
    return rng.normal(size=(n, 3)) + 2 * np.eye(3)[y], np.array(["a", "b", "c"])[y]


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.floats(0.1, 5))
def test_classes_have_the_log_odds_of_their_points_kernels(seed: int, p: int, beta: float) -> None:
    x, y = points(seed)
    network = rp.neuralize(KNeighborsClassifier(3, p=p).fit(x, y), beta=beta)
    new = np.random.default_rng(seed + 1).normal(size=(6, 3)) * 2
    d = (np.abs(new[:, None] - x) ** p).sum(2)
    log = np.stack([logsumexp(-beta * d[:, y == c], axis=1) for c in "abc"], 1)
    each = [log[:, c] - logsumexp(np.delete(log, c, 1), axis=1) for c in range(3)]
    scores = network(t(new)).numpy()
    assert np.abs(scores - np.stack(each, 1)).max() <= 1e-10 * max(1, np.abs(scores).max())
    assert network.outputs == ("a", "b", "c")


@pytest.mark.parametrize(
    ("load", "least"), [(load_iris, 0.98), (load_wine, 0.94), (load_digits, 0.98)]
)
def test_soft_pools_decide_nearly_as_the_vote(load: object, least: float) -> None:
    """Measured with k = 5 on 40 % held out: iris 0.983, wine 0.944, digits 0.983."""
    x, y = load(return_X_y=True)
    x = x if load is load_digits else scale(x)
    x, new, y, _ = train_test_split(x, y, test_size=0.4, random_state=0)
    fitted = KNeighborsClassifier(5).fit(x, y)
    decided = rp.neuralize(fitted)(t(new)).argmax(1).numpy()
    assert (decided == fitted.predict(new)).mean() >= least


def test_the_stiff_limit_is_the_nearest_neighbour() -> None:
    x, y = points(0)
    new = np.random.default_rng(1).normal(size=(200, 3)) * 2
    stiff = rp.neuralize(KNeighborsClassifier(5).fit(x, y), beta=1e6)
    nearest = KNeighborsClassifier(1).fit(x, y)
    assert (np.array(["a", "b", "c"])[stiff(t(new)).argmax(1)] == nearest.predict(new)).all()
    own = np.sqrt(((new[:, None] - x) ** 2).sum(2))
    margins = [own[:, y != c].min(1) ** 2 - own[:, y == c].min(1) ** 2 for c in "abc"]
    assert np.allclose(stiff(t(new)) / 1e6, np.stack(margins, 1), atol=1e-5)


def test_the_default_stiffness_is_that_of_the_kth_neighbour() -> None:
    x, y = points(4)
    fitted = KNeighborsClassifier(4).fit(x, y)
    d = np.sort(((x[:, None] - x) ** 2).sum(2), 1)  # the first is the point itself
    beta = 2 / np.median(d[:, 4])
    assert np.allclose(rp.neuralize(fitted)(t(x)), rp.neuralize(fitted, beta=beta)(t(x)))


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([1, 2]), st.booleans())
def test_the_books_balance_with_classes_sizes_as_constants(seed: int, p: int, rooted: bool) -> None:
    x, y = points(seed)
    network = rp.neuralize(KNeighborsClassifier(3, p=p).fit(x, y), rooted=rooted)
    found = rp.explain(network, x[:8] + 0.1, method="lrp")
    size = float(found.output.abs().sum() + found.relevance.abs().sum())
    assert abs(found.balance.gap) <= 1e-10 * size
    assert set(found.balance.absorbed) <= {"constant", "rounding", "stabilizer"}


def test_of_two_equally_large_classes_all_of_the_score_is_explained() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), np.arange(30) % 2
    network = rp.neuralize(KNeighborsClassifier(3).fit(x, y))
    found = rp.explain(network, x[:10], 1, method="lrp")  # at its own points
    assert found.completeness_gap.abs().max() < 1e-10
    assert torch.isfinite(found.relevance).all()
    alone = [rp.explain(network, one[None], 1, method="lrp").relevance for one in x[:10]]
    assert torch.allclose(found.relevance, torch.cat(alone), atol=1e-12)
    by_points = rp.explain(network, x[:10], 1, method="lrp", at="distances").relevance
    assert by_points.shape == (10, 30)
    assert (by_points[:, :15] >= 0).all()  # far from class 0 speaks for class 1
    assert (by_points[:, 15:] <= 0).all()


def test_the_relevant_column_is_that_which_separates() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    y = np.arange(80) % 2
    x[:, 2] += 6 * y
    found = rp.explain(rp.neuralize(KNeighborsClassifier(5).fit(x, y)), x[:20], method="lrp")
    share = found.relevance.abs() / found.relevance.abs().sum(1, keepdim=True)
    assert share[:, 2].mean() > 0.6  # chance: 0.25


def test_sparse_points_are_points() -> None:
    x, y = points(0)
    x = np.where(np.abs(x) < 0.5, 0, x)
    thick, thin = (KNeighborsClassifier(3).fit(z, y) for z in (x, csr_matrix(x)))
    assert np.allclose(rp.neuralize(thin)(t(x)), rp.neuralize(thick)(t(x)))
    found = rp.explain(rp.neuralize(thin), csr_matrix(x[:2]), 0, method="lrp")
    assert found.relevance.shape == (2, 3)


def test_what_has_no_soft_pool_is_refused() -> None:
    x, y = points(0)
    with pytest.raises(InputError, match="not fitted"):
        rp.neuralize(KNeighborsClassifier())
    with pytest.raises(UnsupportedModelError, match="'chebyshev'"):
        rp.neuralize(KNeighborsClassifier(metric="chebyshev").fit(x, y))
    weighted = KNeighborsClassifier(metric="minkowski", metric_params={"w": np.ones(3)})
    with pytest.raises(UnsupportedModelError, match="no weights"):
        rp.neuralize(weighted.fit(x, y))
    with pytest.raises(UnsupportedModelError, match="weights are a function"):
        rp.neuralize(KNeighborsClassifier(weights=lambda d: 1 / (1 + d)).fit(x, y))
    with pytest.raises(UnsupportedModelError, match="several outputs"):
        rp.neuralize(KNeighborsClassifier().fit(x, np.stack((y, y), 1)))
    with pytest.raises(UnsupportedModelError, match="one class"):
        rp.neuralize(KNeighborsClassifier().fit(x, np.zeros(40)))
    with pytest.raises(InputError, match="give beta="):
        rp.neuralize(KNeighborsClassifier(2).fit(np.ones((40, 2)), y))
