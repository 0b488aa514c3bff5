"""Real pictures with known classes, most of them with the exact mask of their object.

- 110 stamps of Tux Paint (Debian's `tuxpaint-stamps-default`, GPL-2, 161 MB): objects cut out of
  photographs, set on plain grey, gravel, grass and water. Their transparency is the mask.
- 31 labelled photos inside Python packages: foolbox (20 of ImageNet's validation set), gradio,
  scikit-image, scikit-learn, matplotlib. Without masks.

What is not installed is downloaded once, from Debian's and PyPI's mirrors, into
~/.cache/rootpoint-benchmarks. Which classes a picture may be called is in photos.json.

    python benchmarks/photos.py [--sheet stamps.png]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from rootpoint import data, models
from rootpoint.models import ImageModel

CACHE = Path.home() / ".cache" / "rootpoint-benchmarks"
LABELS = Path(__file__).with_suffix(".json")
BACKGROUNDS = ("grey", "gravel", "grass", "water")
STAMPS = "tuxpaint-stamps-default"
WHEELS = {  # and their sha256, which pip compares before it looks inside
    "foolbox==3.3.4": "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    "gradio==6.31.0": "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a",
}
CANVAS, SHOWN = 256, 224  # a picture, and what models see of it: its middle, cropped by them
OBJECT = 184  # the longer side of an object
OPAQUE = 32  # of 255: less does not belong to an object


@dataclass(frozen=True, eq=False)
class Photos:
    """Pictures as a model is fed them.

    inputs  (N, 3, S, S)
    masks   (N, S, S), bool: the object; empty where it is not known
    labels  the classes that each picture may be called
    names   of the pictures: "lion.png on grass"
    """

    inputs: Tensor
    masks: Tensor
    labels: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __add__(self, other: Photos) -> Photos:
        return Photos(
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.masks, other.masks]),
            self.labels + other.labels,
            self.names + other.names,
        )

    def take(self, chosen: Sequence[int]) -> Photos:
        labels, names = ([given[i] for i in chosen] for given in (self.labels, self.names))
        chosen = list(chosen)
        return Photos(self.inputs[chosen], self.masks[chosen], tuple(labels), tuple(names))

    def split(self) -> tuple[Photos, Photos]:
        """To choose by, and to report on: by picture, so that a stamp is on one side only.

        Variants of one object ("rabbit.png", "rabbit-2.png") stay together.
        """
        held = [crc32(_object(name).encode()) % 2 == 1 for name in self.names]
        parts = ([i for i, h in enumerate(held) if h == side] for side in (False, True))
        train, test = (self.take(part) for part in parts)
        return train, test

    @torch.no_grad()
    def targets(self, module: nn.Module, batch: int = 16) -> tuple[Tensor, Tensor]:
        """Of each picture's labels the one that the model prefers, and whether it is its first."""
        found, first = [], []
        for start in range(0, len(self), batch):
            outputs = module(self.inputs[start : start + batch])
            for output, labels in zip(outputs, self.labels[start : start + batch], strict=True):
                best = max(labels, key=lambda label, output=output: float(output[label]))
                found.append(best)
                first.append(bool(output.argmax() == best))
        return torch.tensor(found), torch.tensor(first)


def _object(name: str) -> str:
    """What a picture's name says of its object: "rabbit" of "rodents/rabbit-2.png on grass"."""
    if name.startswith("foolbox"):  # numbers, not names
        return name
    stem = Path(name.partition(" on ")[0]).stem.lower()
    return stem.replace("_", "-").split("-")[0].rstrip("0123456789")


def photos(model: ImageModel) -> Photos:
    """141 pictures: each stamp once, on the backgrounds by turns, and the labelled photos."""
    turns = {name: [BACKGROUNDS[i % 4]] for i, name in enumerate(_labels("stamps"))}
    return _set(model, turns) + labelled(model)


def stamps(model: ImageModel, backgrounds: Iterable[str] = BACKGROUNDS) -> Photos:
    """Each of 110 stamps on each background, with the masks of the objects."""
    return _set(model, {name: list(backgrounds) for name in _labels("stamps")})


def labelled(model: ImageModel) -> Photos:
    """31 photos with their classes, and empty masks."""
    labels = _labels("photos")
    for path in sorted(_wheels().glob("foolbox/data/imagenet_*.jpg")):
        labels[f"foolbox/{path.name}"] = [int(path.stem.split("_")[2])]
    inputs = torch.cat([model.tensor(data.open_photo(_find(name))) for name in labels])
    masks = torch.zeros(len(inputs), *inputs.shape[2:], dtype=torch.bool)
    return Photos(inputs, masks, tuple(map(tuple, labels.values())), tuple(labels))


def _set(model: ImageModel, chosen: dict[str, list[str]]) -> Photos:
    """Stamps on backgrounds, by the names of both."""
    labels, names, inputs, masks = _labels("stamps"), [], [], []
    pairs = [pair for name, grounds in chosen.items() for pair in product([name], grounds)]
    for name, ground in pairs:
        picture, mask = composed(name, ground)
        inputs.append(model.tensor(picture))
        masks.append(np.asarray(model.view(mask.convert("RGB")))[..., 0] >= OPAQUE)
        names.append(f"{name} on {ground}")
    truth = tuple(tuple(labels[name]) for name, _ in pairs)
    return Photos(torch.cat(inputs), torch.from_numpy(np.stack(masks)), truth, tuple(names))


def composed(name: str, ground: str) -> tuple[Image.Image, Image.Image]:
    """A stamp on a background and its mask, 256²: somewhere in the middle 224², by its name."""
    stamp = Image.open(_stamps() / name, formats=["PNG"]).convert("RGBA")
    stamp = stamp.crop(stamp.getchannel("A").point(lambda a: 255 * (a >= OPAQUE)).getbbox())
    scale = OBJECT / max(stamp.size)
    width, height = (max(1, round(side * scale)) for side in stamp.size)
    stamp = stamp.resize((width, height), Image.Resampling.BICUBIC)
    margin, drawn = (CANVAS - SHOWN) // 2, crc32(name.encode())
    left = margin + drawn % (SHOWN - width + 1)
    top = margin + drawn // 1009 % (SHOWN - height + 1)
    picture, mask = background(ground).copy(), Image.new("L", (CANVAS, CANVAS))
    picture.paste(stamp, (left, top), stamp)
    mask.paste(stamp.getchannel("A"), (left, top))
    return picture, mask


@cache
def background(name: str) -> Image.Image:
    """What stamps are set on, RGB, 256²."""
    if name == "grey":
        return Image.new("RGB", (CANVAS, CANVAS), (127, 127, 127))
    if name == "water":  # the lower right of a photo of a palace by a lake
        return data.open_photo(_find("sklearn/china.jpg")).crop((384, 171, 640, 427))
    image = Image.open(_find(f"skimage/{name}.png")).convert("RGB")
    return image.crop((0, 0, CANVAS, CANVAS))


def _labels(kind: str) -> dict[str, Any]:
    return json.loads(LABELS.read_text(encoding="utf-8"))[kind]


FOLDERS = {
    "skimage": "skimage/data",
    "sklearn": "sklearn/datasets/images",
    "matplotlib": "matplotlib/mpl-data/sample_data",
    "foolbox": "foolbox/data",
    "gradio": "gradio",
}


def _find(name: str) -> Path:
    """The file of a photo, named by its package and its own name."""
    package, _, file = name.partition("/")
    found = None if package in ("foolbox", "gradio") else importlib.util.find_spec(package)
    root = Path(found.origin).parent.parent if found and found.origin else _wheels()
    paths = list((root / FOLDERS[package]).rglob(file))
    if not paths:
        raise FileNotFoundError(f"{package} has no {file}: install the versions of constraints.txt")
    return paths[0]


def _stamps() -> Path:
    """The folder of Tux Paint's stamps, downloaded if it is not there."""

    def make(folder: Path) -> None:
        run = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", STAMPS]
        subprocess.run(run, cwd=folder, check=True)
        package = next(folder.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=folder, check=True)
        package.unlink()

    return _once("tuxpaint", make) / "usr" / "share" / "tuxpaint" / "stamps"


def _wheels() -> Path:
    """The folder with the pictures of the wheels, downloaded if it is not there."""

    def make(folder: Path) -> None:
        lines = [f"{name} --hash=sha256:{sha256}\n" for name, sha256 in WHEELS.items()]
        wanted = folder / "wanted.txt"
        wanted.write_text("".join(lines))
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "-r", wanted.name, "-d", "."], cwd=folder, check=True)
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as files:
                kept = [f for f in files.namelist() if f.endswith((".jpg", ".png"))]
                files.extractall(folder, kept)
            wheel.unlink()

    return _once("wheels", make)


def _once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder in the cache that `make` fills, whole or not at all."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        filled = Path(tempfile.mkdtemp(dir=CACHE))
        try:
            make(filled)
            filled.rename(folder)
        except BaseException:
            shutil.rmtree(filled)
            raise
    return folder


def sheet(pictures: Photos, model: ImageModel, columns: int = 16) -> Image.Image:
    """All pictures side by side, dark outside their masks."""
    shown = (pictures.inputs - model.low) / (model.high - model.low)
    outside = pictures.masks.any((1, 2))[:, None, None] & ~pictures.masks
    shown = torch.where(outside[:, None], 0.6 * shown, shown)[:, :, ::2, ::2]
    tiles = (255 * shown).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    height, width = tiles.shape[1:3]
    page = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height))
    for i, tile in enumerate(tiles):
        page.paste(Image.fromarray(tile), (i % columns * width, i // columns * height))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default=models.DEFAULT)
    parser.add_argument("--sheet", type=Path, help="picture of all pictures, .png")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = models.load(chosen.model)
    sets = {name: stamps(model, [name]) for name in BACKGROUNDS}
    sets |= {"photos": labelled(model), "all of photos(model)": photos(model)}
    for name, pictures in sets.items():
        _, first = pictures.targets(model.module)
        covered = pictures.masks.double().mean().item()
        train, held = pictures.split()
        print(
            f"{name}: {len(pictures)} pictures, {int(first.sum())} recognized, "
            f"{100 * covered:.0f} % in masks, {len(train)} to choose by, {len(held)} held out"
        )
    if chosen.sheet:
        sheet(sets["all of photos(model)"], model).save(chosen.sheet)


if __name__ == "__main__":
    main()
