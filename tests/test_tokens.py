"""Integers as inputs: ids of tokens, explained through the embeddings they look up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint as rp


class Bag(nn.Module):
    """Scores of a text: a linear map of the sum of its words' vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.positions = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        place = torch.arange(ids.shape[1])
        x = self.words(ids.view(-1, ids.shape[-1]).contiguous()) + self.positions(place)
        x = x if mask is None else x * mask[..., None]
        return self.out(x.sum(1))


@pytest.fixture
def model() -> Bag:
    return Bag().double().eval()


IDS = torch.tensor([[1, 2, 2, 6], [0, 3, 5, 4]])


@pytest.mark.parametrize("method", ["lrp", "gradient-times-input"])
def test_a_linear_model_of_words_gives_each_its_part_of_the_score(model: Bag, method: str) -> None:
    options = {"composite": "epsilon(epsilon=0)"} if method == "lrp" else {}
    found = rp.explain(model, IDS, 1, method=method, **options)
    torch.testing.assert_close(found.relevance, model.words(IDS).detach() @ model.out.weight[1])
    assert found.relevance.shape == IDS.shape


def test_the_books_name_what_positions_and_biases_took(model: Bag) -> None:
    balance = rp.explain(model, IDS, 1).balance
    assert abs(balance.gap) < 1e-12
    assert set(balance.absorbed) >= {"constant", "bias"}


def test_a_mask_gets_no_relevance_and_is_passed_on(model: Bag) -> None:
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    found = rp.explain(model, {"ids": IDS, "mask": mask}, 2)
    assert list(found.relevance) == ["ids"]
    assert not found.relevance["ids"][0, 2:].any()
    assert found.relevance["ids"][1].all()


def test_keyword_arguments_are_the_inputs_and_lists_are_rows(model: Bag) -> None:
    found = rp.explain(model, ids=[1, 2, 3], target=0, composite="cp-lrp")
    expected = rp.explain(model, torch.tensor([[1, 2, 3]]), 0, composite="cp-lrp")
    assert torch.equal(found.relevance["ids"], expected.relevance)
    assert "cp-lrp" in str(found.method)


def test_rows_of_different_lengths_are_refused(model: Bag) -> None:
    with pytest.raises(rp.RootpointError, match="padding=True"):
        rp.explain(model, ids=[[1, 2], [3]])


def test_methods_that_do_not_go_through_embeddings_say_so(model: Bag) -> None:
    with pytest.raises(rp.RootpointError, match="for ids of tokens"):
        rp.explain(model, IDS, 1, method="deeplift")


def test_ids_that_look_nothing_up_are_refused() -> None:
    with pytest.raises(rp.RootpointError, match="looks none of them up"):
        rp.explain(lambda ids: F.one_hot(ids, 7).float().sum(1), IDS)


def test_ids_are_followed_where_they_are_moved(model: Bag) -> None:
    def turned(ids: Tensor) -> Tensor:
        return model.out(model.words(ids.flip(1)[:, :2]).sum(1))

    relevance = rp.explain(turned, IDS, 1).relevance
    assert not relevance[:, :2].any()
    expected = model.words(IDS[:, 2:]).detach() @ model.out.weight[1]
    torch.testing.assert_close(relevance[:, 2:], expected, atol=1e-5, rtol=1e-5)


def test_an_id_looked_up_twice_has_the_sum(model: Bag) -> None:
    def twice(ids: Tensor) -> Tensor:
        return model.out((model.words(ids) + 2 * model.words(ids)).sum(1))

    relevance = rp.explain(twice, IDS, 1, composite="epsilon(epsilon=0)").relevance
    torch.testing.assert_close(relevance, 3 * model.words(IDS).detach() @ model.out.weight[1])


def test_the_model_is_left_as_it_was(model: Bag) -> None:
    before = model(IDS)
    rp.explain(model, IDS, 1)
    assert torch.equal(model(IDS), before)
    assert model.words.weight.grad is None


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_language_model_explains_its_next_token(attention: str) -> None:
    model = _llama(attention)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    found = rp.explain(model, input_ids=ids, target=rp.next_token(), use_cache=False)
    logits = model(ids).logits[:, -1]
    torch.testing.assert_close(found.output, logits.max(1).values)
    assert abs(found.balance.gap) < 1e-10
    assert found.relevance["input_ids"].shape == ids.shape
    contrast = rp.explain(model, ids, rp.next_token(7, 8))
    torch.testing.assert_close(contrast.output, logits[:, 7] - logits[:, 8])


def test_fused_and_written_attention_of_a_language_model_agree() -> None:
    ids = torch.tensor([[3, 1, 4, 1, 5], [2, 7, 1, 8, 2]])
    one, other = (
        rp.explain(_llama(attention), ids, rp.next_token(7)) for attention in ("eager", "sdpa")
    )
    torch.testing.assert_close(one.relevance, other.relevance)


def test_a_classifier_with_a_mask_explains_words_only() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model: Any = BertForSequenceClassification(config).double().eval()
    mask = torch.tensor([[1, 1, 1, 0]])
    found = rp.explain(model, input_ids=[5, 6, 7, 0], attention_mask=mask, target=1)
    assert list(found.relevance) == ["input_ids"]
    assert found.relevance["input_ids"][0, 3] == 0
    assert abs(found.balance.gap) < 1e-12
    picture = found.plot(names=["a", "good", "film", "[PAD]"])
    assert picture.width == 900


def _llama(attention: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config).double().eval()


def test_a_prediction_keeps_no_graph() -> None:
    model = _llama("eager")
    found = rp.explain(model, torch.tensor([[3, 1, 4]]), rp.next_token())
    assert not found.prediction.logits.requires_grad
