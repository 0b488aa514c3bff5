"""Clusterings around centres, and nearest centroids."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.cluster import BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.neighbors import NearestCentroid
from torch import Tensor

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.clusters import Assignment, log_odds

CENTERS = ((0.0, 0.0), (4.0, 0.0), (0.0, 6.0))


def three(hard: bool = False) -> Assignment:
    return Assignment(CENTERS, range(3), scale=0.1, hard=hard).eval()


def t(values: object) -> Tensor:
    return torch.as_tensor(np.array(values), dtype=torch.float64)


def odds(a: np.ndarray) -> np.ndarray:
    """log P_c / (1 − P_c) of P = softmax(−a), class by class."""
    each = [-a[:, c] - logsumexp(-np.delete(a, c, 1), axis=1) for c in range(a.shape[1])]
    return np.stack(each, 1)


def near(a: object, b: object, tolerance: float = 1e-10) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return bool(np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max()))


def blobs(seed: int, columns: int = 3, n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, columns)) + 4 * rng.normal(size=(4, columns))[rng.integers(4, size=n)]
    )


# -- closed forms ------------------------------------------------------------------------------


def test_three_centres_have_the_soft_log_odds_and_relevance_of_the_closed_form() -> None:
    found = rp.explain(three(), t([[1.0, 1.0]]), 0, method="lrp")
    assert near(found.output, [0.616099], 1e-6)
    assert near(found.relevance, [[0.512606, 0.103493]], 1e-6)


def test_three_centres_have_the_hard_margin_of_the_closed_form() -> None:
    found = rp.explain(three(hard=True), t([[1.0, 1.0]]), 0, method="lrp")
    assert near(found.output, [0.8], 1e-12)
    assert near(found.relevance, [[0.8, 0.0]], 1e-12)


def test_relevance_is_that_of_midpoint_roots() -> None:
    """R_i = Σ_k (x − m_k)_i w_ik / h_k · p_k f, w_k = 2β(μ_c − μ_k), m_k = (μ_c + μ_k)/2."""
    rng = np.random.default_rng(0)
    centers, x, beta, c = rng.normal(size=(5, 4)), rng.normal(size=4) * 2, 0.7, 3
    rivals = np.delete(centers, c, 0)
    w, middle = 2 * beta * (centers[c] - rivals), (centers[c] + rivals) / 2
    h = ((x - middle) * w).sum(1)
    assert near(h, w @ x + beta * ((rivals**2).sum(1) - (centers[c] ** 2).sum()))
    assert np.abs(h).min() > 0.1  # away from boundaries
    f = -logsumexp(-h)
    expected = ((x - middle) * w / h[:, None] * (np.exp(f - h) * f)[:, None]).sum(0)
    network = Assignment(centers, range(5), scale=beta).eval()
    assert near(rp.explain(network, t(x[None]), c, method="lrp").relevance, expected)


# -- the operation -----------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.01, 300))
def test_log_odds_of_all_classes_are_those_of_a_softmax(seed: int, k: int, scale: float) -> None:
    a = np.random.default_rng(seed).normal(size=(7, k)) * scale
    a[0, :2] = a[0].min()  # a tie
    assert near(log_odds(t(a)), odds(a), 1e-13)
    margins = [np.delete(a, c, 1).min(1) - a[:, c] for c in range(k)]
    assert near(log_odds(t(a), hard=True), np.stack(margins, 1), 1e-15)


def test_log_odds_have_the_gradient_of_their_formula() -> None:
    a = t(np.random.default_rng(1).normal(size=(4, 5))).requires_grad_()
    assert torch.autograd.gradcheck(log_odds, (a,))
    assert torch.autograd.gradcheck(lambda a: log_odds(a, hard=True), (a,))


# -- k-means -----------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([KMeans, MiniBatchKMeans]))
def test_k_means_has_the_log_odds_of_its_distances(seed: int, k: int, kind: type) -> None:
    x = blobs(seed)
    fitted = kind(k, n_init=1, random_state=0).fit(x)
    network = rp.neuralize(fitted, beta=0.3)
    assert near(network(t(x)), odds(0.3 * fitted.transform(x) ** 2))
    assert (network(t(x)).argmax(1).numpy() == fitted.predict(x)).all()
    margin = rp.neuralize(fitted, beta=1.0, hard=True)(t(x))
    apart = fitted.transform(x) ** 2
    own = np.stack([np.delete(apart, c, 1).min(1) - apart[:, c] for c in range(k)], 1)
    assert near(margin, own)


def test_the_default_stiffness_makes_k_means_a_mixture_of_spherical_gaussians() -> None:
    x = blobs(3)
    fitted = KMeans(3, n_init=1, random_state=0).fit(x)
    variance = ((x - fitted.cluster_centers_[fitted.labels_]) ** 2).mean()
    density = -((x[:, None] - fitted.cluster_centers_) ** 2).sum(2) / (2 * variance)
    assert near(rp.neuralize(fitted)(t(x)), odds(-density))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_relevance_is_conserved_away_from_boundaries_and_up_to_the_stabilizer_on_them(
    seed: int, k: int
) -> None:
    x = blobs(seed)[:20]
    network = rp.neuralize(KMeans(k, n_init=1, random_state=0).fit(x), beta=0.2)
    c = np.random.default_rng(seed).integers(k)
    found = rp.explain(network, t(x), int(c), method="lrp")
    a = network.distances(t(x)).numpy()
    h = np.delete(a - a[:, [c]], c, 1)
    log_p = -h - logsumexp(-h, axis=1, keepdims=True)
    absorbed = np.exp(log_p) * log_p * (1 - h**2 / np.maximum(h**2, 0.1**2))
    scale = np.abs(a).max()
    assert near(found.output - found.relevance.sum(1), absorbed.sum(1), 1e-10 * scale)
    assert abs(found.balance.gap) <= 1e-10 * scale * len(x)
    calm = np.abs(h).min(1) > 0.1
    assert (np.abs(found.completeness_gap.numpy()[calm]) <= 1e-10 * scale).all()


def test_nothing_explodes_on_boundaries() -> None:
    """Σ|R| stays below Σ_k (p_k + |p_k log p_k| / ε) Σ_i |z_ik|, and bends no faster than ε."""
    steps = np.concatenate((np.linspace(-1, 1, 401), 10.0 ** -np.arange(2, 16), [0.0]))
    centers = t(CENTERS)
    for line in (t([[2.0, 1.0]]), t([[2.0, 3.0]]), t([[1.0, 3.0]])):  # 3 meet at (2, 3)
        x = line + t(np.sort(steps))[:, None] * t([[1.0, 0.3]])
        found = rp.explain(three(), x, 0, method="lrp")
        z = 0.1 * ((x[:, None] - centers[1:]) ** 2 - (x[:, None] - centers[:1]) ** 2)
        p = torch.softmax(-z.sum(2), 1)
        bound = ((p - 10 * p * p.log()) * z.abs().sum(2)).sum(1)
        assert (found.relevance.abs().sum(1) <= bound + 1e-12).all()
        slope = found.relevance.diff(dim=0).abs() / t(np.sort(steps)).diff()[:, None].clamp(1e-12)
        assert slope.max() < 20
        assert "stabilizer" in found.balance.absorbed
        assert abs(found.balance.gap) < 1e-10


def test_of_two_clusters_the_columns_are_opposite_and_boundaries_conserve() -> None:
    network = Assignment([[0.0, 0.0], [2.0, 0.0]], range(2)).eval()
    x = t([[1.0, 5.0], [1.0 + 1e-13, 0.0], [0.0, 0.0], [7.0, 1.0]])
    assert near(network(x)[:, 1], 4 * (x[:, 0] - 1), 1e-14)
    assert near(network(x)[:, 0], -network(x)[:, 1], 0)
    found = rp.explain(network, x, 1, method="lrp")
    assert near(found.relevance, torch.stack((4 * (x[:, 0] - 1), 0 * x[:, 0]), 1), 1e-12)


def test_several_samples_are_explained_as_one_by_one_each_for_its_own_cluster() -> None:
    network = rp.neuralize(KMeans(4, n_init=1, random_state=0).fit(blobs(1)))
    x = t(blobs(2)[:9])
    together = rp.explain(network, x, method="lrp").relevance
    alone = [rp.explain(network, one[None], method="lrp").relevance for one in x]
    assert near(together, torch.cat(alone), 1e-12)


def test_an_assignment_is_explained_by_centres() -> None:
    found = rp.explain(three(), t([[1.0, 1.0]]), 0, method="lrp", at="distances")
    h, p, f = np.array([0.8, 2.4]), np.array([0.832018, 0.167982]), 0.616099
    rivals = p * f / h * np.array([1.0, 2.6])
    assert near(found.relevance, [[-(p * f / h).sum() * 0.2, *rivals]], 1e-5)


def test_columns_of_a_data_frame_are_taken_by_name() -> None:
    frame = pd.DataFrame(blobs(5), columns=["a", "b", "c"])
    network = rp.neuralize(KMeans(3, n_init=1, random_state=0).fit(frame))
    found = rp.explain(network, frame[["c", "a", "b"]].head(3), 0, method="lrp")
    plain = rp.explain(network, t(frame.to_numpy()[:3]), 0, method="lrp")
    assert near(found.output, plain.output, 1e-14)
    with pytest.raises(InputError, match="no column 'c'"):
        rp.explain(network, frame[["a", "b"]], 0, method="lrp")


def test_unsuitable_clusterings_tables_and_options_are_refused() -> None:
    x = blobs(0)
    with pytest.raises(InputError, match="not fitted"):
        rp.neuralize(KMeans(3))
    with pytest.raises(UnsupportedModelError, match="one cluster"):
        rp.neuralize(KMeans(1, n_init=1).fit(x))
    with pytest.raises(UnsupportedModelError, match="tree of bisections"):
        rp.neuralize(BisectingKMeans(3, random_state=0).fit(x))
    fitted = KMeans(3, n_init=1, random_state=0).fit(x)
    for beta in (0, -1.0, float("nan"), float("inf"), "1", True):
        with pytest.raises(InputError, match="beta="):
            rp.neuralize(fitted, beta=beta)
    for bad, message in ((x[:, :2], "2 columns"), (np.full((1, 3), np.nan), "NaN")):
        with pytest.raises(InputError, match=message):
            rp.explain(rp.neuralize(fitted), bad, 0, method="lrp")
    streamed = MiniBatchKMeans(2, n_init=1, compute_labels=False, random_state=0).fit(x)
    with pytest.raises(InputError, match="give beta="):
        rp.neuralize(streamed)
    assert rp.neuralize(streamed, beta=1.0)(t(x)).shape == (60, 2)


def test_two_bisected_clusters_are_those_of_the_nearest_centre() -> None:
    x = blobs(0)
    fitted = BisectingKMeans(2, random_state=0).fit(x)
    assert (rp.neuralize(fitted)(t(x)).argmax(1).numpy() == fitted.predict(x)).all()


# -- nearest centroid --------------------------------------------------------------------------


def labelled(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=50)
    return rng.normal(size=(50, 4)) * [1, 2, 0.5, 1] + 2 * np.eye(3, 4)[y], np.array(
        ["a", "b", "c"]
    )[y]


@settings(max_examples=15)
@given(
    st.integers(0, 10**6), st.sampled_from(["euclidean", "manhattan"]), st.sampled_from([None, 0.5])
)
def test_nearest_centroid_compares_the_distances_that_it_predicts_by(
    seed: int, metric: str, shrink: float | None
) -> None:
    x, y = labelled(seed)
    fitted = NearestCentroid(metric=metric, shrink_threshold=shrink).fit(x, y)
    apart = np.abs(x[:, None] - fitted.centroids_)
    a = (apart**2 if metric == "euclidean" else apart).sum(2)
    network = rp.neuralize(fitted, beta=0.7)
    assert near(network(t(x)), odds(0.7 * a))
    assert (fitted.classes_[network(t(x)).argmax(1)] == fitted.predict(x)).all()
    assert network.outputs == ("a", "b", "c")
    margin = rp.neuralize(fitted, beta=1.0, hard=True)(t(x))
    assert near(margin[:, 1], a[:, [0, 2]].min(1) - a[:, 1])


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(["euclidean", "manhattan"]))
def test_with_priors_nearest_centroid_has_the_log_odds_of_its_discriminants(
    seed: int, metric: str
) -> None:
    x, y = labelled(seed)
    fitted = NearestCentroid(metric=metric, priors=[0.6, 0.3, 0.1]).fit(x, y)
    network = rp.neuralize(fitted)
    assert near(network(t(x)), odds(-fitted._decision_function(x)))
    assert (fitted.classes_[network(t(x)).argmax(1)] == fitted.predict(x)).all()
    found = rp.explain(network, x[:8], method="lrp")
    assert abs(found.balance.gap) < 1e-10 * float(found.output.abs().sum())
    if metric == "euclidean":
        p = fitted.predict_proba(x).clip(1e-300, 1)
        some = (p > 1e-5) & (p < 1 - 1e-5)
        assert near(network(t(x)).numpy()[some], (np.log(p) - np.log1p(-p.clip(0, 1 - 1e-5)))[some])


def test_of_two_classes_with_priors_the_score_is_the_decision_function() -> None:
    x, y = labelled(0)
    x, y = x[y != "c"], y[y != "c"]
    fitted = NearestCentroid(priors="empirical").fit(x[3:], y[3:])
    scores = rp.neuralize(fitted)(t(x))
    assert near(scores[:, 1], fitted.decision_function(x))
    assert near(scores[:, 0], -fitted.decision_function(x))


def test_constants_of_priors_explain_nothing_and_zeros_may_be_relevant() -> None:
    x, y = labelled(1)
    fitted = NearestCentroid(priors=[0.8, 0.1, 0.1]).fit(x, y)
    origin = np.zeros((1, 4))
    found = rp.explain(rp.neuralize(fitted), origin, 0, method="lrp")
    assert {"constant"} <= set(found.balance.absorbed) <= {"constant", "rounding", "stabilizer"}
    assert (found.relevance != 0).all()
    assert abs(found.balance.gap) < 1e-12


def test_the_default_stiffness_of_nearest_centroid_is_its_variance() -> None:
    x, y = labelled(2)
    for metric, expected in (
        ("euclidean", lambda v: 0.5 / v),
        ("manhattan", lambda v: (2 / v) ** 0.5),
    ):
        fitted = NearestCentroid(metric=metric).fit(x, y)
        beta = expected((fitted.within_class_std_dev_**2).mean())
        given_it = rp.neuralize(fitted, beta=float(beta))(t(x))
        assert near(rp.neuralize(fitted)(t(x)), given_it, 1e-12)


def test_a_class_without_prior_is_refused() -> None:
    x, y = labelled(2)
    with pytest.raises(UnsupportedModelError, match="prior 0"):
        rp.neuralize(NearestCentroid(priors=[0.5, 0.5, 0.0]).fit(x, y))


# -- usefulness --------------------------------------------------------------------------------


def test_relevance_finds_the_columns_that_make_the_clusters() -> None:
    """One fit of benchmarks/clusters.py (docs/clusters.md): 5 of 25 columns differ."""
    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "clusters.py"))
    data = benchmark["SETS"][0]
    found = benchmark["measure"](data, 1)
    assert found.chance == 0.2
    assert found.shares["lrp"].mean() > 3 * found.chance
    page = benchmark["report"]({data: found}, 1)
    assert "| planted blobs | lrp | " in page
    assert "nan" not in page


def test_columns_replaced_by_relevance_lower_the_score_sooner_than_by_gradients() -> None:
    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "clusters.py"))
    found = benchmark["measure"](benchmark["SETS"][1], 1)
    fall = {name: benchmark["area"](curves).mean() for name, curves in found.to_rival.items()}
    assert fall["lrp"] > fall["gradient²"] + 0.03
    assert fall["gradient²"] > fall["random"] + 0.2
