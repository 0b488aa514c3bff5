"""LIME of models: what it finds in images, texts and tables, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.methods.surrogate import LIME


def thirds(size: int = 12) -> Tensor:
    index = torch.arange(size) // (size // 3)
    return (index[:, None] * 3 + index)[None]


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(54, 3)
    ).eval()


def praise(texts: list[str]) -> Tensor:
    rows = [text.split() for text in texts]
    return torch.tensor([[float(len(r)), 2.0 * r.count("good") - r.count("bad")] for r in rows])


def test_a_linear_model_of_a_table_has_its_contributions() -> None:
    x = torch.tensor([[1.0, -2, 3, 0.5]], dtype=torch.float64)
    w = torch.tensor([2.0, 1, -1, 4], dtype=torch.float64)
    found = LIME(ridge=0.0)(lambda x: x @ w + 5, x)
    assert torch.allclose(found.relevance, x * w, atol=1e-9)
    assert float(found.details["intercept"]) == pytest.approx(5)
    assert float(found.details["score"]) == pytest.approx(1)
    assert torch.allclose(found.details["local_prediction"], found.output)
    assert found.baseline_output is None


def test_a_penalty_draws_weights_to_zero() -> None:
    x = torch.tensor([[1.0, -2, 3]], dtype=torch.float64)
    sizes = [
        float(LIME(ridge=ridge)(lambda x: x.sum(1), x).relevance.abs().sum())
        for ridge in (0.0, 1.0, 100.0, 10000.0)
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_a_hidden_patch_of_an_image_takes_its_own_mean_colour() -> None:
    x = torch.randn(1, 3, 12, 12)
    seen: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        seen.append(x)
        return x[:, :, :4, :4].square().sum((1, 2, 3))

    found = LIME(features=thirds(), budget=200)(model, x)
    hidden = next(s for s in torch.cat(seen[1:]) if not torch.equal(s[:, :4, :4], x[0, :, :4, :4]))
    mean = x[0, :, :4, :4].mean((1, 2), keepdim=True)
    assert torch.allclose(hidden[:, :4, :4], mean.expand(3, 4, 4), atol=1e-6)
    values = found.details["values"][0]
    assert values.argmax() == 0
    assert float(values[1:].abs().max()) < 0.1 * float(values[0])
    assert found.relevance.shape == x.shape
    assert float(found.relevance[0, :, :4, :4].sum()) == pytest.approx(float(values[0]), rel=1e-5)


def test_the_words_that_count() -> None:
    found = LIME()(praise, ["a good day", "bad bad luck , good heart"], 1)
    assert [len(r) for r in found.relevance] == [3, 6]
    assert torch.allclose(found.relevance[0], torch.tensor([0.0, 2, 0]), atol=0.02)
    expected = torch.tensor([-1.0, -1, 0, 0, 2, 0])
    assert torch.allclose(found.relevance[1], expected, atol=0.05)
    assert found.details["words"][1] == ("bad", "bad", "luck", ",", "good", "heart")


def test_equal_samples_are_evaluated_once() -> None:
    found = LIME()(praise, ["a good day"], 1)
    assert found.passes is not None
    assert found.passes.forward == 1 + 7


def test_only_as_many_features_as_asked_for_have_a_weight() -> None:
    x = torch.tensor([[5.0, 1, -4, 0.1, 2, 0.2, 3, 0.3, 6]])
    for number, kept in ((2, {0, 8}), (7, {0, 1, 2, 4, 6, 8, 7})):
        found = LIME(selected=number)(lambda x: x.sum(1), x)
        assert set(found.relevance[0].nonzero().flatten().tolist()) == kept
    assert int(LIME()(lambda x: x.sum(1), x).relevance.count_nonzero()) == 9


def test_errors_are_as_large_as_the_standard_errors_say() -> None:
    x = torch.rand(1, 10, dtype=torch.float64) + 0.5

    def model(x: Tensor) -> Tensor:
        return x.prod(1) * 20 + x[:, :5].max(1).values

    wanted = LIME(budget=10**4, ridge=0.0)(model, x).relevance
    z = []
    for seed in range(30):
        found = LIME(budget=200, ridge=0.0, seed=seed)(model, x)
        z.append((found.relevance - wanted) / found.standard_error)
    assert 0.7 < float(torch.cat(z).square().mean().sqrt()) < 1.3


def test_sampling_stops_early_or_says_that_it_could_not(network: Any) -> None:
    x = torch.randn(1, 3, 12, 12)
    rough = LIME(features=thirds(), accuracy=10.0)(network, x)
    assert rough.passes is not None
    assert rough.passes.forward <= 101
    assert not rough.notes
    fine = LIME(features=thirds(), accuracy=1e-9, budget=50)(network, x)
    assert "the budget of 50 evaluations was spent" in fine.notes[0]


def test_samples_of_a_batch_are_explained_as_if_alone(network: Any) -> None:
    network, x = network.double(), torch.randn(3, 3, 12, 12).double()
    method = LIME(features=thirds(), budget=100)
    together = method(network, x)
    for i in range(3):
        alone = method(network, x[i : i + 1])
        assert torch.allclose(together.relevance[i], alone.relevance[0], atol=1e-9)
    again = LIME(features=thirds(), budget=100, seed=1)(network, x)
    assert not torch.allclose(together.relevance, again.relevance)


def test_the_kind_decides_the_distance() -> None:
    x = torch.rand(1, 6) + 1

    def model(x: Tensor) -> Tensor:
        return x.prod(1)

    table, image = LIME()(model, x), LIME(kind="image", baseline=0.0, budget=5000)(model, x)
    assert not torch.allclose(table.relevance, image.relevance)
    assert torch.equal(LIME(kind="table")(model, x).relevance, table.relevance)
    wide = LIME(kernel_width=1e6)(model, x).relevance
    assert torch.allclose(LIME(kind="image", baseline=0.0, kernel_width=1e6, budget=5000)(
        model, x).relevance, wide, atol=1e-6)  # fmt: skip


def test_refusals_name_the_remedy(network: Any) -> None:
    def total(x: Tensor) -> Tensor:
        return x.flatten(1).sum(1)

    with pytest.raises(InputError, match="lime with 10 features needs a budget of at least 12"):
        LIME(budget=11)(total, torch.rand(1, 10))
    with pytest.raises(InputError, match=r"stays 3 whichever features.*another baseline"):
        LIME()(lambda x: 3 + 0 * x.sum(1), torch.rand(1, 4))
    with pytest.raises(InputError, match="set kind= to 'image' or 'table'"):
        LIME()(total, torch.rand(1, 4, 5))
    with pytest.raises(InputError, match="kind='text' does not fit"):
        LIME(kind="text")(total, torch.rand(1, 4))
    with pytest.raises(InputError, match="kind='table' does not fit"):
        LIME(kind="table")(praise, ["so good"], 1)
    with pytest.raises(InputError, match="a feature mask of shape"):
        LIME(features=torch.zeros(5, 5, dtype=torch.long))(network, torch.rand(1, 3, 12, 12))
    with pytest.raises(InputError, match="leave out at="):
        LIME()(network, torch.rand(1, 3, 12, 12), at="0")
    with pytest.raises(InputError, match="lime explains one tensor"):
        LIME()(lambda a, b: a.sum(1), (torch.rand(1, 2), torch.rand(1, 2)))


def test_it_is_its_parameters() -> None:
    assert eval(repr(LIME())) == LIME()
    assert LIME(selected=3) != LIME()
