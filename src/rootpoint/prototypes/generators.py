"""A small generator of images, so that prototypes can be searched among its codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.fitted import Fitted
from rootpoint.inputs import batches
from rootpoint.progress import progress

WIDTH = 32  # channels of the widest map
BATCH = 64


@dataclass(frozen=True, eq=False)
class Generator(Fitted):
    """g(z): codes (N, code) to images (N, *shape) between `low` and `high`."""

    kind: ClassVar[str] = "generator"

    weights: dict[str, Tensor]
    shape: list[int]
    code: int
    low: float
    high: float

    def __call__(self, z: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * self._decoder.to(z)(z).sigmoid()

    @cached_property
    def _decoder(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            decoder = _decoder(self.shape, self.code)
        decoder.load_state_dict(self.weights)
        return decoder.requires_grad_(False)


def fit_generator(
    data: Tensor | Iterable[Any],
    code: int = 16,
    *,
    epochs: int = 15,
    low: float = 0.0,
    high: float = 1.0,
    seed: int = 0,
) -> Generator:
    """The decoder of a small variational autoencoder, trained on the data batch by batch.

    It maximizes Σ log p(x|z) − KL(q(z|x) ‖ N(0, 1)), so codes of data are about standard normal.

    data       images (N, C, H, W) with sides divisible by four: see `rootpoint.inputs.batches`; a
               tensor is shuffled, another iterable is read anew in each epoch
    code       the number of values in a code
    low, high  the range of the data
    The global random state is untouched. Source: Kingma & Welling 2014, ICLR.
    """
    first = next(iter(batches(data)), torch.empty(0))
    if first.dim() != 4 or first.shape[2] % 4 or first.shape[3] % 4:
        raise InputError(
            "a generator is fitted to images (N, C, H, W) with sides divisible by four, not to "
            f"batches of shape {tuple(first.shape)}"
        )
    if first.amin() < low or first.amax() > high:
        raise InputError(f"the data leave [{low}, {high}]: give their range as low= and high=")
    shape = list(first.shape[1:])
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        encoder, decoder = _encoder(shape, code), _decoder(shape, code)
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)
        with progress(epochs, "Training the generator") as advance:
            for _ in range(epochs):
                for batch in _shuffled(data):
                    loss = _loss(encoder, decoder, ((batch - low) / (high - low)).float())
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                advance(1)
    weights = {name: value.detach() for name, value in decoder.state_dict().items()}
    return Generator(weights, shape, code, low, high)


def _loss(encoder: nn.Module, decoder: nn.Module, x: Tensor) -> Tensor:
    """The negative evidence lower bound per sample, x in [0, 1]."""
    mean, log_variance = encoder(x).chunk(2, 1)
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    misfit = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
    return (misfit + divergence) / len(x)


def _shuffled(data: Any) -> Iterable[Tensor]:
    if isinstance(data, Tensor):
        data = data[torch.randperm(len(data))]
    return batches(data, BATCH)


def _encoder(shape: list[int], code: int) -> nn.Module:
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH // 2, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(WIDTH // 2, WIDTH, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(WIDTH * height * width // 16, 2 * code),
    )


def _decoder(shape: list[int], code: int) -> nn.Module:
    channels, height, width = shape
    return nn.Sequential(
        nn.Linear(code, WIDTH * height * width // 16),
        nn.ReLU(),
        nn.Unflatten(1, (WIDTH, height // 4, width // 4)),
        nn.ConvTranspose2d(WIDTH, WIDTH // 2, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(WIDTH // 2, channels, 4, 2, 1),
    )
