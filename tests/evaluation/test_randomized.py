"""Randomized copies: which layers, in which order, what is drawn, and what stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.evaluation.randomized import Layer, layers, randomize, randomized


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
    ).eval()


class Odd(nn.Module):
    """Runs in another order than it registers, uses a weight without its module, and not all."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.idle = nn.Linear(6, 6)
        self.middle = nn.Linear(6, 6)
        self.first = nn.Linear(4, 6)
        self.scale = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        h = F.linear(self.first(x), self.middle.weight, bias=self.middle.bias)
        return self.head(torch.stack([h, self.scale.expand_as(h)]).sum(0).relu())


X = torch.randn(2, 4)


def modules(found: list[Layer]) -> list[tuple[str, ...]]:
    return [layer.modules for layer in found]


def same(a: nn.Module, b: nn.Module, path: str) -> bool:
    mine, theirs = a.get_submodule(path).state_dict(), b.get_submodule(path).state_dict()
    return all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_layers_come_in_the_order_in_which_they_run_the_top_one_first() -> None:
    assert modules(layers(Odd().eval(), X, 10)) == [("head",), ("",), ("middle",), ("first",)]


def test_a_layer_used_twice_lies_where_it_is_used_last() -> None:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    assert modules(layers(nn.Sequential(a, b, nn.ReLU(), a), X, 10)) == [("0",), ("1",)]


def test_attention_weights_that_no_module_call_shows_are_found() -> None:
    model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    found = {path for layer in layers(model, torch.randn(1, 3, 4), 20) for path in layer.modules}
    assert {"self_attn", "self_attn.out_proj", "linear1", "linear2", "norm1", "norm2"} == found


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
def test_of_too_many_layers_neighbours_are_joined_and_the_top_one_is_not(limit: int) -> None:
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)) for _ in range(6)]
    model = nn.Sequential(nn.Sequential(*blocks), nn.Linear(4, 3))
    found = layers(model, X, limit)
    assert len(found) <= limit
    assert len(found) == min(limit, 13)
    owners = [path for layer in found[::-1] for path in layer.modules]
    assert owners == [f"0.{i}.{j}" for i in range(6) for j in (0, 2)] + ["1"]
    assert limit == 1 or found[0] == Layer("1", "1", ("1",))
    assert len({layer.name for layer in found}) == len(found)


def test_blocks_are_layers_where_there_are_enough() -> None:
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)) for _ in range(4)]
    found = layers(nn.Sequential(*blocks), X, 4)
    assert [layer.name for layer in found] == ["3", "2", "1", "0"]


def test_cascading_draws_from_the_top_down() -> None:
    model = network()
    chosen = layers(model, X, 10)
    changed = [
        [not same(model, copy, path) for path in ("4", "2", "0")]
        for copy in randomized(model, chosen, "cascading", 0)
    ]
    assert changed == [[True, False, False], [True, True, False], [True, True, True]]


def test_independent_draws_one_layer_alone() -> None:
    model = network()
    chosen = layers(model, X, 10)
    changed = [
        [not same(model, copy, path) for path in ("4", "2", "0")]
        for copy in randomized(model, chosen, "independent", 0)
    ]
    assert changed == [[True, False, False], [False, True, False], [False, False, True]]


def test_every_order_draws_the_same_for_a_layer() -> None:
    model = network()
    chosen = layers(model, X, 10)
    (full,) = randomized(model, chosen, "full", 0)
    for copy, path in zip(randomized(model, chosen, "independent", 0), "420", strict=True):
        assert same(full, copy, path)
    *_, cascaded = randomized(model, chosen, "cascading", 0)
    assert all(same(full, cascaded, path) for path in "420")


def test_the_seed_decides() -> None:
    model = network()
    chosen = layers(model, X, 10)
    (a,), (b,), (c,) = (list(randomized(model, chosen, "full", seed)) for seed in (0, 0, 1))
    assert same(a, b, "")
    assert not same(a, c, "2")


def test_the_model_and_the_global_random_state_stay_as_they_were() -> None:
    model = Odd().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    for _ in randomized(model, layers(model, X, 10), "cascading", 0):
        pass
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training
    assert not any(m._forward_hooks for m in model.modules())


def test_tied_parameters_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).relu())

    model = Tied().eval()
    (copy,) = randomized(model, layers(model, X, 10), "full", 0)
    assert copy.a.weight is copy.b.weight
    assert not torch.equal(copy.a.weight, model.a.weight)


def test_modules_draw_by_their_own_rule() -> None:
    model = nn.Sequential(nn.Linear(100, 50), nn.BatchNorm1d(50)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    model[1].running_mean.fill_(3.0)
    model[1].running_var.fill_(5.0)
    chosen = layers(model, torch.randn(2, 100), 10)
    (copy,) = randomized(model, chosen, "full", 0)
    assert 0 < float(copy[0].weight.detach().abs().max()) <= 0.1
    for value, expected in zip(copy[1].state_dict().values(), (1, 0, 0, 1), strict=False):
        assert bool((value == expected).all())


def test_other_parameters_become_noise_of_their_own_mean_and_deviation() -> None:
    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(3 + 2 * torch.rand(20_000, dtype=torch.float64))
            self.one = nn.Parameter(torch.tensor(4.0))

    model = Raw()
    before = model.weight.detach().clone()
    randomize(model, Layer("all", "", ("",)), 0)
    assert float(model.weight.detach().mean()) == pytest.approx(float(before.mean()), abs=0.02)
    assert float(model.weight.detach().std()) == pytest.approx(float(before.std()), rel=0.02)
    assert float(torch.corrcoef(torch.stack([before, model.weight.detach()]))[0, 1]) < 0.05
    assert float(model.one.detach()) == 4  # it has no deviation


def test_parametrized_weights_are_drawn_through_what_they_are_made_of() -> None:
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))).eval()
    before = model[0].weight.detach().clone()
    (copy,) = randomized(model, layers(model, X, 10), "full", 0)
    assert not torch.allclose(copy[0].weight, before, atol=0.05)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="uses no parameter of its own"):
        layers(nn.Sequential(nn.ReLU()), X, 10)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    class Locked(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no copies")

    model = Locked(4, 3)
    with pytest.raises(UnsupportedModelError, match=r"Locked cannot be copied.*no copies"):
        next(randomized(model, layers(model, X, 10), "full", 0))
