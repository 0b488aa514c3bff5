"""Models whose true relevance is known: that it is true, and that methods and metrics find it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.evaluation import planted
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.planted import Planted

MAKE: dict[str, Callable[..., Planted]] = {
    "linear": planted.linear,
    "additive": planted.additive,
    "convolutional": planted.convolutional,
}


@pytest.fixture(params=MAKE)
def case(request: pytest.FixtureRequest) -> Planted:
    return MAKE[request.param](4)


def score(p: Planted, inputs: torch.Tensor) -> torch.Tensor:
    return p.model(inputs)[torch.arange(len(inputs)), p.targets]


def test_contributions_sum_to_every_output(case: Planted) -> None:
    sums = case.contributions(case.model, case.inputs).flatten(2).sum(2)
    torch.testing.assert_close(sums, case.model(case.inputs), rtol=0, atol=1e-12)


def test_targets_are_the_decisions_and_masks_are_positive_relevance(case: Planted) -> None:
    assert case.targets == case.model(case.inputs).argmax(1).tolist()
    assert torch.equal(case.masks, case.relevance > 0)
    assert case.masks.flatten(1).any(1).all()


def test_the_same_seed_gives_the_same_case_and_the_global_state_stays(case: Planted) -> None:
    for make in MAKE.values():
        state = torch.get_rng_state()
        one = make(3, seed=5)
        torch.manual_seed(1)
        other = make(3, seed=5)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.relevance, other.relevance)
        assert not torch.equal(one.inputs, make(3, seed=6).inputs)
        torch.set_rng_state(state)


@pytest.mark.parametrize("make", [planted.linear, planted.additive])
def test_removing_an_input_value_changes_the_score_by_its_contribution(
    make: Callable[..., Planted],
) -> None:
    p = make(2, (1, 3, 3))
    for i in range(9):
        without = p.inputs.clone().flatten(1)
        without[:, i] = 0
        drop = score(p, p.inputs) - score(p, without.view_as(p.inputs))
        torch.testing.assert_close(p.relevance.flatten(1)[:, i], drop.detach(), rtol=0, atol=1e-12)


def test_removing_a_patch_of_the_convolutional_case_changes_the_score_by_its_relevance() -> None:
    p = planted.convolutional(4, 12)
    for row in range(0, 12, 4):
        for column in range(0, 12, 4):
            without = p.inputs.clone()
            without[:, :, row : row + 4, column : column + 4] = 0
            drop = score(p, p.inputs) - score(p, without)
            patch = p.relevance[:, :, row : row + 4, column : column + 4].flatten(1).sum(1)
            torch.testing.assert_close(patch, drop.detach(), rtol=0, atol=1e-12)


def test_the_mask_of_the_convolutional_case_is_the_patch_of_the_target() -> None:
    p = planted.convolutional(16)
    assert (p.masks.flatten(1).sum(1) == 16).all()
    torch.testing.assert_close(score(p, p.inputs).detach(), torch.ones(16).double())
    others = p.model(p.inputs).sort(1).values[:, :2]
    torch.testing.assert_close(others.detach(), torch.tensor([[0, 0.5]]).double().expand(16, 2))


def test_the_truth_is_that_of_other_inputs_and_parameters(case: Planted) -> None:
    with torch.no_grad():
        for parameter in case.model.parameters():
            parameter.mul_(-0.7)
    inputs = case.inputs * 1.3
    found = case.truth(case.model, inputs, torch.tensor(case.targets))
    expected = score(case, inputs).detach()
    torch.testing.assert_close(found.flatten(1).sum(1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "make"),
    [
        ("gradient-times-input", planted.linear),
        ("gradient-times-input", planted.convolutional),
        ("lrp(composite='epsilon')", planted.convolutional),
        ("integrated-gradients(steps=8)", planted.linear),
        ("integrated-gradients(steps=8)", planted.convolutional),
        ("integrated-gradients(steps=300)", planted.additive),
        ("occlusion(window=1, stride=1, baseline=0.0)", planted.additive),
    ],
)
def test_methods_find_the_truth(method: str, make: Callable[..., Planted]) -> None:
    p = make(3)
    found = rp.method(method)(p.model, p.inputs, p.targets).relevance
    torch.testing.assert_close(found, p.relevance, rtol=1e-4, atol=1e-4)


def test_gradient_times_input_finds_the_additive_truth_only_without_the_cube() -> None:
    flat, cubic = planted.additive(3, cubic=0.0), planted.additive(3)
    for p, finds in ((flat, True), (cubic, False)):
        found = rp.method("gradient-times-input")(p.model, p.inputs, p.targets).relevance
        assert torch.allclose(found, p.relevance) == finds


def test_the_truth_is_a_candidate_that_conserves_perfectly(case: Planted) -> None:
    found = evaluate(
        case.model, case.inputs, {"truth": case.truth}, "conservation", target=case.targets
    )
    assert found.mean("conservation", "truth").mean < 1e-12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planted.linear(0), "samples=0"),
        (lambda: planted.additive(2, ()), "at least one sample, of one value"),
        (lambda: planted.convolutional(2, 10), "side=10: give a multiple of 4"),
        (lambda: planted.convolutional(2, 4), "side=4"),
        (lambda: planted.convolutional(0), "samples=0"),
    ],
)
def test_impossible_cases_are_refused(make: Callable[[], Planted], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
