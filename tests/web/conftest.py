"""The page as an operator serves it: `rootpoint serve` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SAMPLE = {"model": "mobilenet-v2", "input": {"kind": "sample", "name": "chelsea"}}


expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """The address of a server, which ends with the test."""
    program = "import sys; from rootpoint.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        NamedTemporaryFile() as said,  # a pipe that nobody reads would stop it once it is full
        subprocess.Popen(command, stderr=said, env=environment) as process,
    ):
        try:
            yield _address(process, Path(said.name))
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    """What a server says that it listens at."""
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        if found := re.search(r"http://\S+(?= )", said.read_text()):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no address: {said.read_text()}")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with serving() as address:
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


@pytest.fixture(scope="module")  # while it runs, this thread can run no other event loop
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    if CHROMIUM is None:
        pytest.skip("no Chromium (on Debian: apt install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    with opened(browser, server) as found:
        yield found


@pytest.fixture
def phone(browser: Browser, server: str) -> Iterator[Page]:
    with opened(browser, server, width=375, height=800) as found:
        yield found


@contextmanager
def opened(
    browser: Browser, server: str, *, width: int = 1280, height: int = 900, failing: bool = False
) -> Iterator[Page]:
    """The page; at the end it must not have complained, nor asked anybody else.

    failing    requests fail in the test, of which the browser complains by itself
    """
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    complaints: list[str] = []
    errors: list[str] = []
    strangers: list[str] = []
    page.on(
        "console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    own = server, "data:", "blob:"
    page.on("request", lambda r: None if r.url.startswith(own) else strangers.append(r.url))
    page.goto(server)
    page.wait_for_selector(".card .score")
    yield page
    context.close()
    assert errors == []
    assert complaints == [] or failing
    assert strangers == []
