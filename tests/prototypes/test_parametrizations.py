from __future__ import annotations

import math

import pytest
import torch

import rootpoint.prototypes as rp
from rootpoint.errors import InputError
from rootpoint.perturbation.blur import blurred
from rootpoint.prototypes.regularizers import likeness

BOX = (torch.tensor(-1.0), torch.tensor(3.0))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
def test_an_empty_spectrum_is_the_middle_of_the_box(size: tuple[int, int]) -> None:
    like, fourier = torch.zeros(3, *size), rp.Fourier(noise=0.0)
    values = fourier.start(like, 2, torch.Generator())
    assert torch.equal(fourier.inputs(values, like, BOX), torch.ones(2, 3, *size))


def test_a_spectrum_s_strength_falls_with_the_power_of_the_frequency() -> None:
    like = torch.zeros(1, 32, 32, dtype=torch.float64)
    fourier = rp.Fourier(falloff=2.0, colours=None)
    strength = []
    for wave in (1, 2, 4):
        values = torch.zeros(1, 1, 32, 17, 2, dtype=torch.float64)
        values[0, 0, 0, wave, 0] = 1e-4
        x = fourier.inputs(values, like, BOX)
        strength.append(x.std().item())
    assert strength[0] / strength[1] == pytest.approx(4, rel=1e-3)
    assert strength[1] / strength[2] == pytest.approx(4, rel=1e-3)


def test_grey_is_the_strongest_of_imagenet_s_colours() -> None:
    like = torch.zeros(3, 32, 32)
    fourier = rp.Fourier(noise=0.01)
    values = fourier.start(like, 20, torch.Generator().manual_seed(0))
    x = fourier.inputs(values, like, BOX).transpose(0, 1).flatten(1)
    assert (torch.corrcoef(x) > 0.6).all()


def test_the_colour_root_squared_is_the_photos_covariance() -> None:
    photos = torch.rand(4, 3, 10, 10, dtype=torch.float64) @ torch.rand(10, 10).double()
    root = torch.tensor(rp.colour_root(photos.split(1)), dtype=torch.float64)
    pixels = photos.transpose(0, 1).flatten(1)
    torch.testing.assert_close(root @ root.T, torch.cov(pixels, correction=0))
    with pytest.raises(InputError, match="no photos"):
        rp.colour_root([])


def test_a_blur_keeps_constants_and_spreads_a_point_as_a_gaussian() -> None:
    flat = torch.full((1, 2, 9, 9), 0.7)
    torch.testing.assert_close(blurred(flat, 1.5), flat)
    point = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    point[0, 0, 7, 7] = 1.0
    spread = blurred(point, 1.0)[0, 0]
    assert spread.sum() == pytest.approx(1.0)
    assert (spread[7, 7] / spread[7, 9]).item() == pytest.approx(math.exp(2))
    torch.testing.assert_close(spread, spread.T)


def test_pixels_are_blurred_every_so_many_steps() -> None:
    pixels, x = rp.Pixels(blur=1.0, every=3), torch.rand(1, 1, 8, 8)
    assert torch.equal(pixels.project(x, 1, None), x)
    assert torch.equal(pixels.project(x, 2, None), blurred(x, 1.0))


def test_penalties_are_their_formulas() -> None:
    x = torch.tensor([[[[1.0, 3.0], [-2.0, 0.0]]]])
    assert rp.L2(0.5)(x).tolist() == [7.0]
    assert rp.L2(0.5, 1.0)(x).tolist() == [7.0]
    assert rp.AlphaNorm(2.0, 3.0)(x).tolist() == [72.0]
    assert rp.TotalVariation(2.0)(x).tolist() == [2 * (3 + 3 + 2 + 2)]


def test_likeness_is_one_for_equal_images_and_zero_for_other_features() -> None:
    x = torch.zeros(4, 2, 3, 3)
    x[0, 0] = x[1, 0] = 1.0  # the first class: the same feature twice
    x[2, 0] = x[3, 1] = 1.0  # the second: two features
    torch.testing.assert_close(likeness(x, 2), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert likeness(torch.zeros(2, 2, 3, 3), 2).tolist() == [0.0, 0.0]


def test_no_movement_shows_the_middle() -> None:
    still = rp.Transformation(jitter=3)
    wide = still.widened(torch.rand(3, 8, 10))
    assert wide.shape == (3, 14, 16)
    assert torch.equal(still.middle(wide[None])[0], wide[:, 3:-3, 3:-3])
    x = torch.rand(2, 5)
    assert rp.Transformation()(x, torch.Generator()) is x


def test_a_movement_is_within_its_bounds_and_the_same_for_all_images() -> None:
    moved = rp.Transformation(jitter=2)
    ramp = torch.arange(20.0).expand(1, 20, 20).repeat(2, 1, 1, 1)
    generator, shifts = torch.Generator().manual_seed(0), []
    for _ in range(30):
        view = moved(ramp, generator)
        assert view.shape == (2, 1, 16, 16)
        assert torch.equal(view[0], view[1])
        shifts.append((view[0, 0, 8, 8] - ramp[0, 0, 10, 10]).item())
    assert -2 <= min(shifts) < -1 < 1 < max(shifts) <= 2


def test_a_quarter_turn_moves_pixels_where_they_belong() -> None:
    x = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    turn = 2 * torch.rand(4, generator=torch.Generator().manual_seed(0))[3].item() - 1
    quarter = rp.Transformation(rotation=90 / abs(turn))
    wanted = x.rot90(1 if turn > 0 else -1, (2, 3))
    found = quarter(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_movements_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="negative"):
        rp.Transformation(jitter=-1)
    with pytest.raises(InputError, match="needs an image"):
        rp.Transformation(jitter=1).widened(torch.zeros(4))
