"""Windows: where they are, and the mean over those that cover a value."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from rootpoint.perturbation.windows import averaged, windows


def ends(found: list[tuple[slice, ...]]) -> list[tuple[int, int]]:
    return [(w[0].start, w[0].stop) for w in found]


def test_the_last_window_is_cut_off_or_moved_back() -> None:
    assert ends(windows((8,), (3,), (3,))) == [(0, 3), (3, 6), (6, 8)]
    assert ends(windows((8,), (3,), (3,), whole=True)) == [(0, 3), (3, 6), (5, 8)]
    assert ends(windows((2,), (3,), (3,))) == [(0, 2)]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_no_value_is_left_out(length: int, size: int, stride: int, whole: bool) -> None:
    size, stride = min(size, length), min(size, stride, length)
    found = windows((length,), (size,), (stride,), whole=whole)
    covered = {i for (w,) in found for i in range(w.start, w.stop)}
    assert covered == set(range(length))
    assert not whole or all(w.stop - w.start == size for (w,) in found)


def test_values_are_averaged_where_windows_overlap() -> None:
    found = averaged(windows((4,), (3,), (1,)), torch.tensor([2.0, 6.0]), torch.zeros(4))
    assert found.tolist() == [2, 4, 4, 6]
