"""Occlusion: what the score loses when a window of the input is covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.perturbation.windows import Window
    from rootpoint.target import Target

Sizes = int | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Occlusion(Method):
    """R(window) = f(x) − f(x with the window replaced); of a value, the mean over its windows.

    Not complete: what windows share is counted in each of them. All channels of an image are
    covered, and get the same relevance. Windows start at every multiple of the stride; the last
    ones are cut off at the edge. Any function from inputs to scores will do.

    window     a number for both sides of an image (C, H, W), or for every dimension of other
               samples; or one number per dimension: (height, width) or (channels, height, width).
               None is a fourteenth of an image's shorter side (16 of 224), and 1 for others
    stride     likewise, at most the window; None is the window
    baseline   None is 0. Named ones are of each window: "mean" its own mean, "inpaint" from its
               surroundings. If it is data (k, …), the mean score counts: k times the evaluations

    Raises InputError if the score is the same wherever the window is.
    Cost: a forward for each window, ⌈(size − window) / stride + 1⌉ in each dimension; convolutional
    networks compute what a window does not reach only once, up to the first layer that sees all.
    Source: Zeiler & Fergus 2014, ECCV, arXiv 1311.2901.
    """

    name: ClassVar[str] = "occlusion"
    summary: ClassVar[str] = "Occlusion: what the score loses when a window of the input is covered"
    cost: ClassVar[str] = "1 forward per window"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)

    window: Sizes | None = parameter(None, "size of the covered square, or one per dimension")
    stride: Sizes | None = parameter(None, "from one window to the next; the window's size if none")
    baseline: float | str | Tensor | None = parameter(
        None, "what covers a window: a number, mean, blur, noise, inpaint, a tensor, data"
    )
    seed: int = parameter(0, "of the noise")

    def __post_init__(self) -> None:
        super().__post_init__()
        for label, value in (("window", self.window), ("stride", self.stride)):
            sizes = value if isinstance(value, tuple) else (1 if value is None else value,)
            if not sizes or any(type(s) is not int or s < 1 for s in sizes):
                raise InputError(
                    f"{self.name}: {label}={value!r}; give a whole number from 1 on, or one for "
                    "each dimension"
                )

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.inputs import single
        from rootpoint.perturbation.filled import explained
        from rootpoint.perturbation.frozen import frozen
        from rootpoint.progress import progress
        from rootpoint.scoring import decide

        self.inputs_only(at)
        x = single(self.name, inputs)
        decisions = decide(model, x, targets)
        at_windows = self._windows(x[0])
        covers = [self._covers(sample, at_windows) for sample in x]
        copy, number = frozen(model, x), len(covers[0](0))

        def fill(sample: int, index: int) -> Tensor:
            return covers[sample](index)[(slice(None), *at_windows[index])]

        def worth(whole: Tensor, without: Tensor) -> Tensor:
            return whole - without

        total = (1 + len(at_windows) * number) * len(x) * len(targets)
        with progress(total, self.name) as advance:
            return [
                explained(self, x, d, at_windows, number, fill, worth, advance, network=copy)
                for d in decisions
            ]

    def _windows(self, sample: Tensor) -> list[Window]:
        from rootpoint.perturbation.windows import windows

        size, stride = self._sizes(sample)
        if any(s > w for s, w in zip(stride, size, strict=True)):
            raise InputError(
                f"{self.name}: a stride of {stride} leaves gaps between windows of {size}: values "
                "there would have no relevance; make the stride smaller, or the window larger"
            )
        return windows(sample.shape, size, stride)

    def _sizes(self, sample: Tensor) -> tuple[list[int], list[int]]:
        """Window and stride in each dimension of the sample."""
        shape = list(sample.shape)
        default = max(1, min(shape[1:]) // 14) if len(shape) == 3 else 1
        size = self._each("window", default if self.window is None else self.window, shape)
        size = [min(s, length) for s, length in zip(size, shape, strict=True)]
        return size, size if self.stride is None else self._each("stride", self.stride, size)

    def _each(self, label: str, value: Sizes, shape: list[int]) -> list[int]:
        """One number per dimension; of an image, all channels unless their number is given."""
        image = len(shape) == 3
        if isinstance(value, int):
            value = (value,) * (2 if image else len(shape))
        found = [*shape[:1], *value] if image and len(value) == 2 else list(value)
        if len(found) != len(shape):
            raise InputError(
                f"{self.name}: {label}={value!r} has {len(value)} numbers for samples of "
                f"{len(shape)} dimensions: give one number, or one for each"
            )
        return found

    def _covers(self, sample: Tensor, at_windows: list[Window]) -> Callable[[int], Tensor]:
        """What covers each window: a function from its index to values (k, *sample's shape)."""
        import torch

        from rootpoint.perturbation.features import as_features
        from rootpoint.perturbation.replacements import BY_FEATURE, replacements

        baseline = 0.0 if self.baseline is None else self.baseline
        groups = [0] * len(at_windows)
        if isinstance(baseline, str) and baseline in BY_FEATURE:
            groups = self._groups(sample, at_windows)
        covers = []
        for group in range(max(groups) + 1):
            mask = torch.zeros(sample.shape, dtype=torch.long, device=sample.device)
            for index, window in enumerate(at_windows):
                if groups[index] == group:
                    mask[window] = index + 1
            features = as_features(mask, sample)
            covers.append(replacements(baseline, sample, features, seed=self.seed))
        return lambda index: covers[groups[index]]

    def _groups(self, sample: Tensor, at_windows: list[Window]) -> list[int]:
        """The number of a group for each window, such that those of one group do not overlap."""
        size, stride = self._sizes(sample)
        keys = [
            tuple(part.start // s % -(-w // s) for part, w, s in zip(at, size, stride, strict=True))
            for at in at_windows
        ]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        return [number[key] for key in keys]
