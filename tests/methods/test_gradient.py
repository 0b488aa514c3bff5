"""The gradient's size, for one decision and over a data set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint import GradientTimesInput
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.methods.gradient import DataSensitivity, Gradient, Sensitivity, data_sensitivity


def t1() -> nn.Sequential:
    """The 2-2-1 ReLU network of the reference: f(1, 2) = 4.5, gradient (3, 0)."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double().eval()
    model[0].weight.data = torch.tensor([[1.0, 1.0], [-1.0, 2.0]]).double()
    model[0].bias.data = torch.tensor([0.0, -1.0]).double()
    model[2].weight.data = torch.tensor([[2.0, -1.0]]).double()
    model[2].bias.data = torch.tensor([0.5]).double()
    return model


X = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
CUBES = torch.tensor([[1.0, -2.0], [3.0, 0.0]], dtype=torch.float64)


def half_square(x: Tensor) -> Tensor:
    """Its gradient is x itself."""
    return x.square().sum(1, keepdim=True) / 2


def test_t1() -> None:
    torch.testing.assert_close(Gradient()(t1(), X).relevance, torch.tensor([[3.0, 0.0]]).double())
    found = Sensitivity()(t1(), X)
    assert found.relevance.tolist() == [[9.0, 0.0]]
    assert found.output.item() == 4.5
    assert found.baseline_output is None
    assert GradientTimesInput()(t1(), X).completeness_gap.item() == 1.5


def test_the_squared_sensitivity_sums_to_the_squared_slope() -> None:
    x = torch.randn(3, 2, dtype=torch.float64)
    slope = Gradient()(t1(), x).relevance
    found = Sensitivity()(t1(), x).relevance
    torch.testing.assert_close(found.sum(1), slope.norm(dim=1) ** 2)
    torch.testing.assert_close(Sensitivity(aggregate="absolute")(t1(), x).relevance, slope.abs())


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("mean-square", [5**0.5, 2**0.5]),  # (2.236068, 1.414214)
        ("absolute", [2.0, 1.0]),
        ("maximum", [3.0, 2.0]),
    ],
)
@pytest.mark.parametrize("form", ["tensor", "array", "batches"])
def test_zuradas_aggregates(aggregate: str, expected: list[float], form: str) -> None:
    data = {"tensor": CUBES, "array": CUBES.numpy(), "batches": [(CUBES[:1], 0), (CUBES[1:], 0)]}
    found = data_sensitivity(half_square, data[form], aggregate=aggregate)
    torch.testing.assert_close(found.values, torch.tensor(expected).double())
    assert found.samples == 2
    assert found.ranking.tolist() == [0, 1]


def test_variables_before_the_largest_gap_are_relevant() -> None:
    found = DataSensitivity(torch.tensor([0.9, 0.01, 1.0, 0.009]), 5)
    assert found.ranking.tolist() == [2, 0, 1, 3]
    assert found.relevant.tolist() == [2, 0]
    assert DataSensitivity(torch.tensor([2.0, 0.0, 1.0, 0.0]), 5).relevant.tolist() == [0, 2]
    assert DataSensitivity(torch.ones(3), 5).relevant.tolist() == [0, 1, 2]
    assert DataSensitivity(torch.zeros(3), 5).relevant.tolist() == [0, 1, 2]
    assert DataSensitivity(torch.ones(1), 5).relevant.tolist() == [0]


def test_a_data_set_that_cannot_be_aggregated_is_refused() -> None:
    with pytest.raises(InputError, match="no data"):
        data_sensitivity(half_square, [])
    with pytest.raises(InputError, match="choose one of mean-square, absolute, maximum"):
        data_sensitivity(half_square, CUBES, aggregate="median")


def test_a_model_that_computes_with_numpy_has_no_gradient() -> None:
    for model in (
        lambda x: torch.from_numpy(np.tanh(x.numpy())),
        lambda x: np.tanh(x.detach().numpy()),
    ):
        with pytest.raises(UnsupportedModelError, match="computes with numpy: use a method"):
            Gradient()(model, X, 0)
