"""Gaussian mixtures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from torch import Tensor

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.mixtures import Mixture, mahalanobis

KINDS = ("full", "tied", "diag", "spherical")
MODELS = (GaussianMixture, BayesianGaussianMixture)


def t(values: object) -> Tensor:
    return torch.as_tensor(np.array(values), dtype=torch.float64)


def data(seed: int, n: int = 60, columns: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=(columns, columns))
    return (
        rng.normal(size=(n, columns)) @ shape + 5 * rng.normal(size=(3, columns))[np.arange(n) % 3]
    )


def fitted(model: type, kind: str, seed: int, components: int = 3) -> tuple[object, np.ndarray]:
    x = data(seed)
    # one step is as good as many
    made = model(n_components=components, covariance_type=kind, tol=1e3, random_state=seed)
    return made.fit(x), x


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from(KINDS), st.sampled_from(MODELS))
def test_mixtures_have_the_log_odds_of_their_components_and_their_log_likelihood(
    seed: int, kind: str, model: type
) -> None:
    made, x = fitted(model, kind, seed)
    joint = made._estimate_weighted_log_prob(x)
    each = [joint[:, c] - logsumexp(np.delete(joint, c, 1), axis=1) for c in range(3)]
    network = rp.neuralize(made)
    scores = network(t(x)).numpy()
    assert np.abs(scores - np.stack(each, 1)).max() <= 1e-10 * max(1, np.abs(scores).max())
    p = made.predict_proba(x)
    some = (p > 1e-4) & (p < 1 - 1e-4)
    assert np.allclose(scores[some], np.log(p[some] / (1 - p[some])), rtol=1e-10, atol=1e-10)
    assert (scores.argmax(1) == made.predict(x)).all()
    outlier = rp.neuralize(made, output="outlier")
    assert np.allclose(outlier(t(x)), -made.score_samples(x), rtol=1e-10, atol=1e-10)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from(KINDS), st.sampled_from(MODELS))
def test_the_books_of_mixtures_balance(seed: int, kind: str, model: type) -> None:
    made, x = fitted(model, kind, seed)
    for network in (rp.neuralize(made), rp.neuralize(made, output="outlier")):
        found = rp.explain(network, x[:10], method="lrp")
        size = float(found.output.abs().sum() + found.relevance.abs().sum())
        assert abs(found.balance.gap) <= 1e-10 * size
        assert set(found.balance.absorbed) <= {"constant", "rounding", "stabilizer"}


def test_with_equal_weights_and_determinants_nothing_but_distances_is_explained() -> None:
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(4, 4))) + 3 * np.eye(4)
    network = Mixture(rng.normal(size=(3, 4)), factor[None], np.zeros(3), None, "assignment").eval()
    x = t(rng.normal(size=(12, 4)))
    found = rp.explain(network, x, method="lrp")
    a = network.distances(x)
    h = (a - a.amin(1, keepdim=True)).sort(1).values[:, 1:]
    calm = h.amin(1) > 0.1
    assert calm.sum() > 5
    assert found.completeness_gap[calm].abs().max() < 1e-10 * float(a.max())


def test_an_outlier_score_is_explained_by_mahalanobis_distances_column_by_column() -> None:
    """R_i = Σ_k p_k ½ (x − μ_k)_i [Λ_k (x − μ_k)]_i."""
    for kind in KINDS:
        made, x = fitted(GaussianMixture, kind, 1)
        precisions = {
            "full": lambda m: m.precisions_,
            "tied": lambda m: np.repeat(m.precisions_[None], 3, 0),
            "diag": lambda m: np.stack([np.diag(p) for p in m.precisions_]),
            "spherical": lambda m: np.stack([np.eye(3) * p for p in m.precisions_]),
        }[kind](made)
        z = x[:, None] - made.means_
        shares = 0.5 * z * np.einsum("bki,kij->bkj", z, precisions)
        expected = np.einsum("bk,bki->bi", made.predict_proba(x), shares)
        found = rp.explain(rp.neuralize(made, output="outlier"), x, method="lrp")
        assert np.allclose(found.relevance, expected, rtol=1e-9, atol=1e-9)
        assert float(found.relevance.sum()) > 0
        assert "constant" in found.balance.absorbed


def test_two_components_are_explained_by_differences_of_squares() -> None:
    """f_1 = a_0 − a_1, whose columns have ½ λ_0 (x − μ_0)² − ½ λ_1 (x − μ_1)²: p_k = 1."""
    means, deviations = np.array([[0.0, 1.0], [3.0, 0.0]]), np.array([[1.0, 2.0], [0.5, 1.0]])
    network = Mixture(means, 1 / deviations, np.array([0.3, 2.0]), None, "assignment").eval()
    x = np.array([[1.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    squares = 0.5 * ((x[:, None] - means) / deviations) ** 2
    found = rp.explain(network, t(x), 1, method="lrp")
    assert np.allclose(found.relevance, squares[:, 0] - squares[:, 1], atol=1e-12)
    assert np.allclose(found.output - found.relevance.sum(1), 0.3 - 2.0, atol=1e-12)


def test_several_samples_are_explained_as_one_by_one() -> None:
    made, x = fitted(GaussianMixture, "full", 2)
    for output in ("assignment", "outlier"):
        network = rp.neuralize(made, output=output)
        together = rp.explain(network, x[:6], method="lrp").relevance
        alone = [rp.explain(network, one[None], method="lrp").relevance for one in x[:6]]
        assert torch.allclose(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_at_a_mean_the_distance_has_equal_shares_of_what_it_is_given() -> None:
    """A soft minimum may give relevance to a distance of zero."""
    network = Mixture(np.zeros((1, 2)), np.ones((1, 2)), np.array([1.5]), None, "outlier").eval()
    composite = rp.neuralize(fitted(GaussianMixture, "diag", 0)[0]).rootpoint_composite
    method = rp.method("lrp", composite=composite)  # shares the whole score
    found = method(network, t([[0.0, 0.0], [3.0, 4.0]]))
    assert np.allclose(found.output, [1.5, 14.0])
    assert np.allclose(found.relevance[1], 12.5 * np.array([0.36, 0.64]))
    assert np.allclose(found.relevance[0], 0)  # all of 1.5 is constant


def test_mahalanobis_distances_are_differentiable() -> None:
    rng = np.random.default_rng(3)
    for factors in (
        rng.normal(size=(2, 3, 3)),
        rng.normal(size=(1, 3, 3)),
        rng.normal(size=(2, 3)),
    ):
        x = t(rng.normal(size=(4, 3))).requires_grad_()
        assert torch.autograd.gradcheck(mahalanobis, (x, t(rng.normal(size=(2, 3))), t(factors)))


def test_a_mixture_of_one_has_no_assignment_but_outliers() -> None:
    made, x = fitted(GaussianMixture, "full", 0, components=1)
    with pytest.raises(UnsupportedModelError, match="one cluster"):
        rp.neuralize(made)
    outlier = rp.neuralize(made, output="outlier")
    assert np.allclose(outlier(t(x)), -made.score_samples(x), rtol=1e-10)


def test_unfitted_mixtures_and_unknown_outputs_are_refused() -> None:
    with pytest.raises(InputError, match="not fitted"):
        rp.neuralize(GaussianMixture(2))
    with pytest.raises(InputError, match="'assignment' or 'outlier'"):
        rp.neuralize(fitted(GaussianMixture, "diag", 0)[0], output="density")
