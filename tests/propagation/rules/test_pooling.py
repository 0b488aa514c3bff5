"""Rules for poolings: closed forms, and every geometry against windows counted one by one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import Rule, rules
from rootpoint.errors import UnsupportedOperationError

Array = np.ndarray[Any, np.dtype[np.float64]]
Send = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("double")
Function = Callable[[Tensor], Tensor]

MAXIMA: dict[str, Function] = {
    "max_pool1d": lambda v: F.max_pool1d(v, v.shape[-1]),
    "amax": lambda v: v.amax(2),
    "amax, all dims": lambda v: v.amax((1, 2)),
    "max over a dim": lambda v: v.max(2).values,
    "torch.max, keywords": lambda v: torch.max(v, dim=2, keepdim=True)[0],
    "adaptive": lambda v: F.adaptive_max_pool1d(v, 1),
}


@pytest.mark.parametrize("maximum", MAXIMA.values(), ids=MAXIMA)
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (rules.proportional(), (2, 4, 4)),
        (rules.ties(), (0, 5, 5)),
        (rules.uniform_pool(), (10 / 3, 10 / 3, 10 / 3)),
    ],
    ids=["proportional", "ties", "uniform"],
)
def test_the_maximum_of_1_2_2_shares_10(
    send: Send, maximum: Function, rule: Rule, expected: tuple[float, ...]
) -> None:
    v = torch.tensor([[[1.0, 2.0, 2.0]]])
    m = torch.full_like(maximum(v), 5.0)  # R = 2 · 5
    assert send(maximum, v, rule, m=m, kind="maximum").flatten().tolist() == pytest.approx(expected)


def test_the_winner_of_a_pooling_is_torchs_own(send: Send) -> None:
    v = torch.tensor([[[1.0, 2.0, 2.0]]])
    for rule in (None, rules.gradient()):
        found = send(lambda v: F.max_pool1d(v, 3) * 5, v, rule, kind="maximum")
        assert found.flatten().tolist() == [0, 10, 0]


@pytest.mark.parametrize("p", [2.0, 3.0])
def test_a_p_norm_shares_in_proportion(send: Send, p: float) -> None:
    """a = (3, 4), p = 2, R = 5 gives (15/7, 20/7); gradient × input would give (1.8, 3.2)."""
    a = torch.tensor([[[3.0, 4.0]]])
    pools = {
        "lp_pool1d": lambda a: F.lp_pool1d(a, p, 2),
        "norm": lambda a: a.norm(p, 2),
        "vector_norm": lambda a: torch.linalg.vector_norm(a, p, dim=2),
    }
    for pool in pools.values():
        r = pool(a).item()
        found = send(pool, a).flatten().tolist()
        assert found == pytest.approx((r * 3 / 7, r * 4 / 7), abs=1e-12)
    if p == 2:
        found = send(pools["norm"], a, rules.gradient(), kind="p-norm").flatten().tolist()
        assert found == pytest.approx((1.8, 3.2), abs=1e-12)


SUMS: dict[str, tuple[Function, float]] = {
    "avg_pool1d": (lambda a: F.avg_pool1d(a, 3), 1 / 3),
    "adaptive_avg_pool1d": (lambda a: F.adaptive_avg_pool1d(a, 1), 1 / 3),
    "mean": (lambda a: a.mean(2), 1 / 3),
    "mean over two dims": (lambda a: a.mean((1, 2)), 1 / 3),
    "sum": (lambda a: a.sum(-1, keepdim=True), 1),
    "cumsum": (lambda a: a.cumsum(2)[:, :, -1:], 1),
}


@pytest.mark.parametrize(("pool", "weight"), SUMS.values(), ids=SUMS)
def test_sums_and_averages_are_linear(send: Send, pool: Function, weight: float) -> None:
    """R_i = a_i / Σ a · R, with LRP-0's signs: (4, −1, 3) of a score weight · 6."""
    found = send(pool, torch.tensor([[[4.0, -1.0, 3.0]]])).flatten()
    assert found.tolist() == pytest.approx([4 * weight, -weight, 3 * weight])


# -- every geometry ----------------------------------------------------------------------------

GEOMETRIES: dict[str, tuple[Function, tuple[int, ...], dict[str, Any]]] = {
    "1-D": (nn.MaxPool1d(2), (2, 7), {"kernel": (2,)}),
    "2-D": (nn.MaxPool2d(2), (2, 4, 4), {"kernel": (2, 2)}),
    "2-D, positional": (
        lambda x: F.max_pool2d(x, 3, 2, 1),
        (2, 6, 5),
        {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)},
    ),
    "overlapping": (
        nn.MaxPool2d(3, stride=1, padding=1),
        (1, 4, 3),
        {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1)},
    ),
    "ceil mode": (
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        (1, 6, 8),
        {"kernel": (3, 3), "stride": (2, 2)},
    ),
    "ceil mode and padding": (
        nn.MaxPool2d(2, stride=2, padding=1, ceil_mode=True),
        (1, 5, 4),
        {"kernel": (2, 2), "padding": (1, 1)},
    ),
    "not square": (
        nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0)),
        (2, 4, 5),
        {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 0)},
    ),
    "dilated": (
        nn.MaxPool2d(2, stride=1, dilation=(2, 3)),
        (1, 5, 6),
        {"kernel": (2, 2), "stride": (1, 1), "dilation": (2, 3)},
    ),
    "dilated and padded": (
        nn.MaxPool1d(3, stride=2, dilation=2, padding=1),
        (2, 9),
        {"kernel": (3,), "stride": (2,), "dilation": (2,), "padding": (1,)},
    ),
    "strided past the end": (
        nn.MaxPool2d(2, stride=3),
        (1, 7, 6),
        {"kernel": (2, 2), "stride": (3, 3)},
    ),
    "with indices": (
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        (1, 4, 4),
        {"kernel": (2, 2)},
    ),
    "3-D": (nn.MaxPool3d(2, stride=1), (1, 3, 3, 2), {"kernel": (2, 2, 2), "stride": (1, 1, 1)}),
    "adaptive": (nn.AdaptiveMaxPool2d((2, 1)), (2, 4, 3), {"kernel": (2, 3)}),
    "adaptive, one dim kept": (nn.AdaptiveMaxPool2d((None, 2)), (1, 2, 4), {"kernel": (1, 2)}),
}


def windows_of(
    size: tuple[int, ...],
    output: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    padding: tuple[int, ...] | None = None,
    dilation: tuple[int, ...] | None = None,
) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """For each output position, the input positions of its window, counted one by one."""
    dims = len(size)
    stride, padding, dilation = stride or kernel, padding or (0,) * dims, dilation or (1,) * dims
    windows = {}
    for out in product(*map(range, output)):
        taps = product(*map(range, kernel))
        positions = [
            tuple(
                o * s - p + t * d
                for o, s, p, t, d in zip(out, stride, padding, tap, dilation, strict=True)
            )
            for tap in taps
        ]
        inside = [q for q in positions if all(0 <= i < n for i, n in zip(q, size, strict=True))]
        windows[out] = inside
    return windows


def weights_of(rule: Rule, a: Array) -> Array:
    """How the values of one window share its relevance."""
    if rule.name == "uniform-pool":
        share = np.ones_like(a)
    elif rule.name == "ties":
        share = (a == a.max()).astype(float)
    else:
        share = np.abs(a)
    return share / share.sum()


@pytest.mark.parametrize(
    "rule", [rules.proportional(), rules.ties(), rules.uniform_pool()], ids=lambda r: r.name
)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_window_shares_by_the_rule(send: Send, name: str, rule: Rule) -> None:
    pool, shape, geometry = GEOMETRIES[name]
    pool = pool.eval() if isinstance(pool, nn.Module) else pool
    a = torch.randint(-4, 6, (2, *shape)) + 0.5  # with ties, and of either sign
    y = pool(a)
    m = torch.randn(y.shape)
    found = send(pool, a, rule, m=m, kind="maximum").numpy()
    expected = np.zeros(a.shape)
    windows = windows_of(shape[1:], tuple(y.shape[2:]), **geometry)
    for sample, channel in product(range(2), range(shape[0])):
        values = a[sample, channel].numpy()
        for out, taps in windows.items():
            index = tuple(np.array(taps).T)
            r = (y * m)[(sample, channel, *out)].item()
            np.add.at(expected[sample, channel], index, weights_of(rule, values[index]) * r)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx((y * m).sum().item())


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_lp_pooling_shares_its_windows_in_proportion(send: Send, ceil_mode: bool) -> None:
    a = torch.rand(2, 3, 5, 7)
    pool = nn.LPPool2d(2, 2, stride=(2, 1), ceil_mode=ceil_mode).eval()
    y = pool(a)
    m = torch.randn(y.shape)
    found = send(pool, a, m=m)
    expected = torch.zeros_like(a)
    if not ceil_mode:
        for i, j in product(range(y.shape[2]), range(y.shape[3])):
            window = a[:, :, 2 * i : 2 * i + 2, j : j + 2]
            r = (y * m)[:, :, i, j, None, None]
            expected[:, :, 2 * i : 2 * i + 2, j : j + 2] += window / window.sum((2, 3), True) * r
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum((2, 3)), (y * m).sum((2, 3)))


def test_an_empty_window_has_nothing_to_share(send: Send) -> None:
    """A window of zeros has a maximum of zero, which is no relevance: 0/0 = 0."""
    v = torch.zeros(1, 1, 4)
    for rule in (rules.proportional(), rules.ties()):
        found = send(lambda v: F.max_pool1d(v @ torch.eye(4), 2), v, rule, kind="maximum")
        assert (found == 0).all()


POOLS: dict[str, tuple[Function, Rule | None]] = {
    "mean": (lambda v: v.mean(2), None),
    "avg_pool1d": (lambda v: F.avg_pool1d(v, 4).flatten(1), None),
    "max, winner": (lambda v: v.amax(2), None),
    "max, proportional": (lambda v: v.amax(2), rules.proportional()),
    "max, ties": (lambda v: v.amax(2), rules.ties()),
    "max, uniform": (lambda v: v.amax(2), rules.uniform_pool()),
    "p-norm": (lambda v: v.norm(2, 2), None),
}


@pytest.mark.parametrize(("pool", "rule"), POOLS.values(), ids=POOLS)
def test_an_empty_window_hands_on_what_it_receives(
    send: Send, pool: Function, rule: Rule | None
) -> None:
    """Above, `flat` gives relevance to a channel of zeros: nothing is lost there."""
    head = nn.Linear(3, 2).eval()
    v = torch.rand(2, 3, 4)
    v[:, 1] = -1

    def model(v: Tensor) -> Tensor:
        return head(pool(F.relu(v)))

    entries = {"linear": rules.flat()} | ({} if rule is None else {"maximum": rule})
    total = send(model, v, entries).sum((1, 2))
    torch.testing.assert_close(total, model(v).sum(1).detach())


def test_a_uniform_share_reaches_zeros(send: Send) -> None:
    """The window (0, 3) shares 3 equally, though one value is zero, also behind a ReLU."""
    v = torch.tensor([[[-1.0, 3.0]]])
    found = send(lambda v: F.max_pool1d(v.relu(), 2), v, rules.uniform_pool(), kind="maximum")
    assert found.flatten().tolist() == pytest.approx([1.5, 1.5])


def test_windows_of_unequal_size_are_refused(send: Send) -> None:
    with pytest.raises(UnsupportedOperationError, match=r"windows of unequal size.*'gradient'"):
        send(
            nn.AdaptiveMaxPool1d(2).eval(),
            torch.rand(1, 1, 5),
            rules.proportional(),
            kind="maximum",
        )
    found = send(nn.AdaptiveMaxPool1d(2).eval(), torch.rand(1, 1, 5))
    assert (found != 0).sum() == 2


TWO_BRANCHES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "maximum": torch.maximum,
    "max": torch.max,
    "fmax": torch.fmax,
}


@pytest.mark.parametrize("rule", [None, rules.proportional(), rules.ties(), rules.uniform_pool()])
@pytest.mark.parametrize("name", TWO_BRANCHES)
def test_the_maximum_of_two_branches_conserves(send: Send, name: str, rule: Rule | None) -> None:
    x = torch.rand(2, 5)
    w = torch.rand(5, 5)
    y = TWO_BRANCHES[name](x, x @ w)
    entries = {"linear": rules.zero()} | ({} if rule is None else {"maximum": rule})
    found = send(lambda x: TWO_BRANCHES[name](x, x @ w), x, entries)
    torch.testing.assert_close(found.sum(1), y.sum(1))


@pytest.mark.parametrize(
    "select",
    [
        lambda x: x.topk(2, 1).values,
        lambda x: x.sort(1)[0][:, :2],
        lambda x: x.median(1).values[:, None],
        lambda x: x.kthvalue(2, 1).values[:, None],
        lambda x: x.min(1).values[:, None],
        lambda x: x.amin(1),
    ],
    ids=["topk", "sort", "median", "kthvalue", "min", "amin"],
)
def test_what_selects_values_passes_their_relevance_to_them(send: Send, select: Function) -> None:
    """Also under rules for maxima over windows, which these are not."""
    x = torch.tensor([[3.0, 1.0, 4.0, 1.5, 5.0]])
    y = select(x)
    for rule in (None, rules.proportional()):
        found = send(lambda x: select(x), x, rule, kind="maximum")
        assert found.sum().item() == pytest.approx(y.sum().item())
    gradient = send(lambda x: select(x), x)
    assert sorted(gradient[gradient != 0].tolist()) == pytest.approx(sorted(y.flatten().tolist()))


@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bicubic", "area"])
def test_interpolation_is_linear(send: Send, kind: str) -> None:
    x = torch.rand(1, 2, 4, 5)
    m = torch.randn(1, 2, 7, 8)
    matrix = torch.autograd.functional.vjp(lambda x: F.interpolate(x, (7, 8), mode=kind), x, m)[1]
    found = send(lambda x: F.interpolate(x, (7, 8), mode=kind), x, m=m)
    torch.testing.assert_close(found, x * matrix)
