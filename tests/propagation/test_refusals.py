"""What cannot be explained is refused, by an error that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint as rp
from rootpoint import LRP, GradientTimesInput, UnsupportedOperationError
from rootpoint.errors import UnsupportedModelError
from rootpoint.propagation.call import Call
from rootpoint.propagation.operations import TABLE
from rootpoint.propagation.rules import DEFAULTS, RULES

pytestmark = pytest.mark.usefixtures("double")

CONV = nn.Conv2d(3, 4, 3, dtype=torch.float64)
DENSE = nn.Linear(4, 5, dtype=torch.float64)


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8)


class Whitened(nn.Module):
    """Scores by the solution of linear equations."""

    def __init__(self) -> None:
        super().__init__()
        self.covariance = nn.Parameter(torch.eye(144))

    def forward(self, h: Tensor) -> Tensor:
        d = torch.linalg.solve(self.covariance, h.T).T
        return -d


def test_an_unknown_operation_is_named_with_its_module_and_source_line() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), Whitened())).eval()
    with pytest.raises(UnsupportedOperationError) as caught:
        LRP()(model, images(), 1)
    message = str(caught.value)
    assert "no rule for torch.linalg.solve," in message
    assert "a matrix is decomposed or inverted" in message
    assert "1.1 (Whitened)" in message
    assert "test_refusals.py:" in message
    assert "d = torch.linalg.solve(self.covariance, h.T).T" in message
    assert "rootpoint.rule" in message


def test_an_unknown_operation_beside_the_path_is_none_of_ours() -> None:
    table = torch.randn(2, 4)

    def model(x: Tensor) -> Tensor:
        scale = torch.linalg.svdvals(table).mean()
        return CONV(x).mean((2, 3)) * scale

    assert LRP()(model, images(), 1).relevance.isfinite().all()


@pytest.fixture
def tables() -> Iterator[None]:
    """The rules that a test registers are gone after it."""
    kept = [(table, dict(table)) for table in (TABLE, DEFAULTS, RULES)]
    yield
    for table, value in kept:
        table.clear()
        table.update(value)


@pytest.mark.usefixtures("tables")
def test_a_rule_can_bring_an_operation_of_its_own() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(CONV(x)).mean((2, 3))

    x = images()
    with pytest.raises(UnsupportedOperationError, match="matrix_exp"):
        LRP()(model, x, 1)

    @rp.rule("by-size", operation=torch.linalg.matrix_exp)
    def by_size(call: Call, m: Tensor, *, share: float = 1.0) -> Tensor:
        """R_i = share · R_j · z_j / a_j."""
        return share * m * call.output / call.input

    def held(x: Tensor) -> Tensor:
        h = CONV(x)
        return (h * (torch.linalg.matrix_exp(h) / h).detach()).mean((2, 3))

    e = LRP(composite="epsilon(epsilon=0.0)")(model, x, 1)
    expected = GradientTimesInput()(held, x, 1).relevance
    assert torch.allclose(e.relevance, expected, rtol=1e-10)
    assert str(by_size(share=0.5)) == "by-size(share=0.5)"


REFUSED: dict[str, Any] = {
    "decomposed or inverted": lambda h: torch.linalg.inv(h).sum((-2, -1)),
    "relevance of complex numbers": lambda h: torch.fft.fft(h).abs().sum((-2, -1)),
    "relevance of complex numbers is": lambda h: (h.to(torch.complex128) * 2).real.sum((-2, -1)),
    "a loss: explain the scores before it": lambda h: F.cross_entropy(
        h, torch.zeros(len(h), 6, 6, dtype=torch.long), reduction="none"
    ).sum(-1),
    "binary_cross_entropy.*a loss": lambda h: F.binary_cross_entropy(
        h.sigmoid(), torch.ones_like(h), reduction="none"
    ).sum((-2, -1)),
    "only sums, means and extremes": lambda h: h.scatter_reduce(
        1, torch.zeros(h.shape, dtype=torch.long), h, "prod"
    ).sum((-2, -1)),
    "where to sample": lambda h: torch.grid_sampler(h, h[:, :2, :2, :2], 0, 0, False).sum((-2, -1)),
    "several operands": lambda h: torch.atan2(h, h).sum((-2, -1)),
    "neither a sum nor a selection": lambda h: torch.gradient(h, dim=1)[0].sum((-2, -1)),
    "with n=-1 inverts": lambda h: torch.linalg.matrix_power(h, -1).sum((-2, -1)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_gives_its_reason(reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        LRP()(lambda x: REFUSED[reason](CONV(x)), images(), 1)


# -- operations that cannot be seen --------------------------------------------------------------


class Squash(nn.Module):
    """Not piecewise linear, so that its gradient is not its rule."""

    def forward(self, h: Tensor) -> Tensor:
        return torch.tanh(h) * 2.0


class Unseen(torch.autograd.Function):
    """An autograd function, which torch calls without asking anyone."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return h**3

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        return 3 * h**2 * grads[0]


def scripted() -> Any:
    return torch.jit.script(Squash())


def vectorized() -> Any:
    return torch.vmap(lambda sample: CONV.weight.sum() * F.relu(sample) ** 2)


UNSEEN: dict[str, Any] = {
    "TorchScript": scripted,
    "autograd": lambda: Unseen.apply,
    "vmap": vectorized,
}


@pytest.mark.parametrize("make", UNSEEN.values(), ids=UNSEEN.keys())
@pytest.mark.parametrize("place", ["first", "inside", "last", "branch", "concatenated"])
def test_operations_that_cannot_be_seen_never_give_a_wrong_map(make: Any, place: str) -> None:
    unseen = make()

    def model(x: Tensor) -> Tensor:
        if place == "first":
            return DENSE(CONV(unseen(x)).mean((2, 3)))
        h = F.relu(CONV(x)).mean((2, 3))
        if place == "inside":
            return DENSE(unseen(h))
        if place == "last":
            return unseen(DENSE(h))
        if place == "branch":
            return DENSE(h + unseen(h))
        return DENSE(torch.cat([h[:, :2], unseen(h)[:, 2:]], 1))

    with pytest.raises(UnsupportedOperationError):
        LRP()(model, images(), 1)


# -- scores that do not depend on the input, as far as can be seen -------------------------------


def without_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return DENSE(CONV(x).mean((2, 3)))


def first_half_without_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        h = CONV(x).mean((2, 3))
    return DENSE(h)


def in_inference_mode(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return DENSE(CONV(x).mean((2, 3)))


def detached(x: Tensor) -> Tensor:
    return DENSE(CONV(x).mean((2, 3)).detach())


def through_numpy(x: Tensor) -> Tensor:
    return DENSE(torch.from_numpy(CONV(x).mean((2, 3)).detach().numpy()))


@pytest.mark.parametrize(
    "model",
    [without_grad, first_half_without_grad, in_inference_mode, detached, through_numpy],
    ids=lambda model: model.__name__,
)
@pytest.mark.parametrize("method", [LRP(), GradientTimesInput()], ids=["lrp", "gradient"])
def test_a_score_cut_off_from_the_input_is_refused(method: Any, model: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="does not depend on the input"):
        method(model, images(), 1)


def test_a_branch_without_grad_is_a_constant_that_absorbs() -> None:
    def model(x: Tensor) -> Tensor:
        with torch.no_grad():
            cut = F.relu(CONV(x))
        return (F.relu(CONV(x)) * 2 + cut).mean((2, 3))

    e = LRP(composite="epsilon(epsilon=0.0)")(model, images(), 1)
    assert e.balance.absorbed["constant"] == pytest.approx(e.output.sum().item() / 3)


# -- models that are not what they were ----------------------------------------------------------


def test_a_model_in_training_mode_is_refused_by_the_name_of_the_part_that_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Dropout(), nn.ReLU())).eval()
    model[1][0].train()
    with pytest.raises(UnsupportedModelError, match=r"1\.0 is in training mode.*eval\(\)"):
        LRP()(model, images(), 1)


def test_a_value_that_gradients_need_must_not_be_overwritten() -> None:
    def model(x: Tensor) -> Tensor:
        h = torch.sigmoid(CONV(x)) * 1.0
        h.view(2, -1).relu_()
        h.mul_(2)
        return h.mean((2, 3))

    with pytest.raises(UnsupportedModelError, match="out of place"):
        GradientTimesInput()(model, images(), 1)
