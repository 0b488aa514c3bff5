"""An explanation as one graph of `torch.compile`, without code generation: backend aot_eager."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint as rp
from rootpoint import LRP
from rootpoint.errors import InputError
from rootpoint.method import methods
from rootpoint.methods.propagating import Propagating
from rootpoint.propagation import PRESETS

# torch warns of its own doing while it traces.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("double")]


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compiled here is what `rootpoint` compiles, by a backend that needs no C++ compiler."""
    compiled: list[str] = []

    def to_graph(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        compiled.append(graph.code)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=to_graph))
    return compiled


class Small(nn.Module):
    """Batch-norm, a residual, a gate, a layer used twice, in-place forms, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv, self.gate = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.first(x)), inplace=True)
        h = F.max_pool2d(h + self.conv(F.relu(self.conv(h))), 2)
        h = h * torch.sigmoid(self.gate(h.mean((2, 3))))[:, :, None, None]
        h += 1
        return self.head(F.gelu(h).mean((2, 3)))


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8)


@pytest.mark.parametrize("composite", PRESETS)
def test_the_compiled_map_is_the_map(composite: str, backend: list[str]) -> None:
    model, x = Small(), images()
    expected = LRP(composite=composite)(model, x, [1, 3])
    found = LRP(composite=composite, compile=True)(model, x, [1, 3])
    assert len(backend) == 1  # one graph: fullgraph=True
    assert torch.allclose(found.relevance, expected.relevance, rtol=1e-10, atol=1e-14)
    assert torch.allclose(found.output, expected.output)


class Rectified(nn.Module):
    """Convolutions, ReLUs in place and out of place, max-pooling, dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv, self.hidden, self.head = nn.Conv2d(4, 4, 3), nn.Linear(36, 6), nn.Linear(6, 5)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.relu(self.norm(self.first(x)), inplace=True), 2)
        h = torch.clamp(self.conv(F.pad(h, (0, 1, 0, 1))), min=0).flatten(1)
        return self.head(F.leaky_relu(self.hidden(h)))


METHODS = {
    "lrp": rp.LRP,
    "deep-taylor": rp.DeepTaylor,
    "deconvnet": rp.DeconvNet,
    "guided-backprop": rp.GuidedBackprop,
    "contribution-propagation": rp.ContributionPropagation,
    "contribution-propagation absorb": partial(rp.ContributionPropagation, bias="absorb"),
    "excitation-backprop": rp.ExcitationBackprop,
    "excitation-backprop contrast": partial(rp.ExcitationBackprop, contrast=True),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_by_propagation_compiles(name: str, backend: list[str]) -> None:
    model, x = Rectified(), images()
    expected = METHODS[name]()(model, x, [1, 3])
    found = METHODS[name](compile=True)(model, x, [1, 3])
    assert len(backend) == 1
    assert torch.allclose(found.relevance, expected.relevance, rtol=1e-10, atol=1e-14)
    assert torch.allclose(found.output, expected.output)


def test_the_methods_above_are_all_that_can_be_compiled() -> None:
    able = {name for name, method in methods().items() if issubclass(method, Propagating)}
    assert able == {name.partition(" ")[0] for name in METHODS}


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "attn-lrp"])
def test_properties_of_the_input_compile(composite: str) -> None:
    """`x.mT` and its like are functions too, which the compiler calls by other names."""
    weight = torch.randn(3, 4)

    def model(x: Tensor) -> Tensor:
        return (F.relu(x.mT @ weight) + x.real.mT @ weight).mT.mean(2)

    x = torch.randn(2, 3, 5)
    expected = rp.explain(model, x, 1, composite=composite).relevance
    found = rp.explain(model, x, 1, composite=composite, compile=True).relevance
    torch.testing.assert_close(found, expected)


def test_a_bound_method_compiles_once_for_each_shape(backend: list[str]) -> None:
    model = Small()
    bound = LRP(compile=True).bind(model)
    for x in (images(), images(), images()[:1], images()):
        assert torch.allclose(bound.attribute(x, 1), LRP()(model, x, 1).relevance, rtol=1e-10)
    assert len(backend) == 2


def test_a_compiled_method_sees_changed_weights() -> None:
    model, x = Small(), images()
    bound = LRP(compile=True).bind(model)
    before = bound.attribute(x, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.5)
    after = bound.attribute(x, 1)
    assert torch.allclose(after, LRP()(model, x, 1).relevance, rtol=1e-10)
    assert not torch.allclose(after, before)


def test_several_targets_and_no_grad() -> None:
    model, x = Small(), images()
    with torch.no_grad():
        found = LRP(compile=True).bind(model).each(x, [0, 3])
    for e, target in zip(found, [0, 3], strict=True):
        assert torch.allclose(e.relevance, LRP()(model, x, target).relevance, rtol=1e-10)


def test_inner_layers_are_refused() -> None:
    with pytest.raises(InputError, match="compile"):
        LRP(compile=True)(Small(), images(), 1, at="conv")


@pytest.mark.parametrize("composite", ["attn-lrp", "cp-lrp"])
def test_attention_compiles_to_one_graph(composite: str) -> None:
    weight = torch.randn(4, 4, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        y = F.scaled_dot_product_attention(x, x @ weight, x)
        y = (torch.softmax(y @ y.mT, -1) @ y).mean(1)
        return torch.addmm(bias, F.rms_norm(y, (4,)), weight) * torch.sigmoid(y)

    x = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = rp.explain(model, x, 1, composite=composite).relevance
    found = rp.explain(model, x, 1, composite=composite, compile=True).relevance
    torch.testing.assert_close(found, expected)
