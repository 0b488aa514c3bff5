"""Targets: which score of the model's output is explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rootpoint as rp
from rootpoint import LRP, GradientTimesInput, explain
from rootpoint.errors import InputError
from rootpoint.target import scores

OUTPUT = torch.tensor([[1.0, 5.0, 2.0], [9.0, 7.0, 8.0]])

CLASSES: dict[str, tuple[Any, list[float], list[int]]] = {
    "one for all": (2, [2, 8], [2, 2]),
    "negative": (-1, [2, 8], [-1, -1]),
    "one per sample": ([0, 1], [1, 7], [0, 1]),
    "as tuples": ([(0,), (1,)], [1, 7], [0, 1]),
    "one tuple": ((1,), [5, 7], [1, 1]),
    "a tensor": (torch.tensor([2, 0]), [2, 9], [2, 0]),
    "a column": (torch.tensor([[2], [0]]), [2, 9], [2, 0]),
    "a number in a tensor": (torch.tensor(1), [5, 7], [1, 1]),
    "a range": (range(2), [1, 7], [0, 1]),
    "numpy's integer": (np.int64(1), [5, 7], [1, 1]),
    "numpy's array": (np.array([2, 0]), [2, 9], [2, 0]),
    "predicted": ("predicted", [5, 9], [1, 0]),
}


@pytest.mark.parametrize(("target", "expected", "resolved"), CLASSES.values(), ids=CLASSES)
def test_a_class_for_each_sample(target: Any, expected: list[float], resolved: list[int]) -> None:
    found, chosen = scores(OUTPUT, target, 2)
    assert found.tolist() == expected
    assert chosen == resolved


DENSE = torch.arange(2 * 3 * 2 * 2, dtype=torch.float64).reshape(2, 3, 2, 2)


def test_an_index_tuple_for_dense_outputs() -> None:
    found, chosen = scores(DENSE, (1, 0, 1), 2)
    assert found.tolist() == [DENSE[0, 1, 0, 1], DENSE[1, 1, 0, 1]]
    assert chosen == [(1, 0, 1), (1, 0, 1)]
    found, chosen = scores(DENSE, [(0, 0, 0), (2, 1, -1)], 2)
    assert found.tolist() == [DENSE[0, 0, 0, 0], DENSE[1, 2, 1, 1]]
    assert chosen == [(0, 0, 0), (2, 1, -1)]
    found, _ = scores(DENSE, torch.tensor([[0, 0, 0], [2, 1, 1]]), 2)
    assert found.tolist() == [0, 23]


def test_a_function_of_the_output() -> None:
    def margin(output: Tensor) -> Tensor:
        return output[:, 0] - output[:, 1]

    found, chosen = scores(OUTPUT, margin, 2)
    assert found.tolist() == [-4, 2]
    assert chosen is margin
    found, _ = scores(OUTPUT, lambda y: y[:, :1], 2)  # (B, 1) will do
    assert found.tolist() == [1, 9]


def test_a_function_may_take_any_output() -> None:
    found, _ = scores({"logits": OUTPUT, "loss": None}, lambda y: y["logits"].sum(1), 2)
    assert found.tolist() == [8, 24]
    found, _ = scores((DENSE, OUTPUT), lambda y: y[0].mean((1, 2, 3)), 2)
    assert found.tolist() == [5.5, 17.5]


@pytest.mark.parametrize("target", ["predicted", 0, -1, [0, 0], torch.tensor([0, 0])])
def test_a_single_output_per_sample(target: Any) -> None:
    found, chosen = scores(torch.tensor([3.0, 4.0]), target, 2)
    assert found.tolist() == [3, 4]
    assert chosen == [0, 0]
    found, _ = scores(torch.tensor([[3.0], [4.0]]), target, 2)
    assert found.tolist() == [3, 4]


REFUSED: dict[str, tuple[Tensor, Any, str]] = {
    "out of range": (OUTPUT, 3, "target 3 is out of range: the model has 3 outputs"),
    "below range": (OUTPUT, -4, "target -4 is out of range"),
    "one of them": (OUTPUT, [0, 7], "target 7 is out of range"),
    "of one output": (torch.zeros(2), 1, "target 1 is out of range: the model has 1 outputs"),
    "in a dense output": (DENSE, (0, 2, 0), "target 2 is out of range in dimension 2"),
    "too many": (OUTPUT, [0, 1, 2], "3 targets for 2 samples: give one, or one per sample"),
    "too few": (OUTPUT, [0], "1 targets for 2 samples"),
    "none at all": (OUTPUT, [], "0 targets for 2 samples"),
    "a long tensor": (OUTPUT, torch.tensor([0, 1, 2]), "3 targets for 2 samples"),
    "too few indices": (DENSE, (0, 1), "leaves more than one score per sample .*2, 3, 2, 2"),
    "a class of a dense output": (DENSE, 1, "leaves more than one score per sample"),
    "too many indices": (OUTPUT, (0, 1), "more indices than the output has dimensions"),
    "predicted, dense": (DENSE, "predicted", "'predicted' needs one score per class"),
    "a name": (OUTPUT, "cat", "target 'cat' is not 'predicted', an index, or a function"),
    "a float": (OUTPUT, 1.0, "target"),
    "floats": (OUTPUT, torch.tensor([0.0, 1.0]), "not made of integers"),
    "true": (OUTPUT, True, "not made of integers"),
    "nothing": (OUTPUT, None, "target"),
    "names": (OUTPUT, ["a", "b"], "not made of integers"),
}


@pytest.mark.parametrize(("output", "target", "message"), REFUSED.values(), ids=REFUSED)
def test_a_target_that_does_not_fit_is_refused(output: Tensor, target: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scores(output, target, 2)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ((OUTPUT, OUTPUT), "the model returns a tuple, not a tensor: give as target a function"),
        ({"a": OUTPUT, "b": OUTPUT}, "the model returns a dict"),
        (torch.tensor(1.0), r"the model's output has shape \(\) for 2 samples"),
        (OUTPUT.T, r"the model's output has shape \(3, 2\) for 2 samples"),
    ],
)
def test_an_output_without_one_row_per_sample_is_refused(output: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scores(output, 0, 2)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda y: y, r"must return one score per sample, \(2,\), not \(2, 3\)"),
        (lambda y: y.sum(), r"not \(\)"),
        (lambda y: y[0, 0].item(), "not float"),
        (lambda y: y[:1, 0], r"not \(1,\)"),
    ],
)
def test_a_function_that_does_not_give_one_score_per_sample(target: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scores(OUTPUT, target, 2)


# -- from target to relevance ------------------------------------------------------------------


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double().eval()


@pytest.mark.parametrize("method", [LRP(), GradientTimesInput()])
def test_each_sample_explains_its_own_target(model: nn.Module, method: Any) -> None:
    x = torch.randn(3, 4, dtype=torch.float64)
    together = method(model, x, [2, 0, 1])
    for i, target in enumerate((2, 0, 1)):
        alone = method(model, x[i : i + 1], target)
        torch.testing.assert_close(together.relevance[i], alone.relevance[0])
        torch.testing.assert_close(together.output[i], alone.output[0])
    assert together.output.tolist() == [model(x)[i, t].item() for i, t in enumerate((2, 0, 1))]


def test_predicted_is_each_samples_highest_class(model: nn.Module) -> None:
    x = torch.randn(8, 4, dtype=torch.float64)
    found = explain(model, x)
    best = model(x).argmax(1).tolist()
    assert found.target == best
    assert found.output.tolist() == model(x).max(1).values.tolist()


def test_a_pixel_of_a_segmentation_is_explained() -> None:
    """The relevance of one output position lies in its receptive field alone."""
    model = nn.Conv2d(1, 2, 3, padding=1).double().eval()
    x = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    found = LRP(composite="epsilon(epsilon=0.0)")(model, x, [(1, 2, 3), (0, 5, 5)])
    reached = found.relevance[:, 0] != 0
    expected = torch.zeros(2, 6, 6, dtype=torch.bool)
    expected[0, 1:4, 2:5] = True
    expected[1, 4:, 4:] = True
    assert (reached == expected).all()
    assert found.target == [(1, 2, 3), (0, 5, 5)]


def test_a_model_with_one_number_per_sample(model: nn.Module) -> None:
    x = torch.randn(2, 4, dtype=torch.float64)
    expected = LRP()(model, x, lambda y: y.sum(1))
    found = LRP()(lambda x: model(x).sum(1), x)
    torch.testing.assert_close(found.relevance, expected.relevance)
    torch.testing.assert_close(found.output, expected.output)


def test_scores_that_are_not_finite_are_refused() -> None:
    x = torch.ones(1, 2)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(InputError, match="score for this input is NaN or infinite"):
            explain(lambda x, bad=bad: x * bad, x, 0)


@pytest.mark.parametrize(
    "output", [{"logits": OUTPUT, "b": OUTPUT.T}, {"out": OUTPUT}, {"a": OUTPUT}]
)
def test_the_scores_are_found_in_a_mapping(output: Any) -> None:
    assert torch.equal(scores(output, 1, 2)[0], OUTPUT[:, 1])


def test_a_contrast_is_the_difference_of_two_scores() -> None:
    found = scores({"out": OUTPUT}, rp.contrast(2, 0), 2)[0]
    assert torch.equal(found, OUTPUT[:, 2] - OUTPUT[:, 0])


def test_the_next_token_is_that_of_the_last_position() -> None:
    output = torch.arange(24.0).reshape(2, 3, 4)
    assert scores(output, rp.next_token(), 2)[0].tolist() == [11, 23]
    assert scores(output, rp.next_token(1), 2)[0].tolist() == [9, 21]
    assert scores(output, rp.next_token(1, 0), 2)[0].tolist() == [1, 1]


def test_the_next_token_needs_scores_of_tokens() -> None:
    with pytest.raises(InputError, match=r"next_token needs scores .* not \(2, 3\)"):
        scores(OUTPUT, rp.next_token(), 2)
