"""What is shown together: an explained photo, or several methods on one photo.

A `Sheet` is the content alone. `draw` makes a picture of it, `page` a part of an HTML page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from rootpoint.errors import InputError
from rootpoint.visualize.maps import (
    PIXELS_SHOWN,
    Relevance,
    as_map,
    colour_limit,
    focus,
    heatmap,
    overlay,
)

PANEL: Final = 448  # the longer side of a panel, in pixels


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture with its title and one line about it."""

    title: str
    note: str
    image: Image.Image


@dataclass(frozen=True, eq=False)
class Sheet:
    """Panels that belong together and share one colour scale.

    limit   the value of the full colour, in `unit`
    scores  the model's best classes and their scores, the highest first; may be empty
    """

    title: str
    facts: tuple[str, ...]
    panels: tuple[Panel, ...]
    limit: float
    unit: str
    scores: tuple[tuple[str, float], ...] = ()

    @property
    def legend(self) -> str:
        """What the numbers at the colour bar mean."""
        return f"{self.unit}; values beyond the ends get the colour of the end"


@dataclass(frozen=True, eq=False)
class Candidate:
    """What one method answered, for a comparison, and a line about it."""

    name: str
    relevance: Relevance
    note: str


def explained(
    photo: Image.Image,
    relevance: Relevance,
    *,
    title: str,
    facts: Sequence[str] = (),
    scores: Sequence[tuple[str, float]] = (),
) -> Sheet:
    """One explained photo: the photo, its relevance, both together, and what was relevant.

    photo      what the model saw, of the relevance's proportions
    relevance  (C, H, W) or (H, W)
    """
    values = as_map(relevance)
    limit = colour_limit(values)
    photo = _enlarged(photo, values.shape)
    panels = (
        Panel("Photo", "what the model sees", photo),
        Panel(
            "Relevance",
            "red speaks for the class, blue against",
            heatmap(values, limit=limit, size=photo.size),
        ),
        Panel(
            "Overlay", "the relevance over the photo in grey", overlay(photo, values, limit=limit)
        ),
        Panel("Focus", "the photo, its irrelevant pixels greyed out", focus(photo, values)),
    )
    return Sheet(title, tuple(facts), panels, limit, "relevance per pixel", tuple(scores))


def compared(
    photo: Image.Image,
    candidates: Sequence[Candidate],
    *,
    title: str,
    facts: Sequence[str] = (),
) -> Sheet:
    """Several methods on one photo.

    Methods answer in different units (a gradient is no share of the score) and in pixels or in
    regions, so each map has its own limit: its full colour is what it finds most relevant.
    """
    if not candidates:
        raise InputError("there is no method to compare")
    maps = [as_map(candidate.relevance) for candidate in candidates]
    photo = _enlarged(photo, maps[0].shape)
    panels = [Panel("Photo", "what the model sees", photo)]
    for candidate, values in zip(candidates, maps, strict=True):
        picture = heatmap(values, size=photo.size)
        panels.append(Panel(candidate.name, candidate.note, picture))
    return Sheet(title, tuple(facts), tuple(panels), 100.0, "% of each map's own full colour")


def number(value: float) -> str:
    """A number for people: three significant digits, an exponent only where it is needed."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _enlarged(photo: Image.Image, shape: tuple[int, ...]) -> Image.Image:
    """The photo at a panel's size: the map's proportions, the longer side `PANEL`."""
    height, width = shape
    scale = PANEL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smooth = min(photo.size) >= PIXELS_SHOWN
    filter = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return photo.convert("RGB").resize(size, filter)
