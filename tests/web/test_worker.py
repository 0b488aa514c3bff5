"""A worker: a line, a process, batches, cancellation, and recovery."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rootpoint.progress import progress
from rootpoint.web.worker import QueueFullError, Ticket, Worker, WorkerLostError


def load(start: int) -> list[int]:
    if start < 0:
        raise ValueError("no such model")
    return [start]


def work(owned: list[int], payloads: list[Any], emit: Callable[[dict[str, Any]], None]) -> Any:
    """Count batches; "sleep" takes steps, "hang" never looks up, "point" tells, "break" raises."""
    owned[0] += 1
    for payload in payloads:
        if payload == "sleep":
            with progress(1000, "sleeping") as advance:
                for _ in range(1000):
                    time.sleep(0.01)
                    advance(1)
        elif payload == "hang":
            time.sleep(60)
        elif payload == "point":
            emit({"step": 1})
        elif payload == "break":
            raise ArithmeticError("broken")
    return [(owned[0], payload) for payload in payloads]


async def answer(ticket: Ticket) -> Any:
    return [event async for event in ticket][-1][1]


def run(test: Callable[[Worker], Awaitable[None]], start: int = 0, **options: Any) -> None:
    async def whole() -> None:
        worker = Worker(load, (start,), work, **options)
        await worker.start()
        try:
            await test(worker)
        finally:
            await worker.stop()

    asyncio.run(whole())


def test_alike_requests_are_computed_together_others_apart() -> None:
    async def test(worker: Worker) -> None:
        tickets = [worker.submit(name, key) for name, key in zip("abcde", "xyxxy", strict=True)]
        tickets.append(worker.submit("f"))
        found = await asyncio.gather(*map(answer, tickets))
        assert found == [(1, "a"), (2, "b"), (1, "c"), (1, "d"), (2, "e"), (3, "f")]

    run(test)


def test_a_batch_is_no_larger_than_it_may_be() -> None:
    async def test(worker: Worker) -> None:
        tickets = [worker.submit(name, "same") for name in "abcde"]
        assert [n for n, _ in await asyncio.gather(*map(answer, tickets))] == [1, 1, 2, 2, 3]

    run(test, batch=2)


def test_a_full_queue_refuses_and_cancelled_tickets_make_room() -> None:
    async def test(worker: Worker) -> None:
        waiting = [worker.submit("a", name) for name in "xyz"]
        with pytest.raises(QueueFullError, match="3 requests"):
            worker.submit("b")
        waiting[1].cancel()
        last = worker.submit("c")
        assert await answer(last) == (3, "c")

    run(test, queue=3)


def test_progress_and_points_arrive_before_the_answer() -> None:
    async def test(worker: Worker) -> None:
        assert [event async for event in worker.submit("point")] == [
            ("point", {"step": 1}),
            ("answer", (1, "point")),
        ]

    run(test)


def test_running_work_is_cancelled_and_the_process_goes_on() -> None:
    async def test(worker: Worker) -> None:
        pid, ticket = worker.pid, worker.submit("sleep")
        async for event, *_ in ticket:
            assert event == "progress"
            break
        ticket.cancel()
        started = time.perf_counter()
        assert await answer(worker.submit("next")) == (2, "next")
        assert time.perf_counter() - started < 5
        assert worker.pid == pid

    run(test)


def test_cancelled_work_that_does_not_notice_is_ended() -> None:
    async def test(worker: Worker) -> None:
        ticket = worker.submit("hang")
        await asyncio.sleep(0.2)
        ticket.cancel()
        started = time.perf_counter()
        assert await answer(worker.submit("next")) == (1, "next")
        assert time.perf_counter() - started < 20  # not the minute that a request may take

    run(test)


def test_work_that_takes_too_long_is_ended_and_the_next_is_done() -> None:
    async def test(worker: Worker) -> None:
        hanging, after = worker.submit("hang"), worker.submit("next")
        with pytest.raises(TimeoutError, match="seconds"):
            await answer(hanging)
        assert await answer(after) == (1, "next")

    run(test, timeout=1.0)


def test_a_killed_process_is_replaced() -> None:
    async def test(worker: Worker) -> None:
        ticket = worker.submit("sleep")
        await anext(aiter(ticket))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerLostError, match="ask once more"):
            await answer(ticket)
        assert await answer(worker.submit("next")) == (1, "next")

    run(test)


def test_a_process_killed_while_idle_is_replaced() -> None:
    async def test(worker: Worker) -> None:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        with pytest.raises(WorkerLostError):
            await answer(worker.submit("lost"))
        assert await answer(worker.submit("next")) == (1, "next")

    run(test)


def test_work_that_breaks_loses_the_process_and_says_nothing_of_its_insides() -> None:
    async def test(worker: Worker) -> None:
        with pytest.raises(WorkerLostError) as error:
            await answer(worker.submit("break"))
        assert "broken" not in str(error.value)
        assert await answer(worker.submit("next")) == (1, "next")

    run(test)


def test_what_cannot_be_loaded_is_said_at_the_start() -> None:
    async def test(worker: Worker) -> None:
        raise AssertionError("started")

    with pytest.raises(WorkerLostError, match="no such model"):
        run(test, start=-1)
