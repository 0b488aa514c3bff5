"""Inputs: what can be explained, and what is said about what cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from rootpoint import LRP, Gradient, GradientTimesInput, Method, explain
from rootpoint.errors import InputError, UnsupportedModelError

METHODS: list[Method] = [LRP(), Gradient()]


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)).eval()


BAD: dict[str, tuple[Any, str]] = {
    "integers": (torch.ones(1, 3, dtype=torch.long), "integers.*use .float()"),
    "booleans": (torch.ones(1, 3, dtype=torch.bool), "relevance needs floating point"),
    "complex": (torch.ones(1, 3, dtype=torch.complex64), "relevance needs floating point"),
    "NaN": (torch.tensor([[1.0, torch.nan, 0.0]]), "the input holds NaN or infinity: clean"),
    "infinity": (torch.tensor([[1.0, -torch.inf, 0.0]]), "holds NaN or infinity"),
    "empty": (torch.ones(0, 3), r"the input is empty, of shape \(0, 3\)"),
    "no features": (torch.ones(2, 0), r"the input is empty, of shape \(2, 0\)"),
    "a number": (torch.tensor(1.0), "the input has no dimension"),
    "a list": ([[1.0, 2.0, 3.0]], "is a list, not a torch.Tensor"),
    "an array": (torch.ones(1, 3).numpy(), "is a ndarray, not a torch.Tensor"),
    "nothing": ((), "there is no input to explain"),
    "no names": ({}, "there is no input to explain"),
    "one of several": (
        (torch.ones(1, 3), [1.0]),
        "input 1 is a list",
    ),
    "one by name": ({"x": torch.ones(1, 3), "mask": [0.5]}, "input 'mask' is a list"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("inputs", "message"), BAD.values(), ids=BAD)
def test_an_input_that_cannot_be_explained_is_refused(
    model: nn.Module, inputs: Any, message: str, method: Method
) -> None:
    with pytest.raises(InputError, match=message):
        method(model, inputs, 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_in_training_mode_is_refused(model: nn.Module, method: Method) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"the model is in training mode.*model.eval\(\)"
    ):
        method(model.train(), torch.ones(1, 3))
    model.eval()[2].train()  # pyright: ignore
    with pytest.raises(UnsupportedModelError, match="2 is in training mode"):
        method(model, torch.ones(1, 3))


def detached(x: Tensor) -> Tensor:
    return x.detach() * 2


def under_no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def constant(x: Tensor) -> Tensor:
    return torch.ones(len(x), 2)


def through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().numpy() * 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("function", [detached, under_no_grad, constant, through_numpy])
def test_a_score_that_does_not_depend_on_the_input_is_refused(
    method: Method, function: Callable[[Tensor], Tensor]
) -> None:
    with pytest.raises(
        UnsupportedModelError, match="does not depend on the input: the model detaches"
    ):
        method(function, torch.ones(1, 2), 0)


@pytest.mark.parametrize("method", METHODS)
def test_several_inputs_have_relevance_each(method: Method) -> None:
    w = torch.randn(3, 2)
    a, b, c = torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 5)

    def model(a: Tensor, b: Tensor, unused: Tensor) -> Tensor:
        return a @ w + 2 * (b @ w)

    found = method(model, (a, b, c), 1).relevance
    assert isinstance(found, tuple)
    assert [r.shape for r in found] == [a.shape, b.shape, c.shape]
    assert (found[2] == 0).all()
    named = method(model, {"unused": c, "b": b, "a": a}, 1).relevance
    assert list(named) == ["unused", "b", "a"]
    for name, r in zip(("a", "b", "unused"), found, strict=True):
        torch.testing.assert_close(named[name], r, rtol=0, atol=0)


def test_relevance_of_several_inputs_adds_up() -> None:
    w = torch.randn(3, 2, dtype=torch.float64)
    a, b = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    exact = LRP(composite="epsilon(epsilon=0.0)")
    found = exact(lambda a, b: (a @ w - b @ w).relu(), (a, b), lambda y: y.sum(1))
    total = sum(r.sum(1) for r in found.relevance)
    torch.testing.assert_close(total, found.output)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
def test_relevance_has_the_inputs_precision(model: nn.Module, method: Method, dtype: Any) -> None:
    found = method(model.to(dtype), torch.randn(2, 3, dtype=dtype), 0).relevance
    widens = isinstance(method, LRP) and dtype.itemsize < 4  # relevance is computed in float32
    assert found.dtype == (torch.float32 if widens else dtype)
    assert found.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_the_users_tensors_stay_as_they_were(model: nn.Module, method: Method) -> None:
    x = torch.randn(2, 3, requires_grad=True)
    before = x.detach().clone()
    found = method(lambda x: model(x.mul_(2)), x, 0)
    torch.testing.assert_close(x.detach(), before, rtol=0, atol=0)
    assert x.requires_grad
    assert x.grad is None
    assert not found.relevance.requires_grad
    assert not found.output.requires_grad
    assert not found.prediction.requires_grad
    assert found.inputs is x
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_does_not_matter(
    model: nn.Module, method: Method, context: Callable[[], Any]
) -> None:
    x = torch.randn(2, 3)
    expected = method(model, x, 0).relevance
    with context():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found = method(model, x * 1, 0).relevance
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    torch.testing.assert_close(found, expected)


def test_frozen_parameters_are_no_obstacle(model: nn.Module) -> None:
    x = torch.randn(2, 3)
    expected = explain(model, x, 0).relevance
    torch.testing.assert_close(explain(model.requires_grad_(False), x, 0).relevance, expected)


def test_memory_layouts_do_not_matter() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)).eval()
    x = torch.randn(2, 3, 5, 5)
    expected = explain(model, x, 0).relevance
    for same in (
        x.to(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
        x.repeat(1, 1, 1, 2)[..., :5],
    ):
        torch.testing.assert_close(
            explain(model, same, 0).relevance, expected, rtol=1e-4, atol=1e-5
        )


def test_a_constant_spread_over_the_batch() -> None:
    """An expanded tensor, whose elements share memory, is an input like another."""
    x = torch.randn(1, 3).expand(4, 3)
    found = GradientTimesInput()(lambda x: x.mul_(torch.arange(1, 5)[:, None]), x, 0).relevance
    torch.testing.assert_close(found[:, 0], x[:, 0] * torch.arange(1, 5))
    assert (found[:, 1:] == 0).all()


def test_an_estimator_is_to_be_neuralized_first() -> None:
    estimator = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(UnsupportedModelError, match=r"LinearRegression.*rp\.neuralize\(model\)"):
        explain(estimator, torch.ones(1, 1))
