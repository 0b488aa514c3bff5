"""Taylor expansion of the whole model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.methods.taylor import Taylor

ONES = torch.ones(2, dtype=torch.float64)
X = torch.tensor([[2.0, 3.0]], dtype=torch.float64)


def product(x: Tensor) -> Tensor:
    return x.prod(1, keepdim=True)


def network(act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), act(), nn.Linear(8, 3)).double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 4, dtype=torch.float64)


def test_the_product_of_two_to_first_order() -> None:
    found = Taylor(root=ONES)(product, X)
    assert found.relevance.tolist() == [[1.0, 2.0]]
    assert found.baseline_output is not None
    assert found.baseline_output.tolist() == [1.0]
    assert found.completeness_gap is not None
    assert found.completeness_gap.tolist() == [2.0]
    assert found.passes == (2, 1)


def test_the_product_of_two_to_second_order() -> None:
    found = Taylor(root=ONES, order=2)(product, X)
    assert found.details["first-order"].tolist() == [[1.0, 2.0]]
    assert found.details["second-order"].sum().item() == 2.0
    assert found.details["interactions"].tolist() == [[[0.0, 1.0], [1.0, 0.0]]]
    assert found.relevance.tolist() == [[2.0, 3.0]]
    assert found.relevance.sum().item() == 5.0
    assert found.completeness_gap is not None
    assert found.completeness_gap.tolist() == [0.0]
    assert found.passes == (3, 5)


@given(
    w=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    start=st.floats(-3, 3),
    order=st.sampled_from((1, 2)),
)
def test_linear_models_give_w_times_x_minus_the_root(
    w: list[float], start: float, order: int
) -> None:
    weight = torch.tensor(w, dtype=torch.float64)
    x = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, 1.0]], dtype=torch.float64)
    found = Taylor(root=start, order=order)(lambda x: (x @ weight + 1)[:, None], x)
    torch.testing.assert_close(found.relevance, (x - start) * weight)
    assert found.completeness_gap is not None
    assert found.completeness_gap.abs().max() < 1e-10


def test_second_order_terms_are_those_of_the_hessian(x: Tensor) -> None:
    model, root = network(), torch.randn(4).double()
    found = Taylor(root=root, order=2)(model, x, 1)
    hessian = torch.func.hessian(lambda v: model(v)[1])(root)
    way = x - root
    expected = hessian * way[:, :, None] * way[:, None, :] / 2
    torch.testing.assert_close(found.details["interactions"], expected)
    torch.testing.assert_close(found.details["second-order"], expected.sum(2))
    torch.testing.assert_close(
        found.relevance, found.details["first-order"] + found.details["second-order"]
    )


def test_quadratic_models_are_complete_to_second_order(x: Tensor) -> None:
    matrix = torch.randn(4, 4).double()

    def model(x: Tensor) -> Tensor:
        return (x @ matrix * x).sum(1, keepdim=True) + x.sum(1, keepdim=True)

    found = Taylor(root=torch.randn(5, 4).double(), order=2)(model, x)
    assert found.completeness_gap is not None
    assert found.completeness_gap.abs().max() < 1e-12


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU])
def test_a_root_is_found_where_the_score_is_zero(act: type[nn.Module], x: Tensor) -> None:
    model = network(act)
    found = Taylor()(model, x, "predicted")
    root = found.details["root"]
    score = model(root).gather(1, torch.tensor(found.target)[:, None])[:, 0]
    assert (score.abs() <= 1e-10 * found.output.abs()).all()
    torch.testing.assert_close(score, found.baseline_output)
    leaf = root.clone().requires_grad_()
    picked = model(leaf).gather(1, torch.tensor(found.target)[:, None]).sum()
    (slope,) = torch.autograd.grad(picked, leaf)
    torch.testing.assert_close(found.relevance, slope * (x - root))


def test_a_searched_root_is_complete_where_no_kink_lies_between() -> None:
    weight = torch.tensor([1.0, -2.0, 0.5]).double()
    x = torch.randn(4, 3).double()
    found = Taylor()(lambda x: (x @ weight + 1)[:, None], x)
    torch.testing.assert_close(found.relevance.sum(1), found.output)
    # the nearest root lies along the weights
    shift = x - found.details["root"]
    expected = found.output[:, None] * weight / weight.square().sum()
    torch.testing.assert_close(shift, expected)


def test_a_batch_is_explained_as_its_samples_are_one_by_one(x: Tensor) -> None:
    for method in (Taylor(), Taylor(order=2), Taylor(root=0.1)):
        together = method(network(), x)
        for i in range(5):
            alone = method(network(), x[i : i + 1])
            torch.testing.assert_close(together.relevance[i], alone.relevance[0])


def test_piecewise_linear_models_are_said_to_have_no_second_order(x: Tensor) -> None:
    found = Taylor(root=0.0, order=2)(network(nn.ReLU), x)
    assert not found.details["second-order"].any()
    assert found.notes == ("there are no second-order terms: the score is linear near the root",)


def test_large_samples_have_second_order_terms_but_no_list_of_interactions() -> None:
    x = torch.randn(2, 3, 10, 10).double()
    found = Taylor(root=0.0, order=2)(lambda x: x.flatten(1).square().sum(1, keepdim=True), x)
    torch.testing.assert_close(found.details["second-order"], x.square())
    assert "interactions" not in found.details
    assert found.notes == ("interactions are listed for at most 256 values, not 300",)


def positive(x: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True) + 1


def certain(x: Tensor) -> Tensor:
    return x.clamp(max=0).sum(1, keepdim=True) + 1


@pytest.mark.parametrize("model", [positive, certain])
def test_a_score_without_a_root_is_refused(model: Any) -> None:
    with pytest.raises(InputError, match=r"no root .* give the root point as a number or a tensor"):
        Taylor()(model, X)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (torch.zeros(3), r"the root \(3,\) fits neither one sample \(2,\) nor the batch \(1, 2\)"),
        ("zero", "root='zero' is neither 'search', a number nor a tensor"),
        (None, "fits neither"),
    ],
)
def test_a_root_that_does_not_fit_is_refused(root: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Taylor(root=root)(product, X)


class Once(torch.autograd.Function):
    """A square whose derivative cannot be derived again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * g


def test_a_model_without_second_derivatives_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no second derivatives: use order=1"):
        Taylor(root=ONES, order=2)(lambda x: Once.apply(x).exp().sum(1, keepdim=True), X)


def test_orders_and_inner_modules_that_do_not_exist_are_refused(x: Tensor) -> None:
    with pytest.raises(InputError, match="order=3; choose one of 1, 2"):
        Taylor(order=3)
    with pytest.raises(InputError, match="not inner modules"):
        Taylor()(network(), x, at="0")
    with pytest.raises(InputError, match="taylor explains one tensor, not a tuple"):
        Taylor()(network(), (x,))
