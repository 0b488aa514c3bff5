"""Softmax, attention, gates and norms, written in any way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint as rp
from rootpoint.explanation import UNACCOUNTED

Q = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)
K = torch.tensor([[[0.5], [-1.0]]], dtype=torch.float64)
V = torch.tensor([[[3.0], [1.0]]], dtype=torch.float64)


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


def written(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT, -1) @ v


def exponentials(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = q @ k.mT
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    return (weights / weights.sum(-1, keepdim=True)) @ v


ATTENTIONS = [fused, written, exponentials]


def first(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *tensors: attention(*tensors)[:, 0, 0]


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_head_has_the_relevance_of_the_published_rules(attention: Callable[..., Tensor]) -> None:
    found = rp.explain(first(attention), (Q, K, V), composite="attn-lrp")
    assert found.output.item() == pytest.approx(2.635149, abs=1e-6)
    for relevance, expected in zip(
        found.relevance,
        [(0.111860, 0.0), (0.037287, 0.074573), (1.226362, 0.091213)],
        strict=True,
    ):
        assert relevance.flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_cp_lrp_gives_all_to_the_values(attention: Callable[..., Tensor]) -> None:
    found = rp.explain(first(attention), (Q, K, V), composite="cp-lrp")
    assert found.relevance[2].flatten().tolist() == pytest.approx((2.452723, 0.182426), abs=1e-6)
    assert float(found.completeness_gap) == pytest.approx(0, abs=1e-12)
    assert not found.relevance[0].any()
    assert not found.relevance[1].any()


@pytest.mark.parametrize("composite", ["attn-lrp", "cp-lrp"])
@pytest.mark.parametrize("live", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_fused_attention_equals_written_attention(live: tuple[int, ...], composite: str) -> None:
    q, k, v = (torch.randn(2, 3, 5, 4, dtype=torch.float64) for _ in range(3))
    mask = torch.tril(torch.ones(5, 5, dtype=torch.bool))

    def model(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*given: Tensor) -> Tensor:
            tensors = [q, k, v]
            for slot, value in zip(live, given, strict=True):
                tensors[slot] = value
            return attention(*tensors)[:, 1, 2]

        return run

    def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        logits = (q @ k.mT / 2).masked_fill(~mask, float("-inf"))
        return logits.softmax(-1) @ v

    inputs = tuple((q, k, v)[slot] for slot in live)
    one = rp.explain(
        model(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
        inputs, 2, composite=f"{composite}(epsilon=0)",
    )  # fmt: skip
    other = rp.explain(model(by_hand), inputs, 2, composite=f"{composite}(epsilon=0)")
    for a, b in zip(one.relevance, other.relevance, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)
    for found in (one, other):
        assert abs(found.balance.gap) < 1e-10
        assert UNACCOUNTED not in found.balance.absorbed


def test_the_softmax_goes_back_as_published() -> None:
    def at(place: int) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.softmax(x, -1)[:, place]

    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    share = rp.explain(at(0), x, composite="attn-lrp").relevance[0] / torch.softmax(x, -1)[0, 0]
    assert share.tolist() == pytest.approx((0.268941, 0.0), abs=1e-6)
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    share = rp.explain(at(1), x, composite="attn-lrp").relevance[0] / torch.softmax(x, -1)[0, 1]
    assert share.tolist() == pytest.approx((-1.462117, 0.731059), abs=1e-6)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: F.rms_norm(x, (6,)),
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + torch.finfo(x.dtype).eps),
        lambda x: x / (x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt(),
        lambda x: x * (x.pow(2).mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).pow(-0.5),
    ],
    ids=["rms_norm", "rsqrt", "sqrt", "pow"],
)
@pytest.mark.parametrize("composite", ["attn-lrp", "cp-lrp", "epsilon"])
def test_a_norm_counts_as_constant_however_written(
    norm: Callable[[Tensor], Tensor], composite: str
) -> None:
    """Proposition 3.4: R_in = R_out, so for y_j alone R_i = y_j at i = j."""
    x = torch.randn(3, 6, dtype=torch.float64)
    found = rp.explain(norm, x, 4, composite=composite)
    expected = torch.zeros_like(x)
    expected[:, 4] = found.output
    torch.testing.assert_close(found.relevance, expected)


def test_the_parts_of_a_gated_layer_share_equally_under_attn_lrp() -> None:
    def swiglu(x: Tensor) -> Tensor:
        return F.silu(x[:, 0]) * x[:, 1]

    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    found = rp.explain(swiglu, x, composite="attn-lrp")
    assert found.output.item() == pytest.approx(5.284782, abs=1e-6)
    assert (found.relevance / found.output).flatten().tolist() == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("composite", ["attn-lrp", "cp-lrp", "epsilon-plus-flat"])
def test_multi_head_attention_has_balanced_books(need_weights: bool, composite: str) -> None:
    torch.manual_seed(1)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).double().eval()
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    found = rp.explain(
        lambda x: attention(x, x, x, need_weights=need_weights)[0].sum((1, 2)),
        x,
        composite=composite,
    )
    assert abs(found.balance.gap) < 1e-10
    assert UNACCOUNTED not in found.balance.absorbed


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_encoder_conserves_without_biases_under_cp_lrp(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, bias=False, batch_first=True, norm_first=norm_first
    )
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double().eval()
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    found = rp.explain(lambda x: model(x).square().sum((1, 2)), x, composite="cp-lrp(epsilon=0)")
    torch.testing.assert_close(found.relevance.sum((1, 2)), found.output, rtol=1e-5, atol=0)
    assert abs(found.balance.gap) < 1e-10 * abs(found.balance.score)


def test_a_matrix_product_with_a_bias_is_met_piece_by_piece() -> None:
    bias, a, b = (torch.randn(3, 3, dtype=torch.float64) for _ in range(3))

    def model(x: Tensor) -> Tensor:
        return torch.addmm(bias, x, b, beta=2, alpha=3)[:, 1]

    found = rp.explain(model, a, composite="epsilon(epsilon=0)")
    torch.testing.assert_close(found.relevance, 3 * a * b[:, 1])
    assert torch.equal(found.output, model(a))
    assert found.balance.absorbed["constant"] == pytest.approx(float(2 * bias[:, 1].sum()))


def test_a_softmax_in_pieces_is_not_compiled() -> None:
    with pytest.raises(rp.RootpointError, match=r"write torch\.softmax"):
        rp.explain(first(exponentials), (Q, K, V), composite="attn-lrp", compile=True)


def test_grouped_products_are_each_groups_own() -> None:
    """Of a mixture of experts: rows 0, 1 by the first expert, row 2 by the second."""
    experts = torch.randn(2, 4, 4).float()  # torch wants strides of 16 bytes

    def grouped(x: Tensor) -> Tensor:
        ends = torch.tensor([2, 3], dtype=torch.int32)
        return F.grouped_mm(x[0], experts, offs=ends).sum().view(1, 1)

    def apart(x: Tensor) -> Tensor:
        return ((x[0, :2] @ experts[0]).sum() + (x[0, 2:] @ experts[1]).sum()).view(1, 1)

    x = torch.randn(1, 3, 4).float()
    found = rp.explain(grouped, x, 0, composite="cp-lrp").relevance
    expected = rp.explain(apart, x, 0, composite="cp-lrp").relevance
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(), grouped(x)[0, 0])


def test_a_cache_written_in_place_passes_relevance_on() -> None:
    cache = torch.zeros(1, 3)

    def model(x: Tensor) -> Tensor:
        state = cache.clone()
        state.copy_(2 * x)
        return state.sum(1, keepdim=True)

    x = torch.randn(1, 3)
    explanation = rp.explain(model, x, 0, composite="epsilon(epsilon=0)")
    torch.testing.assert_close(explanation.relevance, 2 * x)
    assert abs(explanation.balance.gap) < 1e-12


def test_the_attention_of_a_graph_is_a_gate() -> None:
    """A softmax over each node's edges, by scattering: with cp-lrp all goes to the messages."""
    receivers, senders = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 0, 2])

    def model(x: Tensor) -> Tensor:
        x = x[0]
        scores = torch.tanh(x[senders] + x[receivers]).sum(1)
        powers = (scores - scores.detach().max()).exp()
        total = x.new_zeros(3).scatter_add(0, receivers, powers) + 1e-16
        weights = powers / total[receivers]
        messages = weights[:, None] * x[senders]
        return x.new_zeros(3, 2).index_add(0, receivers, messages).sum().view(1, 1)

    x = torch.randn(1, 3, 2, dtype=torch.float64)
    explanation = rp.explain(model, x, 0, composite="cp-lrp(epsilon=0)")
    torch.testing.assert_close(explanation.relevance.sum(), explanation.output[0])
    assert abs(explanation.balance.gap) < 1e-12
