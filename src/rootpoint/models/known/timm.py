"""timm's image classifiers, with the weights that the Hugging Face Hub keeps as safetensors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from PIL.Image import Resampling

from rootpoint.errors import MissingExtraError, UnknownNameError, UnsupportedModelError
from rootpoint.models.card import ModelCard
from rootpoint.models.classes import imagenet
from rootpoint.models.image_model import ImageModel
from rootpoint.models.preprocessing import Preprocessing

CARDS = (ModelCard("timm:NAME", None, "huggingface.co/timm", "see the model's page", "timm"),)

FILE = "model.safetensors"


def load(name: str, download: bool) -> ImageModel:
    timm, hub = _libraries()
    architecture = name.partition(":")[2]
    config = timm.models.get_pretrained_cfg(architecture)
    if config is None:
        raise UnknownNameError("timm model", architecture, timm.list_models(pretrained=True))
    if not config.hf_hub_id or config.custom_load:
        raise UnsupportedModelError(f"there are no weights of {name} that are safe to read")
    file = _weights(hub, name, config.hf_hub_id, download)
    module = timm.create_model(
        architecture, pretrained=True, pretrained_cfg_overlay={"file": str(file)}
    )
    classes = imagenet() if config.num_classes == 1000 else None
    return ImageModel(name, module.eval(), _preprocessing(timm, module), classes)


def _libraries() -> tuple[Any, Any]:
    """timm and huggingface_hub. Raises a clear error if they are missing or do not import."""
    try:
        return import_module("timm"), import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise MissingExtraError("timm's models", "timm") from error
    except (ImportError, RuntimeError) as error:
        raise UnsupportedModelError(f"timm is installed but cannot be imported: {error}") from error


def _weights(hub: Any, name: str, repository: str, download: bool) -> str:
    """The path of the weights: those on this machine, or fetched if that is allowed."""
    cached = hub.try_to_load_from_cache(repository, FILE)
    if isinstance(cached, str):
        return cached
    if not download:
        raise UnsupportedModelError(
            f"the weights of {name} are not on this machine: --download (in Python: "
            f"download=True) fetches them from huggingface.co/{repository}"
        )
    try:
        return hub.hf_hub_download(repository, FILE)
    except Exception as error:  # whatever its network libraries raise
        raise UnsupportedModelError(f"the weights of {name} could not be had: {error}") from error


def _preprocessing(timm: Any, module: Any) -> Preprocessing:
    config = timm.data.resolve_data_config({}, model=module)
    size = config["input_size"][-1]
    return Preprocessing(
        size=size,
        resize=int(size / config["crop_pct"]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=Resampling[config["interpolation"].upper()],
    )
