"""The sample photos of the package."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Photo:
    """A sample photo: its file, and whose it is."""

    name: str
    title: str
    author: str
    source: str
    licence: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.jpg"


@cache
def photos() -> tuple[Photo, ...]:
    """The sample photos, as listed in samples/sources.toml."""
    listed = tomllib.loads((FOLDER / "sources.toml").read_text(encoding="utf-8"))
    return tuple(Photo(name, **about) for name, about in listed.items())
