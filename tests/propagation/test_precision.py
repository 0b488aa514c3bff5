"""Models in 16 bits, and under autocast: rules compute in float32, and maps are float32."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint as rp
from rootpoint.errors import UnsupportedModelError
from rootpoint.propagation import through
from rootpoint.propagation.call import Back

FEW = [torch.bfloat16, torch.float16]
CLOSE = {torch.bfloat16: 0.98, torch.float16: 0.99}
"""Cosines: in bfloat16 the forward pass alone switches some ReLUs and winners of maxima."""

METHODS = {
    **{
        composite: partial(rp.explain, composite=composite)
        for composite in (
            *("epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-alpha2-beta1"),
            *(
                "epsilon-alpha2-beta1-flat",
                "epsilon-gamma-box(low=-4, high=4)",
                "gamma-epsilon-zero",
            ),
        )
    },
    **{
        method: partial(rp.explain, method=method)
        for method in (
            *("deep-taylor", "excitation-backprop", "guided-backprop", "deconvnet", "deeplift"),
            "contribution-propagation",
        )
    },
}


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.third = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.relu(self.second(F.relu(self.norm(self.first(x))))), 2)
        return self.head((h + F.relu(self.third(h))).mean((2, 3)))


class Root(nn.Module):
    """RMS norm, computed in float32 as language models do."""

    def forward(self, h: Tensor) -> Tensor:
        wide = h.to(torch.float32)
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(h.dtype)


class Transformer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed, self.root = nn.Embedding(40, width), Root()
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(3))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(3))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 7)
        self.eval()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for qkv, up, down in zip(self.qkv, self.up, self.down, strict=True):
            q, k, v = qkv(self.root(x)).unflatten(-1, (12, -1)).transpose(1, 2).chunk(3, 1)
            x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            signal, gate = up(self.root(x)).chunk(2, -1)
            x = x + down(signal * F.silu(gate))
        return self.head(self.norm(x).mean(1))


class Inside(nn.Module):
    """Autocast as models put it around a part of themselves."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            return self.model(x)


def converted(model: nn.Module, x: Tensor, dtype: torch.dtype, explain: Any) -> Tensor:
    low = deepcopy(model).to(dtype)
    return explain(low, x.to(dtype) if x.is_floating_point() else x, 1).relevance


def outside(model: nn.Module, x: Tensor, dtype: torch.dtype, explain: Any) -> Tensor:
    with torch.autocast("cpu", dtype=dtype):
        return explain(model, x, 1).relevance


def inside(model: nn.Module, x: Tensor, dtype: torch.dtype, explain: Any) -> Tensor:
    return explain(Inside(model, dtype), x, 1).relevance


def alike(a: Tensor, b: Tensor) -> float:
    """The cosine between two maps, of the sample where it is least."""
    return F.cosine_similarity(a.flatten(1).double(), b.flatten(1).double()).min().item()


WAYS: list[Callable[..., Tensor]] = [converted, outside, inside]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", FEW)
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_images_stay_close(
    method: str, dtype: torch.dtype, way: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    model, x, explain = Convolutions(), torch.randn(2, 3, 12, 12), METHODS[method]
    expected, found = explain(model, x, 1).relevance, way(model, x, dtype, explain)
    assert found.dtype == torch.float32
    assert alike(found, expected) > CLOSE[dtype]
    assert found.norm().item() == pytest.approx(expected.norm().item(), rel=0.02)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", FEW)
@pytest.mark.parametrize("composite", ["attn-lrp", "cp-lrp"])
def test_maps_of_tokens_stay_close(
    composite: str, dtype: torch.dtype, way: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    model, ids = Transformer(), torch.randint(0, 40, (2, 12))
    explain = partial(rp.explain, composite=composite)
    expected, found = explain(model, ids, 1).relevance, way(model, ids, dtype, explain)
    assert found.dtype == torch.float32
    assert alike(found, expected) > CLOSE[dtype]
    assert found.norm().item() == pytest.approx(expected.norm().item(), rel=0.02)


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_float16_holds_multipliers_of_small_and_large_scores(size: float) -> None:
    """Below 6e-8 they would be zero without notice, above 65504 infinite."""
    torch.manual_seed(0)
    model, x = Convolutions(), torch.randn(2, 3, 12, 12)
    for name, explain in METHODS.items():
        if name == "excitation-backprop":  # does not depend on the size of the score
            continue
        expected = explain(model, x, 1).relevance
        half = Inside(model, torch.float16)
        found = explain(half, x, lambda output: output[:, 1].float() * size).relevance
        assert alike(found, expected) > 0.99, name


def test_what_float16_cannot_hold_is_an_error() -> None:
    def model(x: Tensor) -> Tensor:
        return x.half().relu().mul(40000.0).float().mul(1e7)

    x = torch.full((2, 3), 1e-6)
    with pytest.raises(UnsupportedModelError, match="bfloat16"):
        rp.explain(model, x, 1)


@pytest.mark.parametrize("dtype", FEW)
def test_inner_modules_have_maps_of_float32(dtype: torch.dtype) -> None:
    model, x = Convolutions().to(dtype), torch.randn(2, 3, 12, 12).to(dtype)
    found = rp.explain(model, x, 1, at=["second", "third"]).relevance
    assert {r.dtype for r in found.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", FEW)
def test_modified_weights_are_kept_in_float32_once(dtype: torch.dtype) -> None:
    model, x = Convolutions().to(dtype), torch.randn(2, 3, 12, 12).to(dtype)
    bound = rp.LRP(composite="epsilon-plus-flat").bind(model)
    first = bound.attribute(x, 1)
    weights = bound.prepared[0]
    kept = len(weights)
    assert torch.equal(bound.attribute(x, 1), first)
    assert len(weights) == kept > 0
    assert {weight.dtype for *_, weight in weights.values()} == {torch.float32}


def test_rules_compute_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[torch.dtype] = set()
    settle = through._settle

    def noted(call: Any, back: Any) -> Any:
        one = back if isinstance(back, Back) else Back(multiplier=back)
        results = (one.native, one.multiplier, one.relevance)
        seen.update(t.dtype for t in results if isinstance(t, Tensor))
        return settle(call, back)

    monkeypatch.setattr(through, "_settle", noted)
    model, x = Convolutions().bfloat16(), torch.randn(2, 3, 12, 12).bfloat16()
    for composite in ("epsilon", "epsilon-plus-flat", "epsilon-gamma-box(low=-4, high=4)"):
        rp.explain(model, x, 1, composite=composite)
    assert seen == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_keeps_its_dtype(dtype: torch.dtype) -> None:
    model, x = Convolutions().to(dtype), torch.randn(2, 3, 12, 12).to(dtype)
    assert rp.explain(model, x, 1).relevance.dtype == dtype
