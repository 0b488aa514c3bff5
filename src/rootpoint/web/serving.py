"""Start the page: what is served, to whom, and uvicorn with limits against slow visitors."""

from __future__ import annotations

import asyncio
import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from rootpoint.errors import InputError
from rootpoint.web.app import create_app
from rootpoint.web.config import read_config
from rootpoint.web.guard import EVERYWHERE, LOOPBACK

CONNECTIONS = 256
"""Visitors at once; more are answered 503 by uvicorn."""

KEEP_ALIVE = 5
"""Seconds that an idle connection is kept."""

HEADERS = 10.0
"""Seconds in which the head of a request must have arrived."""


class Prompt(H11Protocol):
    """HTTP/1.1 that hangs up on who does not say what is wanted, or only slowly.

    uvicorn itself waits for ever for the head of a request; bodies are the Guard's.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, for so long."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, for so long after its beginning."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(HEADERS, self.transport.close)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Server(uvicorn.Server):
    """uvicorn, which raises why the application cannot start where it would print it."""

    def __init__(self, app: FastAPI, ready: Callable[[], None]) -> None:
        settings = uvicorn.Config(
            app,
            lifespan="off",  # it is lived here
            log_level="warning",
            access_log=False,
            server_header=False,
            http=Prompt,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=3,
        )
        super().__init__(settings)
        self._app, self._ready, self._life = app, ready, AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models, then answer, and say so."""
        await self._life.enter_async_context(self._app.router.lifespan_context(self._app))
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer no more, then end the models' processes."""
        await super().shutdown(sockets)
        await self._life.aclose()


def run(
    config: Path | None,
    *,
    host: str,
    port: int,
    token: str | None,
    open_page: bool,
    talk: Callable[[str], None],
) -> None:
    """Serve until interrupted; see `rootpoint serve`.

    Raises InputError for a file that does not say what to serve, and for a taken address;
    UnsupportedModelError for a model that cannot be loaded.
    """
    served = read_config(config)
    if host not in LOOPBACK and not token:
        token = secrets.token_urlsafe(24)
    own = EVERYWHERE.get(host, host)
    name = f"[{own}]" if ":" in own else own

    def ready() -> None:
        url = f"http://{name}:{listening.getsockname()[1]}/" + (f"#token={token}" if token else "")
        talk(f"open {url} (Ctrl+C stops)")
        if own != host:
            talk(f"from other machines: with this machine's name or address instead of {name}")
        if open_page:
            Thread(target=webbrowser.open, args=[url], daemon=True).start()

    with _listen(host, port) as listening:
        talk(f"loading {' · '.join(model.shown for model in served.models)} …")
        Server(create_app(served, host=host, token=token), ready).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: else asyncio leaves Nagle's algorithm on, and each answer waits for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
        return listening
    except OSError as error:
        listening.close()
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; choose another with "
            "--port, or 0 for a free one"
        ) from error
