"""Images that differ from a known one in a box: what the box does not reach is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_POINTWISE = {
    torch.relu, torch.relu_, F.relu, F.relu6, F.hardtanh, F.silu, F.gelu, F.hardswish,
    F.leaky_relu, F.elu, torch.sigmoid, torch.tanh,
}  # fmt: skip
_WORTHWHILE = 0.7  # of the whole: a box that covers more of it is not worth the trouble


class Known:
    """A tensor (1, C, H, W) of the known image, and what operations make of it, each once."""

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._made: dict[Any, tuple[Any, Known]] = {}

    def then(self, key: Any, make: Callable[[], Tensor], *kept: Any) -> Known:
        """What is made of it; `kept` are objects whose identity is in the key."""
        if key not in self._made:
            self._made[key] = kept, Known(make())
        return self._made[key][1]


class Patched:
    """A batch (n, C, H, W) that is `known` but for boxes (n, C, h, w) at corners, (n, 2) numbers.

    It goes through a network in a tensor's place. Convolutions, pooling, additions and activations
    are computed in the boxes alone, grown by what the kernels reach; at anything else it becomes
    the tensor it stands for. So results are those of the tensor, but for rounding.
    """

    def __init__(self, known: Known, boxes: Tensor, corners: list[tuple[int, int]]) -> None:
        self.known, self.boxes, self.corners = known, boxes, corners
        self._full: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.boxes), *self.known.value.shape[1:]))

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return 4

    def full(self) -> Tensor:
        """The tensor (n, C, H, W)."""
        if self._full is None:
            self._full = self.known.value.repeat(len(self.boxes), 1, 1, 1)
            self._write(self._full, [(0, 0)] * len(self.boxes))
        return self._full

    def crop(
        self, corners: list[tuple[int, int]], height: int, width: int, beyond: float = 0.0
    ) -> Tensor:
        """Boxes of this size at these corners; beyond the edges is what is told."""
        channels = self.shape[1]
        cut = self.boxes.new_full((len(corners), channels, height, width), beyond)
        cut = cut.contiguous(memory_format=torch.channels_last)
        for one, corner in zip(cut, corners, strict=True):
            _copy(self.known.value[0], (0, 0), one, corner)
        self._write(cut, corners)
        return cut

    def _write(self, target: Tensor, corners: list[tuple[int, int]]) -> None:
        """Put the boxes into tensors (n, C, height, width) whose corners are these."""
        for one, box, at, corner in zip(target, self.boxes, self.corners, corners, strict=True):
            _copy(box, at, one, corner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.full(), name)

    def __add__(self, other: Any) -> Any:
        return torch.add(self, other)  # type: ignore[arg-type]

    __radd__ = __iadd__ = __add__

    def __mul__(self, other: Any) -> Any:
        return self.full() * other

    __rmul__ = __imul__ = __mul__

    def __getitem__(self, index: Any) -> Tensor:
        return self.full()[index]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        found = None
        if isinstance(args[0], cls):
            found = args[0]._local(func, args[1:], kwargs)
        if found is not None:
            return found
        plain = [[_plain(v) for v in a] if isinstance(a, tuple | list) else _plain(a) for a in args]
        return func(*plain, **{k: _plain(v) for k, v in kwargs.items()})

    def _local(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operation makes of the boxes alone, or None if it does not work so."""
        if func in _POINTWISE:
            args = tuple(False if a is True else a for a in args)  # not in place
            options = {k: False if v is True else v for k, v in kwargs.items()}
            func = torch.relu if func is torch.relu_ else func
            key = func, args, tuple(options.items())
            known = self.known.then(key, lambda: func(self.known.value, *args, **options))
            return Patched(known, func(self.boxes, *args, **options), self.corners)
        if func is F.dropout and not kwargs.get("training", True):
            return self
        if func is torch.add and len(args) == 1 and not kwargs and isinstance(args[0], Patched):
            return self._plus(args[0])
        if func is F.conv2d:
            return self._convolved(*args, **kwargs)
        if func in (F.max_pool2d, torch.max_pool2d, F._max_pool2d):  # type: ignore[attr-defined]
            return self._pooled(*args, **kwargs)
        return None

    def _plus(self, other: Patched) -> Patched | None:
        """The sum, in the larger of the boxes, if it holds the other."""
        small, large = sorted((self, other), key=lambda p: p.boxes[0].numel())
        height, width = large.boxes.shape[2:]
        h, w = small.boxes.shape[2:]
        inside = (
            a <= c and b <= d and c + h <= a + height and d + w <= b + width
            for (a, b), (c, d) in zip(large.corners, small.corners, strict=True)
        )  # fmt: skip
        if self.shape != other.shape or not all(inside):
            return None
        known = self.known.then(
            ("plus", id(other.known)), lambda: self.known.value + other.known.value, other.known
        )
        boxes = large.boxes + small.crop(large.corners, height, width)
        return Patched(known, boxes, large.corners)

    def _convolved(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Patched | None:
        if isinstance(padding, str):
            return None

        def convolved(x: Tensor, pads: Any) -> Tensor:
            return F.conv2d(x, weight, bias, stride, pads, dilation, groups)

        key = "convolution", id(weight), id(bias), stride, padding, dilation, groups
        known = self.known.then(key, lambda: convolved(self.known.value, padding), weight, bias)
        steps, pads, spread = _pair(stride), _pair(padding), _pair(dilation)
        reach = [d * (k - 1) for d, k in zip(spread, weight.shape[2:], strict=True)]
        return self._slid(known, lambda x: convolved(x, 0), reach, steps, pads, 0.0)

    def _pooled(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Patched | None:
        if ceil_mode or return_indices:
            return None
        stride = stride or kernel_size

        def pooled(x: Tensor, pads: Any) -> Tensor:
            return F.max_pool2d(x, kernel_size, stride, pads, dilation)

        key = "maximum", kernel_size, stride, padding, dilation
        known = self.known.then(key, lambda: pooled(self.known.value, padding))
        steps, pads, spread = _pair(stride), _pair(padding), _pair(dilation)
        reach = [d * (k - 1) for d, k in zip(spread, _pair(kernel_size), strict=True)]
        return self._slid(known, lambda x: pooled(x, 0), reach, steps, pads, -torch.inf)

    def _slid(
        self,
        known: Known,
        compute: Callable[[Tensor], Tensor],
        reach: list[int],
        steps: Any,
        pads: Any,
        beyond: float,
    ) -> Patched | None:
        """What a sliding kernel makes of the boxes, grown by what it reaches."""
        places = self._reached(known.value.shape[2:], reach, steps, pads)
        if places is None:
            return None
        corners, size = places
        height, width = ((n - 1) * s + r + 1 for n, s, r in zip(size, steps, reach, strict=True))
        start = [(a * steps[0] - pads[0], b * steps[1] - pads[1]) for a, b in corners]
        return Patched(known, compute(self.crop(start, height, width, beyond)), corners)

    def _reached(
        self, shape: tuple[int, ...], reach: list[int], steps: Any, pads: Any
    ) -> tuple[list[tuple[int, int]], list[int]] | None:
        """Corners and size of boxes that hold every output that a box of the input reaches."""
        size, starts = [], []
        for d in (0, 1):
            n, r, s, p = self.boxes.shape[2 + d], reach[d], steps[d], pads[d]
            first = [-(-(corner[d] + p - r) // s) for corner in self.corners]
            last = [(corner[d] + n - 1 + p) // s for corner in self.corners]
            most = max(b - a + 1 for a, b in zip(first, last, strict=True))
            if most < 1 or most >= shape[d]:
                return None
            size.append(most)
            starts.append([min(max(a, 0), shape[d] - most) for a in first])
        if size[0] * size[1] > _WORTHWHILE * shape[0] * shape[1]:
            return None
        return list(zip(*starts, strict=True)), size


def _copy(source: Tensor, at: tuple[int, int], target: Tensor, corner: tuple[int, int]) -> None:
    """Copy what the two (C, h, w), whose corners are given, have in common."""
    low = [max(a, b) for a, b in zip(at, corner, strict=True)]
    high = [
        min(a + n, b + m)
        for a, b, n, m in zip(at, corner, source.shape[1:], target.shape[1:], strict=True)
    ]
    if low[0] < high[0] and low[1] < high[1]:
        from_, to = (
            x[:, low[0] - y : high[0] - y, low[1] - z : high[1] - z]
            for x, (y, z) in ((source, at), (target, corner))
        )
        to.copy_(from_)


def _plain(value: Any) -> Any:
    return value.full() if isinstance(value, Patched) else value


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else tuple(value)
