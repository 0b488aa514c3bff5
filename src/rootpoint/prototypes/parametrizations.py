"""What is searched: pixels, an image's spectrum, or the code of a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.inputs import batches
from rootpoint.perturbation.blur import blurred

Box: TypeAlias = "tuple[Tensor, Tensor]"

IMAGENET_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""A root of the covariance of ImageNet's colours, rows red, green, blue, as published with Lucid
(Olah, Mordvintsev, Schubert 2017)."""


class Parametrization(Protocol):
    """Free values, and the inputs that they stand for."""

    def start(self, at: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """The first values of `count` inputs; `at` is the input where the search starts."""
        ...

    def inputs(self, values: Tensor, like: Tensor, box: Box | None) -> Tensor:
        """The inputs that the values stand for, (N, *like.shape), within the box."""
        ...

    def penalty(self, values: Tensor) -> Tensor | float:
        """What the objective loses by these values, (N,)."""
        ...

    def project(self, values: Tensor, step: int, box: Box | None) -> Tensor:
        """The values after a step, brought back to where they may be."""
        ...


@dataclass(frozen=True)
class Pixels:
    """The values are the input itself, clipped to the box after each step.

    noise   standard deviation around the start, from which several prototypes become different
    blur    standard deviation, in pixels, of a Gaussian blur (Yosinski et al. 2015), 0 for none
    every   the blur happens every so many steps
    """

    noise: float = 0.0
    blur: float = 0.0
    every: int = 4

    def start(self, at: Tensor, count: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(count, *at.shape, generator=generator, dtype=at.dtype)
        return at + self.noise * noise.to(at.device)

    def inputs(self, values: Tensor, like: Tensor, box: Box | None) -> Tensor:
        return values

    def penalty(self, values: Tensor) -> float:
        return 0.0

    def project(self, values: Tensor, step: int, box: Box | None) -> Tensor:
        if self.blur and (step + 1) % self.every == 0:
            values = blurred(values, self.blur)
        return values if box is None else values.clamp(*box)


@dataclass(frozen=True)
class Fourier:
    """The values are an image's spectrum, in colours as uncorrelated as those of photos.

    x = low + (high − low) · sigmoid(C · F⁻¹(values / frequency^falloff)): with a falloff of 1
    frequencies have the strength that they have in photos, a higher one puts shapes before detail.
    Needs a box.

    falloff   the power of the frequency, counted in twentieths of a cycle per pixel
    colours   a root C of the colours' covariance, 3 × 3 (see `colour_root`); None for no mixing
    noise     standard deviation of the first values
    Source: Olah, Mordvintsev, Schubert 2017, Feature Visualization, Distill.
    """

    falloff: float = 1.5
    colours: tuple[tuple[float, ...], ...] | None = IMAGENET_COLOURS
    noise: float = 0.01

    def start(self, at: Tensor, count: int, generator: torch.Generator) -> Tensor:
        if at.dim() != 3:
            raise InputError(f"a spectrum needs an image (C, H, W), not one of {tuple(at.shape)}")
        if self.colours is not None and len(self.colours) != at.shape[0]:
            raise InputError(f"{len(self.colours)} colours for {at.shape[0]} channels")
        channels, height, width = at.shape
        size = (count, channels, height, width // 2 + 1, 2)
        noise = torch.randn(size, generator=generator, dtype=at.dtype)
        return self.noise * noise.to(at.device)

    def inputs(self, values: Tensor, like: Tensor, box: Box | None) -> Tensor:
        if box is None:
            raise InputError("a spectrum needs a box: the lowest and highest value of the input")
        height, width = like.shape[-2:]
        down = torch.fft.fftfreq(height, dtype=values.dtype, device=values.device)[:, None]
        across = torch.fft.rfftfreq(width, dtype=values.dtype, device=values.device)
        frequency = (down**2 + across**2).sqrt().clamp(min=1 / max(height, width))
        # 5: the strength at which a rate of .05 per step suits images, as in Lucid
        spectrum = 5 * torch.view_as_complex(values) / (20 * frequency) ** self.falloff
        images = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        if self.colours is not None:
            root = values.new_tensor(self.colours)
            root = root / root.norm(dim=0).max()
            images = torch.einsum("dc,nchw->ndhw", root, images)
        low, high = box
        return low + (high - low) * images.sigmoid()

    def penalty(self, values: Tensor) -> float:
        return 0.0

    def project(self, values: Tensor, step: int, box: Box | None) -> Tensor:
        return values


def colour_root(photos: Iterable[Tensor]) -> tuple[tuple[float, ...], ...]:
    """A root C of the covariance of the photos' colours, C Cᵀ = Σ, for `Fourier`.

    photos   tensors (N, C, H, W), with pixels in [0, 1]; read once, batch by batch
    """
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for batch in batches(photos):
        pixels = batch.double().transpose(0, 1).flatten(1)
        count += pixels.shape[1]
        total = total + pixels.sum(1)
        square = square + pixels @ pixels.T
    if not count:
        raise InputError("there are no photos to take colours from")
    mean = total / count
    values, vectors = torch.linalg.eigh(square / count - torch.outer(mean, mean))
    root = vectors * values.clamp(min=0).sqrt()
    return tuple(map(tuple, root.flip(1).tolist()))


@dataclass(frozen=True, eq=False)
class Code:
    """The values are codes z of a generator, x = g(z); the objective loses λ‖z‖².

    generator   from codes (N, size) to inputs: an nn.Module in eval mode, or any function
    size        the number of values in a code
    weight      λ, the Gaussian expert of the code space
    clip        codes are clipped to [−clip, clip] after each step; None for no clipping
    decay       codes are multiplied by it after each step, as .99 in Nguyen et al. 2016
    noise       standard deviation of the first codes
    Source: Montavon, Samek, Müller 2018, Digital Signal Processing 73:1; Nguyen et al. 2016,
    NeurIPS (arXiv:1605.09304).
    """

    generator: Callable[[Tensor], Tensor]
    size: int
    weight: float = 0.1
    clip: float | None = 3.0
    decay: float = 1.0
    noise: float = 1.0

    def start(self, at: Tensor, count: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(count, self.size, generator=generator, dtype=at.dtype)
        return self.noise * noise.to(at.device)

    def inputs(self, values: Tensor, like: Tensor, box: Box | None) -> Tensor:
        return self.generator(values)

    def penalty(self, values: Tensor) -> Tensor:
        return self.weight * (values**2).sum(1)

    def project(self, values: Tensor, step: int, box: Box | None) -> Tensor:
        values = self.decay * values
        return values if self.clip is None else values.clamp(-self.clip, self.clip)
