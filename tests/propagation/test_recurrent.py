"""Recurrent networks, fused in torch, explained step by step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rootpoint as rp
from rootpoint.errors import UnsupportedModelError

pytestmark = pytest.mark.usefixtures("double")

CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}
EXACT = "epsilon(epsilon=0)"

LAYOUTS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"num_layers": 2, "proj_size": 2, "bias": False}),
    ("LSTM", {"proj_size": 2, "bidirectional": True, "batch_first": True}),
    ("GRU", {"bias": False}),
    ("GRU", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    ("RNN", {"num_layers": 2}),
    ("RNN", {"nonlinearity": "relu", "bidirectional": True}),
]
NAMES = [f"{name}-{'-'.join(map(str, options)) or 'plain'}" for name, options in LAYOUTS]


class Reader(nn.Module):
    """The sum of a recurrent network's outputs and last states."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = getattr(nn, name)(3, 4, **options)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        rows = 0 if self.recurrent.batch_first else 1
        output, last = self.recurrent(x)
        states = last if isinstance(last, tuple) else (last,)
        read = output.movedim(rows, 0).sum(1)
        return read + sum(s.sum((0, 2))[:, None] for s in states)


def sequences(*, batch_first: bool = False) -> Tensor:
    torch.manual_seed(1)
    x = torch.randn(5, 2, 3)
    return x.transpose(0, 1).contiguous() if batch_first else x


def explained(model: Any, x: Tensor, **options: Any) -> rp.Explanation:
    """Of batches in second place: as one sample, all its scores together."""
    return rp.explain(lambda x: model(x[0]).sum(dtype=x.dtype).view(1, 1), x[None], 0, **options)


@pytest.mark.parametrize("composite", ["epsilon", "attn-lrp", "alpha1-beta0"])
@pytest.mark.parametrize(("name", "options"), LAYOUTS, ids=NAMES)
def test_values_are_the_kernels_and_books_balance(
    name: str, options: dict[str, Any], composite: str
) -> None:
    model = Reader(name, **options)
    x = sequences(batch_first=options.get("batch_first", False))
    explanation = explained(model, x, composite=composite)
    assert torch.equal(explanation.output, model(x).sum().view(1))
    assert abs(explanation.balance.gap) < 1e-10
    assert not any("unaccounted" in name for name in explanation.balance.absorbed)
    assert explanation.relevance.isfinite().all()


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_without_biases_relevance_is_conserved(name: str) -> None:
    explanation = explained(Reader(name, bias=False), sequences(), composite=EXACT)
    torch.testing.assert_close(explanation.relevance.sum(), explanation.output[0])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_fused_equals_a_loop_over_cells(name: str) -> None:
    fused = Reader(name)
    cell = CELLS[name](3, 4)
    weights = dict(fused.recurrent.named_parameters())
    cell.load_state_dict({key.removesuffix("_l0"): w for key, w in weights.items()})

    def loop(x: Tensor) -> Tensor:
        state, total = None, torch.zeros(())
        for row in x:
            state = cell(row, state)
            total = total + (state[0] if isinstance(state, tuple) else state).sum(1, keepdim=True)
        last = state if isinstance(state, tuple) else (state,)
        return total + sum(s.sum(1, keepdim=True) for s in last if s is not None)

    x = sequences()
    expected = explained(loop, x, composite=EXACT).relevance
    found = explained(lambda x: summed(fused.recurrent, x), x, composite=EXACT).relevance
    torch.testing.assert_close(found, expected)


def summed(recurrent: nn.Module, x: Tensor) -> Tensor:
    output, last = recurrent(x)
    states = last if isinstance(last, tuple) else (last,)
    return output.sum((0, 2))[:, None] + sum(s.sum((0, 2))[:, None] for s in states)


def test_the_published_step() -> None:
    """c' = f c + i g with f = .5, c = 2, i = .8, g = 1.5 x - .5 h = .5 (Arras et al. 2017).

    Without their ε of 0.001, which makes these .713776, .341929 and -.056988.
    """

    def step(x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        f = torch.sigmoid(0 * x)
        i = torch.sigmoid(0 * x + torch.logit(torch.tensor(0.8)))
        return f * c + i * (1.5 * x - 0.5 * h)

    given = tuple(torch.tensor([[v]]) for v in (0.4, 0.2, 2.0))
    explanation = rp.explain(step, given, lambda y: y / y.detach(), composite=EXACT)
    x, h, c = (r.item() for r in explanation.relevance)
    assert (x, h, c) == pytest.approx((0.6 / 0.5 * 0.4 / 1.4, -0.1 / 0.5 * 0.4 / 1.4, 1 / 1.4))
    assert (x, h, c) == pytest.approx((0.341929, -0.056988, 0.713776), rel=3e-3)


def test_gates_take_nothing_unless_products_are_halved() -> None:
    """Of an LSTM step only what its candidate g and the old state say counts; of attn-lrp, half."""
    cell = nn.LSTMCell(1, 1, bias=False)
    with torch.no_grad():
        cell.weight_ih[:] = torch.tensor(
            [[1.0], [0.0], [0.0], [1.0]]
        )  # i and o read x, f and g not
        cell.weight_hh[:] = torch.tensor([[0.0], [0.0], [1.0], [0.0]])

    def model(x: Tensor, h: Tensor) -> Tensor:
        return cell(x, (h, torch.zeros_like(h)))[0]

    given = torch.tensor([[0.7]]), torch.tensor([[0.3]])
    x, h = rp.explain(model, given, 0, composite=EXACT).relevance
    assert x.item() == 0
    torch.testing.assert_close(h, model(*given).detach())
    x, _ = rp.explain(model, given, 0, composite="attn-lrp").relevance
    assert x.item() != 0


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_packed_sequences_equal_each_alone(name: str) -> None:
    """Without biases: a GRU's first gate has nothing but a bias to weigh, if it is alone."""
    recurrent = Reader(name, bidirectional=True, bias=False).recurrent
    lengths = torch.tensor([3, 5, 1])
    torch.manual_seed(2)
    x = torch.randn(3, 5, 3)

    def model(x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, last = recurrent(packed)
        states = last if isinstance(last, tuple) else (last,)
        dense, _ = pad_packed_sequence(output, batch_first=True)
        return dense.sum((1, 2))[:, None] + sum(s.sum((0, 2))[:, None] for s in states)

    together = rp.explain(model, x, 0, composite=EXACT)
    for row, length in enumerate(lengths.tolist()):
        alone = explained(
            lambda x: summed(recurrent, x), x[row, :length, None], composite=EXACT
        ).relevance[0, :, 0]
        torch.testing.assert_close(together.relevance[row, :length], alone)
        assert not together.relevance[row, length:].any()


def test_dropout_between_layers_is_refused() -> None:
    model = Reader("LSTM", num_layers=2, dropout=0.5)
    noisy = copy.deepcopy(model.recurrent).train()
    with pytest.raises(UnsupportedModelError, match="dropout"):
        rp.explain(lambda x: noisy(x)[0].sum((0, 2))[:, None], sequences(), 0)
