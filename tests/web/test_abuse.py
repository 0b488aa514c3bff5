"""What strangers may try, against the server as it runs."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from PIL import Image

from rootpoint.web.serving import HEADERS

from .conftest import SAMPLE, serving

pytestmark = pytest.mark.slow

JSON = {"content-type": "application/json"}


def connected(server: str) -> socket.socket:
    parts = urlsplit(server)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def answer_to(server: str, head: str) -> str:
    """The first line of the answer to a request as it is written by hand."""
    with connected(server) as wire:
        wire.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        return wire.recv(4096).decode().partition("\r\n")[0]


def test_who_never_says_what_is_wanted_is_hung_up_on_and_keeps_nobody(
    client: httpx.Client, server: str
) -> None:
    slow = [connected(server) for _ in range(40)]
    try:
        started = time.monotonic()
        for k, wire in enumerate(slow):
            wire.sendall(b"" if k % 2 else b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert client.get("api/models").status_code == 200
        assert time.monotonic() - started < HEADERS
        for wire in slow:
            while wire.recv(4096):  # ends once the server hangs up
                pass
        assert time.monotonic() - started < 3 * HEADERS
    finally:
        for wire in slow:
            wire.close()


def test_a_dripping_head_is_not_waited_for_longer(server: str) -> None:
    with connected(server) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert wire.recv(4096).startswith(b"HTTP/1.1 200")
        wire.settimeout(0.5)
        end, closed = time.monotonic() + 3 * HEADERS, False
        while time.monotonic() < end and not closed:
            try:
                wire.sendall(b"G")
                closed = wire.recv(4096) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET http://evil.example/ HTTP/1.1\nHost: evil.example", "421"),
        ("GET /api/models HTTP/1.1\nHost: evil.example:8000", "421"),
        ("GET /api/models HTTP/1.1\nHost: 127.0.0.1.evil.example", "421"),
        ("POST /api/explain HTTP/1.1\nHost: 127.0.0.1\nOrigin: null\nContent-Length: 0", "403"),
        ("GET /static/..%00/app.py HTTP/1.1\nHost: 127.0.0.1", "404"),
        ("GET /static/%2e%2e%2fapp.py HTTP/1.1\nHost: 127.0.0.1", "404"),
        ("GET /static//etc/passwd HTTP/1.1\nHost: 127.0.0.1", "404"),
        ("BREW /api/models HTTP/1.1\nHost: 127.0.0.1", "405"),
        ("POST /api/explain HTTP/1.1\nHost: 127.0.0.1\nContent-Length: -1", "400"),
        ("GET / HTTP/1.1", "400"),
        ("nonsense", "400"),
    ],
)
def test_requests_by_hand_are_refused(server: str, head: str, status: str) -> None:
    assert answer_to(server, head).split()[1] == status


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"model":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"model": NaN}',
        b"\xff\xfe",
        b'{"model": "digits", "model": 1, "input": {}}',
        b'{"model": "digits", "input": {"kind": "row", "values": [1e999]}}',
        b'{"model": "digits", "input": {"kind": "row", "values": [' + b"9" * 5000 + b"]}}",
    ],
)
def test_bodies_that_are_no_requests_are_refused(client: httpx.Client, body: bytes) -> None:
    found = client.post("api/explain", content=body, headers=JSON)
    assert found.status_code in (400, 422)
    assert found.json()["error"]["message"]


def test_what_else_is_in_a_photo_never_comes_back(client: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(file, "PNG")
    page = b"<script>alert(1)</script>"
    data = base64.b64encode(file.getvalue() + page).decode()
    found = client.post("api/explain", json={**SAMPLE, "input": {"kind": "photo", "data": data}})
    assert found.status_code == 200
    assert page not in base64.b64decode(found.json()["view"])
    assert page not in found.content
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-type"] == "application/json"


def costly() -> dict[str, Any]:
    return {**SAMPLE, "method": "shapley", "parameters": {"budget": 5000}}


def test_what_a_visitor_who_left_asked_for_is_not_computed_on(client: httpx.Client) -> None:
    with client.stream("POST", "api/explain/stream", json=costly()) as lines:
        said = lines.iter_lines()
        while json.loads(next(said))["event"] != "progress":
            pass
    started = time.monotonic()
    assert client.post("api/explain", json=SAMPLE).status_code == 200
    assert time.monotonic() - started < 15  # the whole takes over a minute


def test_a_lost_worker_is_an_orderly_503_and_the_next_is_answered() -> None:
    before = set(psutil.Process().children())
    with serving() as address, httpx.Client(base_url=address, timeout=60) as client:
        (server,) = set(psutil.Process().children()) - before
        with client.stream("POST", "api/explain/stream", json=costly()) as lines:
            said = lines.iter_lines()
            while json.loads(next(said))["event"] != "progress":
                pass
            waiting = [one for one in server.children() if "multiprocessing" in str(one.cmdline())]
            for one in waiting:
                one.kill()
            last = [json.loads(line) for line in said][-1]
        assert last["error"]["kind"] == "WorkerLostError"
        assert "ask once more" in last["error"]["message"]
        found = client.post("api/explain", json=SAMPLE)
        if found.status_code == 503:  # another that was idle, noticed only now
            assert found.headers["retry-after"] == "1"
            found = client.post("api/explain", json=SAMPLE)
        assert found.status_code == 200
