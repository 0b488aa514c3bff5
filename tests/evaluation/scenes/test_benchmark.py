"""The benchmark: right answers, exact masks, a network that looks at what is asked about."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
import torch

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.scenes import KINDS, QUESTIONS, Benchmark, benchmark, masks, outputs

BY_TEXT = {question.text: question for question in QUESTIONS}


@cache
def made() -> Benchmark:
    return benchmark(80, seed=3)


def scores(b: Benchmark, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return b.model(inputs)[torch.arange(len(inputs)), b.targets]


def test_shapes_types_and_one_quarter_of_each_kind() -> None:
    b = made()
    assert b.inputs.shape == (80, 3, 64, 64)
    assert b.inputs.dtype == torch.float32
    assert b.masks.shape == b.union.shape == (80, 1, 64, 64)
    assert b.masks.dtype == b.union.dtype == torch.bool
    assert Counter(b.kinds) == dict.fromkeys(KINDS, 20)
    assert not b.model.training


def test_targets_are_the_right_answers_and_the_decisions() -> None:
    b = made()
    with torch.inference_mode():
        output = b.model(b.inputs)
    for i, scene in enumerate(b.scenes):
        question = BY_TEXT[b.questions[i]]
        answer = question.ask(scene)
        assert answer is not None
        assert question.answers[answer.position] == b.answers[i]
        own = outputs(question)
        assert b.targets[i] == own[answer.position] == own[int(output[i, list(own)].argmax())]


def test_masks_are_those_of_the_objects() -> None:
    b = made()
    for i, scene in enumerate(b.scenes):
        answer = BY_TEXT[b.questions[i]].ask(scene)
        assert answer is not None
        each = torch.from_numpy(masks(scene))
        assert torch.equal(b.masks[i, 0], each[answer.target])
        assert torch.equal(b.union[i, 0], each[list(answer.involved)].any(0))
        assert torch.equal(b.masks[i], b.union[i]) == (b.kinds[i] != "relation")


def test_the_same_seed_gives_the_same_benchmark_and_another_another() -> None:
    state = torch.get_rng_state()
    one, same, other = benchmark(6, seed=4), benchmark(6, seed=4), benchmark(6, seed=5)
    assert torch.equal(one.inputs, same.inputs)
    assert (one.targets, one.questions) == (same.targets, same.questions)
    assert not torch.equal(one.inputs, other.inputs)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_larger_benchmark_begins_with_the_smaller_one() -> None:
    assert torch.equal(benchmark(4, seed=4).inputs, benchmark(9, seed=4).inputs[:4])


def test_the_network_answers_nearly_all_questions_of_scenes_it_never_saw() -> None:
    accuracy = benchmark(240, seed=6).accuracy
    assert set(accuracy) == set(KINDS)
    assert min(accuracy.values()) > 0.96
    assert sum(accuracy.values()) / len(KINDS) > 0.98


def test_the_outputs_of_a_question_sum_to_zero() -> None:
    b = made()
    with torch.inference_mode():
        output = b.model(b.inputs[:8])
    for question in QUESTIONS:
        assert output[:, list(outputs(question))].sum(1).abs().max() < 0.05


def test_hiding_the_object_asked_about_costs_the_score_and_hiding_another_does_not() -> None:
    """Grey in place of the target, and of an object that the answer does not depend on."""
    b = made()
    target, other = b.inputs.clone(), b.inputs.clone()
    for i, scene in enumerate(b.scenes):
        each = torch.from_numpy(masks(scene))
        rest = [mask for mask in each if not (mask & b.union[i, 0]).any()]
        target[i, :, b.masks[i, 0]] = 0
        if rest:
            other[i, :, rest[0]] = 0
    score = scores(b, b.inputs)
    lost = (score - scores(b, target)) / score
    lost_elsewhere = (score - scores(b, other)) / score
    assert lost.mean() > 0.7
    assert lost_elsewhere.abs().mean() < 0.3 * lost.mean()


@pytest.mark.parametrize(
    "method",
    [
        "gradient",
        "gradient-times-input",
        "lrp(composite='epsilon')",
        "lrp(composite='epsilon-plus-flat')",
        "lrp(composite='epsilon-gamma-box(low=-1, high=1)')",
        "lrp(composite='alpha1-beta0')",
        "deep-taylor(low=-1, high=1)",
        "deeplift",
        "excitation-backprop",
        "guided-backprop",
        "deconvnet",
        "cam",
        "grad-cam",
        "guided-grad-cam",
        "smoothgrad(samples=4)",
        "integrated-gradients(steps=4)",
        "occlusion(window=16, stride=16)",
        "shapley(features='patches(16)', budget=80)",
        "lime(features='patches(16)', budget=40)",
        "random",
    ],
)
def test_methods_explain_its_answers(method: str) -> None:
    b = made()
    found = rp.method(method)(b.model, b.inputs[:2], b.targets[:2]).relevance
    assert torch.isfinite(found).all()
    assert found.abs().sum() > 0


def test_a_map_of_the_mask_is_perfect_and_better_than_lrp_and_lrp_than_chance() -> None:
    b = made()

    def truth(model: object, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return b.masks.float()

    candidates = {"truth": truth, "lrp": "lrp(composite='epsilon-plus')", "random": "random"}
    found = evaluate(
        b.model,
        b.inputs,
        candidates,
        "relevance-mass",
        target=b.targets,
        masks=b.masks,
        batch=80,
    )
    assert found.ranking("relevance-mass") == ["truth", "lrp", "random"]
    assert found.mean("relevance-mass", "truth").mean == 1
    area = b.masks.float().mean().item()
    assert found.mean("relevance-mass", "random").mean == pytest.approx(area, rel=0.15)
    assert found.mean("relevance-mass", "lrp").low > 3 * area


@pytest.mark.parametrize(
    ("samples", "seed", "message"),
    [(0, 0, "samples=0"), (3, -1, "seed=-1 is out of range"), (3, 10**6, "0 to 999999")],
)
def test_impossible_benchmarks_are_refused(samples: int, seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        benchmark(samples, seed=seed)
