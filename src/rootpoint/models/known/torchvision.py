"""torchvision's image classifiers, with their default weights and what those are fed."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import URLError

from PIL.Image import Resampling

from rootpoint.errors import MissingExtraError, UnknownNameError, UnsupportedModelError
from rootpoint.models.card import ModelCard
from rootpoint.models.image_model import ImageModel
from rootpoint.models.preprocessing import Preprocessing

CARDS = (
    ModelCard("torchvision:NAME", None, "download.pytorch.org", "see torchvision", "torchvision"),
)


def load(name: str, download: bool) -> ImageModel:
    models = _library()
    architecture = name.partition(":")[2]
    known = models.list_models(module=models)
    if architecture not in known:
        raise UnknownNameError("torchvision model", architecture, known)
    weights = models.get_model_weights(architecture).DEFAULT
    file = _cached(weights.url)
    if not file.exists() and not download:
        raise UnsupportedModelError(
            f"the weights of {name} are not on this machine ({file}): --download (in Python: "
            f"download=True) fetches them from {weights.url}"
        )
    try:
        with redirect_stdout(sys.stderr):  # where torch.hub says that it downloads
            module = models.get_model(architecture, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        raise UnsupportedModelError(f"the weights of {name} could not be had: {error}") from error
    return ImageModel(
        name, module.eval(), _preprocessing(weights.transforms()), tuple(weights.meta["categories"])
    )


def _library() -> Any:
    """torchvision.models. Raises a clear error if it is missing, or made for another torch."""
    try:
        return import_module("torchvision.models")
    except ModuleNotFoundError as error:
        raise MissingExtraError("torchvision's models", "torchvision") from error
    except (ImportError, RuntimeError) as error:
        raise UnsupportedModelError(
            f"torchvision is installed but does not work with this torch ({error}): install the "
            "two versions that belong together, from the same index"
        ) from error


def _cached(url: str) -> Path:
    """Where torch.hub keeps what it fetched from `url`."""
    from torch import hub

    return Path(hub.get_dir(), "checkpoints", PurePosixPath(url).name)


def _preprocessing(transforms: Any) -> Preprocessing:
    return Preprocessing(
        size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=Resampling[transforms.interpolation.name],
    )
