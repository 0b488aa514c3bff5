"""From what a visitor sends to what a network is fed, read with care."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rootpoint.data import open_photo, photos
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.web.requests import (
    MAX_FILE,
    DrawingInput,
    PhotoInput,
    Request,
    SampleInput,
    decoded,
)

if TYPE_CHECKING:
    from rootpoint.models import ImageModel

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 16 * 10**6
READS = {
    "digits": ("drawing", "photo"),
    "image": ("photo", "sample"),
    "text": ("text",),
    "table": ("row",),
}
"""What each kind of model reads."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model is fed for one request.

    inputs   a tensor (1, …), a tokenizer's mapping, a list of one text, or a table of one row
    view     the picture that the network saw
    box      where it lies on a drawing
    """

    inputs: Any
    view: Image.Image | None = None
    box: tuple[float, float, float, float] | None = None


def check_kind(request: Request, kind: str) -> None:
    """Raise InputError for an input that a model of this kind does not read."""
    if request.input.kind not in READS[kind]:
        kinds = " or ".join(READS[kind])
        raise InputError(f"{request.model} reads a {kinds}, not a {request.input.kind}")
    if request.erased is not None and kind not in ("digits", "image"):
        raise InputError(f"{request.model} sees no picture of which a part could be erased")


def seen_picture(request: Request, model: ImageModel, kind: str) -> Seen:
    """The picture as the network is fed it, without what is erased."""
    picture = _picture(request)
    if kind == "digits":
        from rootpoint.models.drawing import centred

        tensor, box = centred(picture)
    else:
        tensor, box = model.tensor(picture), None
    view = model.view(picture)
    if request.erased is None:
        return Seen(tensor, view, box)
    mask = _mask(request.erased, model.size)
    return Seen(*_without(tensor, view, mask, paper=kind == "digits"), box)


def opened(data: bytes) -> Image.Image:
    """A photo from its file; its size and format are looked at before anything is decoded."""
    if len(data) > MAX_FILE:
        raise InputError(f"the photo is larger than {MAX_FILE // 10**6} MB: save it smaller")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError("the photo has too many pixels: scale it down") from error
    except Exception as error:  # a damaged header raises almost anything
        raise InputError(f"this is not a photo in one of {', '.join(FORMATS)}") from error
    if width * height > MAX_PIXELS:
        raise InputError(
            f"the photo has {width} × {height} pixels, more than {MAX_PIXELS // 10**6} million: "
            "scale it down"
        )
    return open_photo(data)


def sample_photo(name: str) -> Image.Image:
    """A sample photo of the package. Raises UnknownNameError for another name."""
    found = {photo.name: photo for photo in photos()}
    if name not in found:
        raise UnknownNameError("sample photo", name, found)
    return open_photo(found[name].path)


def png(picture: Image.Image) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _picture(request: Request) -> Image.Image:
    given = request.input
    if isinstance(given, PhotoInput):
        return opened(decoded(given.data, "the photo"))
    if isinstance(given, SampleInput):
        return sample_photo(given.name)
    assert isinstance(given, DrawingInput)
    return Image.frombytes("L", (given.width, given.height), given.pixels)


def _mask(text: str, size: int) -> Any:
    data = decoded(text, "the erased mask")
    if len(data) != size * size:
        raise InputError(
            f"the erased mask has {len(data)} bytes, not {size} × {size}: send one for each pixel "
            "that the model sees"
        )
    return np.frombuffer(data, np.uint8).reshape(size, size) >= 128


def _without(tensor: Any, view: Image.Image, mask: Any, *, paper: bool) -> tuple[Any, Image.Image]:
    """The picture with its mean colour where it is erased; a drawing becomes paper there."""
    from torch import from_numpy

    fill = tensor.new_zeros(()) if paper else tensor.mean((2, 3), keepdim=True)
    tensor = tensor.where(~from_numpy(mask), fill)
    pixels = np.array(view)
    pixels[mask] = 0 if paper else np.rint(pixels.mean((0, 1))).astype(np.uint8)
    return tensor, Image.fromarray(pixels)
