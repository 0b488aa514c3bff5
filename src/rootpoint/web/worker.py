"""A process that owns a model: requests wait in line and are computed in batches of alike ones."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from rootpoint.errors import RootpointError
from rootpoint.progress import listening

Emit = Callable[[dict[str, Any]], None]
Work = Callable[[Any, list[Any], Emit], list[Any]]
"""What the process does: from what it owns and payloads of one key to an answer for each."""

OFTEN = 0.05  # seconds between messages about progress
GRACE = 1.0  # seconds that cancelled work may take to notice, and no less: up to twice as many

_SPAWN = multiprocessing.get_context("spawn")  # a copy of a process with torch's threads may hang


class QueueFullError(RootpointError):
    """As many requests wait as may."""


class WorkerLostError(RootpointError):
    """The process that computed has ended; another one is started."""


class CancelledWork(BaseException):
    """Nobody waits for what is computed. Not to be caught on the way."""


@dataclass(eq=False)
class Ticket:
    """A request in line: an asynchronous iterator of what becomes of it.

    ("progress", done, total), ("point", values), and at last ("answer", value); or it raises
    WorkerLostError or TimeoutError. Cancel it if nobody wants the answer any more.
    """

    payload: Any
    key: Hashable
    cancelled: bool = False
    events: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    on_cancel: Callable[[], None] = lambda: None

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self.on_cancel()

    async def __aiter__(self) -> AsyncIterator[tuple[Any, ...]]:
        while True:
            event = await self.events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            if event[0] == "answer":
                return


class Worker:
    """The line before a process, and the process.

    load     called with `given` in the process: what it owns
    work     answers payloads of one key together
    queue    tickets that may wait
    batch    that are computed together, at most
    timeout  seconds that a batch may take, after which the process is ended and made anew
    """

    def __init__(
        self,
        load: Callable[..., Any],
        given: tuple[Any, ...],
        work: Work,
        *,
        queue: int = 64,
        batch: int = 16,
        timeout: float = 60.0,
    ) -> None:
        self._target = load, given, work
        self._queue, self._batch, self._timeout = queue, batch, timeout
        self._waiting: deque[Ticket] = deque()
        self._more = asyncio.Event()
        self._running: list[Ticket] = []
        self._child: _Child | None = None
        self._loop: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._child is None else self._child.process.pid

    async def start(self) -> None:
        """Raises WorkerLostError with what the process said if it cannot load what it owns."""
        self._child = await _Child.started(*self._target)
        self._loop = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        if self._child is not None:
            await self._child.end()

    def submit(self, payload: Any, key: Hashable = None) -> Ticket:
        """Put a payload in line; those with an equal key, unless None, may be computed together.

        Raises QueueFullError.
        """
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.cancelled)
        if len(self._waiting) >= self._queue:
            raise QueueFullError(f"{self._queue} requests are waiting: ask again in a moment")
        ticket = Ticket(payload, key, on_cancel=self._on_cancel)
        self._waiting.append(ticket)
        self._more.set()
        return ticket

    def _on_cancel(self) -> None:
        if self._running and self._child and all(t.cancelled for t in self._running):
            self._child.cancel.set()

    async def _serve(self) -> None:
        while True:
            await self._more.wait()
            self._running = self._next()
            if not self._running:
                self._more.clear()
                continue
            try:
                await self._compute(self._running)
            except (WorkerLostError, TimeoutError) as error:
                for ticket in self._running:
                    ticket.events.put_nowait(error)
                await self._end()
            self._running = []

    def _next(self) -> list[Ticket]:
        """The tickets to be computed now: the first in line, and those alike."""
        waiting = [ticket for ticket in self._waiting if not ticket.cancelled]
        first = waiting[:1]
        alike = [t for t in waiting[1:] if first and t.key is not None and t.key == first[0].key]
        found = [*first, *alike[: self._batch - 1]]
        self._waiting = deque(ticket for ticket in waiting if ticket not in found)
        return found

    async def _compute(self, tickets: list[Ticket]) -> None:
        if self._child is None:
            self._child = await _Child.started(*self._target)
        child = self._child
        await child.ask([ticket.payload for ticket in tickets])
        end = perf_counter() + self._timeout
        while True:
            kind, *values = await self._hear(child, end)
            if kind == "answers":
                for ticket, answer in zip(tickets, values[0], strict=True):
                    ticket.events.put_nowait(("answer", answer))
                return
            if kind == "cancelled":
                return
            for ticket in tickets:
                ticket.events.put_nowait((kind, *values))

    async def _hear(self, child: _Child, end: float) -> tuple[Any, ...]:
        """The next thing the process says before it is `end`, or a while after it is cancelled."""
        while True:
            cancelled = child.cancel.is_set()
            seconds = min(GRACE, end - perf_counter())
            with suppress(TimeoutError):
                return await child.hear(seconds)
            if cancelled or perf_counter() >= end:
                raise TimeoutError(
                    f"it takes more than the {self._timeout:g} seconds that a request may take"
                )

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()


class _Child:
    """The process, and what it says, in the order in which it says it."""

    def __init__(self, *target: Any) -> None:
        here, there = _SPAWN.Pipe()
        self.cancel = _SPAWN.Event()
        self.process = _SPAWN.Process(target=_run, args=(there, self.cancel, *target), daemon=True)
        self.process.start()
        there.close()
        self._pipe = here
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()

    @classmethod
    async def started(cls, *target: Any) -> _Child:
        child = cls(*target)
        try:
            kind, *values = await child.hear(None)
            if kind == "failed":
                raise WorkerLostError(values[0])
        except BaseException:
            await child.end()
            raise
        return child

    async def ask(self, payloads: list[Any]) -> None:
        self.cancel.clear()
        try:
            await asyncio.to_thread(self._pipe.send, payloads)
        except OSError as error:
            raise WorkerLostError(_LOST) from error

    async def hear(self, seconds: float | None) -> tuple[Any, ...]:
        """The next thing that it says. Raises WorkerLostError if it has ended."""
        said = await asyncio.wait_for(self._said.get(), seconds)
        if said is None:
            raise WorkerLostError(_LOST)
        return said

    async def end(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.join)
        self._pipe.close()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(EOFError, OSError, RuntimeError):  # the process has ended, or the loop
            while True:
                loop.call_soon_threadsafe(self._said.put_nowait, self._pipe.recv())
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._said.put_nowait, None)


_LOST = "the process that computes has ended; it is started again: ask once more"


def _run(
    pipe: Connection, cancel: Any, load: Callable[..., Any], given: Sequence[Any], work: Work
) -> None:
    """The process: load, then answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    try:
        owned = load(*given)
    except RootpointError as error:
        pipe.send(("failed", str(error)))
        return
    except Exception as error:
        traceback.print_exc()  # of the operator's own code
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
        return
    pipe.send(("ready",))
    with suppress(EOFError, OSError):  # the server has ended
        while True:
            pipe.send(_answers(owned, pipe.recv(), work, _Speaker(pipe, cancel)))


def _answers(owned: Any, payloads: list[Any], work: Work, speaker: _Speaker) -> tuple[Any, ...]:
    try:
        with listening(speaker.progress):
            return "answers", work(owned, payloads, speaker.point)
    except CancelledWork:
        return ("cancelled",)
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None  # what it owns may be broken: a new process begins afresh


@dataclass
class _Speaker:
    """Tells the server how far the work is, and ends it once it is cancelled."""

    pipe: Connection
    cancel: Any
    last: float = 0.0

    def progress(self, done: int, total: int) -> None:
        self._go_on()
        if perf_counter() - self.last >= OFTEN:
            self.last = perf_counter()
            self.pipe.send(("progress", done, total))

    def point(self, values: dict[str, Any]) -> None:
        self._go_on()
        self.pipe.send(("point", values))

    def _go_on(self) -> None:
        if self.cancel.is_set():
            raise CancelledWork
