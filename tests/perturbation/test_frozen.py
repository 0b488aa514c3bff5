"""The frozen copy: faster, the same scores, and nothing of the user's touched."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.perturbation.frozen import frozen


class Net(nn.Module):
    """Convolution and batch-norm, and whatever else `after` makes of them."""

    def __init__(self, after: Callable[[Net, Tensor], Any] | None = None) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(3, 6, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.after = after
        for norm in (self.norm, self.other):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            norm.running_mean, norm.running_var = torch.randn(6), torch.rand(6) + 0.5

    def forward(self, x: Tensor) -> Any:
        if self.after is not None:
            return self.after(self, x)
        return self.norm(self.convolution(x)).relu().mean((2, 3))


def network(after: Callable[[Net, Tensor], Any] | None = None) -> Net:
    return Net(after).double().eval()


def x() -> Tensor:
    return torch.randn(2, 3, 7, 7, dtype=torch.float64)


def norms(model: Any) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_batch_norms_are_folded_and_weights_are_channels_last() -> None:
    model = network()
    copy = frozen(model, x())
    assert isinstance(copy, Net)
    assert norms(copy) == 1  # the one that does not run
    weight = copy.convolution.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    given = x()
    assert torch.allclose(copy(given), model(given), rtol=1e-12)


def test_networks_without_batch_norm_are_laid_out_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 2)).eval()
    given = torch.randn(2, 3, 7, 7)
    copy = frozen(model, given)
    assert copy is not model
    assert torch.allclose(copy(given), model(given), atol=1e-6)


def twice(net: Net, x: Tensor) -> Tensor:
    return (net.norm(net.convolution(x)) * net.other(net.convolution(2 * x))).mean((2, 3))


def elsewhere(net: Net, x: Tensor) -> Tensor:
    between = net.convolution(x)
    return (net.norm(between) + 1e-9 * between).mean((2, 3))


def listed_elsewhere(net: Net, x: Tensor) -> Tensor:
    between = net.convolution(x)
    return torch.cat([net.norm(between), 1e-9 * torch.cat([between, between])]).mean((0, 2, 3))[
        None
    ]


def one_norm_for_two(net: Net, x: Tensor) -> Tensor:
    return (net.norm(net.convolution(x)) * net.norm(net.second(x))).mean((2, 3))


def by_its_weight(net: Net, x: Tensor) -> Tensor:
    again = nn.functional.conv2d(x, net.convolution.weight)
    return net.norm(net.convolution(x)).mean((2, 3)) + again.mean((2, 3))


@pytest.mark.parametrize(
    "after", [twice, elsewhere, listed_elsewhere, one_norm_for_two, by_its_weight]
)
def test_nothing_is_folded_that_is_used_otherwise_too(
    after: Callable[[Net, Tensor], Tensor],
) -> None:
    model, given = network(after), x()
    copy = frozen(model, given)
    assert norms(copy) == 2
    assert torch.allclose(copy(given), model(given), rtol=1e-9)


def test_shared_weights_are_folded_each_with_its_own_norm_or_not_at_all() -> None:
    model = network(lambda net, x: (net.norm(net.convolution(x)) * net.other(net.second(x))).sum(1))
    model.second.weight = model.convolution.weight
    given = x()
    copy = frozen(model, given)
    assert torch.allclose(copy(given), model(given), rtol=1e-9)


def test_subclasses_and_hooked_modules_are_not_folded() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return nn.functional.conv2d(input, self.weight / self.weight.norm(), padding=1)

    model = network()
    model.convolution = Scaled(3, 6, 3).double().eval()
    assert norms(frozen(model, x())) == 2
    hooked = network()
    hooked.norm.register_forward_hook(lambda module, args, output: output + 1)
    copy = frozen(hooked, given := x())
    assert norms(copy) == 2
    assert torch.allclose(copy(given), hooked(given), rtol=1e-9)


def test_views_that_need_contiguous_memory_get_it() -> None:
    model = network(lambda net, x: net.norm(net.convolution(x)).view(len(x), -1))
    copy = frozen(model, given := x())
    assert norms(copy) == 1
    assert torch.allclose(copy(given), model(given), rtol=1e-9)


def test_outputs_of_any_structure_are_compared() -> None:
    model = network(lambda net, x: {"maps": (net.norm(net.convolution(x)), 3), "name": "net"})
    assert norms(frozen(model, x())) == 1


def test_what_cannot_be_copied_is_returned_itself() -> None:
    class Uncopied(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no copies")

    model = Uncopied().double().eval()
    assert frozen(model, x()) is model


def test_what_copies_to_something_else_is_returned_itself() -> None:
    class Changed(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            return Net().double().eval()

    model = Changed().double().eval()
    assert frozen(model, x()) is model


def test_functions_and_dense_networks_are_returned_themselves() -> None:
    dense = nn.Sequential(nn.Linear(3, 2)).eval()
    assert frozen(dense, torch.randn(2, 3)) is dense
    assert frozen(torch.sum, torch.randn(2, 3)) is torch.sum


def test_the_model_comes_back_untouched() -> None:
    model = network()
    model.convolution.weight.requires_grad_(False)
    calls: list[int] = []
    model.second.register_forward_hook(lambda *_: calls.append(1))
    before = deepcopy(model.state_dict())
    parameters = [(id(p), p.requires_grad, p.grad, p.stride()) for p in model.parameters()]
    hooks = [len(m._forward_hooks) for m in model.modules()]
    frozen(model, x())
    assert parameters == [(id(p), p.requires_grad, p.grad, p.stride()) for p in model.parameters()]
    assert hooks == [len(m._forward_hooks) for m in model.modules()]
    assert not any(m.training for m in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))  # noqa: B905


@pytest.mark.parametrize(
    ("name", "left"), [("resnet18", 0), ("mobilenet_v2", 0), ("shufflenet_v2_x0_5", 0),
                       ("densenet121", 62)]
)  # fmt: skip
def test_torchvision_networks(name: str, left: int) -> None:
    """What DenseNet has left are batch-norms before convolutions."""
    models = pytest.importorskip("torchvision.models")
    model = models.get_model(name, weights=None).eval()
    given = torch.randn(1, 3, 64, 64)
    copy = frozen(model, given)
    assert norms(copy) == left
    other = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model(other)
        assert (copy(other) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
