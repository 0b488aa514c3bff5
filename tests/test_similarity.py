"""BiLRP: similarity shared out among pairs of features."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.similarity import Similarity


def linear(*weights: list[float]) -> nn.Linear:
    layer = nn.Linear(len(weights[0]), len(weights), bias=False).double().eval()
    layer.weight.data = torch.tensor(weights, dtype=torch.float64)
    return layer


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def convolutional(outputs: int = 5, *, bias: bool = False) -> nn.Sequential:
    return (
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.Conv2d(4, outputs, 3, padding=1, bias=bias),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        .double()
        .eval()
    )


class Encoder(nn.Module):
    """A transformer of ids: the mean of its tokens' vectors."""

    def __init__(self, outputs: int = 6) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, outputs)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = self.layers(self.words(ids))
        weight = torch.ones_like(ids) if mask is None else mask
        return self.out((hidden * weight[..., None]).sum(1) / weight.sum(1, keepdim=True))


def images(batch: int = 1, size: int = 6) -> Tensor:
    return torch.randn(batch, 3, size, size, dtype=torch.float64)


def explained(size: int = 6, **options: Any) -> Similarity:
    model = convolutional()
    return rp.explain_similarity(
        model, images(2, size), images(2, size), composite="epsilon", **options
    )


def test_a_linear_map_gives_the_published_numbers() -> None:
    model = linear([1, 2], [0, 1])
    found = rp.explain_similarity(model, row(1, 2), row(3, 1), composite="epsilon(epsilon=1e-12)")
    torch.testing.assert_close(found.output, torch.tensor([27.0], dtype=torch.float64))
    expected = torch.tensor([[[3.0, 2], [12, 10]]], dtype=torch.float64)
    torch.testing.assert_close(found.relevance(), expected)
    assert [(p.first, p.second) for p in found.strongest(2)] == [((1,), (0,)), ((1,), (1,))]
    assert found.strongest(1)[0].relevance == pytest.approx(12)


def test_each_pair_is_the_sum_of_products_of_plain_explanations() -> None:
    model, x, other = convolutional(3), images(), images()
    found = rp.explain_similarity(model, x, other, composite="epsilon-plus")
    targets = [0, 1, 2]
    sides = [rp.LRP(composite="epsilon-plus").bind(model).each(v, targets) for v in (x, other)]
    expected = sum(
        torch.einsum("bi,bj->bij", a.relevance.flatten(1), b.relevance.flatten(1))
        for a, b in zip(*sides, strict=True)
    )
    torch.testing.assert_close(found.relevance().reshape(1, 108, 108), expected)
    torch.testing.assert_close(found.output, (model(x) * model(other)).sum(1).detach())


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**16),
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    batch=st.integers(1, 3),
)
def test_networks_without_biases_conserve_the_similarity(
    seed: int, widths: list[int], batch: int
) -> None:
    torch.manual_seed(seed)
    layers = [
        layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b, bias=False), nn.ReLU())
    ]
    model = nn.Sequential(*layers[:-1]).double().eval()
    x, other = torch.randn(2, batch, widths[0], dtype=torch.float64)
    found = rp.explain_similarity(model, x, other, composite="epsilon(epsilon=1e-12)")
    torch.testing.assert_close(found.relevance().sum((1, 2)), found.output, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(found.gap, torch.zeros_like(found.gap), atol=1e-7, rtol=0)


def test_biases_leave_a_gap() -> None:
    model, x = convolutional(bias=True), images(2)
    found = rp.explain_similarity(model, x, x, composite="epsilon")
    total = found.relevance().flatten(1).sum(1)
    torch.testing.assert_close(found.gap, found.output - total)
    assert (found.gap.abs() > 1e-4 * found.output.abs()).all()


def test_exchanged_inputs_give_the_transposed_matrix() -> None:
    model, x, other = convolutional(), images(2), images(2)
    there, back = (
        rp.explain_similarity(model, *pair).pool(2).relevance() for pair in ((x, other), (other, x))
    )
    torch.testing.assert_close(there, back.permute(0, 3, 4, 1, 2))


def test_an_input_beside_itself_is_explained_once_and_symmetric() -> None:
    model, x, runs = convolutional(), images(), []
    model.register_forward_hook(lambda *_: runs.append(1))
    found = rp.explain_similarity(model, x, x)
    assert len(runs) == 1
    pairs = found.relevance().reshape(108, 108)
    torch.testing.assert_close(pairs, pairs.T)


def test_each_side_takes_one_forward() -> None:
    model, runs = convolutional(), []
    model.register_forward_hook(lambda *_: runs.append(1))
    rp.explain_similarity(model, images(), images())
    assert len(runs) == 2


@pytest.mark.parametrize(("size", "patch"), [(6, 2), (6, 3), (7, 3), (5, 8)])
def test_pooling_is_pooling_the_full_matrix(size: int, patch: int) -> None:
    found = explained(size)
    full = found.relevance().sum((1, 4))  # over channels: (2, H, W, H', W')
    cells = -(-size // patch)
    expected = torch.zeros(2, *[cells] * 4, dtype=torch.float64)
    for i in np.ndindex(*[size] * 4):
        expected[(slice(None), *[k // patch for k in i])] += full[(slice(None), *i)]
    torch.testing.assert_close(found.pool(patch).relevance(), expected)
    torch.testing.assert_close(found.pool(patch).gap, found.gap)


def test_pooling_at_once_or_twice_or_on_the_way_is_the_same() -> None:
    model, x, other = convolutional(), images(size=9), images(size=9)
    full = rp.explain_similarity(model, x, other)
    early = rp.explain_similarity(model, x, other, pool=4)
    assert early.first.factors.shape == (1, 5, 3, 3)
    for one in (full.pool(4), full.pool(2).pool(2)):
        assert one.first.patch == 4
        torch.testing.assert_close(one.relevance(), early.relevance())


def test_the_strongest_pairs_are_those_of_the_full_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explained()
    whole = found.relevance()[1].flatten()
    monkeypatch.setattr("rootpoint.similarity.AT_ONCE", 500)
    strongest = found.strongest(30, sample=1)
    expected = whole[whole.abs().argsort(descending=True)[:30]]
    torch.testing.assert_close(whole.new_tensor([p.relevance for p in strongest]), expected)
    for pair in strongest:
        at = found.relevance()[(1, *pair.first, *pair.second)]
        assert pair.relevance == pytest.approx(float(at))


def test_more_pairs_than_there_are_is_all_of_them() -> None:
    found = rp.explain_similarity(linear([1, 2], [0, 1]), row(1, 2), row(3, 1))
    assert len(found.strongest(100)) == 4


def test_the_cosine_counts_norms_as_constants() -> None:
    model, x, other = convolutional(), images(2), images(2)
    plain = rp.explain_similarity(model, x, other)
    cosine = rp.explain_similarity(model, x, other, normalize=True)
    torch.testing.assert_close(
        cosine.output, nn.functional.cosine_similarity(model(x), model(other)).detach()
    )
    norms = model(x).norm(dim=1) * model(other).norm(dim=1)
    expected = plain.relevance() / norms.detach().reshape(2, 1, 1, 1, 1, 1, 1)
    torch.testing.assert_close(cosine.relevance(), expected)
    torch.testing.assert_close(cosine.gap, plain.gap / norms.detach())


def test_two_towers_meet_in_their_outputs() -> None:
    images_of, words_of = convolutional(6), Encoder().double().eval()
    x, ids = images(), torch.tensor([[1, 4, 2]])
    found = rp.explain_similarity(
        images_of, x, ids, other_model=words_of, composite="epsilon", pool=(3, 1)
    )
    assert found.relevance().shape == (1, 2, 2, 3)
    torch.testing.assert_close(found.output, (images_of(x) * words_of(ids)).sum(1).detach())
    assert found.plot(names=None, other_names=["a", "striped", "cat"]).mode == "RGB"


def test_pairs_of_tokens_of_a_transformer() -> None:
    model = Encoder().double().eval()
    x = {"ids": torch.tensor([[1, 4, 2, 0]]), "mask": torch.tensor([[1, 1, 1, 0]])}
    other = {"ids": [[3, 4, 1]], "mask": [[1, 1, 1]]}
    found = rp.explain_similarity(model, x, other, composite="cp-lrp")
    assert found.relevance().shape == (1, 4, 3)
    assert found.method.composite == "cp-lrp"
    bound = rp.LRP(composite="cp-lrp").bind(model)
    each = [bound.each(v, list(range(6))) for v in (x, other)]
    a, b = (torch.cat([e.relevance["ids"] for e in side]) for side in each)
    torch.testing.assert_close(found.relevance()[0], a.T @ b)
    assert found.pool(2).relevance().shape == (1, 2, 2)


def test_ids_get_the_composite_for_ids() -> None:
    ids = torch.tensor([[1, 4, 2]])
    found = rp.explain_similarity(Encoder().double().eval(), ids, ids)
    assert found.method.composite == "attn-lrp"


def test_an_inner_module_is_explained_in_place_of_the_inputs() -> None:
    model, x, other = convolutional(), images(), images()
    composite = "epsilon(epsilon=1e-12)"
    found = rp.explain_similarity(model, x, other, at="1", composite=composite)
    assert found.first.factors.shape == (1, 5, 4, 6, 6)
    torch.testing.assert_close(found.gap, torch.zeros_like(found.gap), atol=1e-8, rtol=0)
    mixed = rp.explain_similarity(model, x, other, at=(None, "1"), composite=composite)
    assert mixed.relevance().shape == (1, 3, 6, 6, 4, 6, 6)


def test_sequences_of_vectors_are_pooled_into_spans() -> None:
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(20, 3, bias=False)).double().eval()
    found = rp.explain_similarity(model, x, x, composite="epsilon")
    full = found.relevance().sum((2, 4))
    torch.testing.assert_close(found.pool(5).relevance().flatten(), full.sum((1, 2)))
    assert found.pool(2).relevance().shape == (1, 3, 3)


def test_the_model_is_left_as_it_was() -> None:
    model = convolutional()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rp.explain_similarity(model, images(), images(), at="1")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_a_picture_is_laid_over_the_photos() -> None:
    photo = Image.new("RGB", (40, 60), "white")
    picture = explained().plot(photo, photo, sample=1)
    assert picture.mode == "RGB"
    assert min(picture.size) > 500


def test_inputs_are_drawn_themselves_where_no_photo_is_given() -> None:
    assert explained().plot(count=5).size == explained().pool(3).plot(count=5).size


def test_rows_and_texts_are_drawn_as_words() -> None:
    table = rp.explain_similarity(linear([1, 2], [0, 1]), row(1, 2), row(3, 1))
    assert table.plot(names=["age", "height"], other_names=["age", "height"]).mode == "RGB"
    ids = torch.tensor([[1, 4, 2]])
    text = rp.explain_similarity(Encoder().double().eval(), ids, ids)
    assert text.plot().mode == "RGB"
    assert text.pool(2).plot(names=["to", "be", "."]).mode == "RGB"
    with pytest.raises(InputError, match="2 names for 3 features"):
        text.plot(names=["to", "be"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Identity(), r"returns \(1, 3, 6, 6\) for 1 samples; a similarity needs \(1, M\)"),
        (nn.Flatten(0), r"returns \(108,\)"),
        (lambda x: (x.flatten(1), x), "returns tuple"),
    ],
)
def test_outputs_that_are_not_vectors_are_refused(model: Any, message: str) -> None:
    model = model.eval() if isinstance(model, nn.Module) else model
    with pytest.raises(InputError, match=message):
        rp.explain_similarity(model, images(), images())


def test_sides_that_do_not_match_are_refused() -> None:
    model = convolutional()
    with pytest.raises(InputError, match=r"\(2, 5\) and \(1, 5\): a similarity"):
        rp.explain_similarity(model, images(2), images(1))
    with pytest.raises(InputError, match=r"\(1, 5\) and \(1, 4\): a similarity"):
        rp.explain_similarity(model, images(), images(), other_model=convolutional(4))


def test_too_many_pairs_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rootpoint.similarity.LARGEST", 1000)
    with pytest.raises(InputError, match=r"2.3e\+04 pairs: pool them first"):
        explained().relevance()
    assert explained().pool(2).relevance().shape == (2, 3, 3, 3, 3)


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_patches_without_size_are_refused(size: Any) -> None:
    with pytest.raises(InputError, match="whole number from 1"):
        explained().pool(size)


def test_rows_of_a_table_cannot_be_pooled() -> None:
    found = rp.explain_similarity(linear([1, 2], [0, 1]), row(1, 2), row(3, 1))
    with pytest.raises(InputError, match="cannot be pooled"):
        found.pool(2)


def test_several_explained_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="takes 2 inputs that are explained"):
        rp.explain_similarity(lambda a, b: a + b, (row(1, 2), row(3, 4)), (row(1, 2), row(3, 4)))


def test_a_module_that_runs_twice_is_refused() -> None:
    half = linear([1, 2], [0, 1])
    with pytest.raises(InputError, match="ran 2 times"):
        rp.explain_similarity(nn.Sequential(half, half).eval(), row(1, 2), row(3, 1), at="0")


def test_no_cosine_of_zero() -> None:
    with pytest.raises(InputError, match="zero"):
        rp.explain_similarity(linear([1, 2]), row(2, -1), row(3, 1), normalize=True)


def test_no_pair_is_no_question() -> None:
    with pytest.raises(InputError, match="one pair or more"):
        explained().strongest(0)


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, rootpoint; assert 'rootpoint.similarity' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
