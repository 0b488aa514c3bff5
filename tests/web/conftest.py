"""The page as an operator serves it: `rootpoint serve` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import httpx
import pytest

SAMPLE = {"model": "mobilenet-v2", "input": {"kind": "sample", "name": "chelsea"}}


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """The address of a server, which ends with the test."""
    program = "import sys; from rootpoint.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield _address(process.stderr)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


def _address(said: IO[str] | None) -> str:
    assert said is not None
    line = said.readline()
    found = re.search(r"http://\S+", line)
    assert found, line + said.read()
    return found[0]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with serving() as address:
        with httpx.Client(base_url=address, timeout=60) as client:
            assert client.get("api/models").status_code == 200  # the models are loaded by now
        yield address


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as found:
        yield found


@pytest.fixture
def drawing() -> dict[str, Any]:
    """A request for a drawn one."""
    import base64

    import numpy as np

    canvas = np.zeros((280, 280), np.uint8)
    canvas[50:230, 130:150] = 255
    data = base64.b64encode(canvas.tobytes()).decode()
    drawn = {"kind": "drawing", "width": 280, "height": 280, "data": data}
    return {"model": "digits", "input": drawn}


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """What a stream said."""
    return [json.loads(line) for line in response.text.splitlines()]
