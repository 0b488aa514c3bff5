"""Opening photos: the sample ones, unusual ones, and those that must be refused."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rootpoint import data
from rootpoint.data.opening import MAX_BYTES
from rootpoint.errors import InputError


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_samples_are_small_and_attributed() -> None:
    assert [p.name for p in data.photos()] == ["chelsea", "coffee", "camera", "china"]
    for photo in data.photos():
        assert photo.path.stat().st_size < 200_000
        assert max(data.open_photo(photo.path).size) <= 512
        assert photo.title
        assert photo.author
        assert photo.source
        assert photo.licence


def test_samples_and_only_they_are_in_the_folder() -> None:
    assert {p.path for p in data.photos()} == set(data.photos()[0].path.parent.glob("*.jpg"))


MODES = {
    "PNG": ["RGB", "L", "1", "P", "RGBA", "LA", "I;16"],
    "JPEG": ["RGB", "L", "CMYK", "YCbCr"],
    "TIFF": ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["L", "P"],
    "BMP": ["RGB", "L", "1", "P"],
    "PPM": ["RGB", "L", "I;16"],
}


@pytest.mark.parametrize(("kind", "mode"), [(k, m) for k, modes in MODES.items() for m in modes])
def test_every_mode_becomes_rgb(kind: str, mode: str) -> None:
    colour = (110, 130, 150) if mode in ("RGB", "RGBA", "P", "CMYK", "YCbCr") else (255,) * 3
    image = Image.new("RGB", (6, 4), colour)
    if mode == "I;16":
        image = Image.new("I;16", (6, 4), 65535)
    elif mode != "P":
        image = image.convert(mode)
    else:
        image = image.quantize(4)
    photo = data.open_photo(saved(image, kind))
    assert (photo.mode, photo.size) == ("RGB", (6, 4))
    assert np.abs(np.asarray(photo, int) - colour).max() <= 4


def test_sixteen_bits_are_scaled_to_eight() -> None:
    photo = data.open_photo(saved(Image.new("I;16", (6, 4), 30000)))
    assert set(photo.get_flattened_data()) == {(30000 // 257,) * 3}


def test_transparent_is_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert list(data.open_photo(saved(image)).get_flattened_data()) == [(255, 0, 0), (255,) * 3]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    opened = data.open_photo(saved(palette, transparency=0))
    assert set(opened.get_flattened_data()) == {(255, 255, 255)}


def test_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90°
    assert data.open_photo(saved(Image.new("RGB", (30, 20)), "JPEG", exif=exif)).size == (20, 30)


def test_from_path_string_and_bytes_are_the_same() -> None:
    path = data.photos()[0].path
    first = data.open_photo(path).tobytes()
    assert data.open_photo(str(path)).tobytes() == first
    assert data.open_photo(path.read_bytes()).tobytes() == first


def refused(source: Path | str | bytes) -> str:
    with pytest.raises(InputError) as raised:
        data.open_photo(source)
    return str(raised.value)


def test_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.jpg") == f"there is no file {tmp_path}/none.jpg"
    assert refused(tmp_path) == f"{tmp_path} is a folder: name the photos in it"
    assert refused("") == ". is a folder: name the photos in it"
    assert "not a regular file" in refused(os.devnull)


def test_not_a_photo(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    for content in (b"", b"just text", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>"):
        path.write_bytes(content)
        assert refused(path).startswith(f"{path} is not a photo in one of JPEG, PNG")
    assert "is not a photo" in refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_truncated_or_corrupted(kind: str) -> None:
    image = Image.effect_noise((64, 64), 60).convert("RGB")
    content = saved(image, kind)
    for part in (0.02, 0.1, 0.5, 0.9):
        assert refused(content[: int(len(content) * part)])
    random = np.random.default_rng(0)
    for _ in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[random.integers(0, len(damaged), 20)] = random.integers(0, 256, 20)
        with contextlib.suppress(InputError):
            assert data.open_photo(damaged.tobytes()).mode == "RGB"


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be this large and has hardly any content."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT": b"x"}
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(8001, 8001), (10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2)])
def test_too_many_pixels_are_refused_before_decoding(size: tuple[int, int]) -> None:
    assert "pixels" in refused(png_header(*size))


def test_too_many_bytes_are_refused_before_reading_on(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert refused(path) == f"{path} is larger than 64 MiB: save it smaller"
