"""Scoring: in batches that fit, of any model, counted unit by unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.scoring import (
    Evaluator,
    check_changes,
    decide,
    fitting,
    in_batches,
    probable,
)


def rows(start: int, stop: int) -> Tensor:
    return torch.arange(start, stop, dtype=torch.float64)[:, None].expand(-1, 3)


def evaluator(model: Any, **parameters: Any) -> Evaluator:
    return Evaluator(model, [1], 0, torch.zeros(3, dtype=torch.float64), **parameters)


def test_batches_are_halved_when_memory_runs_out_and_nothing_is_lost() -> None:
    sizes: list[int] = []

    def model(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return x

    done: list[int] = []
    evaluate = evaluator(model, advance=done.append)
    found = evaluate(20, rows)
    assert found.tolist() == list(range(20))
    assert sizes == [20, 10, 5, *[2] * 10]
    assert sum(done) == evaluate.spent == 20


def test_memory_of_accelerators_runs_out_likewise() -> None:
    def evaluate(start: int, stop: int) -> Tensor:
        if stop - start > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.tensor([float(start)])

    assert torch.cat(list(in_batches(evaluate, 5, 4))).tolist() == [0, 1, 2, 3, 4]


def test_a_single_sample_that_does_not_fit_and_other_errors_are_raised() -> None:
    def full(start: int, stop: int) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def wrong(start: int, stop: int) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches(full, 5, 4))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(in_batches(wrong, 5, 4))


def test_progress_is_one_unit_for_each_evaluation() -> None:
    done: list[int] = []
    evaluate = evaluator(lambda x: x, advance=done.append)
    evaluate(5000, rows)
    evaluate(0, rows)
    assert done == [4096, 904]
    assert evaluate.spent == 5000


def test_batches_grow_with_small_samples_and_hold_one_at_least() -> None:
    assert fitting(torch.zeros(4)) == 4096
    assert 2 <= fitting(torch.zeros(3, 224, 224)) <= 16
    assert fitting(torch.zeros(3, 4000, 4000)) == 1


def test_numpy_models_are_scored() -> None:
    found = evaluator(lambda x: x.numpy() * 2)(4, rows)
    assert found.tolist() == [0, 2, 4, 6]
    (decision,) = decide(lambda x: np.asarray(x), torch.eye(3), ["predicted"])
    assert decision.target == [0, 1, 2]
    assert isinstance(decision.prediction, Tensor)


def test_models_that_autograd_cannot_follow_are_scored() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.tensor([[0.0, float(row.sum() > 6)] for row in x.detach()])

    assert evaluator(model)(5, rows).tolist() == [0, 0, 0, 1, 1]


def test_no_gradient_is_recorded() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert not evaluator(lambda x: x * weight)(4, rows).requires_grad
    (decision,) = decide(lambda x: x * weight, torch.ones(1, 3), [1])
    assert not decision.score.requires_grad


def test_a_function_as_target_scores_the_copies() -> None:
    evaluate = Evaluator(lambda x: {"y": x}, lambda output: output["y"][:, 2], 0, torch.zeros(3))
    assert evaluate(3, rows).tolist() == [0, 1, 2]


def test_scores_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        evaluator(lambda x: 1 / x)(3, rows)
    with pytest.raises(InputError, match="NaN or infinite"):
        decide(lambda x: x.log(), -torch.ones(1, 3), [0])


def test_decisions_check_the_model() -> None:
    with pytest.raises(UnsupportedModelError, match="in training mode"):
        decide(torch.nn.Linear(3, 2), torch.ones(1, 3), [0])


def test_probabilities_are_softmax_over_classes_and_sigmoid_of_one() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(probable(lambda x: x)(x), x.softmax(1))
    assert torch.equal(probable(lambda x: x.numpy())(x), x.softmax(1))
    assert torch.equal(probable(lambda x: x[:, 0, 0])(x), x[:, 0, 0].sigmoid())
    assert torch.equal(probable(lambda x: x[:, 0, :1])(x), x[:, 0, :1].sigmoid())
    with pytest.raises(InputError, match="a list, which has no softmax"):
        probable(lambda x: [x])(x)


def test_a_score_that_only_rounding_changes_is_constant() -> None:
    score = torch.tensor(3.0)
    check_changes("occlusion", 0, 1, score, torch.tensor([3.0, 3.001]))
    with pytest.raises(InputError, match="occlusion: the score stays 3 whatever"):
        check_changes("occlusion", 0, 1, score, torch.tensor([3.0, 3.0 + 2e-7]))
