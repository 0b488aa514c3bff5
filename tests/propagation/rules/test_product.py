"""Rules for products: gates are constants, equals share equally, scales are linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import rules

Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")
Two = Callable[[Tensor, Tensor], Tensor]

PRODUCTS: dict[str, Two] = {
    "a * b": lambda a, b: a * b,
    "torch.mul": torch.mul,
    "mul_": lambda a, b: a.clone().mul_(b),
    "matmul": lambda a, b: a[:, None] @ b[:, :, None],
    "bmm": lambda a, b: torch.bmm(a[:, None], b[:, :, None]),
    "einsum": lambda a, b: torch.einsum("bi,bi->b", a, b),
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_the_operands_of_a_product_share_equally(send: Send, product: Two) -> None:
    """R_a = R_b = R / 2 for every term of the product."""
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    found = send(product, (a, b))
    torch.testing.assert_close(found[0], a * b / 2)
    torch.testing.assert_close(found[1], a * b / 2)


def test_a_swiglu_shares_equally(send: Send) -> None:
    """gate 2, up 3: silu(2) · 3 = 5.284782; R = 1 gives (1/2, 1/2)."""
    gate, up = torch.tensor([[2.0]]), torch.tensor([[3.0]])
    y = (F.silu(gate) * up).item()
    assert y == pytest.approx(5.284782, abs=1e-6)
    found = send(lambda g, u: F.silu(g) * u, (gate, up), m=torch.tensor([[1 / y]]))
    assert [r.item() for r in found] == pytest.approx([0.5, 0.5])


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "F.sigmoid": F.sigmoid,
    "method": lambda g: g.sigmoid(),
    "module": nn.Sigmoid(),
    "in place": lambda g: g.clone().sigmoid_(),
    "hardsigmoid": nn.Hardsigmoid(),
    "reshaped": lambda g: g.sigmoid().reshape(2, 3, 1).squeeze(-1),
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
@pytest.mark.parametrize(
    "product", [lambda a, g: a * g, lambda a, g: g * a, lambda a, g: torch.mul(a, other=g)]
)
def test_the_signal_of_a_gated_product_takes_all(
    send: Send, gate: Callable[[Tensor], Tensor], product: Two
) -> None:
    """y = a σ(g): R_a = y m and R_g = 0."""
    a, g, m = torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 3)
    found = send(lambda a, g: product(a, gate(g)), (a, g), m=m)
    torch.testing.assert_close(found[0], a * gate(g) * m)
    assert (found[1] == 0).all()


def test_squeeze_excitation_conserves(send: Send) -> None:
    """x σ(w₂ relu(w₁ mean x)): the branch that makes the gate gets nothing, and Σ R = f."""
    squeeze, excite = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def block(x: Tensor) -> Tensor:
        gate = excite(squeeze(F.adaptive_avg_pool2d(x, 1)).relu()).sigmoid()
        return x * gate

    x = torch.randn(2, 4, 3, 3)
    m = torch.randn(2, 4, 3, 3)
    y = block(x).detach()
    for rule in (rules.zero(), rules.z_plus(), rules.flat()):
        found = send(block, x, rule, m=m)
        torch.testing.assert_close(found, y * m)


def test_a_product_of_gates_shares_equally(send: Send) -> None:
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    found = send(lambda a, b: a.sigmoid() * b.sigmoid(), (a, b))
    for r in found:
        torch.testing.assert_close(r, a.sigmoid() * b.sigmoid() / 2)


def test_a_composite_may_share_gated_products_equally(send: Send) -> None:
    a, g = torch.randn(2, 3), torch.randn(2, 3)
    found = send(lambda a, g: a * g.sigmoid(), (a, g), rules.uniform(), kind="product")
    for r in found:
        torch.testing.assert_close(r, a * g.sigmoid() / 2)


def test_a_square_by_product_is_the_square(send: Send) -> None:
    """x · x: both halves meet again."""
    x = torch.randn(2, 3)
    torch.testing.assert_close(send(lambda x: x * x, x), x * x)


SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "3 * x": lambda x: 3 * x,
    "x * c": lambda x: x * torch.tensor([2.0, -1.0]),
    "x.mul(c)": lambda x: x.mul(torch.tensor([[2.0], [3.0]])),
    "x / 4": lambda x: x / 4,
    "x / c": lambda x: x / torch.tensor([2.0, -1.0]),
    "x.div_": lambda x: x.clone().div_(0.5),
    "-x": lambda x: -x,
    "neg": torch.neg,
}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_scaling_by_constants_passes_relevance(
    send: Send, scale: Callable[[Tensor], Tensor]
) -> None:
    """At the input and behind a linear map alike: R_in = R_out."""
    x, w = torch.randn(2, 2), torch.randn(2, 2)
    torch.testing.assert_close(send(scale, x), scale(x))
    expected = x * (torch.autograd.functional.vjp(lambda x: scale(x @ w), x, torch.ones(2, 2))[1])
    torch.testing.assert_close(send(lambda x: scale(x @ w), x, rules.zero()), expected)


def test_the_divisor_of_a_quotient_is_a_constant(send: Send) -> None:
    a, b = torch.randn(2, 3), torch.rand(2, 3) + 1
    found = send(lambda a, b: a / b, (a, b))
    torch.testing.assert_close(found[0], a / b)
    assert (found[1] == 0).all()


def test_normalizing_by_the_own_norm_conserves(send: Send) -> None:
    """F.normalize(x) = x / ‖x‖, with the norm held constant."""
    x, m = torch.randn(2, 5), torch.randn(2, 5)
    found = send(F.normalize, x, m=m)
    torch.testing.assert_close(found, F.normalize(x) * m)


def test_weights_made_from_the_input_share_with_what_they_weigh(send: Send) -> None:
    """A convolution whose weight depends on the input is a product of the two: R / 2 each."""
    x, w = torch.randn(1, 2, 4, 4), torch.randn(1, 3, 2, 3, 3)
    y = F.conv2d(x, w[0])
    found = send(lambda x, w: F.conv2d(x, w[0]), (x, w))
    for r in found:
        assert r.sum().item() == pytest.approx(y.sum().item() / 2)
