"""Rules of differences: each shares the whole difference of its operation, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from rootpoint import LRP, Composite, Where, rules
from rootpoint.errors import InputError
from rootpoint.methods.deeplift import DeepLift

pytestmark = pytest.mark.usefixtures("double")

NUMBERS = st.floats(-3, 3).map(lambda v: round(v, 3))


def relevance(model: Callable[[Tensor], Tensor], x: Any, baseline: Any) -> list[float]:
    given, origin = torch.tensor([x], dtype=torch.float64), torch.tensor(baseline).double()
    return DeepLift(rule="rescale", baseline=origin)(model, given, 0).relevance[0].tolist()


@pytest.mark.parametrize(
    ("x", "baseline", "expected"),
    [
        ((3.0, 1.0), (0.0, 2.0), (1.0, 0.0)),  # the winner of x rose by 3, the maximum by 1
        ((1.0, 0.0), (0.0, 2.0), (0.0, -1.0)),  # the winner of the baseline fell by 2
        ((3.0, 1.0), (2.0, 0.0), (1.0, 0.0)),  # the same winner: by the gradient
        ((3.0, 3.0), (0.0, 1.0), (1.0, 1.0)),  # a tie of amax: equal shares
    ],
)
def test_of_a_maximum_the_difference_goes_to_the_greater_winner(
    x: Any, baseline: Any, expected: tuple[float, ...]
) -> None:
    assert relevance(lambda x: x.amax(1), x, baseline) == pytest.approx(expected)
    lower = relevance(lambda x: x.amin(1), [-v for v in x], [-v for v in baseline])
    assert lower == pytest.approx([-v for v in expected])


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=5), st.booleans())
def test_shares_of_a_maximum_lie_between_none_and_the_operands_own_difference(
    pairs: list[tuple[float, float]], lowest: bool
) -> None:
    x, baseline = map(list, zip(*pairs, strict=True))
    shares = relevance(lambda x: x.amin(1) if lowest else x.amax(1), x, baseline)
    best = min if lowest else max
    assert sum(shares) == pytest.approx(best(x) - best(baseline), abs=1e-12)
    for share, a, b in zip(shares, x, baseline, strict=True):
        assert min(0.0, a - b) - 1e-12 <= share <= max(0.0, a - b) + 1e-12


@settings(max_examples=30)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_of_a_product_each_operand_has_its_change_times_the_others_mean(
    a: float, b: float, a0: float, b0: float
) -> None:
    found = relevance(lambda x: x[:, 0] * x[:, 1], (a, b), (a0, b0))
    expected = (a - a0) * (b + b0) / 2, (b - b0) * (a + a0) / 2
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(NUMBERS, NUMBERS)
def test_an_activation_has_the_slope_between_the_points(a: float, a0: float) -> None:
    for f in (F.gelu, torch.tanh, F.relu6, torch.square, F.hardswish):
        found = relevance(lambda x, f=f: f(x[:, 0]), (a,), (a0,))
        expected = (f(torch.tensor(a)) - f(torch.tensor(a0))).item()
        assert found[0] == pytest.approx(expected, abs=1e-12)


def test_large_activations_are_taken_block_by_block() -> None:
    """As much as several blocks, in and out of place, transposed and not."""
    x = torch.randn(1, 700, 700)
    x[0, :200] = 0.0

    def model(x: Tensor) -> Tensor:
        h = (x * 2.0).relu_()
        return (F.hardtanh(h.transpose(1, 2) - 1.0) * 3.0).sum((1, 2))

    e = DeepLift(rule="rescale", baseline=0.1)(model, x, 0)
    assert e.completeness_gap is not None
    assert e.completeness_gap.abs().item() <= 1e-9 * e.output.abs().item()


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (rules.rescale(), "activation"),
        (rules.reveal_cancel(), "activation"),
        (rules.winners(), "maximum"),
    ],
    ids=lambda value: str(value),
)
def test_lrp_has_no_reference_to_compare_with(rule: Any, kind: str) -> None:
    composite = Composite(((Where(kind=kind), rule),))
    with pytest.raises(InputError, match="only deeplift has"):
        LRP(composite=composite)(lambda x: x.tanh().amax(2), torch.randn(1, 2, 3), 0)
