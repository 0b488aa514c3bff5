"""The model and the process after an explanation, its cost, and where it may be called from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

from rootpoint import LRP, GradientTimesInput, Method
from rootpoint.errors import RootpointError
from rootpoint.propagation import PRESETS

pytestmark = pytest.mark.usefixtures("double")

METHODS = [LRP(composite="epsilon-gamma-box"), LRP(composite="epsilon"), GradientTimesInput()]
every_method = pytest.mark.parametrize("method", METHODS, ids=["gamma-box", "epsilon", "gradient"])


def network() -> nn.Sequential:
    first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    last = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 5))
    return nn.Sequential(first, nn.Conv2d(4, 4, 3), nn.ReLU(), last).eval()


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 8, 8)


# -- left as they were ---------------------------------------------------------------------------


def state(model: nn.Module) -> dict[str, Any]:
    """All of a model that could be changed, objects by their identity."""
    tensors = [*model.parameters(), *model.buffers()]
    return {
        "tensors": [id(t) for t in tensors],
        "values": [t.detach().clone().numpy().tobytes() for t in tensors],
        "versions": [t._version for t in tensors],
        "requires_grad": [t.requires_grad for t in tensors],
        "gradients": [None if t.grad is None else id(t.grad) for t in tensors],
        "hooks": [list(getattr(m, h)) for m in model.modules() for h in vars(m) if "hooks" in h],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "training": [m.training for m in model.modules()],
    }


def surroundings() -> dict[str, Any]:
    """All of the process that could be changed."""
    patched = (nn.Module, torch.Tensor, F, torch, torch.autograd)
    return {
        "modes": _get_current_function_mode_stack(),
        "random": torch.get_rng_state().tolist(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "names": [{name: id(value) for name, value in vars(p).items()} for p in patched],
    }


class Halted(nn.Module):
    """Raises in the middle of the forward pass."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.body, self.error = network(), error
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.body(x)
        raise self.error


@every_method
def test_the_model_and_the_process_are_left_as_they_were(method: Method) -> None:
    model, x = network(), images().requires_grad_()
    model[1].weight.requires_grad_(False)
    model[1].register_forward_hook(lambda module, args, output: None)
    model(x).sum().backward()
    method(model, x.detach(), 1)  # torch prepares some of itself at first use
    mine, gradient = x.detach().clone(), x.grad
    before, around = state(model), surroundings()
    bound = method.bind(model)
    bound.attribute(x, 1)
    bound(x, 1, at="1")
    bound.each(x, [0, "predicted"])
    assert state(model) == before
    assert surroundings() == around
    assert torch.equal(x, mine)
    assert x.grad is gradient


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
@every_method
def test_also_if_the_model_raises(method: Method, error: BaseException) -> None:
    model, x = Halted(error), images()
    before, around = state(model), surroundings()
    with pytest.raises(type(error)) as caught:
        method(model, x, 1, at="body.1")
    assert caught.value is error
    assert state(model) == before
    assert surroundings() == around


@pytest.mark.parametrize("target", [99, "cat", lambda output: output], ids=["99", "cat", "shape"])
@every_method
def test_also_if_the_target_cannot_be_used(method: Method, target: Any) -> None:
    model, x = network(), images()
    before, around = state(model), surroundings()
    with pytest.raises(RootpointError):
        method(model, x, target)
    assert state(model) == before
    assert surroundings() == around


def test_a_model_can_be_trained_before_and_after() -> None:
    model, x = network(), images()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        before = model[1].weight.detach().clone()
        LRP()(model, x, 1)
        optimizer.zero_grad()
        F.cross_entropy(model(x), torch.tensor([0, 1])).backward()
        optimizer.step()
        assert not torch.equal(model[1].weight, before)


def test_modules_may_have_forward_hooks_of_their_own() -> None:
    model, x = network(), images()
    model[1].register_forward_hook(lambda module, args, output: 2 * output)
    found = LRP(composite="epsilon(epsilon=0.0)")(model, x, 1).relevance
    assert torch.allclose(found, GradientTimesInput()(model, x, 1).relevance, rtol=1e-10)


# -- again, and at once --------------------------------------------------------------------------


@pytest.mark.parametrize("composite", PRESETS)
def test_a_second_call_gives_the_same_map(composite: str) -> None:
    model, x = network(), images()
    bound = LRP(composite=composite).bind(model)
    first = bound.attribute(x, 1)
    bound.attribute(images(3), 2)
    assert torch.equal(bound.attribute(x, 1), first)
    assert torch.equal(LRP(composite=composite)(model, x, 1).relevance, first)


@pytest.mark.parametrize("composite", PRESETS)
@pytest.mark.parametrize("at", [None, "1"])
def test_threads_on_one_model_get_the_maps_of_calls_in_turn(composite: str, at: str | None) -> None:
    model, threads = network(), 4
    inputs = [images() for _ in range(threads)]
    bound = LRP(composite=composite).bind(model)
    expected = [LRP(composite=composite)(model, x, 1, at=at).relevance for x in inputs]
    found: list[list[Tensor]] = [[] for _ in range(threads)]
    barrier = threading.Barrier(threads)

    def work(i: int) -> None:
        barrier.wait()
        for _ in range(5):
            found[i].append(bound(inputs[i], 1, at=at).relevance)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for mine, map_ in zip(found, expected, strict=True):
        assert len(mine) == 5
        assert all(torch.equal(m, map_) for m in mine)


def test_an_explanation_may_run_inside_another_models_forward() -> None:
    """As where a model weighs its input by what another one finds relevant."""
    inner, outer, x = network(), network(), images()
    weights = LRP()(inner, x, 1).relevance

    def model(y: Tensor) -> Tensor:
        return outer(y * LRP()(inner, x, 1).relevance)

    found = LRP()(model, x, 2).relevance
    expected = LRP()(lambda y: outer(y * weights), x, 2).relevance
    assert torch.equal(found, expected)


@every_method
def test_several_targets_cost_one_forward(method: Method) -> None:
    model, x = network(), images()
    calls: list[int] = []
    model[1].register_forward_hook(lambda module, args, output: calls.append(1))
    targets = [0, 3, "predicted", [1, 2]]
    found = method.bind(model).each(x, targets)
    assert len(calls) == 1
    for e, target in zip(found, targets, strict=True):
        assert torch.equal(e.relevance, method(model, x, target).relevance)


# -- where from ----------------------------------------------------------------------------------


SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "device": lambda: torch.device("cpu"),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True, check_nan=True),
    "saved tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("around", SURROUNDINGS.values(), ids=SURROUNDINGS.keys())
@pytest.mark.parametrize("composite", PRESETS)
def test_the_callers_context_changes_no_map(composite: str, around: Callable[[], Any]) -> None:
    model, x = network(), images()
    expected = LRP(composite=composite)(model, x, 1).relevance
    with around():
        e = LRP(composite=composite)(model, x.clone(), 1)
        books = e.balance
    assert torch.equal(e.relevance, expected)
    assert abs(books.gap) <= 1e-10 * e.output.abs().sum()


@pytest.mark.parametrize("composite", PRESETS)
def test_frozen_parameters_change_no_map(composite: str) -> None:
    model, x = network(), images()
    expected = LRP(composite=composite)(model, x, 1).relevance
    model.requires_grad_(False)
    assert torch.equal(LRP(composite=composite)(model, x, 1).relevance, expected)


@pytest.mark.parametrize("composite", PRESETS)
def test_memory_formats_change_no_map(composite: str) -> None:
    model, x = network(), images()
    expected = LRP(composite=composite)(model, x, 1).relevance
    model.to(memory_format=torch.channels_last)
    for y in (
        x.to(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        found = LRP(composite=composite)(model, y, 1).relevance
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["half", "bfloat16"])
@pytest.mark.parametrize("composite", PRESETS)
def test_half_precision_gives_the_same_map_roughly(composite: str, dtype: torch.dtype) -> None:
    """To some roundings of its norm, and finite where an image is black and units are dead."""
    model, x = network(), images()
    x[0] = 0
    expected = LRP(composite=composite)(model, x, 1).relevance
    found = LRP(composite=composite)(model.to(dtype), x.to(dtype), 1).relevance
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert (found.double() - expected).norm() <= 64 * torch.finfo(dtype).eps * expected.norm()


def test_autocast_gives_the_same_map_roughly() -> None:
    model, x = network().float(), images().float()
    expected = LRP()(model, x, 1).relevance
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LRP()(model, x, 1).relevance
    assert found.dtype == torch.float32
    assert (found - expected).norm() <= 0.05 * expected.norm()


# -- what a model may be -------------------------------------------------------------------------


class Two(nn.Module):
    """Sees two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)
        self.eval()

    def forward(self, image: Tensor, values: Tensor) -> Tensor:
        return self.conv(image).relu().mean((2, 3)) + self.linear(values)


def test_inputs_may_be_a_tuple_or_a_mapping() -> None:
    model, image, values = Two(), images(), torch.randn(2, 5)
    method = LRP(composite="epsilon(epsilon=0.0)")
    by_place = method(model, (image, values), 1)
    by_name = method(model, {"values": values, "image": image}, 1)
    assert [r.shape for r in by_place.relevance] == [image.shape, values.shape]
    assert by_name.relevance.keys() == {"values", "image"}
    assert torch.equal(by_name.relevance["image"], by_place.relevance[0])
    assert torch.equal(by_name.relevance["values"], by_place.relevance[1])
    first, second = GradientTimesInput()(model, (image, values), 1).relevance
    assert torch.allclose(by_place.relevance[0], first, rtol=1e-10)
    assert torch.allclose(by_place.relevance[1], second, rtol=1e-10)
    assert abs(by_place.balance.gap) <= 1e-10 * by_place.output.abs().sum()


def test_an_input_that_is_not_used_gets_zero() -> None:
    conv = nn.Conv2d(3, 4, 3)
    unused = torch.randn(2, 5)
    e = LRP()(lambda x, _: conv(x).mean((2, 3)), (images(), unused), 1)
    assert torch.equal(e.relevance[1], torch.zeros_like(unused))


def test_a_model_may_be_any_callable() -> None:
    module, x = network(), images()

    def function(x: Tensor) -> Tensor:
        return module(x)

    expected = LRP()(module, x, 1).relevance
    for model in (
        function,
        lambda x: module(x),
        module.forward,
        torch.nn.DataParallel(module).eval(),
    ):
        assert torch.equal(LRP()(model, x, 1).relevance, expected)


def test_an_output_may_be_anything_a_target_function_reads() -> None:
    module, x = network(), images()

    def model(x: Tensor) -> dict[str, Any]:
        return {"scores": [module(x)], "size": x.shape}

    found = LRP()(model, x, lambda output: output["scores"][0][:, 1]).relevance
    assert torch.equal(found, LRP()(module, x, 1).relevance)
