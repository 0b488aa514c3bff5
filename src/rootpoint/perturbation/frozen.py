"""A copy of a network that computes the same scores faster, for many evaluations of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from rootpoint.inputs import Model, call, map_inputs
from rootpoint.scoring import FROZEN, as_tensor

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def frozen(model: Model, inputs: Any) -> Model:
    """A copy of the model with batch-norms folded into convolutions, in channels-last memory.

    A batch-norm is folded if it alone takes what a convolution gives, and both run once. The copy
    is checked on the first sample of `inputs`; if it cannot be run or would compute something else
    (by 1e-4 of the largest score, 1e-9 in float64), a lesser one is tried, and then the model
    itself is returned: so it is if it is no nn.Module, has no convolution, or cannot be copied.
    Cost: two forwards, four at most, and the memory of the parameters.
    """
    if not isinstance(model, nn.Module) or not any(_is(m, _CONVOLUTIONS) for m in model.modules()):
        return model
    one, watch = map_inputs(lambda x: x[:1], inputs), _Watch(model)
    with torch.inference_mode(False), torch.no_grad():  # the copy must be differentiable
        with watch:
            wanted = as_tensor(call(model, one))
        pairs = watch.pairs()
        for fold, order in ((pairs, True), (pairs, False), ([], True)):
            try:
                copy = deepcopy(model)
                _fold(copy, fold)
                if order:
                    _order(copy)
                if _same(wanted, as_tensor(call(copy, one))):
                    setattr(copy, FROZEN, True)
                    return copy.requires_grad_(False)
            # A user's module may refuse to be copied or changed by any error; then a lesser copy
            # may do, or the model itself, which has just run.
            except Exception:
                continue
    return model


def _is(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether it is just such a module: no subclass, whose forward may be another."""
    return type(module) in kinds


def _fold(model: nn.Module, pairs: list[tuple[str, str]]) -> None:
    """Fold batch-norms into the convolutions whose outputs they take, in this network."""
    for name, other in pairs:
        convolution, norm = model.get_submodule(name), model.get_submodule(other)
        assert isinstance(convolution, _CONVOLUTIONS)
        assert isinstance(norm, _NORMS)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias,
            norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias,
        )  # fmt: skip
        for place, module in list(model.named_modules(remove_duplicate=False)):
            if module is norm:
                model.set_submodule(place, nn.Identity().eval())


def _order(model: nn.Module) -> None:
    """Put the weights of convolutions into channels-last memory."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


class _Watch(TorchFunctionMode):
    """Which batch-norm takes what which convolution gives, in one run that leaves no trace."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._names: dict[int, str] = {}
        self._made: dict[int, tuple[str, Tensor]] = {}  # tensors, so that no other takes their id
        self._uses, self._calls = Counter[int](), Counter[str]()
        self._taken: list[tuple[str, str, Tensor]] = []
        for name, module in model.named_modules():
            if not module._forward_hooks and not module._forward_pre_hooks:
                if _is(module, _CONVOLUTIONS):
                    self._names[id(module.weight)] = name
                elif _is(module, _NORMS) and module.running_mean is not None:
                    self._names[id(module.running_mean)] = name

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = (*args, *(kwargs or {}).values())
        if isinstance(result, Tensor | tuple | list) and not isinstance(result, torch.Size):
            for value in given:
                for each in value if isinstance(value, tuple | list) else (value,):
                    self._uses[id(each)] += id(each) in self._made
        if func in (F.conv1d, F.conv2d, F.conv3d, F.batch_norm) and id(given[1]) in self._names:
            name = self._names[id(given[1])]
            self._calls[name] += 1
            if func is not F.batch_norm and isinstance(result, Tensor):
                self._made[id(result)] = name, result
            elif id(given[0]) in self._made:
                self._taken.append((self._made[id(given[0])][0], name, given[0]))
        return result

    def pairs(self) -> list[tuple[str, str]]:
        """Convolutions and batch-norms that run once, the one's output taken by the other alone."""
        return [
            (convolution, norm)
            for convolution, norm, between in self._taken
            if self._calls[convolution] == self._calls[norm] == self._uses[id(between)] == 1
        ]


def _same(wanted: Any, found: Any) -> bool:
    """Whether two outputs are the same, but for rounding."""
    if isinstance(wanted, Mapping):
        return wanted.keys() == found.keys() and all(_same(wanted[k], found[k]) for k in wanted)
    if isinstance(wanted, tuple | list):
        return all(_same(a, b) for a, b in zip(wanted, found, strict=True))
    if not isinstance(wanted, Tensor):
        return bool(wanted == found)
    tolerance = 1e-9 if wanted.dtype == torch.float64 else 1e-4
    return bool((wanted - found).abs().max() <= tolerance * wanted.abs().max())
