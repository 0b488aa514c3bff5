"""Weights: batch-norm folded in, layers that share them, and changes between calls."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, GradientTimesInput
from rootpoint.propagation import PRESETS

pytestmark = pytest.mark.usefixtures("double")


def close(found: Tensor, expected: Tensor, bound: float = 1e-10) -> bool:
    """Equal in every element, relative to the largest."""
    return bool((found - expected).abs().max() <= bound * expected.abs().max())


# -- batch-norm ----------------------------------------------------------------------------------


class Normed(nn.Module):
    """Batch-norm behind a convolution and behind a dense layer, registered before them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm2 = nn.BatchNorm1d(4)
        self.norm1 = nn.BatchNorm2d(5)
        self.dense = nn.Linear(5, 4)
        self.conv = nn.Conv2d(3, 5, 3)
        self.eval()
        for norm in (self.norm1, self.norm2):
            for tensor in (norm.weight, norm.bias, norm.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv(x)))
        return self.norm2(self.dense(h.mean((2, 3))))


def folded(linear: nn.Module, norm: nn.Module) -> nn.Module:
    """One linear map that is both, by the textbook."""
    linear = deepcopy(linear)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shape = (-1, *[1] * (linear.weight.dim() - 1))
    linear.weight = nn.Parameter(linear.weight * scale.reshape(shape))
    linear.bias = nn.Parameter((linear.bias - norm.running_mean) * scale + norm.bias)
    return linear


@pytest.mark.parametrize("composite", PRESETS)
def test_batch_norm_is_folded_as_data_passes_not_as_it_is_registered(composite: str) -> None:
    model, x = Normed(), torch.randn(2, 3, 7, 7)
    together = deepcopy(model)
    together.conv, together.dense = (
        folded(model.conv, model.norm1),
        folded(model.dense, model.norm2),
    )
    together.norm1 = together.norm2 = nn.Identity().eval()
    found, expected = (LRP(composite=composite)(m, x, 1).relevance for m in (model, together))
    assert close(found, expected)


@pytest.mark.parametrize("composite", PRESETS)
def test_a_convolution_used_beside_its_batch_norm_is_two_linear_maps(composite: str) -> None:
    model, x = Normed(), torch.randn(2, 3, 7, 7)
    both = folded(model.conv, model.norm1)

    def written(x: Tensor) -> Tensor:
        h = model.conv(x)
        return model.dense((F.relu(model.norm1(h)) + h).mean((2, 3)))

    def meant(x: Tensor) -> Tensor:
        return model.dense((F.relu(both(x)) + model.conv(x)).mean((2, 3)))

    found, expected = (LRP(composite=composite)(m, x, 1).relevance for m in (written, meant))
    assert close(found, expected)


def test_batch_norm_alone_is_a_scaling_whose_shift_absorbs() -> None:
    norm = nn.BatchNorm2d(3).eval()
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    conv = nn.Conv2d(3, 3, 3, bias=False)

    def model(x: Tensor) -> Tensor:
        return conv(F.relu(norm(F.relu(conv(x))))).mean((2, 3))

    x = torch.randn(2, 3, 7, 7)
    e = LRP(composite="epsilon(epsilon=0.0)")(model, x, 1)
    assert close(e.relevance, GradientTimesInput()(model, x, 1).relevance)
    assert e.balance.absorbed.keys() <= {"bias", "rounding"}
    assert e.balance.absorbed["bias"] == pytest.approx(e.output.sum() - e.relevance.sum())


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("composite", PRESETS)
def test_tied_weights_give_the_map_of_equal_weights(composite: str) -> None:
    conv, head, x = nn.Conv2d(3, 3, 3), nn.Linear(3, 4), torch.randn(2, 3, 7, 7)
    twin = deepcopy(conv)

    def tied(x: Tensor) -> Tensor:
        return head(F.relu(conv(F.relu(conv(x)))).mean((2, 3)))

    def untied(x: Tensor) -> Tensor:
        return head(F.relu(twin(F.relu(conv(x)))).mean((2, 3)))

    found, expected = (LRP(composite=composite)(m, x, 1).relevance for m in (tied, untied))
    assert torch.equal(found, expected)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5),
    ).eval()


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8)


def step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(images()).square().sum().backward()
    optimizer.step()


CHANGES: dict[str, Callable[[nn.Module], Any]] = {
    "optimizer": step,
    "in place": lambda model: [p.data.mul_(-2) for p in model.parameters()],
    "no_grad": lambda model: torch.no_grad()(lambda: [p.mul_(-2) for p in model.parameters()])(),
    "load": lambda model: model.load_state_dict(
        {k: v.flip(0) for k, v in model.state_dict().items()}
    ),
    "replaced": lambda model: setattr(model[4], "weight", nn.Parameter(-model[4].weight.detach())),
    "statistics": lambda model: model[1].running_var.mul_(3),
    "layer": lambda model: model.__setitem__(4, nn.Conv2d(4, 4, 3).eval()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("composite", PRESETS)
def test_a_bound_method_sees_changed_weights(composite: str, change: Any) -> None:
    model, x = network(), images()
    bound = LRP(composite=composite).bind(model)
    before = bound.attribute(x, 1)
    change(model)
    after = bound.attribute(x, 1)
    assert torch.equal(after, LRP(composite=composite)(model, x, 1).relevance)
    assert not close(after, before, 1e-3)


@pytest.mark.parametrize("composite", ["epsilon-plus", "epsilon-gamma-box", "epsilon-alpha2-beta1"])
def test_large_outputs_go_back_sample_by_sample_to_the_same_map(
    composite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rootpoint.propagation import through

    model, x = network(), images()
    at_once = LRP(composite=composite)(model, x, 1).relevance
    monkeypatch.setattr(through, "_LARGE", 0)
    each = LRP(composite=composite)(model, x, 1).relevance
    torch.testing.assert_close(each, at_once, rtol=1e-12, atol=1e-14)
