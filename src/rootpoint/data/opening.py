"""Photos of the user's own, opened with care."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from rootpoint.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # others may start other programs
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 10**6


def open_photo(source: str | Path | bytes) -> Image.Image:
    """A photo from a file, or from a file's bytes, as RGB: upright, on white where transparent.

    Its size is read from the header and limited before anything is decoded. Raises InputError,
    which names the file, for what is no photo, is damaged, or exceeds 64 MiB or 64 megapixels.
    """
    if isinstance(source, bytes):
        return _decoded("the photo", source)
    path = Path(source).expanduser()
    return _decoded(str(path), _read(path))


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the photos in it")
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file: give a photo")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _decoded(name: str, data: bytes) -> Image.Image:
    if len(data) > MAX_BYTES:
        raise InputError(f"{name} is larger than {MAX_BYTES // 2**20} MiB: save it smaller")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name} has too many pixels: scale it down") from error
    except Exception as error:  # a damaged header raises almost anything
        raise InputError(f"{name} is not a photo in one of {', '.join(FORMATS)}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name} has {width} × {height} pixels, more than {MAX_PIXELS // 10**6} million: scale "
            "it down"
        )
    if min(width, height) == 0:
        raise InputError(f"{name} has no pixels")
    try:
        return _rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # damaged pixels, too
        raise InputError(f"{name} is damaged ({error}): save or fetch it again") from error


def _rgb(image: Image.Image) -> Image.Image:
    """The image in 8 bits per colour, on white where it is transparent."""
    if image.mode.startswith("I"):  # 16 bits of grey
        grey = np.asarray(image, np.int64).clip(0, 65535) // 257
        image = Image.fromarray(grey.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
