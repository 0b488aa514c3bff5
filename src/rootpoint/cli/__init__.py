"""The command line: `rootpoint COMMAND …`. Data goes to stdout, talk and progress to stderr.

Exit codes: 0 ok, 2 usage, 3 bad input, 4 unsupported model, operation or method, 5 a check failed,
130 interrupted. What a command needs is imported when it runs: help and lists need no torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from rootpoint import __version__
from rootpoint.cli import (
    ask,
    compare,
    demo,
    doctor,
    evaluate,
    explain,
    lists,
    prototype,
    select,
    serve,
)
from rootpoint.cli.terminal import complain
from rootpoint.errors import RootpointError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="With ROOTPOINT_DEBUG=1 in the environment errors come with their traceback.",
)
for command in (
    explain.explain,
    compare.compare,
    demo.demo,
    prototype.prototype,
    evaluate.evaluate,
    select.select,
    serve.serve,
    ask.ask,
    lists.methods,
    lists.metrics,
    lists.models,
    lists.inspect,
    doctor.doctor,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rootpoint {__version__}")
        raise typer.Exit


@app.callback()
def _rootpoint(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explain single decisions of PyTorch models: which pixels spoke for the class."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without `arguments`, those of this process."""
    try:
        app(args=arguments, prog_name="rootpoint")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except RootpointError as error:
        if os.environ.get("ROOTPOINT_DEBUG"):
            raise
        complain(error)
        return error.exit_code
    return 0
