"""Rules for maxima and p-norms over windows or dimensions, beside `gradient` (the winner's)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import UnsupportedOperationError
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.rules import rule
from rootpoint.propagation.rules.linear import share


@rule("proportional", kinds=("maximum", "p-norm"))
def proportional(call: Call, m: Tensor) -> Back:
    """R_i = |a_i| / Σ_i |a_i| · R over the window: a sum-pooling, times a ratio held constant.

    The treatment of p-norm and max pooling in deep Taylor decomposition. Conserves. Of two branches
    (`maximum`) and of what selects (`topk`, `sort`), the winner takes all, as with the gradient.
    Cost: one backward of a sum-pooling. Source: Montavon et al. 2017, Pattern Recognition 65:211.
    """
    return _by_window(call, m, 0.0, torch.abs)


@rule("ties", kinds=("maximum",))
def ties(call: Call, m: Tensor) -> Back:
    """The winners of a maximum share equally: R_i = R / (number of winners). Conserves.

    Source: Bach et al. 2015 (LRP toolbox).
    """
    won = call.output.unsqueeze(-1)
    return _by_window(call, m, -torch.inf, lambda windows: (windows == won).to(windows.dtype))


@rule("uniform-pool", kinds=("maximum", "p-norm"), exact=True)
def uniform_pool(call: Call, m: Tensor) -> Back:
    """All inputs of the window share equally: R_i = R / (size of the window). Conserves.

    The `flat` rule for pooling. Source: Lapuschkin et al. 2019, Nature Communications 10:1096.
    """
    return _by_window(call, m, 0.0, torch.zeros_like)


@rule("average", kinds=("average",))
def average(call: Call, m: Tensor) -> Back:
    """R_i = a_i w_i / Σ_i a_i w_i · R, w the weights of the average: LRP-0, which is the gradient.

    An average of zeros that has relevance, as `flat` may give, shares it by its weights. Conserves.
    """
    z = call.output
    if not any(call.step.exact):
        return Back(native=m)
    with torch.enable_grad():
        a = torch.ones_like(call.input).requires_grad_()
        tensors = list(call.tensors)
        tensors[call.step.live[0]] = a
        weights = call.step.run(tensors)
    empty = share(call.relevance(m) * (z == 0), weights.detach().clone())
    (r,) = torch.autograd.grad(weights, a, empty, retain_graph=True)
    (proportional,) = torch.autograd.grad(weights, a, m * (z != 0))
    return Back(relevance=call.input * proportional + r)


def _by_window(call: Call, m: Tensor, fill: float, weigh: Callable[[Tensor], Tensor]) -> Back:
    """Each window shares its relevance by these weights of its values; equally if all are zero."""
    if not _has_windows(call):
        return Back(native=m)
    with torch.enable_grad():
        ones = torch.ones_like(call.input).requires_grad_()
        taps = _windows(call, 0.0)(ones)
    weights = weigh(_windows(call, fill)(call.input))
    total = weights.sum(-1, keepdim=True)
    weights = torch.where(total == 0, taps.detach(), weights)
    weights = weights / torch.where(total == 0, taps.detach().sum(-1, keepdim=True), total)
    r = call.relevance(m).reshape(total.shape[:-1]).unsqueeze(-1)
    return Back(relevance=torch.autograd.grad(taps, ones, weights * r)[0])


def _has_windows(call: Call) -> bool:
    """Whether each output is the maximum or norm of a window or of dimensions of one input."""
    name = call.step.name
    whole = name in ("amax", "amin", "max", "min", "norm", "vector_norm")
    pooling = "pool" in name and "fractional" not in name  # whose windows are drawn
    return len(call.step.live) == 1 and (pooling or whole)


def _windows(call: Call, fill: float) -> Callable[[Tensor], Tensor]:
    """A function from the input to its windows, (*output, values of the window)."""
    name = call.step.name
    if "pool" in name:
        return lambda a: _pool_windows(call, a, fill)
    given = call.step.bound(call.tensors, "input", *(("p",) if "norm" in name else ()), "dim")
    dim: Any = given.get("dim")
    dims = (
        tuple(range(call.input.dim())) if dim is None else (dim,) if isinstance(dim, int) else dim
    )
    keep = call.output.dim() == call.input.dim()

    def reduced(a: Tensor) -> Tensor:
        last = tuple(range(-len(dims), 0))
        windows = a.movedim(tuple(dims), last).flatten(-len(dims))
        return windows.reshape(*call.output.shape, -1) if keep else windows

    return reduced


def _pool_windows(call: Call, a: Tensor, fill: float) -> Tensor:
    """The windows of a pooling over the last dimensions, padded with `fill`."""
    name = call.step.name
    dims = int(name[name.index("d", name.index("pool")) - 1])
    sizes, outputs = a.shape[-dims:], call.output.shape[-dims:]
    kernel, stride, padding, dilation = _geometry(call, dims)
    pad: list[int] = []
    for d in reversed(range(dims)):
        reach = (outputs[d] - 1) * stride[d] + dilation[d] * (kernel[d] - 1) + 1
        pad += [padding[d], max(0, reach - sizes[d] - padding[d])]
    windows = F.pad(a, pad, value=fill)
    for d in range(dims):
        extent = dilation[d] * (kernel[d] - 1) + 1
        windows = windows.unfold(a.dim() - dims + d, extent, stride[d])[..., :: dilation[d]]
        windows = windows.narrow(a.dim() - dims + d, 0, outputs[d])
    return windows.flatten(-dims)


def _geometry(call: Call, dims: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, stride, padding and dilation of a pooling, one number per dimension each."""
    name = call.step.name
    if name.startswith("adaptive"):
        sizes, outputs = call.input.shape[-dims:], call.output.shape[-dims:]
        if any(size % out for size, out in zip(sizes, outputs, strict=True)):
            raise UnsupportedOperationError(
                f"{name} from {tuple(sizes)} to {tuple(outputs)} in "
                f"{call.step.module or 'the model'} has windows of unequal size; give it the rule "
                "'gradient' (the winner takes all)"
            )
        kernel = [size // out for size, out in zip(sizes, outputs, strict=True)]
        return kernel, kernel, [0] * dims, [1] * dims
    names = ("input", *(("norm_type",) if name.startswith("lp") else ()), "kernel_size", "stride")
    given = call.step.bound(call.tensors, *names, "padding", "dilation")

    def each(value: Any) -> list[int]:
        value = list(value) if isinstance(value, list | tuple) else [value]
        return value * dims if len(value) == 1 else value

    kernel = each(given["kernel_size"])
    lp = name.startswith("lp")  # whose fourth argument is ceil_mode
    padding, dilation = (0, 1) if lp else (given.get("padding", 0), given.get("dilation", 1))
    return kernel, each(given.get("stride") or kernel), each(padding), each(dilation)
