"""The names of ImageNet's classes."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def imagenet() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of the scores."""
    text = Path(__file__).with_name("imagenet.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
