"""A progress bar for whatever takes long: on stderr, only on a terminal, only after a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 2.0  # seconds before a bar appears

_shown: ContextVar[Progress | None] = ContextVar("_shown", default=None)

Listener = Callable[[int, int], None]
_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` what is done, of how much, each time the outermost progress advances.

    What it raises ends the work.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def progress(total: int, doing: str) -> Iterator[Callable[[int], None]]:
    """A function to be told how many of `total` units are done.

    What runs within another progress gets a line below it, in the same bar.
    """
    from rich.console import Console
    from rich.progress import Progress

    console, started = Console(stderr=True), perf_counter()
    listener = _listener.get()
    _listener.set(None)  # inner progress is part of this one
    bar, task, done = _shown.get(), None, 0
    own = None

    def advance(units: int = 1) -> None:
        nonlocal bar, task, done, own
        done += units
        if listener is not None:
            listener(done, total)
        if not console.is_terminal or perf_counter() - started < PATIENCE:
            return
        if bar is None:
            bar = own = Progress(console=console, transient=True)
            _shown.set(own)
            own.start()
        if task is None:
            task = bar.add_task(doing, total=total)
        bar.update(task, completed=done)

    try:
        yield advance
    finally:
        _listener.set(listener)
        if bar is not None and task is not None:
            bar.remove_task(task)
        if own is not None:
            own.stop()
            _shown.set(None)
