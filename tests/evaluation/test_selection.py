"""Selection: the search, its split, bounds, checkpoint, and what it says of the winner."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint import LRP, method
from rootpoint.errors import InputError, RootpointError
from rootpoint.evaluation.metric import Case, Curves, Measured, Metric, parameter
from rootpoint.evaluation.selection import Selection, contestants, divided, select
from rootpoint.evaluation.space import Space
from rootpoint.method import methods
from rootpoint.propagation import PRESETS

WEIGHTS = torch.tensor([3.0, -2.0, 1.0, -1.0, 0.5, 0.0], dtype=torch.float64)
DATA = torch.rand(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def linear(x: Tensor) -> Tensor:
    return (x * WEIGHTS).sum(1, keepdim=True)


def planted(noise: float) -> Any:
    """The true relevance of `linear`, and noise."""

    def explain(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        random = torch.Generator().manual_seed(int(1e6 * float(inputs.sum())) % 2**31)
        return inputs * WEIGHTS + noise * torch.randn(
            inputs.shape, generator=random, dtype=inputs.dtype
        )

    return explain


@dataclass(frozen=True, eq=False)
class Error(Metric):
    """Mean |R − w·x|: 0 for the truth. Source: this test."""

    name: ClassVar[str] = "toy-error"
    summary: ClassVar[str] = "Distance to the truth"
    group: ClassVar[str] = "faithfulness"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "none"

    undefined: bool = parameter(False, "say NaN")
    calls: ClassVar[list[Sequence[int]]] = []

    def measure(self, case: Case) -> Measured:
        self.calls.append(list(case.numbers))
        found = (case.relevance - case.inputs * WEIGHTS).abs().mean(1)
        line = torch.stack([found, found], 1)
        if self.undefined:
            found = found * torch.nan
        return Measured(found, Curves([0.0, 1.0], "x", "y", {"line": line}))


@dataclass(frozen=True, eq=False)
class Size(Metric):
    """Σ |R|. Source: this test."""

    name: ClassVar[str] = "toy-size"
    summary: ClassVar[str] = "Sum of absolute relevance"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    cost: ClassVar[str] = "none"

    def measure(self, case: Case) -> Measured:
        return Measured(case.relevance.flatten(1).abs().sum(1))


NOISY = {f"noise {n}": planted(n) for n in (2.0, 1.0, 0.5, 0.25, 0.0)}


def toy(**options: Any) -> Selection:
    given: dict[str, Any] = {"candidates": NOISY, "space": None, "criteria": Error(), "samples": 2}
    return select(linear, DATA, **(given | options))


# -- what wins ---------------------------------------------------------------------------------


def test_the_true_relevance_wins_and_halving_orders_noise() -> None:
    found = toy()
    assert found.winner == "noise 0.0"
    assert found.finalists[0] == "noise 0.0"
    first = [trial for trial in found.training if trial.round == 1]
    assert [t.method for t in first] == [f"noise {n}" for n in (0.0, 0.25, 0.5, 1.0, 2.0)]
    assert found.held_out.ranking("toy-error") == [t.method for t in first]


def test_each_round_has_more_samples_for_fewer_candidates() -> None:
    found = toy(width=4, generations=0)
    rounds = {t.round: t.samples for t in found.training}
    counts = [sum(t.round == number for t in found.training) for number in rounds]
    assert list(rounds.values()) == [2, 4, 10]
    assert counts == [5, 2, 2]


def test_the_winner_leads_on_held_out_samples_with_its_interval() -> None:
    found = toy()
    for name, difference in found.differences.items():
        noise = float(name.split()[1])
        assert difference.samples == 10
        assert difference.high < 0  # the error is lower
        assert abs(difference.mean) == pytest.approx(noise * np.sqrt(2 / np.pi), rel=0.3)
    assert set(found.differences) == set(NOISY) - {"noise 0.0"}


def test_all_candidates_see_the_same_samples_once() -> None:
    Error.calls.clear()
    toy(candidates={"a": planted(0), "b": planted(1)}, width=2)
    training = Error.calls[: len(Error.calls) // 2]
    assert sorted(n for numbers in training for n in numbers) == sorted([*range(10)] * 2)


class Net(nn.Sequential):
    """A small convolutional network whose score is the sum of what a planted filter sees."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2, 2, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * 64, 2),
        )


@pytest.fixture
def network() -> Net:
    return Net().double().eval()


IMAGES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
RULES = ("zero", "z-plus", "gamma(gamma=0.25)", "epsilon(epsilon=0.1)")
SMALL = Space({"input": ("flat", "z-plus", None), "middle": RULES, "upper": RULES, "dense": RULES})


def small(network: nn.Module, **options: Any) -> Selection:
    given: dict[str, Any] = {"candidates": (), "space": SMALL, "criteria": "conservation"}
    given |= {"samples": 2, "width": 6, "target": 0}
    return select(network, IMAGES, **(given | options))


def test_a_found_composite_is_a_method_that_can_be_saved_and_named(
    network: Net, tmp_path: Any
) -> None:
    found = small(network)
    assert isinstance(found.method, LRP)
    assert method(str(found.method.save(tmp_path / "best.json"))) == found.method
    assert method(found.winner) == found.method
    x = IMAGES[:1]
    assert torch.equal(
        method(found.winner)(network, x).relevance, found.method(network, x).relevance
    )


def test_children_are_as_good_as_their_parents_or_better(network: Net) -> None:
    def best(generations: int) -> float:
        found = small(network, width=4, generations=generations)
        return min(t.mean for t in found.training if t.round == 1)

    assert best(4) < best(0)


def test_children_differ_from_a_parent_in_one_option(network: Net) -> None:
    found = small(network, width=4, generations=1)
    names = {t.method for t in found.training if t.round == 1}
    assert len(names) == 4 + 2


def test_the_same_seed_finds_the_same(network: Net) -> None:
    one, two, other = (small(network, seed=seed) for seed in (1, 1, 2))
    assert [t.method for t in one.training] == [t.method for t in two.training]
    assert [t.mean for t in one.training] == [t.mean for t in two.training]
    assert one.split == two.split != other.split


def test_values_do_not_depend_on_the_other_candidates() -> None:
    metric = "abpc(region=2, steps=4, per_step=4, repetitions=2)"
    network = Net().eval()
    given: dict[str, Any] = {"space": None, "criteria": metric, "target": 0, "samples": 2}
    alone = select(network, IMAGES.float(), candidates="gradient", **given)
    among = select(network, IMAGES.float(), candidates=["random", "lrp", "gradient"], **given)
    one, two = (f.held_out.values("abpc", "gradient") for f in (alone, among))
    assert np.array_equal(one, two)


# -- the split ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 20])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_the_split_is_disjoint_complete_and_seeded(count: int, share: float) -> None:
    if not 0 < round(count * share) < count:
        return
    train, held = divided(count, share, seed=1)
    assert sorted((*train, *held)) == list(range(count))
    assert len(held) == round(count * share)
    assert (train, held) == divided(count, share, seed=1)


def test_another_seed_splits_otherwise() -> None:
    assert divided(20, 0.5, 0) != divided(20, 0.5, 1)


def test_held_out_samples_may_be_named() -> None:
    train, held = divided(5, [4, 0], seed=0)
    assert held == (0, 4)
    assert sorted(train) == [1, 2, 3]


def test_the_search_never_sees_a_held_out_sample() -> None:
    seen: list[Tensor] = []

    def watch(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        seen.append(inputs)
        return inputs

    found = toy(candidates={"watch": watch}, held_out=[3, 7, 11])
    rows = [tuple(row) for row in torch.cat(seen).tolist()]
    held = [tuple(row) for row in DATA[[3, 7, 11]].tolist()]
    assert found.split[1] == (3, 7, 11)
    assert rows[-3:] == held
    assert not set(held) & set(rows[:-3])


def test_targets_and_masks_go_with_their_samples() -> None:
    classes = torch.arange(20) % 3

    def model(x: Tensor) -> Tensor:
        return x[:, :3]

    def onehot(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        given = torch.nn.functional.one_hot(targets, 6).to(inputs)
        return given * inputs

    masks = torch.nn.functional.one_hot(classes, 6).bool()
    found = select(
        model,
        DATA,
        candidates={"true": onehot},
        space=None,
        criteria={"conservation": "best"},
        report=["conservation", "relevance-mass"],
        target=classes,
        masks=masks,
    )
    assert found.held_out.mean("conservation", "true").mean == 0
    assert found.held_out.mean("relevance-mass", "true").mean == 1


def test_texts_are_split_too() -> None:
    def model(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(text.split()))] for text in texts])

    def each(model: Any, texts: list[str], targets: Any) -> list[Tensor]:
        return [torch.ones(len(text.split())) for text in texts]

    texts = [" ".join(["word"] * n) for n in range(1, 9)]
    metric = "abpc(repetitions=1)"
    found = select(model, texts, candidates={"each": each}, space=None, criteria=metric)
    assert found.winner == "each"


# -- criteria and bounds -----------------------------------------------------------------------


def test_a_bound_keeps_out_what_does_not_meet_it() -> None:
    """Noise makes relevance larger, so a lower bound on its size excludes the truth."""
    truth = float((DATA * WEIGHTS).abs().sum(1).mean())
    found = toy(criteria={Error(): "best", Size(): 1.2 * truth}, samples=10)
    met = [t.met for t in found.training if t.round == 1]
    assert met == sorted(met, reverse=True)
    assert found.winner not in ("noise 0.0", "noise 0.25")
    assert all(t.bounded["toy-size"] >= 1.2 * truth for t in found.training if t.met)
    assert set(found.held_out.metrics) == {"toy-error", "toy-size"}


def test_cost_is_bounded_in_gradients() -> None:
    def model(x: Tensor) -> Tensor:
        return (x * WEIGHTS).sum(1)

    def slow(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        time.sleep(0.2)
        return inputs * WEIGHTS

    given: dict[str, Any] = {"slow": slow, "fast": planted(1.0)}
    assert toy(candidates=given).winner == "slow"
    found = select(
        model, DATA, candidates=given, space=None, criteria={Error(): "best", "cost": 10.0}
    )
    assert found.winner == "fast"
    assert all(t.bounded["cost"] > 0 for t in found.training)


def test_bounds_that_nobody_meets_are_named() -> None:
    with pytest.raises(InputError, match=r"no candidate meets toy-size ≥ 1e\+09; the best by toy"):
        toy(criteria={Error(): "best", Size(): 1e9})


@pytest.mark.parametrize(
    ("criteria", "words"),
    [
        ({"toy-error": 1.0}, "0 metrics are 'best'"),
        ({"toy-error": "best", "toy-size": "best"}, "2 metrics are 'best'"),
        ({"toy-error": "best", "toy-size": "max"}, "toy-size is 'max', neither 'best' nor a num"),
        ({"toy-error": "best", "cost": "low"}, "cost is 'low'"),
        ("relevance-mass", "needs masks"),
        ("toy-error(undefined=True)", "toy-error.* is defined for no training sample"),
    ],
)
def test_criteria_that_cannot_decide_are_refused(criteria: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        toy(criteria=criteria)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"held_out": 0.0}, "leaves 20 of 20 samples to search on and 0 to judge by"),
        ({"held_out": 1.0}, "leaves 0 of 20"),
        ({"held_out": [25]}, "none of 0 … 19"),
        ({"candidates": ()}, "neither a candidate nor a space"),
        ({"width": 0}, "width=0: it must be at least 1"),
        ({"target": [0] * 3}, "3 targets for 20 samples"),
    ],
)
def test_what_cannot_be_selected_from_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        toy(**options)


def test_a_function_wins_but_is_no_method() -> None:
    with pytest.raises(InputError, match="is a function of yours"):
        _ = toy().method


# -- failures ----------------------------------------------------------------------------------


def test_what_fails_is_named_and_the_others_compete() -> None:
    found = toy(candidates={**NOISY, "broken": "grad-cam"})
    assert found.winner == "noise 0.0"
    assert set(found.failures) == set(found.held_out.failures) == {"broken"}


def test_if_all_fail_the_error_is_that_of_the_first() -> None:
    with pytest.raises(RootpointError, match="grad-cam"):
        toy(candidates={"broken": "grad-cam"})


# -- the checkpoint ----------------------------------------------------------------------------


def test_an_interrupted_search_goes_on_with_the_same_result(tmp_path: Any) -> None:
    path = tmp_path / "search.jsonl"
    Error.calls.clear()
    whole = toy(checkpoint=path)
    calls = len(Error.calls)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]) + lines[-1][:20])  # cut within a line
    Error.calls.clear()
    again = toy(checkpoint=path)
    assert 0 < len(Error.calls) < calls
    assert [(t.method, t.mean) for t in again.training] == [
        (t.method, t.mean) for t in whole.training
    ]
    for name in whole.held_out.methods:
        assert np.array_equal(*(f.held_out.values("toy-error", name) for f in (whole, again)))
        curves = [f.held_out.results[name].curves["toy-error"] for f in (whole, again)]
        assert np.array_equal(curves[0].lines["line"], curves[1].lines["line"])
    assert path.read_text().splitlines(keepends=True)[: len(lines) // 2] == lines[: len(lines) // 2]


def test_a_finished_search_measures_nothing_again(tmp_path: Any) -> None:
    toy(checkpoint=tmp_path / "search.jsonl", candidates={**NOISY, "broken": "grad-cam"})
    Error.calls.clear()
    found = toy(checkpoint=tmp_path / "search.jsonl", candidates={**NOISY, "broken": "grad-cam"})
    assert Error.calls == []
    assert set(found.failures) == {"broken"}


def test_the_checkpoint_of_another_search_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "search.jsonl"
    toy(checkpoint=path)
    with pytest.raises(InputError, match="checkpoint of something else: it differs in seed, split"):
        toy(checkpoint=path, seed=1)
    with pytest.raises(InputError, match="differs in criteria"):
        toy(checkpoint=path, criteria=Size())
    path.write_text(json.dumps([1]) + "\n")
    with pytest.raises(InputError, match="is no checkpoint"):
        toy(checkpoint=path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=r"cannot use .* as a checkpoint"):
        toy(checkpoint=path)


# -- the default candidates --------------------------------------------------------------------


def test_all_presets_and_all_quick_methods_compete_by_default() -> None:
    names = {str(one) for one in contestants()}
    assert {f"lrp(composite={name!r})" for name in PRESETS} - names == {"lrp(composite='layered')"}
    left_out = {name for name in methods() if name not in names}
    assert left_out == {
        "ebm",
        "evidence",
        "gnn-lrp",
        "lime",
        "lrp",
        "meaningful-perturbation",
        "pattern-attribution",
        "pattern-net",
        "prediction-difference",
        "shapley",
        "tree-shapley",
    }
