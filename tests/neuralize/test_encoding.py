"""Fisher statistics and bags of words, and how relevance goes back from them to descriptors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.feature import fisher_vector
from sklearn.mixture import GaussianMixture
from torch import Tensor

from rootpoint.neuralize import encoding
from rootpoint.neuralize.encoding import encode, mappings, share_by_mapping


def t(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def random_mixture(components: int = 3, dimensions: int = 4, given: int = 6) -> tuple[Tensor, ...]:
    """Mean, matrix, centers, variances, shares."""
    return (
        torch.randn(given).double(),
        torch.randn(dimensions, given).double(),
        torch.randn(components, dimensions).double(),
        torch.rand(components, dimensions).double() + 0.5,
        torch.rand(components).double().softmax(0),
    )


def shared(x: Tensor, r: Tensor, cells: Tensor, kind: str, **options: float) -> Tensor:
    """The relevance (B, L) of descriptors where the encoding has relevance r (B, cells · F)."""
    tensors = (x, cells, kind, *random_mixture(given=x.shape[2]))
    call: Any = SimpleNamespace(
        step=SimpleNamespace(bound=lambda given, *names: dict(zip(names, given, strict=True))),
        tensors=tensors,
        output=encode(*tensors),
        relevance=lambda m: m,
    )
    found = share_by_mapping.__wrapped__(call, r, **options).relevance  # pyright: ignore
    torch.testing.assert_close(found, found[..., :1].expand_as(x), rtol=0, atol=0)
    return found.sum(2)


def test_the_mu_and_sigma_parts_are_those_of_scikit_image() -> None:
    drawn = np.random.default_rng(0).normal(size=(60, 4))
    mixture = GaussianMixture(3, covariance_type="diag", random_state=0).fit(drawn)
    theirs = fisher_vector(drawn[:25], mixture)[3:]  # without the part of the weights
    even = torch.full((1, 25), 1 / 25, dtype=torch.float64)
    constants = (mixture.means_, mixture.covariances_, mixture.weights_)
    plain = (t(np.zeros(4)), t(np.eye(4)))
    ours = encode(t(drawn[None, :25]), even, "fisher", *plain, *map(t, constants))
    signs = np.repeat([1.0, -1.0], 12)
    np.testing.assert_allclose(ours[0].numpy(), signs * theirs, rtol=0, atol=1e-10)


def test_descriptors_are_projected_before_they_are_encoded() -> None:
    mean, matrix, *mixture = random_mixture()
    x = torch.randn(2, 5, 6).double()
    reduced = (x - mean) @ matrix.T
    plain = mappings(reduced, "fisher", t(np.zeros(4)), t(np.eye(4)), *mixture)
    torch.testing.assert_close(mappings(x, "fisher", mean, matrix, *mixture), plain)


def test_a_bag_counts_the_descriptors_nearest_to_each_word() -> None:
    words, x = t([[0.0, 0.0], [10.0, 0.0]]), t([[[1, 0], [2, 1], [9, 0], [4, 0]]])
    whole, ones = torch.full((1, 4), 0.25).double(), t(np.ones((2, 2)))
    found = encode(x, whole, "bag", t([0, 0]), t(np.eye(2)), words, ones, t([0.5, 0.5]))
    torch.testing.assert_close(found, t([[0.75, 0.25]]))


def test_a_cell_sees_its_descriptors_alone() -> None:
    x, cells = torch.randn(1, 4, 6).double(), t([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    mixture = random_mixture()
    both = encode(x, cells, "fisher", *mixture).reshape(2, -1)
    half = torch.full((1, 2), 0.5).double()
    for found, part in zip(both, (x[:, :2], x[:, 2:]), strict=True):
        torch.testing.assert_close(found, encode(part, half, "fisher", *mixture)[0])


def test_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    m = t([[1, 2], [3, -1], [0, -1]])  # the second column sums to zero: it is shared evenly
    monkeypatch.setattr(encoding, "mappings", lambda *_: m[None])
    found = shared(torch.rand(1, 3, 2).double(), t([[4, 3]]), t([[1 / 3] * 3]), "fisher")
    torch.testing.assert_close(found, t([[2, 4, 1]]), rtol=0, atol=1e-12)


def test_a_dimension_that_sums_to_zero_shares_evenly_over_its_cell_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    m, cells = t([[1], [-1], [5], [3]]), t([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    monkeypatch.setattr(encoding, "mappings", lambda *_: m[None])
    found = shared(torch.rand(1, 4, 2).double(), t([[6, 16]]), cells, "fisher")
    torch.testing.assert_close(found, t([[3, 3, 10, 6]]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["fisher", "bag"])
def test_relevance_is_conserved_in_each_cell(kind: str) -> None:
    x, cells = torch.randn(3, 6, 5).double(), t([[0.5, 0.5, 0, 0, 0, 0], [0, 0] + 4 * [0.25]])
    r = torch.randn(3, 2 * (24 if kind == "fisher" else 3)).double()
    found = shared(x, r, cells, kind)
    expected = r.unflatten(1, (2, -1)).sum(2)
    torch.testing.assert_close(found[:, :2].sum(1), expected[:, 0], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[:, 2:].sum(1), expected[:, 1], rtol=0, atol=1e-10)


def test_epsilon_absorbs_where_sums_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    m = t([[1, -2], [3, 0]])
    monkeypatch.setattr(encoding, "mappings", lambda *_: m[None])
    x, whole = torch.rand(1, 2, 2).double(), torch.ones(1, 2).double()
    found = shared(x, t([[5, 3]]), whole, "fisher", epsilon=1.0)
    torch.testing.assert_close(found, t([[1 + 2, 3]]), rtol=0, atol=1e-12)
