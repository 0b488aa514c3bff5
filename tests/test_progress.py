"""Progress: a bar on terminals, after a while, and one bar for what is nested."""

from __future__ import annotations

from typing import Any

import pytest
import rich.console
from rich.progress import Progress

from rootpoint import progress as module
from rootpoint.progress import listening, progress


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """The bars that are started, on what takes itself for a terminal."""
    started: list[Progress] = []
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(rich.console.Console, "is_terminal", property(lambda self: True))
    monkeypatch.setattr(Progress, "start", lambda self: started.append(self))
    monkeypatch.setattr(Progress, "stop", lambda self: None)
    return started


def lines(bar: Progress) -> list[tuple[str, Any, float]]:
    return [(task.description, task.total, task.completed) for task in bar.tasks]


def test_nothing_is_shown_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(rich.console.Console, "is_terminal", property(lambda self: False))
    with progress(3, "work") as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_nothing_is_shown_of_what_is_soon_done(
    bars: list[Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 60.0)
    with progress(3, "work") as advance:
        advance(3)
    assert bars == []


def test_a_bar_counts_the_units(bars: list[Progress]) -> None:
    with progress(5, "work") as advance:
        advance(1)
        advance(2)
        assert lines(bars[0]) == [("work", 5, 3)]
    assert lines(bars[0]) == []


def test_what_runs_within_gets_a_line_of_the_same_bar(bars: list[Progress]) -> None:
    with progress(2, "outer") as outer:
        outer(1)
        with progress(9, "inner") as inner:
            inner(4)
            assert lines(bars[0]) == [("outer", 2, 1), ("inner", 9, 4)]
        assert lines(bars[0]) == [("outer", 2, 1)]
    assert len(bars) == 1


def test_a_bar_ends_with_an_error_and_the_next_one_is_new(bars: list[Progress]) -> None:
    def fail() -> None:
        with progress(2, "work") as advance:
            advance(1)
            raise ValueError("stop")

    for _ in range(2):
        with pytest.raises(ValueError, match="stop"):
            fail()
    assert len(bars) == 2
    assert [lines(bar) for bar in bars] == [[], []]


def test_a_listener_hears_of_the_outermost_progress() -> None:
    heard: list[tuple[int, int]] = []
    with listening(lambda done, total: heard.append((done, total))):
        with progress(2, "outer") as outer:
            with progress(9, "inner") as inner:
                inner(4)
            outer()
        with progress(3, "next") as after:
            after(3)
    with progress(1, "unheard") as unheard:
        unheard()
    assert heard == [(1, 2), (3, 3)]


def test_what_a_listener_raises_ends_the_work() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(stop), progress(2, "work") as advance:
        advance()
