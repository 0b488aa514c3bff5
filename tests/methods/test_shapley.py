"""Shapley values of models: closed forms, sums, texts, budgets and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.methods.shapley import Shapley

ESTIMATORS = ["exact", "kernel", "permutation"]


@pytest.fixture
def t1() -> nn.Sequential:
    """The network T1 of the reference, f(1, 2) = 4.5."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double().eval()
    values = [[[1.0, 1], [-1, 2]], [0.0, -1], [[2.0, -1]], [0.5]]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float64)
    return net


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4),
        nn.Flatten(), nn.Linear(128, 16), nn.Tanh(), nn.Linear(16, 4),
    )  # fmt: skip
    net(torch.randn(8, 3, 16, 16))
    return net.eval()


def quarters(size: int = 16, per_side: int = 4) -> Tensor:
    index = torch.arange(size) // (size // per_side)
    return (index[:, None] * per_side + index)[None]


def loud(texts: list[str]) -> Tensor:
    """Counts words, and praise: "not" turns what follows."""
    praise = []
    for text in texts:
        words = text.split()
        turned = [-1.0 if before == "not" else 1.0 for before in ["", *words]]
        praise.append(sum(t for t, w in zip(turned, words, strict=False) if w == "good"))
    return torch.stack([torch.tensor([len(t.split()) for t in texts]), torch.tensor(praise)], 1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_two_layer_network(t1: nn.Module, estimator: str) -> None:
    found = Shapley(estimator=estimator)(t1, torch.tensor([[1.0, 2]], dtype=torch.float64))
    assert torch.allclose(found.relevance, torch.tensor([[2.5, 1.5]]).double(), atol=1e-12)
    assert found.baseline_output is not None
    assert float(found.baseline_output) == 0.5
    assert found.passes is not None
    assert found.passes.forward == 4


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_function_of_three(estimator: str) -> None:
    x = torch.tensor([[1.0, 2, 3]], dtype=torch.float64)
    found = Shapley(estimator=estimator)(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x)
    assert torch.allclose(found.relevance, torch.tensor([[1.0, 1, 3]]).double(), atol=1e-10)


@pytest.mark.parametrize("estimator", ["exact", "kernel"])
def test_the_largest_of_three(estimator: str) -> None:
    x = torch.tensor([[3.0, 2, 1]], dtype=torch.float64)
    found = Shapley(estimator=estimator)(lambda x: x.max(1).values, x)
    expected = torch.tensor([[11, 5, 2]]).double() / 6
    assert torch.allclose(found.relevance, expected, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_relevance_sums_to_what_the_baseline_takes_away(network: Any, estimator: str) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = Shapley(features=quarters(per_side=2), estimator=estimator, budget=40)(network, x)
    assert found.relevance.shape == x.shape
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.abs().max()) < 1e-5
    assert found.baseline_output is not None
    black = network(torch.zeros(1, 3, 16, 16))[0, found.target]
    assert torch.allclose(found.baseline_output, black, atol=1e-5)


def test_the_values_of_a_feature_share_its_value_equally(network: Any) -> None:
    x = torch.randn(1, 3, 16, 16)
    found = Shapley(features=quarters(per_side=2))(network, x)
    patch = found.relevance[0, :, :8, :8]
    assert torch.allclose(patch, patch[0, 0, 0].expand_as(patch))
    assert float(patch.sum()) == pytest.approx(float(found.details["values"][0][0]), rel=1e-5)


@pytest.mark.parametrize("estimator", ["kernel", "permutation"])
def test_samples_of_a_batch_are_explained_as_if_alone(network: Any, estimator: str) -> None:
    network, x = network.double(), torch.randn(3, 3, 16, 16).double()
    method = Shapley(features=quarters(), estimator=estimator, budget=150)
    together = method(network, x)
    for i in range(3):
        alone = method(network, x[i : i + 1])
        assert torch.allclose(together.relevance[i], alone.relevance[0], atol=1e-9)
        assert torch.allclose(together.standard_error[i], alone.standard_error[0], atol=1e-9)


def test_each_target_is_explained_as_if_alone(network: Any) -> None:
    x = torch.randn(1, 3, 16, 16)
    method = Shapley(features=quarters(), budget=150)
    for target, found in zip([0, 2], method.bind(network).each(x, [0, 2]), strict=True):
        assert torch.allclose(found.relevance, method(network, x, target).relevance)


def test_several_replacements_count_by_their_mean_score() -> None:
    data = torch.randn(5, 3, dtype=torch.float64)
    x = torch.tensor([[1.0, 2, 3]], dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        return x.prod(1)

    found = Shapley(baseline=data)(model, x)
    each = [Shapley(baseline=row)(model, x).relevance for row in data]
    assert torch.allclose(found.relevance, torch.stack(each).mean(0))
    assert found.baseline_output is not None
    assert torch.allclose(found.baseline_output, model(data).mean())
    assert found.passes is not None
    assert found.passes.forward == 1 + 5 * 7


def test_the_budget_counts_each_replacement() -> None:
    data, x = torch.randn(4, 8), torch.ones(1, 8)
    seen = 0

    def model(x: Tensor) -> Tensor:
        nonlocal seen
        seen += len(x)
        return x.prod(1) + x.sum(1) ** 2

    found = Shapley(baseline=data, estimator="kernel", budget=400)(model, x)
    assert seen - 1 <= 400
    assert found.passes is not None
    assert found.passes.forward == seen


def test_words_of_texts() -> None:
    texts = ["so good", "this is not good"]
    found = Shapley()(loud, texts, 1)
    assert [len(r) for r in found.relevance] == [2, 4]
    assert torch.allclose(found.relevance[0], torch.tensor([0.0, 1]))
    # only "not" right before "good" turns it; "is" and "this" never stand between them
    assert torch.allclose(found.relevance[1], torch.tensor([0.0, 0, -1, 0]))
    assert found.details["words"] == [("so", "good"), ("this", "is", "not", "good")]
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.abs().max()) < 1e-6


def test_a_model_that_computes_with_numpy() -> None:
    def model(x: Any) -> Any:
        return np.asarray(x) @ np.array([1.0, -2, 3])

    found = Shapley()(model, torch.ones(1, 3).double())
    assert torch.allclose(found.relevance, torch.tensor([[1.0, -2, 3]]).double())


def test_exact_if_the_budget_allows_it_else_kernel() -> None:
    def model(x: Tensor) -> Tensor:
        return x.prod(1) + x.sum(1)

    x = 1 + torch.rand(1, 8)
    exact, kernel = Shapley(budget=255)(model, x), Shapley(budget=254)(model, x)
    assert exact.details["estimator"] == ["exact"]
    assert exact.standard_error is None
    assert kernel.details["estimator"] == ["kernel"]
    assert kernel.standard_error.shape == x.shape
    many = Shapley(budget=10**6, accuracy=0.1)(lambda x: x.sum(1), torch.rand(1, 20))
    assert many.details["estimator"] == ["kernel"]


def test_the_standard_error_is_that_of_a_value(network: Any) -> None:
    x, z = torch.randn(8, 3, 16, 16), []
    for seed in range(4):
        method = Shapley(features=quarters() // 2, estimator="kernel", budget=100, seed=seed)
        found, exact = method(network, x), Shapley(features=quarters() // 2)(network, x)
        assert exact.details["estimator"] == ["exact"] * 8
        z.append((found.relevance - exact.relevance) / found.standard_error)
    assert 0.8 < float(torch.stack(z).square().mean().sqrt()) < 1.25


def test_images_have_superpixels_and_tables_columns() -> None:
    pytest.importorskip("skimage")
    x = torch.rand(1, 3, 48, 48)
    found = Shapley(baseline=-1.0)(lambda x: x[:, 0, :24].sum((1, 2)), x)
    mask, values = found.details["features"][0], found.details["values"][0]
    assert mask.shape == (1, 48, 48)
    assert int(mask.max()) + 1 == len(values) > 1
    table = Shapley()(lambda x: x[:, 0] * x[:, 1], torch.ones(1, 4))
    assert table.details["features"][0].tolist() == [0, 1, 2, 3]


def test_sampling_stops_early_or_says_that_it_could_not(network: Any) -> None:
    x = torch.randn(1, 3, 16, 16)
    rough = Shapley(features=quarters(), estimator="kernel", accuracy=1.0)(network, x)
    assert rough.passes is not None
    assert rough.passes.forward <= 66
    assert not rough.notes
    fine = Shapley(features=quarters(), estimator="kernel", accuracy=1e-9, budget=100)(network, x)
    assert "the budget of 100 evaluations was spent" in fine.notes[0]


def test_the_model_and_the_random_state_stay_as_they_were(network: Any) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    Shapley(features=quarters(), budget=150)(network, torch.randn(1, 3, 16, 16).mul(1.0))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    torch.set_rng_state(state)
    Shapley(features=quarters(), budget=150)(network, torch.ones(1, 3, 16, 16))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_constant_score_is_refused(estimator: str) -> None:
    with pytest.raises(InputError, match=r"stays 3 whichever features.*another baseline"):
        Shapley(estimator=estimator)(lambda x: 3 + 0 * x.sum(1), torch.rand(1, 4))
    with pytest.raises(InputError, match="of sample 1 stays"):
        Shapley(estimator=estimator)(lambda x: x.sum(1), torch.tensor([[1.0, 2], [0, 0]]))


@pytest.mark.parametrize(("estimator", "least"), [("kernel", 41), ("permutation", 37)])
def test_a_budget_below_the_minimum_names_it(estimator: str, least: int) -> None:
    with pytest.raises(InputError, match=f"of 10 features need a budget of at least {least}"):
        Shapley(estimator=estimator, budget=20)(lambda x: x.sum(1), torch.rand(1, 10))


def test_refusals_name_the_remedy(network: Any) -> None:
    x = torch.randn(1, 3, 16, 16)
    with pytest.raises(InputError, match="estimator='kernel', or fewer, larger features"):
        Shapley(estimator="exact")(lambda x: x.sum(1), torch.rand(1, 17))
    with pytest.raises(InputError, match="a feature mask of shape"):
        Shapley(features=torch.zeros(5, 5, dtype=torch.long))(network, x)
    with pytest.raises(InputError, match="leave out at="):
        Shapley()(network, x, at="0")
    with pytest.raises(InputError, match=r"neither images .* nor rows of a table"):
        Shapley()(lambda x: x.sum((1, 2)), torch.rand(1, 4, 5))
    with pytest.raises(InputError, match="shapley explains one tensor"):
        Shapley()(lambda a, b: a.sum(1) + b.sum(1), (torch.rand(1, 2), torch.rand(1, 2)))
    with pytest.raises(UnsupportedModelError, match="training mode"):
        Shapley()(network.train(), x)


def test_refusals_of_texts_name_the_remedy() -> None:
    with pytest.raises(InputError, match=r"give a list of texts, \[text\]"):
        Shapley()(loud, "so good")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="text 1 has no words"):
        Shapley()(loud, ["good", " "], 1)
    with pytest.raises(InputError, match="give no features or baseline"):
        Shapley(features="columns")(loud, ["so good"], 1)
    with pytest.raises(InputError, match="no text to explain"):
        Shapley()(loud, [], 1)


def test_it_is_its_parameters() -> None:
    assert eval(repr(Shapley())) == Shapley()
    assert Shapley(budget=3) != Shapley()
    assert hash(Shapley(budget=3)) == hash(Shapley(budget=3))
    with pytest.raises(InputError, match="choose one of"):
        Shapley(estimator="guess")
