"""The interactive page: `serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rootpoint.cli.terminal import talk
from rootpoint.errors import MissingExtraError


def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="TOML file of the models to serve."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="ROOTPOINT_TOKEN",
            metavar="SECRET",
            help="What visitors must know; made up where one is needed.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Open the interactive page: draw, drop a photo, ask why, compare methods.

    Computes on this machine alone. Without --config it serves the digits and the default model.
    """
    with web_installed():
        from rootpoint.web.serving import run
    run(config, host=host, port=port, token=token, open_page=open_page, talk=talk)


@contextmanager
def web_installed() -> Iterator[None]:
    """Raise MissingExtraError if what is imported within needs the extra `web`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "pydantic", "uvicorn", "starlette"):
            raise
        raise MissingExtraError("the interactive page", "web") from error
