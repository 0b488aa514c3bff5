"""Rules for normalization by the statistics of the input itself: layer, group, instance, RMS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rootpoint.propagation.call import Call
from rootpoint.propagation.rules import rule


@rule("frozen-scale", kinds=("normalization",), reads=("input",))
def frozen_scale(call: Call, m: Tensor) -> Tensor:
    """The scale 1/σ counts as a constant: y = γ (x − mean x) / σ + β is linear; β absorbs.

    Conserves but for β. As multipliers, of the layer norm: m_in = (c − mean c) / σ, c = γ m. Cost:
    a few elementwise passes.
    Source: Ali et al. 2022, ICML; Achtibat et al. 2024, ICML.
    """
    if call.step.name == "layer_norm":
        return _layer(call, m)
    with torch.enable_grad():
        x = call.input.detach().requires_grad_()
        y = _FROZEN[call.step.name](x, call)
    return torch.autograd.grad(y, x, m)[0]


def _standardized(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(var.detach() + eps)


def _per_channel(y: Tensor, given: dict[str, Any]) -> Tensor:
    gamma = given.get("weight")
    return y if gamma is None else y * gamma.reshape(-1, *[1] * (y.dim() - 2))


def _layer(call: Call, m: Tensor) -> Tensor:
    given = call.step.bound(call.tensors, "input", "normalized_shape", "weight", "bias", "eps")
    shape = list(given["normalized_shape"])
    _, _, scale = torch.native_layer_norm(call.input, shape, None, None, given.get("eps", 1e-5))
    c = m if given.get("weight") is None else m * given["weight"]
    centred = c - c.mean(tuple(range(-len(shape), 0)), keepdim=True)
    return centred.mul_(scale)


def _rms(x: Tensor, call: Call) -> Tensor:
    given = call.step.bound(call.tensors, "input", "normalized_shape", "weight", "eps")
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    eps = given.get("eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    y = x * torch.rsqrt(x.detach().square().mean(dims, keepdim=True) + eps)
    return y if given.get("weight") is None else y * given["weight"]


def _group(x: Tensor, call: Call) -> Tensor:
    given = call.step.bound(call.tensors, "input", "num_groups", "weight", "bias", "eps")
    grouped = x.reshape(x.shape[0], given["num_groups"], -1)
    return _per_channel(
        _standardized(grouped, (2,), given.get("eps", 1e-5)).reshape(x.shape), given
    )


def _instance(x: Tensor, call: Call) -> Tensor:
    names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats")
    given = call.step.bound(call.tensors, *names, "momentum", "eps")
    eps = given.get("eps", 1e-5)
    if given.get("use_input_stats", True):
        y = _standardized(x, tuple(range(2, x.dim())), eps)
    else:
        y = x * torch.rsqrt(given["running_var"] + eps).reshape(-1, *[1] * (x.dim() - 2))
    return _per_channel(y, given)


_FROZEN = {"rms_norm": _rms, "group_norm": _group, "instance_norm": _instance}
