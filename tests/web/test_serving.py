"""Where the server listens."""

from __future__ import annotations

import socket

import pytest

from rootpoint.errors import InputError
from rootpoint.web.serving import _listen


def test_answers_are_sent_at_once() -> None:
    """Only sockets named as TCP are spared Nagle's algorithm by asyncio: 40 ms for each answer."""
    with _listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_taken_port_is_said() -> None:
    with _listen("127.0.0.1", 0) as listening, pytest.raises(InputError, match="--port"):
        _listen("127.0.0.1", listening.getsockname()[1])
