"""The same values as Quantus's localization metrics, where it computes what the formulas say.

- It judges one map per image as it is: it gets maps that are pooled already and nowhere negative.
- Its pointing game knows no tolerance, and an empty mask is a hit: it is compared at 1, on others.
- Its rank takes ties in the order of `argsort`: it is compared on maps without them.
- Its attribution localization adds 1e-9 to the sum, and its weighted variant divides the mask by
  the size of the wrong axes: the plain one is compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rootpoint.evaluation.evaluate import evaluate

quantus = pytest.importorskip("quantus")

PLAIN = {"normalise": False, "abs": False, "disable_warnings": True, "display_progressbar": False}


def judged(name: str, maps: Tensor, masks: Tensor) -> list[float]:
    found = evaluate(
        lambda x: x.flatten(1)[:, :3],
        torch.rand(len(maps), 3, *maps.shape[2:], dtype=torch.float64),
        {"given": lambda model, inputs, targets: maps},
        name,
        masks=masks,
    )
    return found.values(name, "given").tolist()


@pytest.mark.parametrize(
    ("name", "peer", "bound"),
    [
        ("pointing-game(tolerance=1)", "PointingGame", 0),
        ("relevance-mass", "RelevanceMassAccuracy", 1e-14),
        ("relevance-rank", "RelevanceRankAccuracy", 1e-14),
        ("relevance-mass", "AttributionLocalisation", 1e-9),
    ],
)
def test_quantus(name: str, peer: str, bound: float) -> None:
    count, size = 12, 16
    maps = torch.rand(count, 1, size, size, dtype=torch.float64) ** 3
    masks = torch.zeros(count, 1, size, size, dtype=torch.bool)
    for i in range(count):
        masks[i, :, i % 7 : i % 7 + 6, 2 : 6 + i % 9] = True
    maps += 0.5 * masks * torch.linspace(0, 1, count, dtype=torch.float64)[:, None, None, None]
    theirs: Any = getattr(quantus, peer)(**PLAIN)(
        model=None,
        x_batch=np.zeros((count, 3, size, size)),
        y_batch=np.zeros(count, dtype=int),
        a_batch=maps.numpy(),
        s_batch=masks.numpy(),
    )
    expected = [float(v) for v in np.asarray(theirs).ravel()]
    assert len(set(expected)) > 1
    assert judged(name, maps, masks) == pytest.approx(expected, abs=bound)
