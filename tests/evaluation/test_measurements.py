"""Measurements in a file: an evaluation that is interrupted goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.evaluation import planted
from rootpoint.evaluation.result import Evaluation

P = planted.linear(5)
METRICS = ("conservation", "abpc(features='values', steps=4, per_step=8, repetitions=1)")


class Counting:
    """A candidate that counts its calls, and fails when it is told to."""

    def __init__(self, stops: bool = False) -> None:
        self.calls, self.stops = 0, stops

    def __call__(self, model: Any, inputs: Tensor, targets: Any) -> Tensor:
        if self.stops:
            raise KeyboardInterrupt
        self.calls += 1
        return P.truth(model, inputs, targets)


def refuse(model: Any, inputs: Tensor, targets: Any) -> Tensor:
    raise InputError("nothing to see")


def run(path: Path | None, judged: Any, **options: Any) -> Evaluation:
    given: dict[str, Any] = {"metrics": METRICS, "batch": 2, "target": P.targets, **options}
    data = given.pop("data", P.inputs)
    return rp.evaluate(P.model, data, judged, checkpoint=path, **given)


def same(a: Evaluation, b: Evaluation) -> bool:
    return all(
        np.array_equal(a.values(metric, name), b.values(metric, name), equal_nan=True)
        for metric in a.metrics
        for name in a.methods
    )


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    first, second = Counting(), Counting()
    with pytest.raises(KeyboardInterrupt):
        run(path, {"first": first, "second": Counting(stops=True)})
    assert first.calls == 3
    found = run(path, {"first": first, "second": second})
    assert (first.calls, second.calls) == (3, 3)
    assert same(found, run(None, {"first": Counting(), "second": Counting()}))
    again = run(path, {"first": first, "second": second})
    assert (first.calls, second.calls) == (3, 3)
    assert same(found, again)
    for metric in found.metrics:
        assert found.mean(metric, "first") == again.mean(metric, "first")


def test_curves_come_back_too(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    first, again = (run(path, {"truth": P.truth}).results["truth"].curves for _ in range(2))
    assert first.keys() == again.keys() == {str(rp.metric(METRICS[1]))}
    for name, one in first.items():
        other = again[name]
        assert list(one.x) == list(other.x)
        assert one.lines.keys() == other.lines.keys()
        for line in one.lines:
            np.testing.assert_array_equal(one.lines[line], other.lines[line])


def test_failures_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    for _ in range(2):
        found = run(path, {"truth": P.truth, "refuse": refuse})
        assert dict(found.failures) == {"refuse": "InputError: nothing to see"}


def test_if_all_failed_before_the_failure_is_told_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    with pytest.raises(InputError, match="nothing to see"):
        run(path, {"refuse": refuse})
    with pytest.raises(rp.RootpointError, match="refuse: InputError: nothing to see"):
        run(path, {"refuse": refuse})


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"seed": 1}, "seed"),
        ({"metrics": "conservation"}, "metrics"),
        ({"data": P.inputs[:4], "target": P.targets[:4]}, "samples, scores"),
        ({"data": P.inputs * 2}, "scores"),
    ],
)
def test_the_checkpoint_of_something_else_is_refused(
    tmp_path: Path, options: dict[str, Any], what: str
) -> None:
    path = tmp_path / "kept.jsonl"
    run(path, {"truth": P.truth})
    before = path.read_text()
    with pytest.raises(InputError, match=rf"is the checkpoint of something else: .* {what};"):
        run(path, {"truth": P.truth}, **options)
    assert path.read_text() == before


def test_another_batch_goes_on_with_the_same_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    one = Counting()
    run(path, {"one": one})
    run(path, {"one": one}, batch=5)
    assert one.calls == 3


def test_a_line_that_was_interrupted_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    one, other = Counting(), Counting()
    found = run(path, {"one": one, "other": other})
    text = path.read_text()
    path.write_text(text[: len(text) - 30])
    assert same(found, run(path, {"one": one, "other": other}))
    assert (one.calls, other.calls) == (3, 6)
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("content", ["no json\n", "[1]\n", '{"seed": 0}\n{"part": 1}\n', "3\n4\n"])
def test_a_file_that_is_no_checkpoint_is_refused_and_left_alone(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(
        InputError, match=r"notes.txt is (no checkpoint|the checkpoint of something)"
    ):
        run(path, {"truth": P.truth})
    assert path.read_text() == content


@pytest.mark.parametrize("content", ["my notes", "my notes\nwith more"])
def test_a_file_without_a_last_newline_that_is_no_checkpoint_is_left_alone(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=r"notes.txt is no checkpoint"):
        run(path, {"truth": P.truth})
    assert path.read_text() == content


def test_another_candidate_of_the_same_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    run(path, {"it": "gradient"})
    with pytest.raises(InputError, match=r"it was Gradient\(.*\), not Random\("):
        run(path, {"it": "random"})
    with pytest.raises(
        InputError, match=r"it was Gradient\(.*\), not .*test_measurements.Counting"
    ):
        run(path, {"it": Counting()})
    assert run(path, {"it": "gradient", "other": "random"}).methods == ("it", "other")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "kept.jsonl"):
        with pytest.raises(InputError, match=r"cannot use .* as a checkpoint"):
            run(path, {"truth": P.truth})


def test_each_line_is_json_that_others_read(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    p = torch.zeros_like(P.inputs)  # f = 0: conservation is not defined
    rp.evaluate(P.model, p, {"truth": P.truth}, "conservation", checkpoint=path)

    def strict(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    about, row = (json.loads(line, parse_constant=strict) for line in path.read_text().splitlines())
    assert about["seed"] == 0
    assert row["values"]["conservation"] == [None] * 5
