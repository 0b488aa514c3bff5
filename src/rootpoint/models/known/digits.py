"""A small network that reads digits drawn by hand."""

from __future__ import annotations

from rootpoint.models.bundled import with_weights
from rootpoint.models.card import ModelCard
from rootpoint.models.drawing import Drawing
from rootpoint.models.image_model import ImageModel

CARDS = (ModelCard("digits", 0.058, "bundled; trained by us on MNIST", "BSD-3-Clause"),)

CLASSES = tuple("0123456789")


def load(name: str, download: bool) -> ImageModel:
    from rootpoint.models.digits import Digits

    return ImageModel(name, with_weights(Digits(), name), Drawing(), CLASSES)
