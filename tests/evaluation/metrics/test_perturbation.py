"""Perturbation metrics: closed forms, and the order in which they put known explanations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import metric
from rootpoint.evaluation.result import Evaluation

Candidate = Callable[[Any, Any, Any], Any]
METRICS = ("aopc", "abpc", "selectivity", "deletion", "insertion", "irof", "road")


def given(relevance: Any) -> Candidate:
    return lambda model, inputs, targets: relevance


def value(model: Any, inputs: Any, relevance: Any, name: str, **parameters: Any) -> float:
    found = evaluate(model, inputs, {"one": given(relevance)}, metric(name, **parameters), target=0)
    return found.mean(name, "one").mean


def linear(weights: list[float], bias: float = 0.0) -> nn.Linear:
    model = nn.Linear(len(weights), 1).double()
    model.weight.data = torch.tensor([weights]).double()
    model.bias.data = torch.tensor([bias]).double()
    return model.eval()


def looked_up(x: Tensor) -> Tensor:
    """f = 5 of all three features; without the first 2, then 1, 1; without the last 5, 4, 1."""
    table = torch.tensor([1.0, 1, 0, 2, 4, 0, 5, 5]).double()
    return table[(x @ torch.tensor([4.0, 2, 1]).double()).long()][:, None]


ONES = torch.ones(1, 3).double()
FALLING = linear([0.4, 0.3, 0.2], 0.1)
SHARES = torch.tensor([[0.4, 0.3, 0.2]]).double()


def test_aopc_of_the_curve_1_06_03_01_is_a_half() -> None:
    assert value(FALLING, ONES, SHARES, "aopc") == pytest.approx(0.5)


def test_abpc_of_morf_5_2_1_1_and_lerf_5_5_4_1_is_one_and_a_half() -> None:
    relevance = torch.tensor([[3.0, 2.0, 1.0]]).double()
    found = evaluate(looked_up, ONES, {"one": given(relevance)}, "abpc", target=0)
    assert found.mean("abpc", "one").mean == pytest.approx(1.5)
    lines = found.results["one"].curves["abpc"].lines
    assert lines["morf"].tolist() == [[5, 2, 1, 1]]
    assert lines["lerf"].tolist() == [[5, 5, 4, 1]]


def test_areas_of_the_curve_1_06_03_01_are_trapezoids() -> None:
    area = (0.8 + 0.45 + 0.2) / 3
    assert value(FALLING, ONES, SHARES, "selectivity") == pytest.approx(area)
    assert value(FALLING, ONES, SHARES, "deletion", output="score") == pytest.approx(area)
    assert value(FALLING, ONES, SHARES, "irof", output="score") == pytest.approx(1 - area)
    coming = (0.9 + 0.65 + 0.3) / 3  # 0.1, 0.5, 0.8, 1
    assert value(FALLING, ONES, SHARES, "insertion", output="score") == pytest.approx(coming)


def test_deletion_insertion_and_irof_read_probabilities() -> None:
    falling = 1 / (1 + np.exp(-np.array([1, 0.6, 0.3, 0.1])))
    coming = 1 / (1 + np.exp(-np.array([0.1, 0.5, 0.8, 1])))
    assert value(FALLING, ONES, SHARES, "deletion") == pytest.approx(np.trapezoid(falling) / 3)
    assert value(FALLING, ONES, SHARES, "insertion") == pytest.approx(np.trapezoid(coming) / 3)
    area = np.trapezoid(falling / falling[0]) / 3
    assert value(FALLING, ONES, SHARES, "irof") == pytest.approx(1 - area)


def test_the_curve_of_insertion_begins_with_nothing_and_ends_with_all() -> None:
    one = metric("insertion", output="score")
    found = evaluate(FALLING, ONES, {"one": given(SHARES)}, one, target=0)
    curves = found.results["one"].curves[str(one)]
    np.testing.assert_allclose(curves.x, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curves.lines["insertion"], [[0.1, 0.5, 0.8, 1.0]])


def test_irof_is_not_defined_where_the_score_is_not_positive() -> None:
    assert np.isnan(value(linear([1.0, -3.0, 1.0]), ONES, SHARES, "irof", output="score"))


def test_irof_of_images_takes_superpixels_which_become_the_mean_color() -> None:
    pytest.importorskip("skimage")
    image = torch.rand(1, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3).double()
    weight = torch.randn(3, 32, 32).double()

    def model(x: Tensor) -> Tensor:
        return (weight * x).sum((1, 2, 3))[:, None] + 100

    true = weight * (image - image.mean((2, 3), keepdim=True))
    best = value(model, image, true, "irof", output="score")
    assert best > value(model, image, weight[None] * 0, "irof", output="score")
    assert best > value(model, image, -true, "irof", output="score")


def test_texts_lose_words() -> None:
    def model(texts: list[str]) -> Tensor:
        worth = {"good": 4.0, "so": 3.0, "film": 2.0}
        return torch.tensor([[1 + sum(worth.get(w, 0.0) for w in t.split())] for t in texts]) / 10

    relevance = [torch.tensor([3.0, 4.0, 2.0]), torch.tensor([4.0])]
    found = evaluate(
        model,
        ["so good film", "good"],
        {"one": given(relevance)},
        ["aopc", "selectivity"],
        target=0,
    )
    np.testing.assert_allclose(found.values("aopc", "one"), [0.5, 0.2], atol=1e-6)
    np.testing.assert_allclose(found.values("selectivity", "one"), [1.45 / 3, 0.3], atol=1e-6)
    assert found.results["one"].curves["aopc"].lines["morf"].shape == (2, 101)


def test_no_order_has_a_better_abpc_than_the_true_relevance_of_a_linear_model() -> None:
    model, x = linear([1.0, -2.0, 0.5, 3.0]), torch.tensor([[1.0, 0.5, -1.0, 0.25]]).double()
    true = model.weight.detach() * x
    orders = [torch.tensor([order]).double() for order in permutations(range(4))]
    for name, sign in (("abpc", 1), ("aopc", 1), ("selectivity", -1)):
        best = max(sign * value(model, x, order, name) for order in orders)
        assert sign * value(model, x, true, name) == pytest.approx(best)


def test_the_reverse_of_a_map_has_the_negative_abpc() -> None:
    model, x, relevance = linear([1.0, 2.0, 3.0]), torch.rand(1, 3).double(), torch.rand(1, 3)
    assert value(model, x, -relevance, "abpc") == pytest.approx(-value(model, x, relevance, "abpc"))


class Scenes(nn.Module):
    """Two classes of images 8 × 8: the sums of the halves of what weights leave of them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: Tensor) -> Tensor:
        score = (x.flatten(1) * self.weight).sum(1)
        return torch.stack([score, -score], 1)


def graded(count: int, noise: tuple[float, ...]) -> tuple[Scenes, Tensor, dict[str, Candidate]]:
    """Images of a linear model, and its true relevance with growing noise, and only noise."""
    model, images = Scenes().eval(), torch.randn(count, 1, 8, 8)
    sign = (model(images)[:, :1] > 0).float().reshape(-1, 1, 1, 1) * 2 - 1
    true = (images * model.weight.detach().reshape(8, 8) * sign).detach()
    drawn = torch.randn_like(true)
    maps = {f"{s}": given(true + s * drawn) for s in noise}
    return model, images, {**maps, "random": given(drawn), "constant": given(drawn * 0 + 1)}


def judged(candidates: dict[str, Candidate], model: nn.Module, images: Tensor) -> Evaluation:
    chosen = [
        metric("aopc", region=2, repetitions=2, relative=True),
        metric("abpc", region=2, repetitions=2),
        metric("selectivity", region=2),
        metric("deletion", steps=16),
        metric("insertion", steps=16, replacement=0.0),
        metric("irof", features="patches(2)"),
        metric("road"),
    ]
    return evaluate(model, images, candidates, chosen, batch=1000)


@pytest.fixture(scope="module")
def verdict() -> Evaluation:
    torch.manual_seed(0)
    model, images, candidates = graded(80, (0.0, 1.0, 4.0))
    return judged(candidates, model, images)


@pytest.mark.parametrize("name", METRICS)
def test_maps_degraded_by_growing_noise_are_put_in_order(verdict: Evaluation, name: str) -> None:
    order = [one for one in verdict.ranking(name) if one != "constant"]
    assert order == ["0.0", "1.0", "4.0", "random"]


@pytest.mark.parametrize("name", ["aopc", "abpc", "road"])
@pytest.mark.parametrize("method", ["random", "constant"])
def test_random_and_constant_maps_have_nothing_on_average(
    verdict: Evaluation, name: str, method: str
) -> None:
    values = verdict.values(name, method)
    true = verdict.mean(name, "0.0").mean
    assert abs(values.mean()) < 3.5 * values.std() / len(values) ** 0.5
    assert abs(values.mean()) < 0.2 * true


@pytest.mark.parametrize("name", ["selectivity", "deletion", "insertion", "irof"])
def test_random_maps_have_the_value_of_constant_ones(verdict: Evaluation, name: str) -> None:
    difference = verdict.difference(name, "random", "constant")
    true = verdict.difference(name, "0.0", "constant")
    assert abs(difference.mean) < 0.2 * abs(true.mean)


@pytest.mark.parametrize("name", METRICS)
def test_values_do_not_depend_on_the_batch(name: str) -> None:
    model, images, candidates = graded(3, (1.0,))
    maps = candidates["1.0"](model, images, None).round()  # with ties

    def planted(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        which = [int((images == x).flatten(1).all(1).nonzero()) for x in inputs]
        return maps[which]

    features = {"features": "patches(4)"} if name == "irof" else {}
    one = metric(name, **features)
    together = evaluate(model, images, {"one": planted}, one, batch=8).values(name, "one")
    alone = evaluate(model, images, {"one": planted}, one, batch=1).values(name, "one")
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_the_defaults_are_the_published_protocol() -> None:
    assert str(metric("aopc", region=9, steps=100, per_step=1, repetitions=10)) == "aopc"
    calls: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        calls.append(x)
        return x.flatten(1).sum(1, keepdim=True)

    image = torch.rand(1, 1, 99, 99)
    evaluate(model, image, {"one": given(image)}, "aopc", target=0)
    perturbed = torch.cat(calls)[-1000:].reshape(10, 100, 99, 99)
    changed = (perturbed != image[0, 0]).double().mean((2, 3))
    torch.testing.assert_close(
        changed[:, 0], torch.full((10,), 1 / 121).double(), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        changed[:, -1], torch.full((10,), 100 / 121).double(), atol=1e-3, rtol=0
    )
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1


def test_flipping_toward_the_nearest_normal_sample_lowers_an_outlier_score() -> None:
    normal = torch.randn(30, 5).double()
    outlier = torch.tensor([[0.2, 6.0, -0.1, -3.0, 0.0]]).double()

    def score(x: Tensor) -> Tensor:
        return torch.cdist(x, normal).min(1).values.square()[:, None]

    nearest = normal[torch.cdist(outlier, normal).argmin()]
    relevance = (outlier - nearest).square()
    found = evaluate(
        score, outlier, {"one": given(relevance)}, metric("abpc", replacement=normal), target=0
    )
    lines = next(iter(found.results["one"].curves.values())).lines
    assert lines["morf"][0, -1] == pytest.approx(0)
    assert lines["morf"][0, 1] < 0.5 * lines["morf"][0, 0]
    assert (np.diff(lines["morf"][0]) <= 1e-12).all()
    assert found.mean("abpc", "one").mean > 1


def test_methods_by_name_are_judged_and_metrics_share_their_curves() -> None:
    model = linear([1.0, -2.0, 0.5, 3.0])
    rows = 0

    def count(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal rows
        rows += len(output)

    hook = model.register_forward_hook(count)
    x = torch.rand(3, 4).double()
    evaluate(model, x, "gradient-times-input", "abpc", target=0)
    alone, rows = rows, 0
    found = evaluate(model, x, "gradient-times-input", ["abpc", "aopc"], target=0)
    assert rows == alone
    hook.remove()
    assert found.mean("abpc", "gradient-times-input").mean > 0


def test_each_candidate_has_curves_of_its_own() -> None:
    model, x = linear([1.0, 2.0, 3.0]), torch.ones(1, 3).double()
    maps = {"up": given(x.cumsum(1)), "down": given(-x.cumsum(1))}
    found = evaluate(model, x, maps, "abpc", target=0)
    assert found.mean("abpc", "up").mean == pytest.approx(-found.mean("abpc", "down").mean)
    assert found.mean("abpc", "up").mean > 0


def test_road_of_a_table_and_bad_parameters_raise_errors() -> None:
    with pytest.raises(InputError, match="one score for each of several classes"):
        value(FALLING, ONES, SHARES, "road")
    with pytest.raises(InputError, match=r"region=0 is out of range"):
        metric("aopc", region=0)
    with pytest.raises(InputError, match="choose one of score, probability, decision"):
        metric("aopc", output="logit")
