from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import rootpoint.prototypes as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.models import ImageModel, Preprocessing

Search = Callable[..., rp.Prototype]


def test_a_linear_score_under_l2_is_the_highest_at_w_over_two_lambda(linear: nn.Module) -> None:
    found = rp.prototype(
        linear, 0, start=torch.zeros(2).double(), regularizers=[rp.L2(0.5)], steps=500, rate=0.3
    )
    torch.testing.assert_close(found.images, torch.tensor([[3.0, 4.0]]).double(), atol=1e-6, rtol=0)
    assert found.history[-1].item() == pytest.approx(12.5, abs=1e-6)
    assert found.score.item() == pytest.approx(25, abs=1e-5)


def test_l2_around_a_mean_moves_the_prototype_by_it(linear: nn.Module) -> None:
    mean = torch.tensor([1.0, -2.0]).double()
    found = rp.prototype(
        linear, 0, start=mean, regularizers=[rp.L2(0.5, mean)], steps=500, rate=0.3
    )
    torch.testing.assert_close(found.images, torch.tensor([[4.0, 2.0]]).double(), atol=1e-6, rtol=0)


def test_a_box_holds_and_a_linear_score_is_the_highest_in_its_corner(linear: nn.Module) -> None:
    found = rp.prototype(linear, 0, start=torch.zeros(2), box=(-1.0, 0.5), steps=40)
    assert found.images.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("objective", ["logit", "log-probability"])
def test_small_steps_without_movements_never_lower_the_objective(
    network: nn.Module, objective: str
) -> None:
    found = rp.prototype(
        network.double(),
        2,
        start=torch.zeros(3, 16, 16).double(),
        objective=objective,  # type: ignore[arg-type]
        regularizers=[rp.L2(1e-3)],
        steps=40,
        rate=1e-3,
    )
    assert (found.history.diff(dim=0) >= 0).all()
    assert (found.history[-1] > found.history[0]).all()


def test_the_log_probability_is_the_log_of_the_probability(network: nn.Module) -> None:
    start = torch.full((3, 16, 16), 0.3)
    found = rp.prototype(network, 2, start=start, objective="log-probability", steps=1, rate=1e-12)
    assert found.probability is not None
    torch.testing.assert_close(found.history[-1], found.probability.log())


@pytest.mark.parametrize("parametrization", [rp.Fourier(), rp.Pixels(noise=0.1, blur=1.0)])
def test_a_box_holds_for_every_parametrization(
    search: Search, parametrization: rp.Parametrization
) -> None:
    found = search([0, 3], parametrization=parametrization, box=(-0.25, 0.5), rate=1.0)
    assert found.images.shape == (2, 3, 16, 16)
    assert found.images.min() >= -0.25
    assert found.images.max() <= 0.5


def test_the_same_seed_gives_the_same_prototype_and_another_another(search: Search) -> None:
    state = torch.get_rng_state()
    first, again, other = search(), search(), search(seed=1)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.history, again.history)
    assert not torch.allclose(first.images, other.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_several_classes_at_once_equal_one_by_one(search: Search) -> None:
    together = search([0, 2, 3], count=4)
    for i, target in enumerate((0, 2, 3)):
        alone = search(target, count=4)
        torch.testing.assert_close(together.images[4 * i : 4 * i + 4], alone.images)
        torch.testing.assert_close(together.history[:, 4 * i : 4 * i + 4], alone.history)
    assert together.targets == [0] * 4 + [2] * 4 + [3] * 4


def test_the_score_of_the_result_is_the_model_s_own(search: Search, network: nn.Module) -> None:
    found = search([1, 2])
    scores = network(found.images)
    torch.testing.assert_close(found.score, scores[[0, 1], [1, 2]].detach())
    assert found.probability is not None
    torch.testing.assert_close(found.probability, scores.softmax(1)[[0, 1], [1, 2]].detach())


def test_the_model_comes_back_as_it_was(search: Search, network: nn.Module) -> None:
    network[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    search(count=2, diversity=1.0)
    assert [p.requires_grad for p in network.parameters()] == [False] + [True] * 5
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(m._forward_hooks or m.training for m in network.modules())


def test_search_works_where_gradients_are_off(search: Search) -> None:
    with torch.no_grad():
        assert torch.equal(search().images, search().images)


def test_diversity_makes_prototypes_less_alike(search: Search) -> None:
    from rootpoint.prototypes.regularizers import likeness

    options = {"count": 3, "steps": 40, "at": "0", "rate": 0.2}
    alike, apart = search(**options), search(diversity=50.0, **options)
    assert likeness(apart.images, 3).mean() < likeness(alike.images, 3).mean()


def test_a_function_can_be_the_target(network: nn.Module) -> None:
    def contrast(output: Tensor) -> Tensor:
        return output[:, 0] - output[:, 1]

    found = rp.prototype(network, contrast, start=torch.zeros(3, 16, 16), steps=3)
    assert found.names == ("contrast",)
    assert found.probability is None
    assert found.history[-1] > found.history[0]


def test_gradients_that_are_not_finite_are_skipped_and_noted() -> None:
    def root(x: Tensor) -> Tensor:
        return x.clamp(min=0).sqrt().sum(1, keepdim=True)

    found = rp.prototype(root, [0, 0], start=torch.zeros(2), steps=3)
    assert found.notes[0].startswith("6 gradients were not finite")
    assert found.images.tolist() == [[0.0, 0.0]] * 2


def test_a_search_that_cannot_move_says_so() -> None:
    found = rp.prototype(lambda x: (0 * x).sum(1, keepdim=True), 0, start=torch.ones(2), steps=2)
    assert found.notes == ("the gradient was zero at every step: the search has not moved",)


def test_an_image_model_needs_no_more_than_a_class_name(network: nn.Module) -> None:
    names = ("tench", "goldfish", "shark", "ray")
    model = ImageModel("small", network, Preprocessing(size=16, resize=18), names)
    found = rp.prototype(model, ["goldfish", 3], steps=2)
    assert (found.targets, found.names) == ([1, 3], ("goldfish", "ray"))
    assert (found.images >= model.low).all()
    assert (found.images <= model.high).all()
    assert [p.size for p in found.pictures] == [(16, 16)] * 2


def test_codes_are_searched_through_a_generator_and_clipped(linear: nn.Module) -> None:
    def generator(z: Tensor) -> Tensor:
        return 2 * z

    free = rp.Code(generator, 2, weight=0.5, clip=None)  # max 2 w·z − ‖z‖²/2: z = 2 w
    found = rp.prototype(linear, 0, parametrization=free, steps=500, rate=0.5)
    torch.testing.assert_close(found.images, torch.tensor([[12.0, 16.0]]), atol=1e-3, rtol=0)
    clipped = rp.Code(generator, 2, weight=0.5, clip=3.0)
    found = rp.prototype(linear, 0, parametrization=clipped, steps=60, rate=0.2)
    assert found.images.tolist() == [[6.0, 6.0]]
    decayed = rp.Code(generator, 2, weight=0.0, clip=None, decay=0.5, noise=0.0)
    found = rp.prototype(linear, 0, parametrization=decayed, steps=1, rate=0.2)
    torch.testing.assert_close(found.images, torch.tensor([[0.2, 0.2]]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": []}, "no class"),
        ({"target": 9}, "out of range"),
        ({"target": "predicted"}, "needs a class"),
        ({"target": ["predicted"]}, "needs a class"),
        ({"target": [len, 1]}, "the one target"),
        ({"start": None}, "start="),
        ({"start": torch.full((3, 16, 16), torch.nan)}, "NaN"),
        ({"start": torch.zeros(3, 16)}, "image"),
        ({"steps": 0}, "at least 1"),
        ({"count": 0}, "at least 1"),
        ({"rate": 0.0}, "positive"),
        ({"objective": "loss"}, "log-probability"),
        ({"objective": "log-probability", "target": len}, "class as target"),
        ({"box": None}, "needs a box"),
        ({"box": (1.0, 1.0)}, "empty"),
        ({"count": 2, "parametrization": rp.Pixels()}, "noise="),
        ({"diversity": 1.0}, "count="),
        ({"diversity": 1.0, "count": 2, "at": "nowhere"}, "no module"),
        ({"diversity": 1.0, "count": 2, "at": "5"}, "features"),
        ({"parametrization": rp.Code(nn.Identity(), 2)}, "margins"),
        ({"parametrization": rp.Fourier(colours=((1.0,),))}, "colours for 3"),
    ],
)
def test_what_does_not_fit_is_named(search: Search, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        search(**options)


def test_models_that_cannot_be_searched_are_refused(network: nn.Module) -> None:
    start = torch.zeros(3, 16, 16)
    with pytest.raises(UnsupportedModelError, match="eval"):
        rp.prototype(network.train(), 0, start=start)
    with pytest.raises(UnsupportedModelError, match="no gradient"):
        rp.prototype(lambda x: x.detach().flatten(1), 0, start=start)
    with pytest.raises(InputError, match="function"):
        rp.prototype(
            lambda x: x.flatten(1),
            0,
            start=start,
            count=2,
            diversity=1.0,
            parametrization=rp.Pixels(0.1),
        )
