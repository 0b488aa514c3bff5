"""Explanation vectors: from the model's own probabilities, Parzen windows, Gaussian processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.methods.explanation_vector import ExplanationVector
from rootpoint.neuralize.gaussian_process import GaussianProcess
from rootpoint.neuralize.parzen import Parzen, fit_parzen


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


TWO_POINTS = Parzen(double([[0.0], [1.0]]), torch.tensor([0, 1]), 1.0)
PROCESS = GaussianProcess(
    double([[-1.0], [1.0]]), double([-0.8, 0.8]), double([0.5, 0.5]), double(1.0)
)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()


def numerical(function: Any, x: Tensor, step: float = 1e-5) -> Tensor:
    """∂ΣB function/∂x by central differences."""
    found = torch.zeros_like(x)
    for i in range(x[0].numel()):
        shift = torch.zeros_like(x[0]).flatten()
        shift[i] = step
        shift = shift.reshape(x[0].shape)
        found.flatten(1)[:, i] = (function(x + shift) - function(x - shift)) / (2 * step)
    return found


# -- the closed forms --------------------------------------------------------------------------


def test_two_parzen_windows() -> None:
    x = double([[0.25]])
    assert TWO_POINTS(x).exp()[0].tolist() == pytest.approx([0.562177, 0.437823], abs=5e-7)
    found = ExplanationVector(surrogate=TWO_POINTS)(lambda x: 0.5 - x, x, 0)
    assert found.relevance.item() == pytest.approx(0.246134, abs=5e-7)
    assert found.output.item() == pytest.approx(0.437823, abs=5e-7)
    expected = numerical(lambda x: TWO_POINTS(x).exp()[:, 1], x)
    torch.testing.assert_close(found.relevance, expected, rtol=1e-8, atol=0)


def test_a_gaussian_process_of_two_points() -> None:
    x = double([[0.3]])
    assert PROCESS(x).exp()[0, 1].item() == pytest.approx(0.591068, abs=5e-7)
    found = ExplanationVector(surrogate=PROCESS)(lambda x: x, x)
    assert found.target == [1]
    assert found.relevance.item() == pytest.approx(-0.288561177, abs=5e-10)  # leaving class 1
    expected = numerical(lambda x: PROCESS(x).exp()[:, 1], x)
    torch.testing.assert_close(found.relevance, -expected, rtol=1e-8, atol=0)


def test_a_gaussian_process_has_the_gradient_of_the_formula() -> None:
    """∇p = φ(f̄/√u) [∇f̄/√u − ½ f̄ ∇v/u^{3/2}], u = 1 + v, ∇v = −2 k*ᵀ (K + Σ)⁻¹ ∇k*."""
    points, weights = torch.randn(6, 3).double(), torch.randn(6).double()
    noise, x = torch.rand(6).double() + 0.1, torch.randn(1, 3).double()
    process = GaussianProcess(points, weights, noise, double(0.8))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-((a[:, None] - b[None]) ** 2).sum(2) / (2 * 0.8**2)).exp()

    near = kernel(x, points)[0]
    slopes = -near[:, None] * (x - points) / 0.8**2
    inverse = (kernel(points, points) + noise.diag()).inverse()
    mean, u = near @ weights, 2 - near @ inverse @ near
    of_mean, of_variance = weights @ slopes, -2 * near @ inverse @ slopes
    density = (-(mean**2) / (2 * u)).exp() / (2 * torch.pi) ** 0.5
    expected = density * (of_mean / u.sqrt() - mean * of_variance / (2 * u**1.5))
    probability = torch.erfc(-mean / (2 * u).sqrt()) / 2
    found = ExplanationVector(surrogate=process)(lambda x: x[:, 0], x, 1)
    torch.testing.assert_close(found.output[0], 1 - probability)
    torch.testing.assert_close(found.relevance[0], -expected)


def test_parzen_windows_have_the_gradient_of_the_formula() -> None:
    """ζ = [A Σ_{i∈g} k_i (x − x_i) − B Σ_{i∉g} k_i (x − x_i)] / (σ² (A + B)²)."""
    points, label = torch.randn(9, 2, 2).double(), torch.tensor([0, 1, 2] * 3)
    x, width = torch.randn(1, 2, 2).double(), 0.7
    k = (-(points - x).flatten(1).square().sum(1) / (2 * width**2)).exp()
    way = x - points
    stays, leaves = label == 1, label != 1
    a, b = k[leaves].sum(), k[stays].sum()
    toward = torch.einsum("k,kij->ij", k[stays], way[stays])
    away = torch.einsum("k,kij->ij", k[leaves], way[leaves])
    expected = (a * toward - b * away) / (width**2 * (a + b) ** 2)
    surrogate = Parzen(points, label, width)
    found = ExplanationVector(surrogate=surrogate)(lambda x: x[:, 0], x, 1)
    torch.testing.assert_close(found.relevance[0], expected)
    torch.testing.assert_close(found.output[0], a / (a + b))


# -- the model's own probabilities -------------------------------------------------------------


def test_leaving_the_class_is_the_opposite_of_its_probability() -> None:
    model, x = network(), torch.randn(5, 4).double()
    found = ExplanationVector()(model, x)
    chosen = model(x).argmax(1)
    assert found.target == chosen.tolist()

    def leaving(x: Tensor) -> Tensor:
        return 1 - model(x).softmax(1)[range(5), chosen].detach()

    torch.testing.assert_close(found.output, leaving(x))
    torch.testing.assert_close(found.relevance, numerical(leaving, x), rtol=1e-6, atol=1e-10)
    assert found.baseline_output is None
    assert found.passes == (1, 1)


def test_a_certain_decision_has_small_but_right_relevance() -> None:
    """1 − p would be nothing in float32."""
    w = torch.tensor([[0.0, 40.0]])
    found = ExplanationVector()(lambda x: x @ w, torch.ones(1, 1))
    torch.testing.assert_close(found.output, torch.tensor([-40.0]).exp())
    torch.testing.assert_close(found.relevance, -40 * torch.tensor([[-40.0]]).exp())


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_single_score_is_the_logit_of_class_one(shape: tuple[int, ...]) -> None:
    x = double([[0.5], [-2.0]])
    found = ExplanationVector()(lambda x: (3 * x).reshape(shape), x)
    p = (3 * x).sigmoid()
    assert found.target == [1, 0]
    torch.testing.assert_close(found.output, torch.cat([1 - p[0], p[1]]))
    sign = double([[-1.0], [1.0]])
    torch.testing.assert_close(found.relevance, sign * 3 * p * (1 - p))


def test_a_chosen_class_may_be_left_at_inner_modules_too() -> None:
    model, x = network(), torch.randn(2, 4).double()
    first, second = ExplanationVector().bind(model).each(x, [[0, -1], "predicted"])
    assert first.target == [0, 2]
    torch.testing.assert_close(
        second.relevance, ExplanationVector()(model, x, "predicted").relevance
    )
    assert ExplanationVector()(model, x, at="0").relevance.shape == (2, 8)


def test_other_models_and_targets_are_refused() -> None:
    x = torch.randn(2, 4).double()
    with pytest.raises(UnsupportedModelError, match="labels, which have no gradient: fit Parzen"):
        ExplanationVector()(lambda x: (x.sum(1) > 0).long(), x)
    with pytest.raises(InputError, match=r"returns \(2, 3, 4\): .* needs a classifier's scores"):
        ExplanationVector()(lambda x: x[:, None].expand(-1, 3, -1) * 2, x)
    with pytest.raises(InputError, match="the target is no function"):
        ExplanationVector()(network(), x, lambda output: output[:, 0])
    with pytest.raises(InputError, match="'cat' is neither 'predicted' nor a class"):
        ExplanationVector()(network(), x, "cat")
    with pytest.raises(InputError, match="target 3 is out of range"):
        ExplanationVector()(network(), x, 3)


# -- Parzen windows ----------------------------------------------------------------------------


def moons() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import make_moons

    return make_moons(200, noise=0.1, random_state=0)


def nearest(x: Any) -> np.ndarray:
    """A classifier that computes with numpy and gives labels."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(5).fit(*moons()).predict(np.asarray(x))


def test_any_classifier_is_explained_by_windows_fitted_to_its_labels() -> None:
    points, _ = moons()
    method = ExplanationVector().fit(nearest, points)
    surrogate = method.surrogate
    assert isinstance(surrogate, Parzen)
    assert surrogate.agreement is not None
    assert surrogate.agreement > 0.98
    x = torch.from_numpy(points[:20])
    found = method(nearest, x)
    assert found.target == nearest(points[:20]).tolist()
    assert found.passes == (1, 0)
    one_step = x + 1e-3 * found.relevance / found.relevance.norm(dim=1, keepdim=True)
    leaving = 1 - surrogate(one_step).exp()[range(20), found.target]
    assert (leaving > found.output).all()


def test_the_width_is_where_the_other_points_give_the_labels() -> None:
    torch.manual_seed(0)
    points = torch.cat([torch.randn(30, 2) * 0.1, torch.randn(30, 2) * 0.1 + 1]).double()

    def model(x: Tensor) -> Tensor:
        return x.sum(1) - 1

    chosen = fit_parzen(model, points)
    assert chosen.agreement == 1.0
    assert chosen.labels.tolist() == [0] * 30 + [1] * 30
    assert fit_parzen(model, points, width=chosen.width).agreement == 1.0
    wrong = fit_parzen(model, points[:31], width=1e3)  # the one of the second class is outvoted
    assert wrong.agreement == pytest.approx(30 / 31)


def test_data_may_come_in_batches_and_labels_in_every_form() -> None:
    points = torch.randn(40, 3)
    scores = network().float()
    loose = nn.Sequential(nn.Linear(3, 4), scores).eval()
    whole = fit_parzen(loose, points)
    parts = fit_parzen(lambda x: loose(x).argmax(1), [(points[:15], 0), (points[15:], 0)])
    assert torch.equal(whole.labels, parts.labels)
    assert whole.width == pytest.approx(parts.width)


def test_points_far_away_are_explained_in_finite_numbers() -> None:
    x = torch.tensor([[1e4], [-1e4], [0.5]])
    near = Parzen(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), 0.1)
    found = ExplanationVector(surrogate=near)(lambda x: x - 0.5, x)
    assert found.relevance.isfinite().all()
    assert found.output.isfinite().all()
    assert found.relevance[2].item() == pytest.approx(25, rel=1e-3)
    assert "the relevance is zero where the decision is too certain" in found.notes[0]


def test_a_surrogate_that_decides_otherwise_is_said_to() -> None:
    x = double([[0.25], [0.75]])
    found = ExplanationVector(surrogate=TWO_POINTS)(lambda x: x - 0.1, x)
    assert found.notes == ("the surrogate decides for another class at 1 sample(s)",)


def test_a_batch_is_explained_as_its_samples_are_one_by_one() -> None:
    x = torch.randn(4, 1).double()
    for surrogate in (TWO_POINTS, PROCESS):
        method = ExplanationVector(surrogate=surrogate)
        together = method(lambda x: x, x).relevance
        alone = torch.cat([method(lambda x: x, one).relevance for one in x.split(1)])
        torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("surrogate", [TWO_POINTS, PROCESS])
def test_a_surrogate_is_saved_and_loaded(tmp_path: Path, surrogate: Any) -> None:
    path = surrogate.save(tmp_path / "surrogate.safetensors")
    x = double([[0.4]])
    expected = ExplanationVector(surrogate=surrogate)(lambda x: x, x).relevance
    found = ExplanationVector(surrogate=str(path))(lambda x: x, x).relevance
    torch.testing.assert_close(found, expected)


def test_windows_that_cannot_be_fitted_or_used_are_refused(tmp_path: Path) -> None:
    points = torch.randn(5, 2)
    with pytest.raises(InputError, match="all 5 points the label 1"):
        fit_parzen(lambda x: torch.ones(len(x)), points)
    with pytest.raises(InputError, match="two points at least"):
        fit_parzen(lambda x: x, points[:1])
    with pytest.raises(InputError, match="two points at least"):
        fit_parzen(lambda x: x, [])
    flips = iter(torch.tensor([[0, 1]]))
    with pytest.raises(InputError, match="all points are the same"):
        fit_parzen(lambda x: next(flips), torch.zeros(2, 2))
    with pytest.raises(InputError, match=r"returns \(5, 2, 2\) for 5 samples: a classifier gives"):
        fit_parzen(lambda x: torch.ones(5, 2, 2), points)
    with pytest.raises(InputError, match="width=0: σ must be positive"):
        fit_parzen(lambda x: x, points, width=0)
    with pytest.raises(InputError, match=r"fitted to samples \(1,\), not \(2,\)"):
        ExplanationVector(surrogate=TWO_POINTS)(lambda x: x, points)
    with pytest.raises(InputError, match=r"decides for class 2, but the surrogate .* 2 classes"):
        ExplanationVector(surrogate=TWO_POINTS)(lambda x: torch.full((1,), 2), torch.zeros(1, 1))
    with pytest.raises(InputError, match="not inner modules"):
        ExplanationVector(surrogate=TWO_POINTS)(network(), points, at="0")
    with pytest.raises(InputError, match="cannot read"):
        ExplanationVector(surrogate=str(tmp_path / "nothing"))(lambda x: x, points)


# -- Gaussian processes of scikit-learn --------------------------------------------------------


def fitted(kernel: Any) -> Any:
    from sklearn.gaussian_process import GaussianProcessClassifier

    return GaussianProcessClassifier(kernel, optimizer=None).fit(*moons())


@pytest.mark.parametrize("amplitude", [None, 4.0])
def test_scikit_learns_process_is_taken_over(amplitude: float | None) -> None:
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    estimator = fitted(RBF([0.7, 0.4]) if amplitude is None else ConstantKernel(4.0) * RBF(0.5))
    process = GaussianProcess.from_sklearn(estimator)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
    theirs = torch.from_numpy(estimator.predict_proba(x.numpy()))
    ours = process(x).exp()
    assert (ours - theirs).abs().max() < 0.02
    assert torch.equal(ours.argmax(1), theirs.argmax(1))
    found = ExplanationVector(surrogate=process)(estimator.predict, x)
    expected = numerical(lambda x: 1 - process(x).exp()[range(50), found.target], x)
    torch.testing.assert_close(found.relevance, expected, rtol=1e-5, atol=1e-9)


def test_other_processes_are_refused() -> None:
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, Matern

    sum_of_two, other = fitted(RBF() + RBF()), fitted(Matern())
    with pytest.raises(UnsupportedModelError, match="no GaussianProcessClassifier"):
        GaussianProcess.from_sklearn(GaussianProcessClassifier())
    with pytest.raises(UnsupportedModelError, match=r"the kernel Matern.* must be RBF"):
        GaussianProcess.from_sklearn(other)
    with pytest.raises(UnsupportedModelError, match=r"must be RBF, or a constant times RBF"):
        GaussianProcess.from_sklearn(sum_of_two)
    with pytest.raises(InputError, match=r"fitted to samples \(1,\), not \(2,\)"):
        PROCESS(torch.zeros(1, 2))
