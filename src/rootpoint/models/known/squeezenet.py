"""SqueezeNet 1.1: no batch-norm, and the smallest of all."""

from __future__ import annotations

from rootpoint.models.bundled import with_weights
from rootpoint.models.card import ModelCard
from rootpoint.models.classes import imagenet
from rootpoint.models.image_model import ImageModel
from rootpoint.models.preprocessing import Preprocessing

CARDS = (ModelCard("squeezenet1.1", 1.2, "bundled; github.com/forresti/SqueezeNet", "BSD, MIT"),)

# Fed with pixels in [0, 255] less their mean.
CAFFE = Preprocessing(
    size=227,
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)


def load(name: str, download: bool) -> ImageModel:
    from rootpoint.models.squeezenet import SqueezeNet

    return ImageModel(name, with_weights(SqueezeNet(), name), CAFFE, imagenet())
