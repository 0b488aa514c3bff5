"""Convergence of maps: the closed form, where relevance starts, and what stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.evaluation.candidates import Explainer
from rootpoint.evaluation.convergence import alike, convergence, starts, vector_map
from rootpoint.evaluation.metric import Case

M = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64) / 3
CLOSED = {0: 0.0, 1: 0.8, 2: 0.975610, 4: 0.999695, 8: 0.99999995}


def case(model: nn.Module, inputs: Any, candidate: Any, seed: int = 0) -> Case:
    def unused(*given: Any) -> Any:
        raise AssertionError("convergence needs no scores")

    return Case(
        model=model,
        inputs=inputs,
        target=[0] * len(inputs),
        score=torch.zeros(len(inputs)),
        relevance=None,
        explainer=Explainer(candidate, model),
        baseline_score=None,
        numbers=list(range(len(inputs))),
        seed=seed,
        masks=None,
        scores=unused,
    )


def linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(*weight.T.shape, bias=False).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5, bias=False),
    ).eval()


def gradient(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    x = inputs.detach().clone().requires_grad_()
    output = model(x)
    chosen = output.gather(1, targets[:, None])
    return torch.autograd.grad(chosen.sum(), x)[0]


@pytest.mark.parametrize("candidate", [rp.Gradient(), gradient, rp.LRP(composite="alpha1-beta0")])
@pytest.mark.parametrize("depth", CLOSED)
def test_maps_of_unit_vectors_converge_as_powers_of_a_matrix(candidate: Any, depth: int) -> None:
    """Relevance starts at the output of so many layers of M; z⁺ shares it as M does, for x = 1."""
    model = nn.Sequential(nn.Identity(), *(linear(M) for _ in range(depth))).eval()
    one = case(model, torch.ones(1, 2, dtype=torch.float64), candidate)
    maps = [vector_map(one, "", lambda h, i=i: torch.eye(2).to(h)[i]) for i in (0, 1)]
    assert float(alike(*maps, "map")) == pytest.approx(CLOSED[depth], abs=5e-7)
    if depth == 8:
        assert 1 - float(alike(*maps, "map")) == pytest.approx(5e-8, abs=5e-9)


@pytest.mark.parametrize("depth", CLOSED)
def test_maps_of_inner_modules_have_gone_through_fewer_layers(depth: int) -> None:
    model = nn.Sequential(*(linear(M) for _ in range(9))).eval()
    one = case(model, torch.ones(1, 2, dtype=torch.float64), rp.Gradient())
    at = str(8 - depth)
    maps = [vector_map(one, "", lambda h, i=i: torch.eye(2).to(h)[i], at) for i in (0, 1)]
    assert float(alike(*maps, "map")) == pytest.approx(CLOSED[depth], abs=5e-7)


def test_the_sign_of_random_relevance_says_nothing() -> None:
    a = torch.tensor([[1.0, 2.0]])
    assert alike(a, -3 * a, "map").tolist() == pytest.approx([1.0])


def test_over_positions_it_is_the_median_of_those_where_there_is_relevance() -> None:
    a = torch.zeros(1, 2, 1, 4, dtype=torch.float64)
    b = torch.zeros_like(a)
    a[0, :, 0] = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]])
    b[0, :, 0] = torch.tensor([[0, 1, -2, 5], [1, 1, 0, 5]])  # cosines 0, 1/√2, −1, none
    assert float(alike(a, b, "positions")) == pytest.approx(0.5**0.5, abs=1e-12)


def test_what_is_not_defined_is_nan() -> None:
    zero, a = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert bool(alike(zero, a, "map").isnan())
    assert bool(alike(a, a, "positions").isnan())
    assert bool(alike(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2), "positions").isnan())
    assert bool(alike(torch.ones(1, 4), torch.ones(1, 4), "positions").isnan())


def test_relevance_may_start_at_each_layer_but_the_output() -> None:
    x = torch.randn(2, 3, 8, 8)
    assert starts(convolutional(), x, 10) == {"2": "2", "0": "0"}
    blocks = nn.Sequential(convolutional()[:4], convolutional()[4:]).eval()
    assert starts(blocks, x, 2) == {"0": "0"}


def test_the_map_of_epsilon_is_that_of_relevance_v_times_h() -> None:
    model = convolutional().double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    v = torch.randn(8, 8, 8, dtype=torch.float64)
    one = case(model, x, rp.LRP(composite="epsilon(epsilon=1e-12)"))
    found = vector_map(one, "2", lambda h: v)
    h = model[:3](x)
    assert found.flatten(1).sum(1).tolist() == pytest.approx((v * h).flatten(1).sum(1).tolist())
    leaf = x.clone().requires_grad_()
    slope = torch.autograd.grad((v * model[:3](leaf)).sum(), leaf)[0]
    assert torch.allclose(found, x * slope, atol=1e-8)


def test_functions_are_judged_as_methods_are() -> None:
    model, x = convolutional().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    mine = convergence(case(model, x, rp.Gradient()), 10, "map", None)
    theirs = convergence(case(model, x, gradient), 10, "map", None)
    assert mine[0] == theirs[0] == ["output", "2", "0"]
    assert torch.allclose(mine[1], theirs[1], atol=1e-12)


@pytest.mark.parametrize(
    "candidate",
    [
        rp.method("deeplift"),
        rp.method("integrated-gradients(steps=4)"),
        rp.method("guided-backprop"),
        rp.method("occlusion(window=4)"),
        rp.method("deep-taylor"),
    ],
)
def test_other_methods_go_the_same_way(candidate: Any) -> None:
    x = torch.rand(2, 3, 8, 8)
    names, found = convergence(case(convolutional(), x, candidate), 10, "map", None)
    assert names == ["output", "2", "0"]
    assert bool((found >= 0).all())
    assert bool((found <= 1).all())


def test_below_the_layer_that_a_method_explains_nothing_is_defined() -> None:
    x = torch.rand(2, 3, 8, 8)
    one = case(convolutional(), x, rp.method("grad-cam(layer='2')"))
    _, found = convergence(one, 10, "map", None)
    assert not bool(found[:, 0].isnan().any())
    assert bool(found[:, 2].isnan().all())


def test_the_model_and_the_global_random_state_stay_as_they_were() -> None:
    model, x = convolutional(), torch.rand(1, 3, 8, 8)
    state = torch.get_rng_state()
    convergence(case(model, x, rp.Gradient()), 10, "map", None)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_model_that_returns_no_tensor_is_refused() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"scores": self.inner(x)}

    one = case(Named().eval(), torch.rand(1, 4), rp.Gradient())
    with pytest.raises(InputError, match="returns a dict: relevance can start from a tensor"):
        convergence(one, 10, "map", None)


def test_functions_explain_no_inner_module() -> None:
    one = case(convolutional(), torch.rand(1, 3, 8, 8), gradient)
    with pytest.raises(InputError, match="leave out at='2'"):
        convergence(one, 10, "map", "2")


def test_a_sample_that_is_refused_from_an_inner_layer_is_not_defined_alone() -> None:
    model, x = convolutional(), torch.rand(3, 3, 8, 8)

    def picky(given: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        inner = any(m._forward_hooks for path, m in given.named_modules() if path)
        if inner and bool((inputs == x[1]).flatten(1).all(1).any()):
            raise InputError("the score is zero")
        return gradient(given, inputs, targets)

    _, found = convergence(case(model, x, picky), 10, "map", None)
    assert found.isnan().tolist() == [[False] * 3, [False, True, True], [False] * 3]
