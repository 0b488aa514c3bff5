"""What the page says, and how it goes on, when its worker or its server ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import opened, serving

pytestmark = pytest.mark.slow

BUSY = "The model is busy or starting again"
LOST = "The server does not answer"


@contextmanager
def watched(browser: Browser, port: int = 0) -> Iterator[tuple[Page, psutil.Process]]:
    """The page, and the process that serves it."""
    before = set(psutil.Process().children())
    with serving("--port", str(port)) as address, opened(browser, address, failing=True) as page:
        (server,) = set(psutil.Process().children()) - before
        yield page, server


def workers(server: psutil.Process) -> list[psutil.Process]:
    """The processes that own models: the digits', then the photos'."""
    found = [one for one in server.children() if "--multiprocessing-fork" in one.cmdline()]
    return sorted(found, key=lambda one: one.create_time())


def test_a_worker_killed_in_the_middle_is_said_and_started_again(browser: Browser) -> None:
    with watched(browser) as (page, server):
        page.click("#input-image")
        expect(page.locator("#explained")).to_contain_text("cat")
        page.click(".add")
        page.locator(".card").last.locator(".method").select_option("occlusion")
        progress = page.locator(".card").last.locator("progress")
        expect(progress).to_be_visible()
        workers(server)[1].kill()
        expect(page.locator("#connection")).to_contain_text(BUSY)
        expect(page.locator(".card").last.locator(".score")).to_be_visible(timeout=120_000)
        expect(page.locator("#connection")).to_have_text("")


def test_a_server_that_is_gone_is_said_and_found_again(browser: Browser) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with watched(browser, port) as (page, server):
        owning = workers(server)
        server.kill()
        assert psutil.wait_procs(owning, timeout=30)[1] == []
        page.get_by_role("button", name="Draw 7").click()
        expect(page.locator("#connection")).to_contain_text(LOST)
        with serving("--port", str(port)):
            expect(page.locator("#explained")).to_have_text("Explained: 7")
            expect(page.locator("#connection")).to_have_text("")
