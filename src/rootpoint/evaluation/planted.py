"""Models whose true relevance is known exactly: what a perfect explanation is, and a metric's test.

import rootpoint as rp
from rootpoint.evaluation import planted

p = planted.linear()
rp.evaluate(p.model, p.inputs, {"truth": p.truth}, "abpc", target=p.targets, masks=p.masks)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError

CLASSES = 3
PATCH = 4  # pixels per side of a planted pattern


@dataclass(frozen=True, eq=False)
class Planted:
    """A model, inputs, and what each input value contributes to each output.

    model      (N, …) → (N, 3), float64
    inputs     (N, …), float64
    targets    the outputs that are explained, one for each sample: the highest
    contributions   of a model like this one and inputs (N, …): their truth (N, 3, …), which sums to
               the outputs exactly; an input value 0 contributes 0
    """

    model: nn.Module
    inputs: Tensor
    targets: list[int]
    contributions: Callable[[Any, Tensor], Tensor]

    @property
    def relevance(self) -> Tensor:
        """The true relevance of the inputs for the targets, (N, …)."""
        return self.truth(self.model, self.inputs, torch.tensor(self.targets))

    @property
    def masks(self) -> Tensor:
        """Where the true relevance for the targets is above zero: bool, like the inputs."""
        return self.relevance > 0

    def truth(self, model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        """The true relevance (N, …), as a candidate for `evaluate`: the perfect explanation.

        It is that of the model given, of other inputs and with other parameters too.
        """
        with torch.no_grad():
            each = self.contributions(model, inputs)
        return each[torch.arange(len(inputs)), targets]


def linear(samples: int = 8, shape: tuple[int, ...] = (1, 8, 8), *, seed: int = 0) -> Planted:
    """f_k(x) = Σ_i w_ki x_i of normal weights and inputs. The truth is w_ki x_i.

    shape   of one input
    Raises InputError for no samples or an empty shape.
    """
    inputs, generator = _inputs(samples, shape, seed)
    model = nn.Sequential(nn.Flatten(), _layer(inputs[0].numel(), generator))

    def contributions(model: Any, x: Tensor) -> Tensor:
        return model[1].weight.unflatten(1, shape) * x[:, None]

    return _planted(model, inputs, contributions)


class Additive(nn.Module):
    """f_k(x) = Σ_i (a_ki max(0, x_i) + b_ki max(0, −x_i) + c_ki x_i³)."""

    def __init__(self, above: nn.Linear, below: nn.Linear, cubic: nn.Linear) -> None:
        super().__init__()
        self.above, self.below, self.cubic = above, below, cubic

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.above(x.relu()) + self.below((-x).relu()) + self.cubic(x * x * x)


def additive(
    samples: int = 8, shape: tuple[int, ...] = (1, 8, 8), *, cubic: float = 0.2, seed: int = 0
) -> Planted:
    """A sum of one nonlinear function per input value, g_ki(0) = 0. The truth is g_ki(x_i).

    g is a different slope on either side of zero, plus a cube. Every Shapley value and every path
    from 0 to x agrees with the truth; gradient × input does only without the cube.

    cubic   the strength of the cube; with 0 f is piecewise linear
    Raises InputError for no samples or an empty shape.
    """
    inputs, generator = _inputs(samples, shape, seed)
    model = Additive(*(_layer(inputs[0].numel(), generator, s) for s in (1, 1, cubic)))

    def contributions(model: Any, x: Tensor) -> Tensor:
        parts = (
            (model.above, x.relu()),
            (model.below, (-x).relu()),
            (model.cubic, x * x * x),
        )
        each = [layer.weight.unflatten(1, shape) * value[:, None] for layer, value in parts]
        return each[0] + each[1] + each[2]

    return _planted(model, inputs, contributions)


def convolutional(samples: int = 8, side: int = 16, *, seed: int = 0) -> Planted:
    """A ReLU network that finds planted patterns: f_k(x) = mean over patches of max(0, t_k·x_p).

    Each image (1, side, side) has in one of its 4 × 4 patches the pattern of the target, in another
    that of another class, more weakly; elsewhere every t_k · x_p ≤ 0. The truth is t_ki x_i over
    the number of patches in the patch that has the pattern, 0 elsewhere. f is its own gradient
    times x, so all paths from 0, LRP with ε → 0, and occlusion of patches agree with it.

    side    of the image, a multiple of 4 and at least 8
    Raises InputError for no samples or another side.
    """
    if side < 2 * PATCH or side % PATCH:
        raise InputError(f"side={side!r}: give a multiple of {PATCH}, at least {2 * PATCH}")
    _, generator = _inputs(samples, (1,), seed)
    patterns, cells = _patterns(), (side // PATCH) ** 2
    quiet = torch.randint(1, 9, (samples, cells, 1, 1), generator=generator) / 16
    patches = -quiet * patterns.sum(0)
    places = torch.rand(samples, cells, generator=generator).argsort(1)
    classes = torch.rand(samples, CLASSES, generator=generator).argsort(1)
    for j, strength in enumerate((1.0, 0.5)):  # dyadic numbers: other patterns' sums are exactly 0
        patches[torch.arange(samples), places[:, j]] = strength * patterns[classes[:, j]]
    conv = nn.Conv2d(1, CLASSES, PATCH, stride=PATCH, bias=False, dtype=torch.float64)
    _set(conv.weight, patterns[:, None])
    model = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def contributions(model: Any, x: Tensor) -> Tensor:
        found = (model[0](x) > 0).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
        kernels = model[0].weight[:, 0].tile(side // PATCH, side // PATCH)
        return (found * kernels * x / cells)[:, :, None]

    return _planted(model, _joined(patches), contributions)


def _patterns() -> Tensor:
    """Patterns (3, 4, 4) of ±1, orthogonal to each other."""
    halves = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
    stripes = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)
    one = torch.ones(PATCH, dtype=torch.float64)
    return torch.stack([halves.outer(one), one.outer(stripes), stripes.outer(halves)])


def _joined(patches: Tensor) -> Tensor:
    """Images (N, 1, side, side) of their patches (N, cells, 4, 4)."""
    side = round(patches.shape[1] ** 0.5)
    rows = patches.unflatten(1, (side, side)).transpose(2, 3)
    return rows.reshape(len(patches), 1, side * PATCH, side * PATCH)


def _inputs(samples: int, shape: tuple[int, ...], seed: int) -> tuple[Tensor, torch.Generator]:
    if samples < 1 or not shape or min(shape) < 1:
        raise InputError(
            f"samples={samples!r} of shape {shape!r}: give at least one sample, of one value"
        )
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, *shape, generator=generator, dtype=torch.float64), generator


def _layer(features: int, generator: torch.Generator, strength: float = 1.0) -> nn.Linear:
    """A linear layer of normal weights without bias."""
    layer = nn.Linear(features, CLASSES, bias=False, dtype=torch.float64)
    drawn = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
    _set(layer.weight, drawn * strength)
    return layer


def _set(weight: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        weight.copy_(values)


def _planted(
    model: nn.Module, inputs: Tensor, contributions: Callable[[Any, Tensor], Tensor]
) -> Planted:
    with torch.no_grad():
        targets = model.eval()(inputs).argmax(1).tolist()
    return Planted(model, inputs, targets, contributions)
