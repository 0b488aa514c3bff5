"""Candidates: methods, their names, and functions of others, and what these may return."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rootpoint as rp
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.evaluation.candidates import Explainer, as_relevance, candidates

INPUTS = torch.rand(2, 3, 4, 5)


def ours(model: Any, inputs: Tensor, targets: Any) -> Tensor:
    return inputs


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).eval()


class Callable:
    """A candidate without a __name__."""

    def __call__(self, model: Any, inputs: Tensor, targets: Any) -> Tensor:
        return inputs


def test_candidates_name_themselves() -> None:
    given = ["lrp(composite='epsilon')", rp.method("random"), ours, Callable(), lambda m, x, t: x]
    names = ["lrp(composite='epsilon')", "random", "ours", "Callable", "<lambda>"]
    assert list(candidates(given)) == names
    assert list(candidates("gradient")) == ["gradient"]
    assert list(candidates(ours)) == ["ours"]


def test_a_mapping_sets_names() -> None:
    found = candidates({"mine": ours, "theirs": "gradient", "twice": ours})
    assert list(found) == ["mine", "theirs", "twice"]
    assert found["theirs"] == rp.method("gradient")


def test_two_candidates_of_one_name_are_refused() -> None:
    for twice in (["gradient", "gradient"], [ours, ours], [partial(ours), partial(ours)]):
        with pytest.raises(InputError, match=r"two candidates are called '.*': give a mapping"):
            candidates(twice)


def test_what_is_no_candidate_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no method is called 'gradiend'"):
        candidates(["gradiend"])
    with pytest.raises(InputError, match="3 is no method, no name of one, and no function"):
        candidates([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="there is no method to evaluate"):
        candidates([])


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1)])
def test_relevance_like_the_inputs_or_of_one_channel_is_taken(shape: tuple[int, ...]) -> None:
    given = torch.rand(shape, requires_grad=True)
    found = as_relevance(given, INPUTS)
    assert found.shape == shape
    assert torch.equal(found, given)
    assert not found.requires_grad


def test_maps_without_channels_get_one() -> None:
    found = as_relevance(INPUTS[:, 0], INPUTS)
    assert torch.equal(found, INPUTS[:, :1])
    assert as_relevance(torch.ones(2, 1), torch.ones(2, 6)).shape == (2, 1)


def test_arrays_of_any_order_integers_tuples_and_explanations_are_taken() -> None:
    array = INPUTS.numpy().astype(np.float64)
    for given in (array, np.asfortranarray(array), array[:, ::-1][:, ::-1], (array,)):
        found = as_relevance(given, INPUTS)
        assert found.dtype == torch.float64
        np.testing.assert_array_equal(found.numpy(), array)
    whole = as_relevance(np.ones((2, 3, 4, 5), np.int64), INPUTS)
    assert whole.is_floating_point()
    explained = rp.explain(network(), INPUTS, method="gradient")
    assert torch.equal(as_relevance(explained, INPUTS), explained.relevance)


@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (2, 4, 4), (2, 2, 4, 5), (1, 3, 4, 5), (3, 4, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"does not fit inputs of shape \(2, 3, 4, 5\)"):
        as_relevance(torch.rand(shape), INPUTS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    given = INPUTS.clone()
    given[1, 2, 3, 4] = bad
    with pytest.raises(InputError, match="a candidate returned NaN or infinity as relevance"):
        as_relevance(given, INPUTS)


def test_what_is_no_array_is_refused() -> None:
    for given in (None, [INPUTS, INPUTS], 3.0):
        with pytest.raises(InputError, match=r"a candidate returned a .*: relevance is a tensor"):
            as_relevance(given, INPUTS)


def test_texts_have_one_value_for_each_word() -> None:
    texts = ["one two", "three"]
    found = as_relevance([np.array([1.0, 2.0]), torch.tensor([3.0])], texts)
    assert [words.tolist() for words in found] == [[1.0, 2.0], [3.0]]
    with pytest.raises(InputError, match=r"shape \(1,\) for a text of 2 words"):
        as_relevance([torch.ones(1), torch.ones(1)], texts)


@pytest.mark.parametrize("target", [[0, 1], [(0, 1), (1, 0)], lambda output: output.sum(1)])
def test_functions_get_indices_as_a_tensor_and_other_targets_as_they_are(target: Any) -> None:
    seen = []

    def candidate(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        seen.append((model, targets))
        return inputs

    model = nn.Flatten()
    explainer = Explainer(candidate, model)
    assert torch.equal(explainer(INPUTS, target), INPUTS)
    if target == [0, 1]:
        assert seen[0][0] is model
        assert torch.equal(seen[0][1], torch.tensor([0, 1]))
    else:
        assert seen == [(model, target)]


def test_an_explainer_takes_another_model_and_counts_its_seconds() -> None:
    models = [network() for _ in range(2)]
    explainer = Explainer(rp.method("gradient"), models[0])
    weights = [model[1].weight[0].view(3, 4, 5).detach() for model in models]  # type: ignore
    assert torch.equal(explainer(INPUTS, [0, 0])[0], weights[0])
    before = explainer.seconds
    assert torch.equal(explainer(INPUTS, [0, 0], models[1])[0], weights[1])
    assert explainer.seconds > before > 0


def test_only_methods_that_promise_completeness_have_a_baseline_score() -> None:
    model = network()
    for name, has in (("integrated-gradients", True), ("gradient", False)):
        _, base = Explainer(rp.method(name), model).explain(INPUTS, [0, 1])
        assert (base is not None) == has
        if base is not None:
            torch.testing.assert_close(base, model[1].bias[[0, 1]].detach())  # type: ignore
