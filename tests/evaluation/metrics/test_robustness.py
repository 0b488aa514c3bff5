"""Robustness: the deck's ratios, displacements, and LRP-0 beside z⁺ on digits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.evaluation.displacement import ratio, translated
from rootpoint.evaluation.evaluate import evaluate
from rootpoint.evaluation.metric import Metric, metric, metrics

LRP_0 = "lrp(composite='epsilon(epsilon=1e-12)')"
Z_PLUS = "lrp(composite='alpha1-beta0')"


def total(x: Tensor) -> Tensor:
    return x.reshape(len(x), -1).sum(1, keepdim=True)


def times(factor: float, power: float = 1.0) -> Callable[..., Tensor]:
    return lambda model, inputs, targets: factor * inputs**power


def value(model: Any, x: Any, candidate: Any, name: str | Metric, **options: Any) -> list[float]:
    one = metric(name) if isinstance(name, str) else name
    found = evaluate(model, x, {"it": candidate}, one, target=0, **options)
    return found.values(str(one), "it").tolist()


# -- continuity -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "expected"), [(0.1, 10.5), (0.001, 1000.5)])
def test_lrp_0_of_the_deck_is_discontinuous_and_z_plus_continuous(
    d: float, expected: float
) -> None:
    """f = (x_1 − x_2)₊ at (1 ± d, 1): LRP-0 jumps from (1 + d, −1) to 0 where z⁺ gives (f, 0)."""

    def double(*values: float) -> Tensor:
        return torch.tensor([values], dtype=torch.float64)

    x, there, zero = double(1 + d, 1), double(1 - d, 1), double(0, 0)
    assert ratio(x, there, double(1 + d, -1), zero).item() == pytest.approx(expected, rel=1e-9)
    assert ratio(x, there, double(d, 0), zero).item() == pytest.approx(0.5, rel=1e-9)


class Kink(nn.Module):
    """(x_1 − x_2)₊ as a network."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1, bias=False).double()
        self.layer.weight.data = torch.tensor([[1.0, -1.0]], dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).relu()


def test_at_the_kink_the_ratio_of_lrp_0_grows_without_bound_and_that_of_z_plus_does_not() -> None:
    found = {LRP_0: [], Z_PLUS: []}
    for radius in (1e-2, 1e-4, 1e-6):
        x = torch.tensor([[1 + radius / 10, 1.0]], dtype=torch.float64)
        for name, values in found.items():
            values += value(Kink().eval(), x, name, metric("continuity", radius=radius, steps=20))
    growth = np.divide(found[LRP_0][1:], found[LRP_0][:-1])
    np.testing.assert_allclose(growth, 100, rtol=0.05)
    assert max(found[Z_PLUS]) <= 2**0.5


def test_images_are_translated_and_the_edge_is_repeated() -> None:
    image = torch.tensor([[[[1.0, 2.0, 4.0]]]])
    assert translated(image, 0).tolist() == image.tolist()
    assert translated(image, 1).tolist() == [[[[1, 1, 2]]]]
    assert translated(image, 0.5).tolist() == [[[[1, 1.5, 3]]]]
    assert translated(image, 7).tolist() == [[[[1, 1, 1]]]]
    assert translated(image, -1).tolist() == [[[[2, 4, 4]]]]


def test_continuity_along_a_translation_compares_each_image_with_the_next() -> None:
    x = torch.rand(3, 2, 4, 6, dtype=torch.float64)
    one = metric("continuity", steps=3, pixels=0.5)
    found = evaluate(total, x, {"it": times(1, 2)}, [one, "continuity(steps=3, over='mean')"])
    places = [translated(x, k / 2) for k in range(4)]
    expected = np.stack(
        [
            ((a**2 - b**2).abs().sum((1, 2, 3)) / (a - b).square().sum((1, 2, 3)).sqrt()).numpy()
            for a, b in pairwise(places)
        ],
        1,
    )
    curves = found.results["it"].curves[str(one)]
    np.testing.assert_allclose(curves.lines["ratio"], expected, rtol=1e-12)
    assert list(curves.x) == [0.5, 1, 1.5]
    np.testing.assert_allclose(found.values(str(one), "it"), expected.max(1), rtol=1e-12)


def test_other_inputs_move_by_a_share_of_their_length_in_random_directions() -> None:
    x = torch.randn(4, 6, dtype=torch.float64)
    x[3] = 0
    moved = []

    def candidate(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        moved.append(inputs - x)
        return 3 * inputs

    found = value(total, x, candidate, "continuity(steps=5, radius=0.1)")
    lengths = torch.stack(moved[1:]).norm(dim=2)
    torch.testing.assert_close(
        lengths, (0.1 * x.norm(dim=1).where(x.norm(dim=1) > 0, 1.0)).expand(5, 4)
    )
    change = torch.stack(moved[1:])
    expected = (3 * change).abs().sum(2) / change.norm(dim=2)
    assert found == pytest.approx(expected.amax(0).tolist())


def test_a_map_proportional_to_one_value_has_its_slope_for_ratio() -> None:
    x = torch.rand(5, 1, dtype=torch.float64)
    for over in ("max", "mean"):
        found = value(total, x, times(-2.5), metric("continuity", over=over))
        assert found == pytest.approx([2.5] * 5)


def test_the_largest_and_the_mean_ratio_share_their_explanations() -> None:
    calls = []

    def candidate(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(targets.tolist())
        return inputs**2

    x = torch.rand(3, 4)
    found = evaluate(lambda x: x, x, {"it": candidate}, ["continuity", "continuity(over='mean')"])
    assert len(calls) == 11
    assert calls == [x.argmax(1).tolist()] * 11  # the target stays that of the sample
    assert (found.values("continuity", "it") > found.values("continuity(over='mean')", "it")).all()


def test_images_that_do_not_change_when_moved_have_no_continuity() -> None:
    x = torch.ones(2, 1, 3, 3)
    x[1, 0, 1, 1] = 5
    for over in ("max", "mean"):
        found = value(total, x, times(1), metric("continuity", over=over, steps=2))
        assert np.isnan(found).tolist() == [True, False]


def test_what_cannot_be_displaced_is_refused() -> None:
    def words(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(text))] for text in texts])

    def candidate(model: Any, inputs: Any, targets: Any) -> Any:
        return [torch.ones(len(text.split())) for text in inputs]

    for name in ("continuity", "max-sensitivity"):
        with pytest.raises(InputError, match=f"{name} changes inputs .* sensitivity-n"):
            value(words, ["so good"], candidate, name)
    with pytest.raises(InputError, match="use displacement='noise'"):
        value(total, torch.rand(2, 3), times(1), "continuity(displacement='translation')")
    moved = value(total, torch.rand(2, 1, 3, 3), times(1), "continuity(displacement='noise')")
    assert np.isfinite(moved).all()


# -- maximum sensitivity --------------------------------------------------------------------------


def test_the_cube_bounds_the_sensitivity_of_the_input_itself() -> None:
    x = torch.randn(2, 5, dtype=torch.float64)
    bounds = {"max": 0.1, "l2": 0.1 * 5**0.5, "l1": 0.5}
    for norm, bound in bounds.items():
        one = metric("max-sensitivity", radius=0.1, norm=norm, relative=False, samples=200)
        found = np.array(value(total, x, times(1), one))
        assert (found <= bound + 1e-12).all()
        assert (found > 0.6 * bound).all()


def test_relative_sensitivity_does_not_depend_on_the_scale_of_maps() -> None:
    x = torch.randn(3, 5, dtype=torch.float64)
    for norm, order in (("l1", 1), ("l2", 2), ("max", float("inf"))):
        plain = metric("max-sensitivity", norm=norm, relative=False)
        lengths = torch.linalg.vector_norm(x, order, dim=1).numpy()
        expected = np.array(value(total, x, times(1), plain)) / lengths
        for factor in (1.0, 1e-3):
            found = value(total, x, times(factor), metric("max-sensitivity", norm=norm))
            np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_maps_that_stay_are_not_sensitive_and_empty_ones_not_defined() -> None:
    x = torch.rand(2, 5)
    assert value(total, x, lambda m, x, t: torch.ones_like(x), "max-sensitivity") == [0, 0]
    assert np.isnan(value(total, x, times(0), "max-sensitivity")).all()


# -- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["continuity", "continuity(displacement='noise')", "max-sensitivity"]
)
def test_rougher_maps_are_less_robust(name: str) -> None:
    """The true map of a linear model, and what ever more of a wave in the input adds to it."""
    x = torch.rand(8, 1, 5, 5, dtype=torch.float64)
    means = []
    for rough in (0.0, 0.1, 0.3, 1.0):

        def candidate(model: Any, inputs: Tensor, targets: Any, rough: float = rough) -> Tensor:
            return inputs + rough * (1000 * inputs).sin()

        means.append(np.mean(value(total, x, candidate, name)))
    assert (np.diff(means) > 0).all()


@pytest.mark.parametrize(
    "name", ["continuity", "continuity(displacement='noise')", "max-sensitivity"]
)
def test_values_depend_on_the_seed_but_not_on_the_batch(name: str) -> None:
    x = torch.rand(3, 2, 5, 5, dtype=torch.float64)
    state = torch.random.get_rng_state()
    found = [value(total, x, times(1, 2), name, batch=batch) for batch in (1, 2, 3)]
    assert found[0] == found[1] == found[2]
    if name != "continuity":
        assert found[0] != value(total, x, times(1, 2), name, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_metrics_say_what_they_compute() -> None:
    for name in ("continuity", "max-sensitivity"):
        doc = metrics()[name].__doc__
        assert doc is not None
        assert "Source:" in doc
        assert metrics()[name].group == "robustness"


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor]:
    """A network that reads digits, and four of them."""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    x = torch.tensor(images[:600], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels[:600])
    torch.manual_seed(0)
    net = nn.Sequential(  # without biases, as far as z⁺ is continuous also where inputs are 0
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, 10, bias=False),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert (net(x).argmax(1) == y).float().mean() > 0.9
    return net.double().eval(), x[:4].double()


def test_on_digits_lrp_0_explodes_where_z_plus_stays_bounded(
    digits: tuple[nn.Module, Tensor],
) -> None:
    """The same way of one pixel, in ever smaller steps: a jump of R is divided by less and less."""
    model, x = digits
    metrics = [metric("continuity", steps=steps, pixels=1 / steps) for steps in (2, 20, 200)]
    found = evaluate(model, x, {"LRP-0": LRP_0, "z+": Z_PLUS}, metrics)
    means = {
        name: np.array([found.mean(str(one), name).mean for one in metrics])
        for name in found.methods
    }
    growth = {name: each[1:] / each[:-1] for name, each in means.items()}
    assert (growth["LRP-0"] > 2.5).all()
    assert (growth["z+"] < 1.2).all()
