"""What an evaluation found, its JSON and its CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rootpoint as rp
from rootpoint.errors import CheckFailedError, InputError, UnknownNameError
from rootpoint.evaluation import planted
from rootpoint.evaluation.metric import Curves, metric
from rootpoint.evaluation.result import Evaluation, Result, plain

VALUES = {"good": [1.0, 2.0, 3.0], "odd": [np.nan, np.inf, -np.inf], "poor": [0.1, 0.1, 0.1]}


def evaluation(**changed: Any) -> Evaluation:
    """Three methods on three samples, one of them with values that are no numbers."""
    curves = {"aopc(steps=2)": Curves([0.0, 0.5, 1.0], "share", "score", {"morf": np.eye(3)})}
    results = {
        name: Result({"aopc(steps=2)": np.array(values), "conservation": np.zeros(3)}, curves, 0.5)
        for name, values in VALUES.items()
    }
    given: dict[str, Any] = {
        "metrics": {text: metric(text) for text in ("aopc(steps=2)", "conservation")},
        "results": results,
        "failures": {"broken": "InputError: <no>"},
        "configuration": {"model": "Net", "samples": 3, "seed": 0, "methods": {}},
    }
    return Evaluation(**{**given, **changed})


def saved(found: Evaluation, path: Path) -> Evaluation:
    return Evaluation.load(found.save(path))


def test_an_evaluation_comes_back_from_its_json(tmp_path: Path) -> None:
    found = evaluation()
    again = saved(found, tmp_path / "found.json")
    assert again.metrics == found.metrics
    assert again.methods == found.methods
    assert again.failures == found.failures
    assert again.configuration == found.configuration
    for name in found.methods:
        for key in found.metrics:
            np.testing.assert_array_equal(again.values(key, name), found.values(key, name))
        curves, before = (e.results[name].curves["aopc(steps=2)"] for e in (again, found))
        assert (curves.x, curves.x_label, curves.y_label) == (before.x, "share", "score")
        np.testing.assert_array_equal(curves.lines["morf"], before.lines["morf"])
    assert again.to_dict() == found.to_dict()


def test_json_is_strict_and_holds_no_nan_or_infinity(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = evaluation().save(tmp_path / "found.json").read_text(encoding="utf-8")
    read = json.loads(text, parse_constant=refuse)
    assert read["results"]["odd"]["values"]["aopc(steps=2)"] == [None, "inf", "-inf"]


def test_json_holds_means_with_intervals_and_the_direction_of_metrics() -> None:
    given = evaluation().to_dict()
    means = [row for row in given["means"] if row["method"] == "good"]
    assert [row["mean"] for row in means] == [2.0, 0.0]
    assert 1.0 <= means[0]["low"] <= 2.0 <= means[0]["high"] <= 3.0
    assert [one["better"] for one in given["metrics"].values()] == ["higher", "lower"]


def test_csv_has_one_row_per_method_metric_and_sample(tmp_path: Path) -> None:
    path = evaluation().save(tmp_path / "found.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 3
    first = {"method": "good", "metric": "aopc(steps=2)", "sample": "0", "value": "1.0"}
    assert rows[0] == first
    odd = [row["value"] for row in rows if row["method"] == "odd"]
    assert odd == ["", "inf", "-inf", "0.0", "0.0", "0.0"]


def test_names_with_commas_and_quotes_survive_csv(tmp_path: Path) -> None:
    name = "lrp(composite='epsilon', gamma=\"1\")"
    found = evaluation(results={name: evaluation().results["good"]})
    with found.save(tmp_path / "found.csv").open(newline="", encoding="utf-8") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {name}


@pytest.mark.parametrize("name", ["found.txt", "found", "found.HTML"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"use \.html for a report, \.json or \.csv"):
        evaluation().save(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", [".html", ".json", ".csv"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "missing" / f"found{suffix}"
    with pytest.raises(InputError, match=r"cannot write .*missing.*No such file"):
        evaluation().save(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        Evaluation.load(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"format": "other"}', "\xff"])
def test_a_file_that_holds_no_evaluation_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"other\.json holds no evaluation"):
        Evaluation.load(path)


def test_a_metric_that_text_cannot_make_keeps_its_values(tmp_path: Path) -> None:
    made = metric("implementation-invariance", other=nn.Identity())
    results = {"lrp": Result({str(made): np.array([0.0, 1.0])}, count=2)}
    found = evaluation(metrics={str(made): made}, results=results)
    again = saved(found, tmp_path / "found.json")
    assert again.mean("implementation-invariance", "lrp").mean == 0.5
    assert again.to_dict() == found.to_dict()
    case: Any = None
    with pytest.raises(InputError, match="was read from a file"):
        again.metrics[str(made)].measure(case)
    assert rp.metrics()  # the stand-in is no metric that users can choose


def test_plain_values_are_those_of_json() -> None:
    given = {"a": np.array([1.0, np.nan]), "b": (torch.tensor(2), np.float32(np.inf)), "c": None}
    assert plain(given) == {"a": [1.0, None], "b": [2, "inf"], "c": None}


def test_a_real_evaluation_says_what_it_explained_and_comes_back(tmp_path: Path) -> None:
    def mine(model: Any, inputs: Any, targets: Any) -> Any:
        return inputs

    model = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    found = rp.evaluate(
        model,
        torch.randn(3, 8),
        {"ours": "gradient-times-input", "yours": mine},
        ["abpc(steps=2)", "parameter-randomization(layers=2)"],
        target=[0, 2, 1],
    )
    assert found.configuration["targets"] == [0, 2, 1]
    assert found.configuration["methods"]["yours"].endswith("mine")
    assert saved(found, tmp_path / "found.json").to_dict() == found.to_dict()


def test_a_target_function_is_named() -> None:
    def largest(output: Any) -> Any:
        return output.max(1).values

    found = rp.evaluate(
        nn.Linear(4, 3).eval(), torch.randn(2, 4), "gradient", "abpc", target=largest
    )
    assert found.configuration["targets"].endswith("largest")


# -- what is read from it ----------------------------------------------------------------------


def test_the_best_comes_first_and_what_is_not_defined_last() -> None:
    found = evaluation()  # the mean of "odd" is ∞ − ∞
    assert found.ranking("aopc") == ["good", "poor", "odd"]
    assert found.ranking("conservation") == ["good", "odd", "poor"]  # equal: in their order


def test_differences_are_paired_and_means_have_intervals() -> None:
    found = evaluation()
    assert found.mean("aopc", "good")[::3] == (2.0, 3)
    assert found.difference("aopc", "good", "poor").mean == pytest.approx(1.9)


def test_json_holds_the_bands_of_curves() -> None:
    band = evaluation().to_dict()["bands"]["good"]["aopc(steps=2)"]["morf"]
    assert band["mean"] == pytest.approx([1 / 3] * 3)
    assert all(low <= 1 / 3 <= high for low, high in zip(band["low"], band["high"], strict=True))


def test_unknown_methods_and_metrics_are_refused_and_likely_ones_named() -> None:
    found = evaluation()
    with pytest.raises(UnknownNameError, match="no method of this evaluation is called 'godo'"):
        found.values("aopc", "godo")
    with pytest.raises(UnknownNameError, match="did you mean conservation"):
        found.mean("conservatism", "good")
    two = evaluation(metrics={t: metric(t) for t in ("aopc(steps=2)", "aopc(steps=3)")})
    with pytest.raises(UnknownNameError, match="no metric of this evaluation is called 'aopc'"):
        two.mean("aopc", "good")


@pytest.mark.parametrize("bounds", [{"aopc": 2.0}, {"conservation": 0.0}, {}])
def test_a_mean_at_its_bound_passes_the_check(bounds: dict[str, float]) -> None:
    evaluation().check(bounds, "good")


@pytest.mark.parametrize(
    ("bounds", "method", "words"),
    [
        ({"aopc": 2.1}, "good", r"^aopc of good is 2, under 2.1$"),
        ({"conservation": -0.1}, "good", r"^conservation of good is 0, over -0.1$"),
        ({"aopc": 0.5}, None, r"^aopc of odd is nan, under 0.5; aopc of poor is 0.1, under 0.5$"),
    ],
)
def test_a_worse_or_undefined_mean_fails_the_check(
    bounds: dict[str, float], method: str | None, words: str
) -> None:
    with pytest.raises(CheckFailedError, match=words):
        evaluation().check(bounds, method)


def test_examples_do_not_hold_the_memory_of_their_batch() -> None:
    batch = torch.rand(100, 3, 8, 8)
    found = rp.evaluate(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval(),
        batch,
        "gradient",
        "conservation",
        batch=100,
    )
    examples = found.results["gradient"].examples
    assert len(examples) == 4
    for given, relevance in examples:
        assert given.untyped_storage().nbytes() == relevance.untyped_storage().nbytes() == 768


def test_a_metric_is_found_however_its_parameters_are_written() -> None:
    p = planted.linear(3)
    text = "abpc(steps=2, repetitions=1, per_step=4)"
    found = rp.evaluate(p.model, p.inputs, p.truth, text, target=p.targets)
    assert found.mean(text, "truth") == found.mean("abpc", "truth")
