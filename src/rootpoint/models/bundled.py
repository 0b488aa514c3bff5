"""Weights that come with this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

N = TypeVar("N", bound="nn.Module")


def with_weights(network: N, name: str) -> N:
    """The network with the weights in weights/NAME.safetensors, in eval mode.

    Kernels are stored in half precision; the network keeps its own, float32.
    """
    from safetensors.torch import load_file

    network.load_state_dict(load_file(Path(__file__).parent / "weights" / f"{name}.safetensors"))
    return network.eval()
