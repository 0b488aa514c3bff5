"""Recurrent networks, fused in torch, met step by step: LSTM, GRU and plain RNN, and their cells.

The gates of a step are sigmoids: constants in products, so that the signal takes all (Arras et al.
2017, WASSA), but for composites with an entry for "product", as attn-lrp: each operand gets half.
The values are those of torch's own kernel. Cost: the kernel once, and some ten small operations for
each time step, layer and direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from rootpoint.errors import UnsupportedModelError
from rootpoint.propagation.written_out import writes_out

State = tuple[Tensor, ...]
"""(h,), or (h, c) of an LSTM: (rows, features) each."""


class Weights(NamedTuple):
    """Of one layer in one direction."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    w_hr: Tensor | None = None


Cell = Callable[[Tensor, State, Weights], State]
"""The next state from the input's share W_ih x + b_ih, and the state."""


def _lstm(given: Tensor, state: State, w: Weights) -> State:
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c')."""
    h, c = state
    i, f, g, o = (given + linear(h, w.w_hh, w.b_hh)).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if w.w_hr is None else linear(h, w.w_hr)), c


def _gru(given: Tensor, state: State, w: Weights) -> State:
    """n = tanh(given + σ(r) · W_hn h), h' = (1 - σ(z)) n + σ(z) h."""
    (h,) = state
    given_r, given_z, given_n = given.chunk(3, dim=-1)
    own_r, own_z, own_n = linear(h, w.w_hh, w.b_hh).chunk(3, dim=-1)
    z = torch.sigmoid(given_z + own_z)
    n = torch.tanh(given_n + torch.sigmoid(given_r + own_r) * own_n)
    return ((1 - z) * n + z * h,)


def _rnn(activation: Callable[[Tensor], Tensor], given: Tensor, state: State, w: Weights) -> State:
    return (activation(given + linear(state[0], w.w_hh, w.b_hh)),)


_rnn_tanh, _rnn_relu = partial(_rnn, torch.tanh), partial(_rnn, torch.relu)


class Layout(NamedTuple):
    """The parameters of torch's recurrent functions that follow the weights."""

    has_biases: bool
    num_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool = False


def _network(cell: Cell, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """What `torch.lstm(input, hx, weights, …)` returns, and with `batch_sizes` in second place."""
    packed = isinstance(args[1], Tensor) and args[1].dtype == torch.int64
    if packed:
        given, sizes, hx, flat, *rest = args
    else:
        (given, hx, flat, *rest), sizes = args, None
    layout = Layout(*rest, **kwargs)
    if layout.train and layout.dropout:
        raise UnsupportedModelError(
            "dropout acts between the layers of a recurrent network, so that its explanation would "
            "be drawn by chance; call model.eval() first"
        )
    if layout.batch_first and not packed:
        given = given.transpose(0, 1)
    rows = list(given.unbind(0)) if sizes is None else list(given.split(sizes.tolist()))
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    rows, last = _layers(cell, rows, states, _by_direction(flat, layout), layout)
    output = torch.stack(rows) if sizes is None else torch.cat(rows)
    if layout.batch_first and not packed:
        output = output.transpose(0, 1)
    return output, *[torch.stack(of_all) for of_all in zip(*last, strict=True)]


def _by_direction(flat: Sequence[Tensor], layout: Layout) -> list[Weights]:
    count = len(flat) // (layout.num_layers * (1 + layout.bidirectional))
    each = [flat[i : i + count] for i in range(0, len(flat), count)]
    if layout.has_biases:
        return [Weights(*w) for w in each]
    return [Weights(*w[:2], w_hr=w[2] if count == 3 else None) for w in each]


def _layers(
    cell: Cell, rows: list[Tensor], states: list[Tensor], weights: list[Weights], layout: Layout
) -> tuple[list[Tensor], list[State]]:
    """The outputs of the last layer, by step, and the last state of each layer and direction."""
    last: list[State] = []
    directions = (False, True) if layout.bidirectional else (False,)
    for _ in range(layout.num_layers):
        found = []
        for backwards in directions:
            begin = tuple(s[len(last)] for s in states)
            outputs, end = _scan(cell, rows, begin, weights[len(last)], backwards=backwards)
            found.append(outputs)
            last.append(end)
        rows = [torch.cat(of_both, dim=-1) for of_both in zip(*found, strict=True)]
    return rows, last


def _scan(
    cell: Cell, rows: list[Tensor], state: State, w: Weights, *, backwards: bool
) -> tuple[list[Tensor], State]:
    """One direction: the outputs by step, in the order of the rows, and the last state.

    In packed sequences a step has as many rows as sequences are as long: the first ones.
    """
    counts = [len(row) for row in rows]
    shares = linear(torch.cat(rows), w.w_ih, w.b_ih).split(counts)
    outputs = []
    for given, count in list(zip(shares, counts, strict=True))[:: -1 if backwards else 1]:
        new = cell(given, tuple(s[:count] for s in state), w)
        outputs.append(new[0])
        state = tuple(
            torch.cat([n, s[count:]]) if len(s) > count else n
            for n, s in zip(new, state, strict=True)
        )
    return outputs[:: -1 if backwards else 1], state


def _one_step(cell: Cell, given: Tensor, hx: Any, *weights: Tensor | None) -> Any:
    """What `torch.lstm_cell(input, hx, w_ih, w_hh, b_ih, b_hh)` returns."""
    w = Weights(*weights)  # pyright: ignore[reportArgumentType]
    state = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    h, *c = cell(linear(given, w.w_ih, w.b_ih), state, w)
    return (h, *c) if c else h


for _name, _cell in {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _rnn_tanh,
    "rnn_relu": _rnn_relu,
}.items():
    writes_out(getattr(torch, _name))(partial(_network, _cell))
    writes_out(getattr(torch, f"{_name}_cell"))(partial(_one_step, _cell))
