"""What all tests share: one thread, one seed, no network, and torchvision without its binary."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

settings.register_profile("rootpoint", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("rootpoint")


def declare_torchvision_operators() -> torch.library.Library | None:
    """Make `import torchvision` work beside a torch its binary was not built for.

    torchvision's Python code needs two compiled operators to be known by name. Where its binary
    cannot be loaded (it is built for CUDA and torch for the CPU), declaring them is enough.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        for binary in Path(found.origin).parent.glob("_C.*"):
            torch.ops.load_library(binary)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


# Kept for the whole run: the operators are gone when the library object is.
_operators = declare_torchvision_operators()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the network fails; this machine's own addresses are allowed."""
    connect: Callable[..., Any] = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> Any:
        inet = self.family in (socket.AF_INET, socket.AF_INET6)
        if inet and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to connect to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
