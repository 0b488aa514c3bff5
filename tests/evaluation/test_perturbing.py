"""The engine of perturbation analysis: what is evaluated, in which steps, by which features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.candidates import Explainer
from rootpoint.evaluation.metric import Case
from rootpoint.evaluation.perturbing import Curve, Removal, curve


def case(
    model: Callable[[Any], Tensor], inputs: Any, relevance: Any, numbers: range | None = None
) -> Case:
    """A case scored by one call of a function from inputs to scores (B,)."""
    asked: list[int] = []

    def scores(make: Any, samples: Any, view: Any = None) -> Tensor:
        asked.append(len(samples))
        half = len(samples) // 2
        found = [make(0, half), make(half, len(samples))] if half else [make(0, len(samples))]
        outputs = torch.cat([model(each) for each in found])
        return outputs if view is None else view(outputs)[:, 0]

    def nobody(*args: Any) -> Any:
        raise AssertionError

    found = Case(
        model=model,
        inputs=inputs,
        target=[0] * len(inputs),
        score=torch.zeros(len(inputs)),
        relevance=relevance,
        explainer=Explainer(nobody, model),
        baseline_score=None,
        numbers=numbers or range(len(inputs)),
        seed=0,
        masks=None,
        scores=scores,
    )
    found.once("asked", lambda: asked)
    return found


def evaluations(of: Case) -> int:
    return sum(of.once("asked", list))


def total(inputs: Tensor) -> Tensor:
    return inputs.flatten(1).sum(1)


def falling(**parameters: Any) -> Removal:
    return Removal(**{"features": "values", "replacement": 0.0, **parameters})


TABLE = torch.tensor([[1.0, 2.0, 4.0, 8.0], [8.0, 4.0, 2.0, 1.0]]).double()


def test_features_go_one_after_the_other_and_stay_away() -> None:
    of = case(total, TABLE, TABLE)
    found = curve(of, falling(per_step=1), "morf")
    assert found.scores.tolist() == [[15, 7, 3, 1, 0]] * 2
    assert found.gone.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert curve(of, falling(per_step=1), "lerf").scores.tolist() == [[15, 14, 12, 8, 0]] * 2


@pytest.mark.parametrize(
    ("schedule", "counts"),
    [
        ({"per_step": 1, "steps": 3}, [1, 2, 3]),
        ({"per_step": 4, "steps": 100}, [4, 8, 10]),
        ({"steps": 4}, [2, 5, 7, 10]),
        ({"steps": 100}, list(range(1, 11))),
        ({"shares": (0.1, 0.5)}, [1, 5]),
    ],
)
def test_steps_end_when_they_are_done_or_all_is_gone(
    schedule: dict[str, Any], counts: list[int]
) -> None:
    assert falling(**schedule).counts(10) == counts


def test_a_curve_is_computed_once_for_the_same_removal_and_order() -> None:
    of = case(total, TABLE, TABLE)
    assert curve(of, falling(), "morf") is curve(of, falling(), "morf")
    assert curve(of, falling(steps=2), "morf") is not curve(of, falling(), "morf")


def test_only_what_is_random_is_repeated() -> None:
    for removal, order, wanted in (
        (falling(), "morf", 1 + 4),
        (falling(), "random", 1 + 10 * 4),
        (falling(replacement="noise"), "morf", 1 + 10 * 4),
        (falling(replacement="noise", repetitions=3), "lerf", 1 + 3 * 4),
    ):
        of = case(total, TABLE[:1], TABLE[:1])
        curve(of, removal, order)  # type: ignore[arg-type]
        assert evaluations(of) == wanted


def test_noise_once_drawn_stays_while_more_features_go() -> None:
    """Each step changes one feature: the fall is that of one value."""
    seen: list[Tensor] = []

    def model(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return total(inputs)

    curve(case(model, TABLE[:1], TABLE[:1]), falling(replacement="noise", repetitions=2), "morf")
    inputs = torch.cat(seen)
    for steps in (inputs[[0, 1, 2, 3, 4]], inputs[[0, 5, 6, 7, 8]]):
        assert (steps.diff(dim=0) != 0).sum(1).tolist() == [1, 1, 1, 1]
    assert not torch.equal(inputs[4], inputs[8])


def test_regions_are_squares_of_all_channels_scored_by_their_sum() -> None:
    images = torch.ones(1, 2, 4, 4).double()
    relevance = torch.zeros(1, 1, 4, 4).double()
    relevance[..., 2:, :2] = 1  # four small values
    relevance[..., 0, 3] = 3  # one large value of a smaller sum
    seen: list[Tensor] = []

    def model(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return total(inputs)

    found = curve(case(model, images, relevance), falling(features="patches(2)"), "morf")
    assert found.scores.tolist() == [[32, 24, 16, 8, 0]]
    first, second = torch.cat(seen)[1:3]
    assert (first[:, 2:, :2] == 0).all()
    assert (second[:, :2, 2:] == 0).all()


def test_mean_relevance_puts_small_features_first() -> None:
    inputs = torch.tensor([[1.0, 1.0, 1.0]]).double()
    relevance = torch.tensor([[1.0, 1.0, 1.5]]).double()
    mask = torch.tensor([0, 0, 1])
    of = case(total, inputs, relevance)
    assert curve(of, falling(features=mask), "morf").scores.tolist() == [[3, 1, 0]]
    assert curve(of, falling(features=mask, by="mean"), "morf").scores.tolist() == [[3, 2, 0]]


def test_nodes_go_with_all_their_channels() -> None:
    graph = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]).double()
    found = curve(case(total, graph, graph), falling(features="nodes"), "morf")
    assert found.scores.tolist() == [[21, 10, 3, 0]]


def test_columns_of_a_mask_with_fewer_dimensions_fit() -> None:
    series = torch.ones(1, 2, 3).double()
    found = curve(case(total, series, series), falling(features=torch.tensor([0, 1, 1])), "lerf")
    assert found.scores.tolist() == [[6, 4, 0]]


def test_superpixels_are_those_of_each_image() -> None:
    pytest.importorskip("skimage")
    images = torch.zeros(2, 3, 16, 16)
    images[0, :, :, 8:] = 1
    images[1, :, 8:] = 1
    removal = falling(features="superpixels(2)", replacement=0.5, per_step=1)
    found = curve(case(total, images, images[:, :1]), removal, "morf")
    assert found.ragged
    for scores, gone, count in zip(found.scores, found.gone, found.total, strict=True):
        assert gone[-1] == count
        assert scores[-1] == 3 * 256 / 2


def test_values_do_not_depend_on_the_batch_and_the_global_seed_is_untouched() -> None:
    inputs, relevance = torch.randn(4, 6), torch.randn(4, 6).round()
    removal = falling(replacement="noise", repetitions=3)
    for order in ("morf", "lerf", "random"):
        state = torch.get_rng_state()
        together = curve(case(total, inputs, relevance), removal, order).scores
        assert torch.equal(torch.get_rng_state(), state)
        for i in range(4):
            one = case(total, inputs[i : i + 1], relevance[i : i + 1], range(i, i + 1))
            torch.testing.assert_close(curve(one, removal, order).scores[0], together[i])


def words(texts: list[str]) -> Tensor:
    return torch.tensor([sum(len(word) for word in text.split()) for text in texts]).double()


def test_words_of_texts_are_deleted_and_each_curve_has_its_own_length() -> None:
    texts = ["a bbbb cc", "dd  e"]
    relevance = [torch.tensor([1.0, 4.0, 2.0]), torch.tensor([2.0, 1.0])]
    found = curve(case(words, texts, relevance), Removal(None, None, per_step=1), "morf")
    assert found.scores.tolist() == [[7, 3, 1, 0], [3, 1, 0, 0]]
    torch.testing.assert_close(found.mean(), torch.tensor([11 / 4, 4 / 3]).double())
    torch.testing.assert_close(found.area(), torch.tensor([7.5 / 3, 2.5 / 2]).double())


def test_drawn_curves_of_texts_have_one_length() -> None:
    texts = ["a bbbb cc", "dd  e"]
    relevance = [torch.tensor([1.0, 4.0, 2.0]), torch.tensor([2.0, 1.0])]
    found = curve(case(words, texts, relevance), Removal(None, None, per_step=1), "morf")
    line = found.line()
    assert line.shape == (2, len(found.x()))
    assert line[:, [0, 50, 100]].tolist() == [[7, 2, 0], [3, 1, 0]]


def test_a_text_without_words_has_no_value() -> None:
    of = case(words, ["", "a"], [torch.tensor([]), torch.tensor([1.0])])
    found = curve(of, Removal(None, None), "morf")
    assert found.mean().isnan().tolist() == [True, False]
    assert found.area().isnan().tolist() == [True, False]


def test_areas_are_trapezoids_over_the_share_of_features_gone() -> None:
    found = Curve(
        scores=torch.tensor([[1.0, 0.6, 0.1]]).double(),
        gone=torch.tensor([[0, 1, 4]]),
        total=torch.tensor([4]),
        steps=torch.tensor([2]),
        ragged=False,
    )
    torch.testing.assert_close(found.area(), torch.tensor([0.8 / 4 + 0.35 * 3 / 4]).double())
    assert found.x() == [0, 0.25, 1]


def two(inputs: Tensor) -> Tensor:
    return torch.stack([total(inputs), torch.full((len(inputs),), 2.5).double()], 1)


def test_probabilities_and_decisions_are_read_from_the_output() -> None:
    def found(output: str) -> list[float]:
        of = case(two, TABLE[:1], TABLE[:1])
        return curve(of, falling(output=output), "morf").scores[0].tolist()

    assert found("decision") == [1, 1, 1, 0, 0]
    wanted = (torch.tensor([15.0, 7, 3, 1, 0]) - 2.5).sigmoid()
    torch.testing.assert_close(torch.tensor(found("probability")), wanted)


@pytest.mark.parametrize(
    ("inputs", "removal", "message"),
    [
        (["a b"], Removal("columns", None), "texts consist of words"),
        (["a b"], Removal(None, 0.0), "words of texts are deleted"),
        (TABLE, falling(features="patches(3)"), "are those of images"),
        (TABLE, falling(output="decision"), "one score for each of several classes"),
        (TABLE[:, 0], falling(features="nodes"), r"not \(B,\)"),
    ],
)
def test_a_removal_that_does_not_fit_raises_an_error(
    inputs: Any, removal: Removal, message: str
) -> None:
    relevance = [torch.ones(2)] if isinstance(inputs, list) else inputs
    with pytest.raises(InputError, match=message):
        curve(case(total, inputs, relevance), removal, "morf")
