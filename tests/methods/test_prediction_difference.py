"""Prediction difference: weights of evidence by hand, and the sum over samples done slowly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.methods.prediction_difference import PredictionDifference, weight_of_evidence
from rootpoint.perturbation.fillings import conditional_filling, marginal_filling
from rootpoint.perturbation.patch_gaussian import PatchGaussian, fit_patch_gaussian
from rootpoint.perturbation.reference_images import ReferenceImages, fit_reference_images
from rootpoint.perturbation.windows import averaged, windows


def images(number: int = 30) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, 2, 9, 8, generator=generator, dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(168, 3)]
    return nn.Sequential(*layers).double().eval()


def difference(**parameters: Any) -> PredictionDifference:
    return PredictionDifference(window=3, samples=4, **parameters).fit(network(), images())


def evidence(whole: float, without: float, laplace: float, classes: int) -> float:
    p, q = (torch.tensor([v], dtype=torch.float64) for v in (whole, without))
    return weight_of_evidence(p, q, laplace, classes).item()


def test_weights_of_evidence_by_hand() -> None:
    assert evidence(0.8, 0.5, 1e15, 2) == pytest.approx(2, abs=1e-9)
    assert evidence(0.8, 0.5, 1e5, 1000) == pytest.approx(1.958209, abs=1e-6)


def test_certainty_is_finite() -> None:
    """log2 odds of p = 1 are 6.645314 bits with N = 100,000 and K = 1000."""
    assert evidence(1.0, 0.5, 1e5, 1000) - evidence(0.5, 0.5, 1e5, 1000) > 0
    odds = (1e5 + 1) / 999
    assert torch.tensor(odds).log2().item() == pytest.approx(6.645314, abs=1e-5)
    half = (5e4 + 1) / (1e5 + 1000)
    expected = 6.645314 - torch.tensor(half / (1 - half)).log2().item()
    assert evidence(1.0, 0.5, 1e5, 1000) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("sampling", ["conditional", "marginal"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_mean_probability_of_the_fillings_counts(sampling: str, stride: int) -> None:
    model, x = network(), images(2)
    method = difference(sampling=sampling, stride=stride, seed=5)
    if isinstance(method.fitted, PatchGaussian):
        fill = conditional_filling(method.fitted, 3, x, 4, 5)
    else:
        assert isinstance(method.fitted, ReferenceImages)
        fill = marginal_filling(method.fitted, x, 4, 5)
    found = method(model, x, [2, 0])
    at = windows((2, 9, 8), (2, 3, 3), (2, stride, stride), whole=True)
    for sample, target, relevance in zip(x, [2, 0], found.relevance, strict=True):
        worth = []
        for index, window in enumerate(at):
            unknown = sample.repeat(4, 1, 1, 1)
            unknown[(slice(None), *window)] = fill(sample, index, window)
            with torch.no_grad():
                p = model(sample[None]).softmax(1)[0, target]
                q = model(unknown).softmax(1)[:, target].mean()
            worth.append(evidence(float(p), float(q), 1e5, 3))
        expected = averaged(at, torch.tensor(worth, dtype=torch.float64), sample)
        assert torch.allclose(relevance, expected, rtol=1e-8, atol=1e-10)
    assert found.passes == (4 + 4 * len(at), 0)  # two to try what is faster


def test_samples_are_explained_each_for_itself() -> None:
    model, x = network(), images(3)
    method = difference()
    alone = torch.cat([method(model, one[None], 1).relevance for one in x])
    assert torch.allclose(method(model, x, 1).relevance, alone, rtol=1e-9, atol=1e-12)


def test_probabilities_as_outputs_need_no_softmax() -> None:
    model, x = network(), images(1)
    with_softmax = difference()(model, x, 1).relevance
    without = difference(softmax=False)(lambda x: model(x).softmax(1), x, 1).relevance
    assert torch.allclose(with_softmax, without, rtol=1e-9)


def test_a_single_output_is_one_of_two_classes() -> None:
    model, x = network(), images(1)
    two = lambda x: torch.stack([0 * model(x)[:, 0], model(x)[:, 0]], 1)  # noqa: E731
    expected = difference()(two, x, 1).relevance
    for shape in ((-1,), (-1, 1)):
        found = difference()(lambda x, s=shape: model(x)[:, 0].reshape(s), x).relevance
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_function_as_target_gives_the_probability() -> None:
    model, x = network(), images(1)
    found = difference()(model, x, lambda output: output.softmax(1)[:, 1]).relevance
    assert found.abs().max() > 0
    with pytest.raises(InputError, match="no probabilities"):
        difference()(model, x, lambda output: 100 * output[:, 1])


def test_differences_of_scores_are_linear_in_the_model() -> None:
    weight, x = images(1)[0], images(1)
    score = lambda x: (x * weight).flatten(1).sum(1)  # noqa: E731
    method = difference(measure="difference", sampling="marginal", stride=3)
    once = method(score, x).relevance
    twice = method(lambda x: 2 * score(x), x).relevance
    assert torch.allclose(2 * once, twice, rtol=1e-10)


def test_constant_pixels_are_no_evidence_and_no_trouble() -> None:
    data = images()
    data[:, :, :4] = 0.5
    method = PredictionDifference(window=3, samples=3).fit(network(), data)
    relevance = method(network(), data[:1], 0).relevance
    assert relevance.isfinite().all()
    assert relevance[:, :, 0].abs().max() < 1e-6


def test_the_budget_sets_the_stride() -> None:
    model, x = network(), images(1)
    method = PredictionDifference(window=3, samples=2).fit(model, images())
    assert method(model, x).passes == (4 + 2 * 7 * 6, 0)
    assert replace(method, budget=83)(model, x).passes == (4 + 2 * 4 * 4, 0)
    assert replace(method, budget=18)(model, x).passes == (4 + 2 * 3 * 3, 0)
    with pytest.raises(InputError, match="budget of at least 18 evaluations, not 17"):
        replace(method, budget=17)(model, x)
    with pytest.raises(InputError, match="leaves gaps"):
        replace(method, stride=4)(model, x)


def test_it_takes_a_file_of_what_was_fitted(tmp_path: Path) -> None:
    model, x = network(), images(1)
    method = difference()
    assert isinstance(method.fitted, PatchGaussian)
    path = str(method.fitted.save(tmp_path / "patches.safetensors"))
    assert torch.equal(replace(method, fitted=path)(model, x).relevance, method(model, x).relevance)


def test_what_does_not_fit_is_refused() -> None:
    model, x = network(), images(1)
    with pytest.raises(InputError, match="is not fitted: it needs a patch Gaussian"):
        PredictionDifference(window=3)(model, x)
    with pytest.raises(InputError, match="needs reference images, not a patch Gaussian"):
        replace(difference(), sampling="marginal")(model, x)
    with pytest.raises(InputError, match="windows of 3 pixels, not 4"):
        replace(difference(), window=4)(model, x)
    with pytest.raises(InputError, match=r"fitted to images of shape \(2, 9, 8\)"):
        difference()(lambda x: x.flatten(1), x[:, :, 1:])
    with pytest.raises(InputError, match="at least 3 × 3"):
        difference()(lambda x: x.flatten(1), x[:, :, :2])
    with pytest.raises(InputError, match="at least 3 × 3"):
        difference()(lambda x: x, torch.randn(2, 5))
    with pytest.raises(InputError, match="stays 0 whatever"):
        difference(measure="difference")(lambda x: 0 * x.flatten(1).sum(1), x)


def test_states_are_fitted_by_sampling() -> None:
    assert isinstance(difference().fitted, PatchGaussian)
    assert isinstance(difference(sampling="marginal").fitted, ReferenceImages)
    one = fit_patch_gaussian(images(), window=3, border=1, patches=100, seed=2)
    assert PredictionDifference(window=3, fitted=one)(network(), images(1)).relevance.shape[0] == 1
    few = fit_reference_images(images(), images=3)
    method = PredictionDifference(window=3, sampling="marginal", fitted=few)
    assert method(network(), images(1)).relevance.shape == (1, 2, 9, 8)
