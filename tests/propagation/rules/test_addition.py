"""Rules for sums of branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rootpoint import rules

Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")
Two = Callable[[Tensor, Tensor], Tensor]

A, B = torch.tensor([[3.0]]), torch.tensor([[-1.0]])


def shares(send: Send, add: Two, rule: Any = None) -> tuple[float, ...]:
    """What the two inputs of a sum get."""
    return tuple(r.item() for r in send(add, (A, B), rule, kind="addition"))


SUMS: dict[str, tuple[Two, tuple[float, float]]] = {
    "a + b": (lambda a, b: a + b, (3, -1)),
    "torch.add": (torch.add, (3, -1)),
    "add, alpha": (lambda a, b: torch.add(a, b, alpha=2), (3, -2)),
    "a += b": (lambda a, b: a.clone().add_(b), (3, -1)),
    "a - b": (lambda a, b: a - b, (3, 1)),
    "rsub": (lambda a, b: torch.rsub(b, a), (3, 1)),
    "sub, alpha": (lambda a, b: a.sub(b, alpha=0.5), (3, 0.5)),
    "sum()": (lambda a, b: sum([a, b]), (3, -1)),  # type: ignore[arg-type,return-value]
    "stack and sum": (lambda a, b: torch.stack([a, b]).sum(0), (3, -1)),
    "cat and sum": (lambda a, b: torch.cat([a, b], 1).sum(1), (3, -1)),
}


@pytest.mark.parametrize(("add", "expected"), SUMS.values(), ids=SUMS)
def test_branches_share_in_proportion(send: Send, add: Two, expected: tuple[float, float]) -> None:
    """R_a = R a / (a + b): a = 3, b = −1, R = 2 gives (3, −1)."""
    assert shares(send, add) == pytest.approx(expected)


def test_branches_may_share_by_size(send: Send) -> None:
    """R_a = R |a| / (|a| + |b|): (3/2, 1/2) of 2, and of 4 for the difference (3, 1)."""
    assert shares(send, lambda a, b: a + b, rules.magnitude()) == pytest.approx((1.5, 0.5))
    assert shares(send, lambda a, b: a - b, rules.magnitude()) == pytest.approx((3, 1))


def test_sizes_are_those_of_what_is_added(send: Send) -> None:
    """a + αb: the second branch is αb, here −6, and not b."""
    found = shares(send, lambda a, b: torch.add(a, b, alpha=6), rules.magnitude())
    assert found == pytest.approx((-3 * 3 / 9, -3 * 6 / 9))


def test_sharing_by_size_is_bounded_where_branches_cancel(send: Send) -> None:
    a, b = torch.tensor([[1.0]]), torch.tensor([[-0.999]])
    m = torch.tensor([[1000.0]])  # R = 1
    plain = send(lambda a, b: a + b, (a, b), m=m)
    assert plain[0].item() == pytest.approx(1000)
    bounded = send(lambda a, b: a + b, (a, b), rules.magnitude(), m=m, kind="addition")
    assert [r.item() for r in bounded] == pytest.approx([1 / 1.999, 0.999 / 1.999])
    assert sum(r.item() for r in bounded) == pytest.approx(1)


def test_sharing_by_size_sums_over_what_was_broadcast(send: Send) -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 1, 4)
    m = torch.randn(2, 3, 4)
    found = send(lambda a, b: a + b, (a, b), rules.magnitude(), m=m, kind="addition")
    r = (a + b) * m
    size = a.abs() + b.abs()
    torch.testing.assert_close(found[0], r * a.abs() / size)
    torch.testing.assert_close(found[1], (r * b.abs() / size).sum(1, keepdim=True))


def test_both_branches_zero_share_nothing(send: Send) -> None:
    zero = torch.zeros(1, 1)
    found = send(lambda a, b: a + b, (zero, zero), rules.magnitude(), kind="addition")
    assert [r.item() for r in found] == [0, 0]


@pytest.mark.parametrize("rule", [None, rules.magnitude()])
def test_a_constant_absorbs_its_share(send: Send, rule: Any) -> None:
    """Behind a linear map, y = z + c gives z's share alone to z."""
    x = torch.tensor([[2.0, 1.0]])
    w = torch.tensor([[1.0], [1.0]])
    entries = {"linear": rules.zero()} | ({} if rule is None else {"addition": rule})
    assert send(lambda x: x @ w + 5, x, entries)[0].tolist() == pytest.approx([2, 1])


@pytest.mark.parametrize("rule", [None, rules.magnitude()])
def test_a_tensor_added_to_itself_gets_both_shares(send: Send, rule: Any) -> None:
    found = send(lambda a: a + a, A, rule, kind="addition")
    assert found.item() == pytest.approx(6)


def test_a_residual_block_in_place_is_the_same_block(send: Send) -> None:
    w = torch.randn(4, 4)
    x = torch.randn(2, 4)

    def out_of_place(x: Tensor) -> Tensor:
        y = x @ w
        return y + y @ w

    def in_place(x: Tensor) -> Tensor:
        y = x @ w
        z = y @ w
        z += y
        return z

    for rule in (rules.zero(), rules.epsilon(), rules.z_plus(), rules.gamma()):
        torch.testing.assert_close(send(in_place, x, rule), send(out_of_place, x, rule))
    entries = {"linear": rules.z_plus(), "addition": rules.magnitude()}
    torch.testing.assert_close(send(in_place, x, entries), send(out_of_place, x, entries))
