"""An image classifier with all that is needed to show it a photo and to name its classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from rootpoint.errors import InputError
from rootpoint.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class ImageModel:
    """A network in eval mode, what it is fed, and what its outputs are called."""

    name: str
    module: nn.Module = field(repr=False)
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        return self.preprocessing.size

    @property
    def low(self) -> Tensor:
        """The smallest value that a preprocessed photo can hold, (C, 1, 1)."""
        return self.preprocessing.fed(0)

    @property
    def high(self) -> Tensor:
        """The largest value that a preprocessed photo can hold, (C, 1, 1)."""
        return self.preprocessing.fed(1)

    def view(self, photo: Image) -> Image:
        """The square of the photo that the network sees, RGB, size × size."""
        return self.preprocessing.view(photo)

    def tensor(self, photo: Image) -> Tensor:
        """What the network is fed: (1, C, size, size), float32."""
        return self.preprocessing.tensor(photo)

    def target(self, text: str) -> int | Literal["predicted"]:
        """The target named by `text`: "predicted", an index, or a class name or a part of one.

        Capitals do not matter. Raises InputError if no class, or more than one, is meant.
        """
        if text == "predicted":
            return "predicted"
        if text.removeprefix("-").isdecimal():
            return self._index(int(text))
        if self.classes is None:
            raise InputError(
                f"{self.name} does not name its classes: give an index instead of {text!r}"
            )
        return named(text, self.classes)

    def _index(self, index: int) -> int:
        count = len(self.classes) if self.classes else None
        if index < 0 or (count is not None and index >= count):
            upper = "" if count is None else f" to {count - 1}"
            raise InputError(f"there is no class {index}: {self.name} has 0{upper}")
        return index


def named(text: str, classes: tuple[str, ...]) -> int:
    """The index of the one class with this name, or with this text in its name."""
    wanted = text.strip().casefold()
    folded = [name.casefold() for name in classes]
    found = [i for i, name in enumerate(folded) if name == wanted]
    found = found or [i for i, name in enumerate(folded) if wanted and wanted in name]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{i} {classes[i]}" for i in found[:8])
        more = ", …" if len(found) > 8 else ""
        raise InputError(
            f"{text!r} could be any of {len(found)} classes ({listed}{more}): be exact"
        )
    close = [folded.index(name) for name in get_close_matches(wanted, folded, n=3, cutoff=0.5)]
    hint = "did you mean " + " or ".join(f"{i} {classes[i]}" for i in close) + "?" if close else ""
    raise InputError(f"no class is called {text!r}; {hint or 'give its index'}")
