"""A sample of the models that `benchmarks/architectures.py` explains, for the table in the docs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

HUGGING_FACE = [
    "Bert",
    "DebertaV2",
    "Bart",
    "Llama",
    "Mixtral",
    "Gemma2",
    "Mamba2",
    "T5",
    "CLIP",
    "Wav2Vec2",
]
TIMM = ["vit_tiny_patch16_224", "convnext_atto", "repvit_m0_9", "efficientvit_b0"]
NAMES = [f"Hugging Face {name}" for name in HUGGING_FACE] + [f"timm {name}" for name in TIMM]

pytestmark = pytest.mark.filterwarnings("ignore")  # of how the libraries are written


@pytest.fixture(scope="module")
def architectures() -> ModuleType:
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("architectures")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("name", NAMES)
def test_books_balance_and_nothing_is_unaccounted_for(architectures: ModuleType, name: str) -> None:
    sources = (architectures.hugging_face_cases, architectures.timm_cases)
    (case,) = [case for cases in sources for case in cases() if case.name == name]
    inputs = case.inputs()
    model = architectures.prepared(case.make().eval(), inputs)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    row = architectures.balanced(case, model, inputs)
    assert abs(row.gap) < 1e-7  # Mamba2 computes in float32 whatever its weights
    assert all(torch.equal(v, before[k].to(v)) for k, v in model.state_dict().items())
