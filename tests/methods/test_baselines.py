"""Maps that know nothing of the model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.methods.baselines import Edges, Random


def model(x: Tensor) -> Tensor:
    return x.flatten(1)[:, :3]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 8, 8, dtype=torch.float64)


def test_random_relevance_is_that_of_its_seed_and_of_every_sample(x: Tensor) -> None:
    state = torch.get_rng_state()
    first, again, other = (Random(seed=s)(model, x) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.relevance, again.relevance)
    assert not torch.equal(first.relevance, other.relevance)
    assert torch.equal(first.relevance[0], first.relevance[1])
    assert torch.equal(Random(seed=3)(model, x[:1]).relevance[0], first.relevance[0])
    assert first.passes == (1, 0)
    torch.testing.assert_close(first.output, model(x).amax(1))


def test_random_relevance_has_the_distribution_asked_for() -> None:
    x = torch.zeros(1, 100, 100, dtype=torch.float64)
    normal = Random()(model, x).relevance
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 1) < 0.05
    uniform = Random(distribution="uniform")(model, x).relevance
    assert uniform.abs().max() <= 1
    assert abs(uniform.mean()) < 0.05
    assert abs(uniform.var() - 1 / 3) < 0.05


def test_random_relevance_of_several_inputs_and_targets(x: Tensor) -> None:
    found = Random().bind(lambda a, b: model(a + b)).each((x, x), [0, 1])
    assert [r.shape for r in found[0].relevance] == [x.shape, x.shape]
    assert torch.equal(found[0].relevance[0], found[1].relevance[0])
    assert not torch.equal(found[0].relevance[0], found[0].relevance[1])


def test_the_edge_of_a_ramp_is_its_slope() -> None:
    across = 0.5 * torch.arange(6.0).expand(1, 3, 6, 6)
    for ramp in (across, across.transpose(2, 3)):
        found = Edges()(model, ramp).relevance
        assert found.shape == ramp.shape
        torch.testing.assert_close(found.sum(1)[:, 1:-1, 1:-1], torch.full((1, 4, 4), 0.5))
    diagonal = across + across.transpose(2, 3)
    inner = Edges()(model, diagonal).relevance.sum(1)[:, 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full((1, 4, 4), 0.5 * 2**0.5))


def test_edges_are_sobels_of_the_mean_channel(x: Tensor) -> None:
    from skimage.filters import sobel_h, sobel_v

    found = Edges()(model, x).relevance
    assert torch.equal(found[:, 0], found[:, 2])
    grey = x.mean(1).numpy()
    for one, image in zip(found.sum(1), grey, strict=True):
        expected = torch.from_numpy((sobel_h(image) ** 2 + sobel_v(image) ** 2) ** 0.5)
        # its filters are divided by four, ours by eight: the slope per pixel
        torch.testing.assert_close(one[1:-1, 1:-1], expected[1:-1, 1:-1] / 2)


def test_a_constant_image_has_no_edges_not_even_at_the_border() -> None:
    assert not Edges()(model, torch.ones(1, 3, 5, 5)).relevance.any()


def test_what_has_no_edges_is_refused(x: Tensor) -> None:
    with pytest.raises(InputError, match=r"images \(B, C, H, W\), not of \(2, 3\)"):
        Edges()(lambda x: x, torch.randn(2, 3))
    for method in (Edges(), Random()):
        with pytest.raises(InputError, match="not inner modules"):
            method(model, x, at="0")
