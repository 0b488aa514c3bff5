"""One-class support vector machines: closed forms, exactness, and what their relevance is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.svm import OneClassSVM
from torch import Tensor

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.evaluation.statistics import difference
from rootpoint.neuralize.kernels import CityBlockLaplace, Gaussian, Kernel, Laplace, Student
from rootpoint.neuralize.one_class import Outlierness

POINTS, WEIGHTS = [(0.0, 0.0), (2.0, 0.0), (0.0, 3.0)], [0.5, 0.3, 0.2]
KERNELS = (Gaussian, Laplace, CityBlockLaplace, Student)


@dataclass(frozen=True)
class Closed:
    """A case of the method reference, §7.1."""

    kernel: Kernel
    x: tuple[float, float]
    o: float
    p: tuple[float, ...]
    relevance: tuple[float, float]
    rooted: bool = False


CASES = {
    "Gaussian A, (1, 1)": Closed(
        Gaussian(0.5), (1, 1), 1.168861, (0.591978, 0.355187, 0.052835), (0.565904, 0.602958)
    ),
    "Gaussian B, (1, 1)": Closed(
        Gaussian(0.5), (1, 1), 1.168861, (0.591978, 0.355187, 0.052835), (0.485934, 0.522988), True
    ),
    "Gaussian A, (4, 4)": Closed(
        Gaussian(0.5), (4, 4), 9.819699, (0.001035, 0.250506, 0.748459), (7.414373, 2.405326)
    ),
    "Gaussian B, (4, 4)": Closed(
        Gaussian(0.5), (4, 4), 9.819699, (0.001035, 0.250506, 0.748459), (6.484734, 2.347224), True
    ),
    "Laplace": Closed(
        Laplace(0.5), (1, 1), 0.776878, (0.536131, 0.321679, 0.142190), (0.355300, 0.421578)
    ),
    "Student": Closed(
        Student(1.0), (1, 1), 10 / 3, (5 / 9, 1 / 3, 1 / 9), (1.555556, 1.777778)
    ),
}  # fmt: skip


def t(values: object) -> Tensor:
    return torch.as_tensor(np.array(values), dtype=torch.float64)


def fitted(kernel: object, seed: int, columns: int = 4) -> tuple[OneClassSVM, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, columns)) * rng.uniform(0.3, 2) + rng.normal(size=columns)
    return OneClassSVM(kernel=kernel, nu=float(rng.uniform(0.1, 0.9)), tol=1e-6).fit(x), x


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_closed_forms_are_met(case: Closed) -> None:
    network = Outlierness(POINTS, WEIGHTS, case.kernel, rooted=case.rooted).eval()
    found = rp.explain(network, t([case.x]), method="lrp")
    assert found.output.item() == pytest.approx(case.o, abs=1e-6)
    assert found.relevance[0].tolist() == pytest.approx(case.relevance, abs=2e-6)
    pooled = rp.explain(network, t([case.x]), method="lrp", at="distances").relevance[0]
    share = case.p
    if case.rooted:
        a = network.distances(t([case.x]))[0]
        share = [q * min(1, float(d) / case.o) for q, d in zip(case.p, a, strict=True)]
    assert pooled.tolist() == pytest.approx([q * case.o for q in share], abs=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["rbf", *KERNELS]), st.booleans())
def test_the_score_is_the_decision_function_without_its_threshold(
    seed: int, kind: object, sparsely: bool
) -> None:
    kernel = kind if kind == "rbf" else kind(0.4)
    machine, x = fitted(kernel, seed)
    if sparsely:
        machine = OneClassSVM(kernel=kernel, nu=0.4).fit(sparse.csr_matrix(x))
    inputs = np.concatenate((x, x * 2, x[:5] + 1e-7))
    given_to = sparse.csr_matrix(inputs) if sparsely else inputs
    f = machine.decision_function(given_to) + machine.offset_
    alpha = np.asarray(machine.dual_coef_.sum())
    for option, divisor in (("raw", 1.0), ("unit", alpha), ("boundary", machine.offset_)):
        o = rp.neuralize(machine, alpha=option)(t(inputs)).numpy()
        found = divisor / o if kind is Student else divisor * np.exp(-o)
        assert np.abs(found - f).max() <= 1e-12 * max(1, f.max())
        sure = f > 0.1 * machine.offset_  # f, found by adding ρ, has all its digits
        expected = divisor / f if kind is Student else np.log(divisor) - np.log(f)
        assert np.abs(o - expected)[sure].max() <= 1e-12 * max(1, np.abs(expected)[sure].max())
        assert option != "unit" or o.min() >= 0
        if option == "boundary":
            sure = np.abs(f - machine.offset_) > 1e-12
            outlying = o > 1 if kind is Student else o > 0
            assert (outlying == (machine.predict(given_to) == -1))[sure].all()


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(KERNELS), st.sampled_from(["unit", "raw"]))
def test_relevance_sums_to_the_score_and_the_books_know_the_rest(
    seed: int, kind: type[Kernel], alpha: str
) -> None:
    machine, x = fitted(kind(0.4), seed)
    inputs = t(np.concatenate((x[:8], x[:4] * 50)))
    for rooted in (False, True):
        network = rp.neuralize(machine, alpha=alpha, rooted=rooted)
        found = rp.explain(network, inputs, method="lrp")
        books, size = found.balance, float(found.output.abs().sum())
        assert abs(books.gap) <= 1e-10 * size
        assert set(books.absorbed) <= ({"constant", "rounding"} if rooted else {"rounding"})
        assert abs(books.absorbed.get("rounding", 0.0)) <= 1e-10 * size
        if not rooted:
            assert torch.allclose(found.relevance.sum(1), found.output, rtol=1e-10, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from((Gaussian, Laplace, CityBlockLaplace)))
def test_the_rooted_variant_keeps_the_smaller_of_score_and_distance(
    seed: int, kind: type[Kernel]
) -> None:
    machine, x = fitted(kind(0.4), seed)
    network = rp.neuralize(machine, rooted=True)
    inputs = t(np.concatenate((x[:8], x[:4] * 5)))
    a, found = network.distances(inputs), rp.explain(network, inputs, method="lrp")
    o = found.output.unsqueeze(1)
    p = torch.softmax(-(a + network.pool.offset), 1)
    expected = (p * torch.minimum(o, a)).sum(1)
    assert torch.allclose(found.relevance.sum(1), expected, rtol=1e-10, atol=1e-12)
    left = float((p * (o - a).clamp(min=0)).sum())  # Σ D⁺
    assert found.balance.absorbed.get("constant", 0.0) == pytest.approx(left, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("kind", KERNELS)
def test_a_point_itself_shares_equally_or_not_at_all(kind: type[Kernel]) -> None:
    x = t([[1.0, -2.0, 0.5]])
    for rooted, total in ((False, None), (True, 0.0)):
        network = Outlierness(x, [0.5], kind(0.4), rooted=rooted).eval()
        found = rp.explain(network, x, method="lrp")
        each = (float(found.output) if total is None else total) / 3
        assert found.relevance[0].tolist() == pytest.approx([each] * 3, abs=1e-12)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("far", [1e3, 1e8, 1e100])
def test_scores_and_relevance_are_finite_however_far(kind: type[Kernel], far: float) -> None:
    network = Outlierness(POINTS, WEIGHTS, kind(0.5)).eval()
    found = rp.explain(network, t([[far, 0.0], [far, -far]]), method="lrp")
    assert found.output.isfinite().all()
    assert (found.output > 0).all()
    assert torch.allclose(found.relevance.sum(1), found.output, rtol=1e-10)
    shares = found.relevance / found.output.unsqueeze(1)
    assert torch.allclose(shares, t([[1.0, 0.0], [0.5, 0.5]]), atol=10 / far + 1e-12)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7])
def test_near_duplicates_of_points_lose_no_digits(kind: type[Kernel], gap: float) -> None:
    step = gap * t([1.0, 2.0, -3.0])
    points = t([[1.0, -2.0, 0.5], [4.0, 1.0, 1.0]])
    network = Outlierness(points, [0.5, 1e-9], kind(0.4)).eval()
    x = points[:1] + step
    found = rp.explain(network, x, method="lrp")
    p = 1 if kind is CityBlockLaplace else 2
    shares = (step.abs() ** p) / (step.abs() ** p).sum()
    assert torch.allclose(found.relevance[0], shares * found.output, rtol=1e-5)
    assert torch.allclose(found.relevance.sum(1), found.output, rtol=1e-10)


@pytest.mark.parametrize("kind", KERNELS)
def test_samples_together_are_explained_as_one_by_one_and_in_parts(kind: type[Kernel]) -> None:
    machine, x = fitted(kind(0.4), 0)
    network = rp.neuralize(machine)
    inputs = t(x[:7])
    together = rp.explain(network, inputs, method="lrp")
    single = torch.cat([rp.explain(network, one[None], method="lrp").relevance for one in inputs])
    assert torch.allclose(together.relevance, single, rtol=1e-10, atol=1e-13)
    network.rootpoint_rows = 3
    parts = rp.explain(network, inputs, method="lrp")
    assert torch.allclose(together.relevance, parts.relevance, rtol=1e-10, atol=1e-13)
    assert parts.balance.score == pytest.approx(together.balance.score)


def test_relevance_by_support_vectors_is_the_share_of_each() -> None:
    machine, x = fitted("rbf", 1)
    network = rp.neuralize(machine, alpha="raw")
    found = rp.explain(network, t(x[:4]), method="lrp", at="distances")
    k = Gaussian(machine._gamma)(x[:4], machine.support_vectors_) * machine.dual_coef_
    expected = t(k / k.sum(1, keepdims=True)) * found.output.unsqueeze(1)
    assert torch.allclose(found.relevance, expected, rtol=1e-9)


def test_inliers_are_explained_by_their_difference_to_the_boundary() -> None:
    machine, x = fitted("rbf", 2)
    found = rp.explain(rp.neuralize(machine, alpha="boundary"), t(x), method="lrp")
    inside = t(machine.decision_function(x)) > 1e-6
    assert (found.output[inside] < 0).all()
    assert (found.relevance[inside] <= 0).all()
    assert torch.allclose(found.relevance.sum(1), found.output, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_explained_says_why_and_what_can() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(UnsupportedModelError, match=r"'poly'.*give 'rbf'"):
        rp.neuralize(OneClassSVM(kernel="poly").fit(x))
    with pytest.raises(UnsupportedModelError, match="'precomputed'"):
        rp.neuralize(OneClassSVM(kernel="precomputed").fit(x @ x.T))
    with pytest.raises(InputError, match="call fit"):
        rp.neuralize(OneClassSVM())
    with pytest.raises(InputError, match=r"alpha='half'.*'unit'"):
        rp.neuralize(OneClassSVM().fit(x), alpha="half")
    with pytest.raises(InputError, match="positive"):
        Gaussian(0.0)
    network = rp.neuralize(OneClassSVM().fit(x))
    with pytest.raises(InputError, match="2 columns"):
        rp.explain(network, x[:, :2])
    with pytest.raises(InputError, match="NaN"):
        rp.explain(network, np.where(x > 1, np.nan, x))


def test_pixels_by_relevance_lower_the_score_of_outliers_far_sooner_than_random_ones() -> None:
    """A sample of benchmarks/outliers.py; gradient² is as soon, by ∂o/∂x = 2γ (x − Σ p u)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, label = found.data / 16, found.target
    normal, rng = x[label == 3], np.random.default_rng(0)
    outliers = t(rng.permutation(x[label != 3])[:20])
    to = t(normal)[torch.cdist(outliers, t(normal)).argmin(1)]
    network = rp.neuralize(OneClassSVM(nu=0.1, gamma=1.0).fit(normal))
    gradient = rp.explain(network, outliers, method="gradient").relevance
    orders = {
        "DTD": rp.explain(network, outliers, method="lrp").relevance,
        "gradient²": gradient.square(),
        "random": t(rng.random(outliers.shape)),
    }
    area = {}
    for name, order in orders.items():
        rank = order.argsort(1, descending=True).argsort(1)
        steps = [network(torch.where(rank < k, to, outliers)).detach() for k in range(1, 64)]
        area[name] = (torch.stack(steps, 1).mean(1) / network(outliers).detach()).numpy()
    assert (area["DTD"] < area["random"]).all()
    gap = difference(area["DTD"], area["random"])
    assert gap.high < -0.1
    assert abs(difference(area["DTD"], area["gradient²"]).mean) < 0.02
