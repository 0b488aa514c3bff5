"""Image classifiers by name, for the command line and the web page; estimators from files.

A model is one file in `rootpoint.models.known`: its `CARDS` say by which names it is loaded, its
`load(name, download)` loads it. Nothing here imports torch until a model is loaded.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Protocol, cast

from rootpoint.errors import UnknownNameError
from rootpoint.models import known
from rootpoint.models.card import ModelCard
from rootpoint.models.estimators import load_estimator
from rootpoint.models.image_model import ImageModel
from rootpoint.models.preprocessing import Preprocessing

__all__ = ["ImageModel", "ModelCard", "Preprocessing", "available", "load", "load_estimator"]

DEFAULT = "mobilenet-v2"


class Source(Protocol):
    """What each file in `rootpoint.models.known` offers."""

    CARDS: tuple[ModelCard, ...]

    def load(self, name: str, download: bool) -> ImageModel: ...


def available() -> tuple[ModelCard, ...]:
    """The card of every model that can be loaded: the default, those by name, then patterns."""
    cards = [card for source in _sources() for card in source.CARDS]
    return tuple(sorted(cards, key=lambda c: (c.name != DEFAULT, c.parameters is None, c.name)))


def load(name: str = DEFAULT, *, download: bool = False) -> ImageModel:
    """The model called `name` (see `available`), in float32 and eval mode.

    download   whether weights may be fetched from the internet if they are not on this machine
    Raises UnknownNameError for a name that fits no card, MissingExtraError if a library is not
    installed, UnsupportedModelError if the model or its weights cannot be had.
    """
    pattern = _pattern(name)
    for source in _sources():
        if any(card.name == pattern for card in source.CARDS):
            return source.load(name, download)
    raise UnknownNameError("model", name, (card.name for card in available()))


def _sources() -> Iterator[Source]:
    for module in pkgutil.iter_modules(known.__path__):
        yield cast(Source, importlib.import_module(f"{known.__name__}.{module.name}"))


def _pattern(name: str) -> str:
    """The card's name that `name` fills in, or `name` itself."""
    if ".py:" in name:
        return "FILE.py:FACTORY"
    library, colon, _ = name.partition(":")
    return f"{library}:NAME" if colon else name
