"""Write src/rootpoint/data/samples/*.jpg from photos of scikit-image and scikit-learn.

Both have to be installed. Authors and licences are in samples/sources.toml.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from PIL import Image

LONG_SIDE = 512
TARGET = Path(__file__).parents[1] / "src/rootpoint/data/samples"
PHOTOS = {
    "chelsea": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "camera": "skimage/data/camera.png",
    "china": "sklearn/datasets/images/china.jpg",
}


def original(path: str) -> Path:
    """A file inside an installed package, found without importing it."""
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed")
    return Path(spec.origin).parent / inside


def main() -> None:
    for name, path in PHOTOS.items():
        photo = Image.open(original(path)).convert("RGB")
        photo.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        target = TARGET / f"{name}.jpg"
        photo.save(target, quality=92, optimize=True)
        print(f"{target}: {photo.width} × {photo.height}, {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
