"""How commands speak: tables and JSON on stdout, errors and progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rootpoint.errors import InputError, RootpointError
from rootpoint.progress import progress

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

FILE_WIDTH = 200  # characters in a line where no terminal sets the width


def out() -> Console:
    """Standard output, as wide as the terminal, or wide enough for a file."""
    free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(file=sys.stdout, width=FILE_WIDTH if free else None, highlight=False)


def talk(text: str) -> None:
    """A line about what is going on, for people."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def complain(error: RootpointError, where: str = "") -> None:
    """`where: ErrorName: message`, the name in red where there is colour."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    place = f"{escape(where)}: " if where else ""
    console.print(f"{place}[bold red]{type(error).__name__}[/]: {escape(str(error))}")


def each(items: Sequence[T], doing: str) -> Iterator[T]:
    """The items, with a progress bar if they take a while and someone is watching."""
    with progress(len(items), doing) as advance:
        for item in items:
            yield item
            advance(1)


def print_json(document: Any) -> None:
    """One JSON document; NaN and infinity, which JSON lacks, are refused."""
    out().file.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save(content: Image | str, path: Path) -> None:
    """Write a picture or a text, making the folder; InputError if it cannot be written."""
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            content.save(path)


def free(path: Path, taken: Container[Path]) -> Path:
    """The path, numbered if this run has written it already."""
    candidate, count = path, 2
    while candidate in taken:
        candidate = path.with_stem(f"{path.stem}-{count}")
        count += 1
    return candidate


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file or folder is written into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows under the names of their keys; the first column whole, long text folded."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column, (name, value) in enumerate(rows[0].items()):
        justify = "right" if isinstance(value, int | float) else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=column == 0)
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    out().print(table)
