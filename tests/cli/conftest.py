from __future__ import annotations

import pytest
from PIL import Image

MODEL = """
import torch
from torch import nn

CLASSES = ("tench", "goldfish", "great white shark")
PREPROCESSING = {"size": 24, "resize": 28}


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(576, 3)
    )


def unsupported():
    class Decomposed(nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x[:, 0])[:, :3]

    return Decomposed()
"""


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("ROOTPOINT_DEBUG", raising=False)


@pytest.fixture
def file(tmp_path):
    """A Python file with a small network of three classes."""
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


@pytest.fixture
def model(file):
    return f"{file}:network"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "fish.png"
    Image.effect_noise((60, 40), 90).convert("RGB").save(path)
    return path
