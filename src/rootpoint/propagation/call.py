"""One operation as its rule sees it on the way back."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import InputError
from rootpoint.propagation.step import Step

State = tuple[int, int, bytes]
Weights = dict[tuple[int, str, Hashable], tuple[list[Tensor], list[State], Tensor]]
"""Modified weights by weight, module and modification: sources, their states, the result."""


@dataclass(frozen=True)
class Back:
    """What a rule returns, unless it returns the multiplier of the only live input.

    native       multipliers for the operation's own backward, which autograd then runs
    multiplier   one for each live input (None: nothing)
    relevance    of the only live input, where a multiplier could not hold it (a = 0)
    """

    native: Tensor | None = None
    multiplier: Tensor | Sequence[Tensor | None] | None = None
    relevance: Tensor | None = None


def state(t: Tensor) -> State:
    """Changes when a tensor is written to: its place, its version, and 64 of its values.

    The values, as writes through `.data` leave the version as it is.
    """
    values = t.detach().reshape(-1)[:: t.numel() // 64 + 1].contiguous()
    return t.data_ptr(), t._version, values.view(torch.uint8).numpy().tobytes()


REDUCED = (torch.bfloat16, torch.float16)
"""Dtypes of too few bits to compute relevance in."""


def widened(t: Any) -> Any:
    """A tensor of reduced precision in float32; anything else as it is."""
    return t.float() if isinstance(t, Tensor) and t.dtype in REDUCED else t


def nonzero(a: Tensor) -> Tensor:
    """The tensor with 1 in place of 0: relevance is `nonzero(a) · m` where zeros may carry it."""
    return a + (a == 0)


class Call:
    """One operation, met again on the way back.

    step             what is known of it
    input, output    the activations a and z, in float32 where the model's are in fewer bits
    rounded          whether the output is rounded to such fewer bits
    reference        its tensors where the model's input is the baseline
    weight, bias     of a linear map, with the batch-norm behind it folded in
    """

    def __init__(
        self, step: Step, tensors: Sequence[Any], output: Tensor, weights: Weights
    ) -> None:
        self.step = step
        self.given = tensors
        self.tensors = tensors if step.rule and step.rule.native else [*map(widened, tensors)]
        self.rounded = output is not None and output.dtype in REDUCED
        self.output = widened(output)
        self.weights = weights

    @property
    def input(self) -> Tensor:
        """The only live input, or the first of several."""
        return self.tensors[self.step.live[0]]

    @property
    def reference(self) -> list[Any]:
        if self.step.reference is None:
            raise InputError(f"{self.step.rule} compares with a reference, which only deeplift has")
        tensors = list(self.tensors)
        for slot, value in zip(self.step.live, self.step.reference, strict=True):
            tensors[slot] = value.to(tensors[slot].dtype).expand_as(tensors[slot])
        return tensors

    def function(self, a: Tensor) -> Any:
        """The operation with `a` in place of its only live input."""
        tensors = list(self.tensors)
        tensors[self.step.live[0]] = a
        return self.step.run(tensors)

    @property
    def taps(self) -> Tensor:
        """1 for every value of the input, 0 for zeros that an operation before put around it."""
        ones = torch.ones_like(self.input)
        padding = self.step.padding
        if not padding:
            return ones
        return F.pad(F.pad(ones, [-n for n in padding]), padding)

    def relevance(self, m: Tensor) -> Tensor:
        """R = z · m, the relevance at the output, from its multipliers."""
        return (nonzero(self.output) if any(self.step.exact) else self.output) * m

    @property
    def unrounded(self) -> Tensor:
        """The output of a linear map, for differences: computed again if it is rounded."""
        return self.run(self.input, self.weight, self.bias) if self.rounded else self.output

    # -- linear maps ---------------------------------------------------------------------------

    @property
    def weight(self) -> Tensor:
        weight = self.tensors[self.step.roles[0]]
        if self.step.norm is None:
            return weight
        return weight * self._scale.reshape(-1, *[1] * (weight.dim() - 1))

    @property
    def bias(self) -> Tensor | None:
        slot = self.step.roles[1]
        bias = None if slot is None else self.tensors[slot]
        if self.step.norm is None:
            return bias
        mean, _, _, shift = self._norm
        folded = (-mean if bias is None else bias - mean) * self._scale
        return folded if shift is None else folded + shift

    @property
    def _norm(self) -> list[Any]:
        assert self.step.norm is not None
        return [None if slot < 0 else self.tensors[slot] for slot in self.step.norm]

    @property
    def _scale(self) -> Tensor:
        """γ / √(var + ε) of the folded batch-norm, per output channel."""
        _, var, gamma, _ = self._norm
        scale = torch.rsqrt(var + self.step.epsilon)
        return scale if gamma is None else scale * gamma

    def modified(self, name: Hashable, change: Callable[[Tensor], Tensor]) -> Tensor:
        """`change(weight)`, computed once for a parameter as long as it is not written to."""
        slots = [self.step.roles[0], *(s for s in self.step.norm or () if s >= 0)]
        sources = [self.given[slot] for slot in slots]
        if (
            torch.compiler.is_compiling()
            or not self.step.persistent
            or sources[0].device.type != "cpu"
        ):
            return change(self.weight)  # elsewhere making them costs less than looking
        key = (sources[0].data_ptr(), self.step.module, name)
        states = [state(t) for t in sources]
        kept = self.weights.get(key)
        if kept is None or kept[1] != states:
            kept = self.weights[key] = (sources, states, change(self.weight))
        return kept[2]

    def parts(self, names: tuple[str, ...], factor: float = 1.0) -> Tensor:
        """Parts of the weights (`PARTS`), side by side along the inputs, times a factor."""

        def change(w: Tensor) -> Tensor:
            parts = [PARTS[name](w) for name in names]
            joined = parts[0] if self._joint is None else torch.cat(parts, self._joint[1])
            return joined if factor == 1 else joined * factor

        return self.modified((names, factor), change)

    @property
    def _joint(self) -> tuple[int, int] | None:
        """The dimensions of inputs and weights along which two maps join into one, if any."""
        name = self.step.name
        if name == "linear":
            return -1, 1
        if (
            name in CONVOLUTIONS
            and self.step.bound(self.tensors, *CONVOLUTIONS[name]).get("groups", 1) == 1
        ):
            return 1, 0 if "transpose" in name else 1
        return None

    def sum(
        self,
        inputs: Sequence[Tensor],
        names: tuple[str, ...],
        bias: Tensor | None = None,
        factor: float = 1.0,
    ) -> Tensor:
        """Σ_k w_kᵀ a_k + b for inputs a_k and parts w_k of the weights: one map where they join."""
        if len(names) == 1:
            return self.run(inputs[0], self.parts(names, factor), bias)
        if self._joint is not None:
            joined = torch.cat(list(inputs), self._joint[0])
            return self.run(joined, self.parts(names, factor), bias)
        z = self.sum(inputs[:1], names[:1], bias, factor)
        return z.add_(self.sum(inputs[1:], names[1:], None, factor))

    def spread(self, s: Tensor, names: tuple[str, ...], factor: float = 1.0) -> list[Tensor]:
        """w_k s for each of these parts of the weights, shaped like the input."""
        if len(names) == 1 or self._joint is None:
            return [self.transpose(s, self.parts((name,), factor)) for name in names]
        shape = list(self.input.shape)
        shape[self._joint[0]] *= len(names)
        c = self.transpose(s, self.parts(names, factor), self.input.new_empty(shape))
        return list(c.chunk(len(names), self._joint[0]))

    def run(self, a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The linear map with input `a` and these weights: z = wᵀ a + b."""
        tensors = list(self.tensors)
        tensors[self.step.live[0]] = a
        tensors[self.step.roles[0]] = weight
        if self.step.roles[1] is not None:
            tensors[self.step.roles[1]] = bias
            return self.step.run(tensors)
        z = self.step.run(tensors)
        return z if bias is None else z + bias.reshape(-1, *[1] * (z.dim() - 2))

    def transpose(self, s: Tensor, weight: Tensor, like: Tensor | None = None) -> Tensor:
        """The linear map with these weights, backwards: c = w s, shaped like the input."""
        like = self.input if like is None else like
        if self.step.name == "linear":
            return s @ weight
        if self.step.name in CONVOLUTIONS:
            c = _transpose_convolution(self.step, self.tensors, s, weight, like)
            if c is not None:
                return c
        with torch.enable_grad():
            a = like.detach().requires_grad_()
            z = self.run(a, weight)
        return torch.autograd.grad(z, a, s)[0]


PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "whole": lambda w: w,
    "positive": lambda w: w.clamp(min=0),
    "negative": lambda w: w.clamp(max=0),
    "squared": torch.square,
    "absolute": torch.abs,
    "ones": torch.ones_like,
}
"""Parts of the weights by name: w, w⁺, w⁻, w², |w|, 1."""

_SHAPE = ("input", "weight", "bias", "stride", "padding")
CONVOLUTIONS = {
    **{f"conv{d}d": (*_SHAPE, "dilation", "groups") for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": (*_SHAPE, "output_padding", "groups", "dilation") for d in (1, 2, 3)},
}
"""The parameters of each convolution, in order."""


def _transpose_convolution(
    step: Step, tensors: Sequence[Any], s: Tensor, weight: Tensor, like: Tensor
) -> Tensor | None:
    """One call of the convolution's own backward, without a forward before it."""
    given = step.bound(tensors, *CONVOLUTIONS[step.name])
    dims = weight.dim() - 2
    if isinstance(given.get("padding"), str) or like.dim() != weight.dim():
        return None

    def each(name: str, default: int) -> list[int]:
        value = given.get(name, default)
        value = list(value) if isinstance(value, list | tuple) else [value]
        return value * dims if len(value) == 1 else value

    return torch.ops.aten.convolution_backward(
        s,
        like,
        weight,
        None,
        each("stride", 1),
        each("padding", 0),
        each("dilation", 1),
        "transpose" in step.name,
        each("output_padding", 0),
        given.get("groups", 1),
        [True, False, False],
    )[0]
