"""Images that change in a box: each operation gives what it gives of the whole tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint.errors import InputError
from rootpoint.perturbation.filled import filled_scores
from rootpoint.perturbation.patched import Known, Patched
from rootpoint.perturbation.windows import windows
from rootpoint.scoring import Evaluator

Network = Callable[[Any], Any]


def patched(size: tuple[int, int] = (24, 20)) -> tuple[Patched, Tensor]:
    """Boxes all over an image, and the tensor that they stand for."""
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    corners = [(0, 0), (size[0] - 3, size[1] - 4), (7, 5), (0, 11), (13, 0)]
    boxes = torch.randn(len(corners), 2, 3, 4, dtype=torch.float64)
    whole = x.repeat(len(corners), 1, 1, 1)
    for one, box, (top, left) in zip(whole, boxes, corners, strict=True):
        one[:, top : top + 3, left : left + 4] = box
    return Patched(Known(x), boxes, corners), whole


def same(found: Any, expected: Tensor) -> bool:
    found = found.full() if isinstance(found, Patched) else found
    return torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_it_stands_for_the_tensor() -> None:
    part, whole = patched()
    assert same(part, whole)
    assert part.shape == whole.shape
    assert (part.size(1), part.dim(), len(part)) == (2, 4, 5)


@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_convolutions(kernel: int, stride: int, padding: int, dilation: int, seed: int) -> None:
    torch.manual_seed(seed)
    part, whole = patched()
    weight = torch.randn(4, 1, kernel, kernel, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)
    run = lambda x: F.conv2d(x, weight, bias, stride, padding, dilation, 2)  # noqa: E731
    once, wanted = run(part), run(whole)
    assert same(once, wanted)
    again = torch.randn(3, 4, 3, 3, dtype=torch.float64)
    assert same(F.conv2d(once, again, padding=1), F.conv2d(wanted, again, padding=1))


@given(kernel=st.integers(1, 4), stride=st.integers(1, 3), seed=st.integers(0, 1000))
def test_maxima_whose_edges_do_not_count(kernel: int, stride: int, seed: int) -> None:
    torch.manual_seed(seed)
    part, whole = patched()
    negative = Patched(Known(part.known.value - 9), part.boxes - 9, part.corners)
    found = F.max_pool2d(negative, kernel, stride, kernel // 2)  # type: ignore[arg-type]
    assert isinstance(found, Patched)
    assert same(found, F.max_pool2d(whole - 9, kernel, stride, kernel // 2))


def residual(x: Any) -> Any:
    weight = torch.ones(2, 2, 3, 3, dtype=torch.float64)
    return F.relu(x + F.conv2d(x, weight, padding=1))


def strided(x: Any) -> Any:
    thin, thick = (torch.ones(2, 2, k, k, dtype=torch.float64) for k in (1, 3))
    out = F.conv2d(x, thick, stride=2, padding=1)
    out += F.conv2d(x, thin, stride=2)
    return out


NETWORKS: dict[str, Network] = {
    "residual": residual,
    "strided residual": strided,
    "residual of one place": lambda x: x + F.relu(x),
    "in place": lambda x: F.hardtanh(x, 0.0, 1.0, True) + x,
    "mean": lambda x: F.adaptive_avg_pool2d(residual(x), 1).flatten(1),
    "average": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "gates": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "joined": lambda x: torch.cat([x, F.relu(x)], 1),
    "weighted sum": lambda x: torch.add(x, F.relu(x), alpha=2),
    "a part": lambda x: residual(x)[:, 1:].sum(3),
    "padded alike": lambda x: F.conv2d(x, torch.ones(1, 2, 3, 3).double(), padding="same"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    part, whole = patched()
    run = NETWORKS[name]
    if name == "in place":
        wanted = whole.clamp(0, 1) + whole  # what is clamped is a copy
        assert same(run(part), wanted)
    else:
        assert same(run(part), run(whole.clone()))


def test_what_boxes_do_not_reach_is_computed_once() -> None:
    part, _ = patched()
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64)
    first, second = (F.conv2d(part, weight, padding=1) for _ in range(2))  # type: ignore[arg-type]
    assert isinstance(first, Patched)
    assert first.known is second.known
    assert first.boxes.shape == (5, 2, 5, 6)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "googlenet",
                                  "efficientnet_b0", "densenet121", "vgg11"])  # fmt: skip
def test_torchvision_networks(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    options = {"init_weights": False} if name == "googlenet" else {}
    model = models.get_model(name, weights=None, **options).eval()
    x = torch.randn(1, 3, 64, 64)
    corners, boxes = [(0, 0), (20, 37), (56, 56)], torch.randn(3, 3, 8, 8)
    part = Patched(Known(x), boxes, corners)
    with torch.no_grad():
        wanted = model(part.full())
        found = model(Patched(Known(x), boxes, corners))
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


class Reads(nn.Module):
    """A convolution, and then what a box cannot do."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.convolution, self.wrong = nn.Conv2d(2, 3, 3, padding=1), wrong

    def forward(self, x: Any) -> Any:
        if self.wrong and isinstance(x, Patched):
            x = x.known.value.repeat(len(x), 1, 1, 1)  # forgets the boxes
        elif not self.wrong:
            x = 1 - x  # cannot be done
        return self.convolution(x).mean((1, 2, 3))


@pytest.mark.parametrize("wrong", [True, False])
def test_networks_that_would_fail_or_differ_are_run_on_tensors(wrong: bool) -> None:
    model = Reads(wrong).double().eval()
    sample = torch.randn(2, 12, 12, dtype=torch.float64)
    at = windows((2, 12, 12), (2, 3, 3), (2, 3, 3))
    evaluate = Evaluator(model, [0], 0, sample)
    fill = lambda index: torch.zeros(1, 2, 3, 3, dtype=torch.float64)  # noqa: E731
    found = filled_scores(evaluate, sample, at, 1, fill, network=model)
    for window, score in zip(at, found[:, 0], strict=True):
        covered = sample.clone()
        covered[window] = 0
        with torch.no_grad():
            assert torch.allclose(model(covered[None])[0], score, rtol=1e-12)


def test_errors_of_the_scores_are_not_hidden() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(300, 1)).double().eval()
    sample = torch.randn(2, 12, 12, dtype=torch.float64)
    at = windows((2, 12, 12), (2, 3, 3), (2, 3, 3))
    evaluate = Evaluator(model, [0], 0, sample)
    fill = lambda index: torch.full((1, 2, 3, 3), torch.nan).double()  # noqa: E731
    with pytest.raises(InputError, match="NaN"):
        filled_scores(evaluate, sample, at, 1, fill, network=model)
