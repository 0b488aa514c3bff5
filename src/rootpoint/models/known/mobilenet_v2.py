"""MobileNetV2 with torchvision's ImageNet weights: the default."""

from __future__ import annotations

from rootpoint.models.bundled import with_weights
from rootpoint.models.card import ModelCard
from rootpoint.models.classes import imagenet
from rootpoint.models.image_model import ImageModel
from rootpoint.models.preprocessing import Preprocessing

CARDS = (ModelCard("mobilenet-v2", 3.5, "bundled; torchvision", "BSD-3-Clause"),)


def load(name: str, download: bool) -> ImageModel:
    from rootpoint.models.mobilenet_v2 import MobileNetV2

    return ImageModel(name, with_weights(MobileNetV2(), name), Preprocessing(), imagenet())
