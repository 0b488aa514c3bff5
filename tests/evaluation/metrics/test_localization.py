"""Localization: closed forms, chance, ties, poolings, what is not defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import Case, metric, metrics

NAMES = ("pointing-game", "relevance-mass", "relevance-rank", "outside-inside", "iou")
SHARES = NAMES[1:3]
SIZE = 12


def case(relevance: Any, masks: Any, channels: int = 1) -> Case:
    """A case of nothing but relevance (B, C, H, W) or (H, W), and masks likewise."""
    relevance, masks = torch.as_tensor(relevance).double(), torch.as_tensor(masks).bool()
    if relevance.dim() == 2:
        relevance, masks = relevance[None, None], masks[None, None]
    shape = (len(relevance), max(channels, relevance.shape[1]), *masks.shape[2:])

    def unused(*given: Any) -> Any:
        raise AssertionError("localization neither runs nor explains anything")

    return Case(
        model=unused,
        inputs=torch.zeros(shape, dtype=torch.float64),
        target=[0] * len(relevance),
        score=torch.ones(len(relevance), dtype=torch.float64),
        relevance=relevance,
        explainer=unused,  # type: ignore[arg-type]
        baseline_score=None,
        numbers=range(len(relevance)),
        seed=0,
        masks=masks,
        scores=unused,
    )


def value(name: str, relevance: Any, masks: Any, **parameters: Any) -> Tensor:
    return metric(name, **parameters).measure(case(relevance, masks)).values


def square(left: int, size: int = 4) -> Tensor:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[left : left + size, left : left + size] = True
    return mask


DIAGONAL = [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("relevance-mass", {}, 0.5),  # 4 of 8
        ("relevance-rank", {}, 0.5),  # 4 of 4 and 3
        ("outside-inside", {}, 1.0),  # 4 / 2 over 4 / 2
        ("iou", {}, 1 / 3),
        ("iou", {"threshold": 1.0}, 1 / 2),
        ("iou", {"threshold": 0.5}, 1 / 3),
        ("iou", {"threshold": 0.25}, 1 / 4),
        ("iou", {"threshold": 0.0}, 1 / 2),
        ("pointing-game", {"tolerance": 1}, 1.0),
        ("relevance-mass", {"pooling": "max-norm"}, 0.6),  # 6 of 10
        ("relevance-mass", {"pooling": "l2-norm"}, 0.6),
        ("relevance-mass", {"pooling": "l2-norm-squared"}, 2 / 3),  # 20 of 30
    ],
)
def test_closed_forms(name: str, parameters: dict[str, Any], expected: float) -> None:
    found = value(name, [[4.0, 1.0], [3.0, -2.0]], DIAGONAL, **parameters)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([expected], abs=1e-15)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("sum-positive", 1 / 3),
        ("max-norm", 4 / 6),
        ("l2-norm", 5 / 7),
        ("l2-norm-squared", 25 / 29),
    ],
)
def test_channels_are_pooled_before_positions_are_compared(pooling: str, expected: float) -> None:
    relevance = torch.tensor([[[[4.0, 2.0]], [[-3.0, 0.0]]]])  # of two pixels, in two channels
    found = value("relevance-mass", relevance, [[[[True, False]]]], pooling=pooling)
    assert found.tolist() == pytest.approx([expected])


def test_a_metric_says_which_pooling_it_uses() -> None:
    assert "l2-norm" in str(metric("relevance-mass", pooling="l2-norm"))
    assert "sum-positive" in repr(metric("relevance-mass"))


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_itself_is_the_best_map(name: str) -> None:
    masks = torch.stack([square(1), square(5, 6)])[:, None]
    found = metric(name).measure(case(masks.double(), masks)).values
    assert found.tolist() == [metrics()[name].best] * 2


@pytest.mark.parametrize("name", NAMES)
def test_its_complement_is_the_worst_map(name: str) -> None:
    mask = square(4)
    parameters = {"tolerance": 1} if name == "pointing-game" else {}
    worst = float("inf") if name == "outside-inside" else 0.0
    assert value(name, ~mask, mask, **parameters).tolist() == [worst]


def chance(name: str, share: float) -> float:
    return {"outside-inside": 1.0, "iou": share / (2 - share)}.get(name, share)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("left", [0, 4, 8])
def test_a_constant_map_gets_chance_wherever_the_mask_is(name: str, left: int) -> None:
    parameters = {"tolerance": 1} if name == "pointing-game" else {}
    found = value(name, torch.full((SIZE, SIZE), 0.3), square(left), **parameters)
    assert found.tolist() == pytest.approx([chance(name, 16 / SIZE**2)], abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_random_maps_get_chance_on_average(name: str) -> None:
    count = 3000
    random = torch.rand(count, 1, SIZE, SIZE, dtype=torch.float64)
    masks = square(3).expand(count, 1, -1, -1)
    parameters = {"tolerance": 1} if name == "pointing-game" else {}
    found = metric(name, **parameters).measure(case(random, masks)).values
    error = 4 * found.std() / count**0.5
    slack = 0.03 if name == "outside-inside" else 0.005  # means of ratios
    assert found.mean().item() == pytest.approx(chance(name, 1 / 9), abs=error.item() + slack)


@pytest.mark.parametrize("name", NAMES)
def test_more_noise_is_worse(name: str) -> None:
    count = 200
    masks = square(3).expand(count, 1, -1, -1)
    noise = torch.randn(count, 1, SIZE, SIZE, dtype=torch.float64)
    parameters = {"tolerance": 1} if name == "pointing-game" else {}
    means = [
        metric(name, **parameters).measure(case(masks + level * noise, masks)).values.mean().item()
        for level in (0.0, 1.0, 2.0, 6.0)
    ]
    assert len(set(means)) == 4
    assert means == sorted(means, reverse=metrics()[name].better == "higher")


def test_few_relevant_pixels_leave_the_rest_of_the_rank_to_chance() -> None:
    mask = square(0)
    relevance = torch.zeros(SIZE, SIZE)
    relevance[0, 0] = relevance[11, 11] = 1.0
    rest = 15 / (SIZE**2 - 2)  # of the mask's other pixels, for 14 choices
    found = value("relevance-rank", relevance, mask)
    assert found.tolist() == pytest.approx([(1 + 14 * rest) / 16])


@pytest.mark.parametrize(
    ("distance", "tolerance", "hit"),
    [((3, 4), 5, 0.0), ((3, 4), 6, 1.0), ((0, 4), 5, 1.0), ((0, 5), 5, 0.0), ((0, 0), 1, 1.0)],
)
def test_the_pointing_game_hits_nearer_than_the_tolerance(
    distance: tuple[int, int], tolerance: int, hit: float
) -> None:
    mask = torch.zeros(SIZE, SIZE)
    mask[2, 2] = 1
    relevance = torch.rand(SIZE, SIZE)
    relevance[2 + distance[0], 2 + distance[1]] = 2.0
    assert value("pointing-game", relevance, mask, tolerance=tolerance).tolist() == [hit]


def test_two_peaks_of_which_one_hits_are_half_a_hit() -> None:
    relevance = torch.zeros(SIZE, SIZE)
    relevance[4, 4] = relevance[0, 11] = 1.0
    assert value("pointing-game", relevance, square(4), tolerance=2).tolist() == [0.5]


@given(
    peak=st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)),
    tolerance=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_the_pointing_game_is_what_distances_say(
    peak: tuple[int, int], tolerance: int, seed: int
) -> None:
    mask = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) < 0.05
    mask[0, 0], mask[11, 11] = True, False
    relevance = torch.zeros(SIZE, SIZE)
    relevance[peak] = 1.0
    nearest = (mask.nonzero() - torch.tensor(peak)).square().sum(1).min().item()
    found = value("pointing-game", relevance, mask, tolerance=tolerance)
    assert found.tolist() == [float(nearest < tolerance**2)]


@given(seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3))
def test_the_scale_of_relevance_does_not_matter(seed: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    relevance = torch.randn(2, 3, 5, 5, generator=random, dtype=torch.float64)
    masks = torch.rand(2, 1, 5, 5, generator=random) < 0.4
    for name in NAMES:
        plain, scaled = (value(name, r, masks) for r in (relevance, relevance * scale))
        assert torch.allclose(plain, scaled, equal_nan=True)


@given(seed=st.integers(0, 999))
def test_intersection_over_union_follows_from_the_rank(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    relevance = torch.randint(-2, 4, (3, 1, 4, 4), generator=random)
    masks = torch.rand(3, 1, 4, 4, generator=random) < 0.4
    rank = value("relevance-rank", relevance, masks)
    assert torch.allclose(value("iou", relevance, masks), rank / (2 - rank), equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_without_truth_or_positive_relevance(name: str) -> None:
    relevance = torch.ones(4, 1, SIZE, SIZE)
    relevance[2:] *= -1
    relevance[3] = 0
    masks = torch.stack([torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE), square(2), square(2)])
    assert value(name, relevance, masks[:, None]).isnan().all()


@pytest.mark.parametrize("name", SHARES)
def test_columns_of_tables_are_positions(name: str) -> None:
    judged = replace(
        case(torch.zeros(2, 2), DIAGONAL),
        inputs=torch.zeros(1, 4),
        relevance=torch.tensor([[4.0, 1.0, 3.0, -2.0]]),
        masks=torch.tensor([[True, False, False, True]]),
    )
    assert metric(name).measure(judged).values.tolist() == [0.5]


def test_a_mask_of_channels_covers_a_pixel_by_any_of_them() -> None:
    masks = torch.tensor([[[[1, 0], [0, 0]], [[0, 0], [0, 1]]]])
    relevance = torch.tensor([[[[4.0, 1.0], [3.0, -2.0]]]])
    judged = case(relevance, masks, channels=2)
    assert metric("relevance-mass").measure(judged).values.tolist() == [0.5]


def test_relevance_of_rows_is_spread_to_their_pixels() -> None:
    relevance = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1)
    masks = torch.tensor([[[[False, False], [True, True]]]])
    assert value("relevance-mass", relevance, masks).tolist() == [0.75]


def test_the_pointing_game_refuses_what_is_no_image() -> None:
    judged = replace(case(torch.zeros(2, 2), DIAGONAL), inputs=torch.zeros(1, 4))
    judged = replace(judged, relevance=torch.ones(1, 4), masks=torch.tensor([[True] + [False] * 3]))
    with pytest.raises(InputError, match=r"need images.*relevance-rank"):
        metric("pointing-game").measure(judged)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("pointing-game", {"tolerance": 0}),
        ("iou", {"threshold": 1.5}),
        ("iou", {"threshold": "half"}),
        ("relevance-mass", {"pooling": "median"}),
    ],
)
def test_bad_parameters_are_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(parameters))):
        metric(name, **parameters)


def planted() -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model that looks at one square, images, and the masks of that square."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 2, bias=False)).double().eval()
    looks = square(2, 5).double().expand(3, -1, -1)
    model[1].weight.data = torch.stack([looks, -looks]).flatten(1)
    x = torch.rand(5, 3, SIZE, SIZE, dtype=torch.float64) + 0.1
    return model, x, square(2, 5).expand(5, -1, -1)


def exact(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return inputs * model[1].weight[targets].reshape(inputs.shape)  # type: ignore[index]


def test_the_truth_of_a_planted_model_scores_perfectly_and_noise_by_chance() -> None:
    model, x, masks = planted()

    def noise(model: Any, inputs: Tensor, targets: Sequence[int]) -> Tensor:
        return torch.rand(inputs[:, 0].shape, generator=torch.Generator().manual_seed(0))

    chosen = [*NAMES[1:], "pointing-game(tolerance=1)"]
    judged = {"true": exact, "lrp": "lrp(composite='epsilon')", "noise": noise}
    found = evaluate(model, x, judged, chosen, masks=masks, batch=2)
    assert not found.failures
    for name in chosen:
        best = found.metrics[name].best
        assert found.values(name, "true").tolist() == pytest.approx([best] * 5)
        assert found.values(name, "lrp").tolist() == pytest.approx([best] * 5, abs=1e-6)
        assert found.ranking(name)[-1] == "noise"
    assert found.mean("relevance-mass", "noise").mean == pytest.approx(25 / 144, abs=0.05)


def test_the_share_of_a_planted_tag_is_known() -> None:
    """One logit is 3 · tag + 1 · object: the tag has three quarters of the relevance."""
    tag, thing = square(0, 3).double(), square(6, 3).double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 1, bias=False)).double().eval()
    model[1].weight.data = (3 * tag + thing).reshape(1, -1)
    found = evaluate(
        model,
        torch.ones(2, 1, SIZE, SIZE, dtype=torch.float64),
        "gradient-times-input",
        "relevance-mass",
        masks=tag.bool().expand(2, -1, -1),
    )
    assert found.values("relevance-mass", "gradient-times-input").tolist() == [0.75, 0.75]


def test_the_batch_does_not_change_a_value() -> None:
    model, x, masks = planted()

    def random(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        return (inputs.sum(1) * 1e4).frac()

    each = [evaluate(model, x, random, list(NAMES), masks=masks, batch=b) for b in (1, 3, 32)]
    for name in NAMES:
        first, *others = (one.values(name, "random").tolist() for one in each)
        assert all(other == first for other in others)


def test_metrics_without_masks_are_refused() -> None:
    model, x, _ = planted()
    with pytest.raises(InputError, match="relevance-mass needs masks"):
        evaluate(model, x, exact, "relevance-mass")


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_say_formula_and_source(name: str) -> None:
    said = metrics()[name].__doc__ or ""
    assert "Source:" in said
    assert "Cost:" in said
