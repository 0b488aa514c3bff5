"""Relevance of walks through graph networks (GNN-LRP)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Float64 unless said otherwise."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


EXACT = "epsilon(epsilon=0)"


class Mix(nn.Module):
    """One interaction: ρ(Λ H w)."""

    def __init__(self, mixing: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.mixing, self.weight = mixing, weight

    def forward(self, h: Tensor) -> Tensor:
        return torch.relu(self.mixing @ h @ self.weight)


class Graph(nn.Module):
    """Two interactions and the sum of what they give."""

    def __init__(self, mixing: Tensor, *weights: Tensor, skip: bool = False) -> None:
        super().__init__()
        self.one, self.two = (Mix(mixing, w) for w in weights)
        self.skip = skip
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        h = self.two(h) + h if self.skip else self.two(h)
        return h.sum().view(1, 1)


def published() -> Graph:
    mixing = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    return Graph(mixing, torch.tensor([[1.5]]), torch.tensor([[2.0]]))


def test_the_published_walks() -> None:
    """F = 19.875 of x = (2, 4), with eight walks."""
    x = torch.tensor([[2.0], [4.0]])
    found = rp.explain(published(), x, 0, method="gnn-lrp", layers="one,two", composite=EXACT)
    walks = {
        tuple(walk): r
        for walk, r in zip(
            found.details["walks"].tolist(), found.details["relevance"].tolist(), strict=True
        )
    }
    expected = {
        (0, 0, 0): 1.5,
        (0, 0, 1): 0.75,
        (0, 1, 0): 0.75,
        (0, 1, 1): 1.125,
        (1, 0, 0): 3.0,
        (1, 0, 1): 1.5,
        (1, 1, 0): 4.5,
        (1, 1, 1): 6.75,
    }
    assert walks == pytest.approx(expected)
    assert found.output.item() == pytest.approx(19.875)
    assert found.details["relevance"][0] == 6.75  # the greatest first


@pytest.mark.parametrize("composite", [EXACT, "attn-lrp(gamma=0.5)"])
def test_walks_add_up_to_lrp(composite: str) -> None:
    torch.manual_seed(3)
    mixing = torch.rand(4, 4) * (torch.rand(4, 4) > 0.4)
    model = Graph(mixing, torch.randn(3, 5) + 0.5, torch.randn(5, 2) + 0.5)
    x = torch.rand(4, 3)
    assert model(x) > 0
    found = rp.explain(model, x, 0, method="gnn-lrp", layers=["one", "two"], composite=composite)
    plain = rp.explain(lambda x: model(x[0]), x[None], 0, composite=composite).relevance[0]
    torch.testing.assert_close(found.relevance, plain)
    for node in range(4):
        of_node = found.details["relevance"][found.details["walks"][:, 0] == node]
        torch.testing.assert_close(of_node.sum(), plain[node].sum())
    edges = {(i, j) for j, i in mixing.nonzero().tolist()}
    for start, middle, end in found.details["walks"].tolist():
        assert (start, middle) in edges
        assert (middle, end) in edges


def test_pytorch_geometrics_convolutions_are_found() -> None:
    geometric = pytest.importorskip("torch_geometric.nn")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one = geometric.GCNConv(3, 4, bias=False)
            self.two = geometric.GINConv(nn.Linear(4, 4, bias=False))
            self.head = nn.Linear(4, 2, bias=False)

        def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
            x = self.one(x, edge_index).relu()
            x = self.two(x, edge_index).relu()
            return self.head(geometric.global_add_pool(x, batch))

    graph: dict[str, Any] = {
        "x": torch.randn(5, 3),
        "edge_index": torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]]),
        "batch": torch.tensor([0, 0, 0, 1, 1]),
    }
    model = Net().eval()
    found = rp.explain(model, graph, 1, method="gnn-lrp", composite=EXACT)
    assert found.details["walks"].shape[1] == 3
    torch.testing.assert_close(found.details["relevance"].sum(), found.output.sum())
    plain = rp.explain(model, graph, 1, composite=EXACT)
    torch.testing.assert_close(found.relevance["x"], plain.relevance["x"])
    torch.testing.assert_close(plain.relevance["x"][3:].sum(), plain.output[1])
    torch.testing.assert_close(plain.completeness_gap, torch.zeros(1), atol=1e-12, rtol=0)


def test_relevance_around_the_layers_is_refused() -> None:
    mixing, weight = torch.eye(2), torch.ones(1, 1)
    model, x = Graph(mixing, weight, weight, skip=True), torch.ones(2, 1)
    with pytest.raises(UnsupportedModelError, match="goes around"):
        rp.explain(model, x, 0, method="gnn-lrp", layers="one,two")


@pytest.mark.parametrize(
    ("layers", "match"),
    [(None, "no convolution"), ("one,three", "three"), ("two,one", "order")],
)
def test_layers_that_cannot_be_walked_are_refused(layers: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        rp.explain(published(), torch.ones(2, 1), 0, method="gnn-lrp", layers=layers)
