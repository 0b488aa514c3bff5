"""What is known of a model before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelCard:
    """A name to load by, and what comes with it.

    name         as typed; capitals stand for what the user fills in ("torchvision:NAME")
    parameters   how many, in millions; None if that depends on what is filled in
    source       where the weights come from
    licence      of the weights
    needs        the extra of this package to install, or ""
    """

    name: str
    parameters: float | None
    source: str
    licence: str
    needs: str = ""
