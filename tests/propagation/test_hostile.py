"""Models written against the grain: the map of the plain form, or an error that says what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from rootpoint import LRP
from rootpoint.errors import RootpointError

pytestmark = pytest.mark.usefixtures("double")

Model = Callable[[Tensor], Any]
COMPOSITES = ["epsilon(epsilon=0.0)", "epsilon-plus-flat"]
_GENERATOR = torch.Generator().manual_seed(3)


def weights(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_GENERATOR, dtype=torch.float64) / shape[-1] ** 0.5


W, V, U = weights(6, 6), weights(6, 6), weights(3, 6)
X = weights(4, 6) * 3


def first(x: Tensor) -> Tensor:
    return F.relu(F.linear(x, W))


def last(h: Tensor) -> Tensor:
    return F.linear(h, U)


def plain(x: Tensor) -> Tensor:
    return last(F.relu(F.linear(first(x), V)))


def layers() -> nn.Sequential:
    """The plain network, of modules."""
    model = nn.Sequential(
        nn.Linear(6, 6, bias=False),
        nn.ReLU(),
        nn.Linear(6, 6, bias=False),
        nn.ReLU(),
        nn.Linear(6, 3, bias=False),
    )
    with torch.no_grad():
        for layer, weight in zip(model[::2], (W, V, U), strict=True):
            layer.weight.copy_(weight)
    return model.eval()


# -- forms of models whose map is that of a plain form ---------------------------------------------


def added_to_a_column(x: Tensor) -> Tensor:
    h = first(x).clone()
    h[:, 0] += h[:, 1]
    return last(h)


def added_out_of_place(x: Tensor) -> Tensor:
    h = first(x)
    return last(torch.cat([h[:, :1] + h[:, 1:2], h[:, 1:]], 1))


def chunk_scaled_in_place(x: Tensor) -> Tensor:
    h = first(x).clone()
    h.narrow(1, 0, 3).mul_(2)
    return last(h)


def chunk_scaled(x: Tensor) -> Tensor:
    return last(first(x) * torch.tensor([2.0, 2, 2, 1, 1, 1]))


def by_value(x: Tensor) -> Tensor:
    h = first(x)
    return last(F.relu(F.linear(h, V))) if h.sum().item() > 0 else last(h)


def looped(x: Tensor) -> Tensor:
    h = x
    for _ in range(int(x.shape[0] > 1) + 1):
        h = F.relu(F.linear(h, W))
    return last(h)


def twice(x: Tensor) -> Tensor:
    return last(F.relu(F.linear(first(x), W)))


def tied() -> Model:
    model = layers()
    model[2].weight = model[0].weight
    return model


def reused() -> Model:
    model = layers()
    return nn.Sequential(model[0], model[1], model[0], model[1], model[4]).eval()


def hook_on_values() -> Model:
    model = layers()
    model[1].register_forward_hook(lambda _m, _i, out: out * 2)
    return model


def hook_before() -> Model:
    model = layers()
    model[2].register_forward_pre_hook(lambda _m, given: (given[0] * 2,))
    return model


def doubled(x: Tensor) -> Tensor:
    return last(F.relu(F.linear(first(x) * 2, V)))


def parametrized(change: Callable[[nn.Module], Any]) -> Callable[[], Model]:
    def make() -> Model:
        model = layers()
        change(model[2])
        return model.eval()

    return make


def in_inference_mode() -> Model:
    with torch.inference_mode():
        return layers()


def functional_call() -> Model:
    model = layers()
    state = dict(model.state_dict())
    return lambda x: torch.func.functional_call(model, state, (x,))


def overwritten_input(x: Tensor) -> Tensor:
    x.mul_(2)
    return plain(x)


def doubled_input(x: Tensor) -> Tensor:
    return plain(x * 2)


class Counting(nn.Module):
    """Keeps tensors of the last call, as caches do."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.kept = layers(), None

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.body(x)
        return self.kept


class Named(Tensor):
    """A subclass of tensors with nothing of its own."""


def subclassed(x: Tensor) -> Tensor:
    return plain(x.as_subclass(Named)).as_subclass(Tensor)


def logging_hook(x: Tensor) -> Tensor:
    h = first(x)
    h.register_hook(lambda g: None)
    return last(F.relu(F.linear(h, V)))


def parallel() -> Model:
    return nn.DataParallel(layers()).eval()


def with_dictionary(x: Tensor) -> Any:
    return {"logits": plain(x), "none": None, "float": 1.0}


def with_a_compiled_part() -> Model:
    model = layers()
    model[0] = torch.compile(model[0], backend="eager")
    return model


def compiled_as_a_whole() -> Model:
    return torch.compile(layers(), backend="eager")


RIGHT: dict[str, tuple[Callable[[], Model], Model]] = {
    "a column added to in place": (lambda: added_to_a_column, added_out_of_place),
    "a view scaled in place": (lambda: chunk_scaled_in_place, chunk_scaled),
    "control flow by values": (lambda: by_value, plain),
    "a loop": (lambda: looped, twice),
    "a compiled part": (with_a_compiled_part, plain),
    "compiled as a whole": (compiled_as_a_whole, plain),
    "tied weights": (tied, twice),
    "a layer used twice": (reused, twice),
    "a forward hook that changes values": (hook_on_values, doubled),
    "a forward pre-hook that changes values": (hook_before, doubled),
    "weight norm": (parametrized(parametrizations.weight_norm), plain),
    "pruning": (parametrized(lambda m: prune.identity(m, "weight")), plain),
    "functional_call": (functional_call, plain),
    "an input overwritten": (lambda: overwritten_input, doubled_input),
    "state between calls": (lambda: Counting().eval(), plain),
    "a hook that only looks at gradients": (lambda: logging_hook, plain),
    "data parallel": (parallel, plain),
    "a dictionary with none and floats": (lambda: with_dictionary, plain),
}


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", RIGHT)
def test_the_map_is_that_of_the_plain_form(name: str, composite: str) -> None:
    make, form = RIGHT[name]
    given = X.clone()
    expected = LRP(composite=composite)(form, X.clone(), 1)
    model = make()
    for _ in range(2):
        found = LRP(composite=composite)(model, given, 1)
        assert torch.allclose(found.relevance, expected.relevance, rtol=1e-9, atol=1e-12)
        assert found.balance.gap == pytest.approx(0, abs=1e-9)
    assert torch.equal(given, X)


# -- forms that are refused ------------------------------------------------------------------------


class Lying(torch.autograd.Function):
    """A cube whose gradient is said to be one."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        return h**3

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


@torch.library.custom_op("rootpoint_hostile::cube", mutates_args=())
def cube(h: Tensor) -> Tensor:
    return h**3


cube.register_autograd(lambda ctx, grad: grad)


def written_by_out(x: Tensor) -> Tensor:
    h = first(x)
    out = torch.empty_like(h)
    with torch.no_grad():
        torch.mul(h, 2, out=out)
    return last(out)


def changed_gradients(x: Tensor) -> Tensor:
    h = first(x)
    h.register_hook(lambda g: g * 5)
    return last(h)


def changed_node(x: Tensor) -> Tensor:
    h = first(x)
    assert h.grad_fn is not None
    h.grad_fn.register_hook(lambda given, _: tuple(g if g is None else g * 5 for g in given))
    return last(h)


def backward_hook() -> Model:
    model = layers()
    model[2].register_full_backward_hook(lambda _m, given, _g: (given[0] * 5,))
    return model


def quantized() -> Model:
    model = torch.ao.quantization.quantize_dynamic(layers().float(), {nn.Linear}, torch.qint8)
    for module in model.modules():
        module.training = False  # its own layers begin in training mode
    return lambda x: model(x.float())


@dataclass
class Scores:
    logits: Any


def narrowed(x: Tensor) -> Tensor:
    h = first(x)
    h.narrow(1, 0, 3).mul_(2)
    return last(h)


REFUSED: dict[str, tuple[Callable[[], Model], str]] = {
    "an inverse": (lambda: lambda x: last(torch.linalg.inv(first(x)[:, None] + W)[:, 0]), "inv"),
    "a lying function of autograd's": (lambda: lambda x: last(Lying.apply(first(x))), "Lying"),
    "a custom operator": (lambda: lambda x: last(cube(first(x))), "cube"),
    "vmap": (lambda: torch.vmap(lambda s: U @ F.relu(W @ s) ** 2), "torch.func.*PermuteBackward"),
    "a gradient inside": (
        lambda: lambda x: last(torch.func.grad(lambda h: first(h).square().sum())(x)),
        "torch.func.*MmBackward",
    ),
    "quantized weights": (quantized, "linear_dynamic"),
    "complex numbers": (lambda: lambda x: last(torch.fft.fft(first(x)).abs()), "complex"),
    "pairs as complex": (
        lambda: lambda x: torch.view_as_complex(first(x).reshape(-1, 3, 2)).abs(),
        "complex",
    ),
    "out=": (lambda: written_by_out, "does not depend"),
    "data": (lambda: lambda x: last(first(x).data), "does not depend"),
    "grad mode switched off": (
        lambda: lambda x: (torch.set_grad_enabled(False) and None) or plain(x),
        "does not depend",
    ),
    "a hook that changes gradients": (lambda: changed_gradients, "hook"),
    "a hook on a node that changes gradients": (lambda: changed_node, "grad_fn.*hooks"),
    "a backward hook": (backward_hook, "full backward hook"),
    "traced": (lambda: torch.jit.trace(nn.Tanh().eval(), X), "TorchScript"),
    "numpy": (lambda: lambda x: plain(x).detach().numpy(), "numpy"),
    "a number": (lambda: lambda x: plain(x).sum().item(), "a float, not a tensor: give"),
    "nothing": (lambda: lambda x: None, "a NoneType, not a tensor: give"),
    "a dataclass of nothing": (lambda: lambda x: Scores(None), "a Scores, not a tensor: give"),
    "NaN": (lambda: lambda x: plain(x) * float("nan"), "NaN or infinite: nothing to explain"),
    "parameters of inference mode": (in_inference_mode, "inference_mode.*deepcopy"),
    "a tensor subclass": (lambda: subclassed, "as_subclass"),
    "a view of a rectified value scaled in place": (lambda: narrowed, "out of place"),
    "training mode": (lambda: nn.Sequential(nn.Dropout(), layers()).train(), "training mode"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_explained_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with torch.enable_grad(), pytest.raises(RootpointError, match=message):
        LRP()(make(), X.clone(), 1)


def state(model: nn.Module) -> Any:
    """All that an explanation could leave behind, with copies of the values."""
    modules = [
        (m.training, list(m._forward_hooks), list(m._backward_hooks), sorted(vars(m)))
        for m in model.modules()
    ]
    parameters = [(p.requires_grad, p.grad) for p in model.parameters()]
    return modules, parameters, copy.deepcopy(model.state_dict())


def assert_left_as_it_was(model: nn.Module, before: Any) -> None:
    modules, parameters, values = state(model)
    assert (modules, parameters) == before[:2]
    assert values.keys() == before[2].keys()
    assert all(torch.equal(values[name], was) for name, was in before[2].items())


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(layers(), nn.BatchNorm1d(3)).eval()
    model[0][0].weight.requires_grad_(False)
    model[0][1].register_forward_hook(lambda _m, _i, out: out * 2)
    before = state(model)
    LRP()(model, X, 1)
    assert_left_as_it_was(model, before)


def test_a_model_that_is_refused_is_left_as_it_was() -> None:
    class Refused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.norm = layers(), nn.BatchNorm1d(3)
            self.layers[1].register_forward_hook(lambda _m, _i, out: out * 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.layers(x))
            return torch.linalg.inv(h[:, :1, None] + 2)[:, 0] * h

    model = Refused().eval()
    before, grads = state(model), torch.is_grad_enabled()
    for explained in (X, X[0], X * float("nan")):
        with pytest.raises((RootpointError, ValueError)):  # the model itself refuses the second
            LRP()(model, explained, 1)
        assert_left_as_it_was(model, before)
        assert torch.is_grad_enabled() == grads
