"""Gradients at many points, in batches that fit in memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rootpoint import Gradient
from rootpoint.methods.integrated_gradients import IntegratedGradients
from rootpoint.perturbation.gradients import Moments, gradients_at


def cube(x: Tensor) -> Tensor:
    return (x**3).sum(1, keepdim=True)


def test_each_point_has_its_own_gradient() -> None:
    x = torch.randn(3, 4).double()
    shift = torch.randn(5).double()

    def points(steps: Tensor, samples: Tensor) -> Tensor:
        return x[samples] + shift[steps, None]

    for batch in gradients_at(cube, x, [[0, 0, 0]], 5, points, doing="testing"):
        expected = Gradient()(cube, points(batch.steps, batch.samples)).relevance
        torch.testing.assert_close(batch.found[0][0], expected)


def test_batches_are_halved_when_memory_runs_out() -> None:
    sizes: list[int] = []

    def small(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > 3:
            raise RuntimeError("can't allocate memory: you tried to allocate 9 bytes")
        return cube(x)

    x = torch.randn(3, 4).double()
    found = IntegratedGradients(steps=7)(small, x)
    expected = IntegratedGradients(steps=7)(cube, x)
    torch.testing.assert_close(found.relevance, expected.relevance)
    assert max(sizes) > 3

    def full(x: Tensor) -> Tensor:
        if x.requires_grad:
            raise RuntimeError("can't allocate memory: not even for one")
        return cube(x)

    with pytest.raises(RuntimeError, match="not even for one"):
        IntegratedGradients(steps=7)(full, x)


@given(
    values=st.lists(st.tuples(st.integers(0, 2), st.floats(-1e3, 1e3)), min_size=1, max_size=20),
    cut=st.integers(0, 20),
)
def test_moments_are_those_of_all_values_however_they_come(
    values: list[tuple[int, float]], cut: int
) -> None:
    samples = torch.tensor([s for s, _ in values])
    each = torch.tensor([[v, 1e6 + v] for _, v in values], dtype=torch.float64)
    moments = Moments(3)
    for part in (slice(0, cut), slice(cut, None)):
        moments.add(each[part], samples[part])
    for sample in samples.unique():
        own = each[samples == sample]
        torch.testing.assert_close(moments.mean[sample], own.mean(0))
        torch.testing.assert_close(
            moments.variance[sample], own.var(0, correction=0), rtol=1e-6, atol=1e-6
        )
        if len(own) > 1:
            error = own.std(0) / len(own) ** 0.5
            torch.testing.assert_close(moments.standard_error[sample], error, rtol=1e-6, atol=1e-4)
