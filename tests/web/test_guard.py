"""Who is let in: hosts, origins, tokens, and bodies of bearable size and speed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rootpoint.web.guard import HEADERS, Guard

HOST = [(b"host", b"127.0.0.1:8000")]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, and says how long it was; errors of reading are a bad request."""
    size, more = 0, True
    status = 200
    try:
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
    except Exception:
        status = 400
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def status(
    *headers: tuple[bytes, bytes],
    method: str = "POST",
    path: str = "/api/explain",
    parts: tuple[bytes, ...] = (b"{}",),
    hold: float = 0.0,
    host: list[tuple[bytes, bytes]] = HOST,
    name: str = "127.0.0.1",
    **options: Any,
) -> int:
    """The answer to one request whose body comes in parts, each after a while."""
    sent: list[dict[str, Any]] = []
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(hold)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [*host, *headers]}
    asyncio.run(Guard(application, host=name, **options)(scope, receive, send))  # pyright: ignore
    starts = [m for m in sent if m["type"] == "http.response.start"]
    assert len(starts) == 1
    given = {name.decode().lower(): value.decode() for name, value in starts[0]["headers"]}
    assert all(given[name.lower()] == value for name, value in HEADERS.items())
    assert given["cache-control"] == "no-store"
    return starts[0]["status"]


def test_the_page_itself_may_ask() -> None:
    own = (b"origin", b"http://127.0.0.1:8000"), (b"sec-fetch-site", b"same-origin")
    assert status(*own) == status() == status(method="GET") == 200


@pytest.mark.parametrize("name", [b"localhost", b"127.0.0.1:80", b"[::1]:8000", b"LOCALHOST:1"])
def test_the_names_of_loopback_are_answered(name: bytes) -> None:
    assert status(host=[(b"host", name)]) == 200


@pytest.mark.parametrize("name", [b"evil.com", b"127.0.0.1.evil.com", b"", b"[", b"a@evil.com"])
def test_names_of_others_that_point_here_are_not(name: bytes) -> None:
    assert status(host=[(b"host", name)], method="GET") == 421


def test_a_host_that_was_chosen_is_answered() -> None:
    named = [(b"host", b"box.lan:8000")]
    assert status(host=named) == 421
    assert status(host=named, name="box.lan") == 200
    assert status(host=HOST, name="box.lan") == 200


@pytest.mark.parametrize(
    "header",
    [
        (b"origin", b"http://evil.com"),
        (b"origin", b"null"),
        (b"origin", b"http://127.0.0.1:9999"),
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"same-site"),
    ],
)
def test_other_sites_cannot_post(header: tuple[bytes, bytes]) -> None:
    assert status(header) == 403


def test_a_token_is_asked_for_by_the_api_and_not_by_the_page() -> None:
    assert status(token="secret") == 401
    assert status((b"authorization", b"Bearer wrong"), token="secret") == 401
    assert status((b"authorization", b"Basic secret"), token="secret") == 401
    assert status((b"authorization", b"Bearer secret"), token="secret") == 200
    assert status((b"authorization", "Bearer s\u00e9".encode("latin-1")), token="secret") == 401
    assert status(path="/api", method="GET", token="secret") == 200


def test_bodies_are_counted_as_they_come() -> None:
    assert status(parts=(b"x" * 10,) * 3, max_body=30) == 200
    assert status(parts=(b"x" * 10,) * 4, max_body=30) == 413
    assert status((b"content-length", b"31"), max_body=30) == 413
    assert status((b"content-length", b"-1"), max_body=30) == 413
    assert status((b"content-length", b"5"), parts=(b"x" * 10,) * 4, max_body=30) == 413


def test_slow_bodies_are_not_waited_for() -> None:
    assert status(parts=(b"x",) * 9, hold=0.05, patience=0.2) == 408
