"""Every error Rootpoint raises on purpose: what went wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class RootpointError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1


class InputError(RootpointError, ValueError):
    """The input, the target or a parameter cannot be used as given."""

    exit_code = 3


class UnsupportedModelError(RootpointError):
    """The model cannot be explained as it is."""

    exit_code = 4


class UnsupportedOperationError(UnsupportedModelError):
    """An operation between the explained input and the explained output has no rule."""


class UnknownNameError(RootpointError, KeyError):
    """No model, method, composite or rule has this name."""

    exit_code = 4

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        close = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        super().__init__(f"no {what} is called {name!r}; {hint}")

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return str(self.args[0])


class MissingExtraError(RootpointError, ImportError):
    """A library that this feature needs is not installed."""

    exit_code = 4

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an extra: pip install "rootpoint[{extra}]"')


class CheckFailedError(RootpointError):
    """A check that the user asked for did not hold."""

    exit_code = 5
