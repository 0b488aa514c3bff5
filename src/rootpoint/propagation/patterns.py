"""What drives each unit of a network: patterns, fitted to data that streams through it.

A unit y = wᵀx of a linear map sees x = s + d, a signal and a distractor that w cancels. Its pattern
a is the direction in which the signal moves with y, so that s ≈ a·y; it is not w, which also has to
cancel d. A pattern answers what the unit looks for where its weights answer how it finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnknownNameError, UnsupportedModelError
from rootpoint.fitted import Fitted
from rootpoint.inputs import Model, batches, call, check
from rootpoint.progress import progress
from rootpoint.propagation.call import CONVOLUTIONS, Call
from rootpoint.propagation.composites import Composite, Where
from rootpoint.propagation.engine import Propagation
from rootpoint.propagation.operations import LINEAR
from rootpoint.propagation.rules import Rule
from rootpoint.propagation.step import collect

ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": torch.ones_like,
    "two-component": lambda y: (y > 0).to(y.dtype),
}
"""Which outputs y each estimator of patterns takes its means over."""


@dataclass(frozen=True, eq=False)
class Patterns(Fitted):
    """The pattern of every unit of a network, as `fit_patterns` finds them.

    estimator   "two-component" or "linear"
    patterns    by linear map, shaped like its weight. A map is named by its parameter
                ("features.0.weight"), with the mean of a batch-norm folded in
                ("features.0.weight + features.1.running_mean"); one whose weight is neither a
                parameter nor a buffer by its module, its operation and its place on the path
    They belong to the weights they were fitted to: fit again after training.
    """

    kind: ClassVar[str] = "patterns"

    estimator: str
    patterns: Mapping[str, Tensor] = field(repr=False)

    def on(self, model: Model) -> Placed:
        """These patterns with the names that `model` gives its weights, for the pattern rules."""
        return Placed(self, Names(model))


class Names:
    """The names under which the linear maps of one model keep their patterns."""

    def __init__(self, model: Model) -> None:
        module = model if isinstance(model, nn.Module) else nn.Module()
        named = chain(module.named_parameters(), module.named_buffers())
        self._names = {_place(tensor): name for name, tensor in named}

    def __call__(self, met: Call) -> str:
        step = met.step
        weight = self._names.get(_place(met.given[step.roles[0]]))
        if weight is None:
            return f"{step.module} {step.name} {step.index}".strip()
        if step.norm is None:
            return weight
        mean = self._names.get(_place(met.given[step.norm[0]]))
        return f"{weight} + {mean or f'batch_norm {step.index}'}"


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Tells a parameter from views of it."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


class Placed:
    """Patterns found by the weights of one model."""

    def __init__(self, patterns: Patterns, names: Names) -> None:
        self.patterns, self.names = patterns, names
        self._moved: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    def __call__(self, met: Call) -> Tensor:
        """The patterns of a linear map. Raises InputError if they are of another network."""
        name, weight = self.names(met), met.tensors[met.step.roles[0]]
        found = self.patterns.patterns.get(name)
        if found is None or found.shape != weight.shape:
            held = "no pattern" if found is None else f"one of shape {tuple(found.shape)}"
            raise InputError(
                f"for {name} ({met.step.title} of shape {tuple(weight.shape)}) the patterns hold "
                f"{held}: they belong to another network; fit them again, to this one"
            )
        key = (name, weight.device, weight.dtype)
        if key not in self._moved:
            self._moved[key] = found.to(weight.device, weight.dtype)
        return self._moved[key]

    def __repr__(self) -> str:
        return repr(self.patterns)


# -- fitting -----------------------------------------------------------------------------------


def fit_patterns(model: Model, data: Any, estimator: str = "two-component") -> Patterns:
    """The pattern of every unit of every linear map between a model's input and its output.

    linear          a = cov(x, y) / wᵀcov(x, y)
    two-component   a = (E₊[xy] − E₊[x] E[y]) / wᵀ(…), E₊ over samples with y > 0, E over all

    x are a unit's inputs, y = wᵀx its output without bias, so that wᵀa = 1; where wᵀ(…) is 0, as
    for a constant y, it counts as 1. For a convolution every patch is a sample. A batch-norm behind
    a linear map is folded into w; a weight that is used several times has one pattern.
    data   a tensor or array (N, …), or an iterable of batches such as a DataLoader's (of tuples the
           first member); some thousand samples do
    Two-component patterns are for units with a ReLU behind them. Only sums are kept: the memory for
    two weights of each map in float64, whatever the number of samples. Cost: as five forwards of
    each batch. Raises UnsupportedModelError where patterns are not defined: for
    transposed convolutions and for products with a constant matrix other than x @ W.
    Source: Kindermans et al. 2018, ICLR, arXiv 1705.05598; linear: Haufe et al. 2014.
    """
    if estimator not in ESTIMATORS:
        raise UnknownNameError("estimator of patterns", estimator, ESTIMATORS)
    names, sums = Names(model), dict[str, _Sums]()

    def see(met: Call) -> None:
        sums.setdefault(names(met), _Sums()).add(met, ESTIMATORS[estimator])

    meet(model, data, see, "fitting patterns")
    return Patterns(estimator, {name: s.pattern() for name, s in sums.items()})


@dataclass
class _Sums:
    """Sums over the samples of one linear map, p = 1 for those that the estimator takes.

    The output is taken from about its mean (`center`), as differences of large sums lose digits.
    """

    center: Tensor | None = None
    weight: Any = 0
    axis: int = 0
    total: int = 0
    offset: Any = 0  # Σ y − center
    count: Any = 0  # Σ p
    inputs: Any = 0  # Σ p x
    products: Any = 0  # Σ p x (y − center)

    def add(self, met: Call, chosen: Callable[[Tensor], Tensor]) -> None:
        """Add a batch. Σ s x over all patches x is the map's own gradient by its weights for s."""
        with torch.enable_grad():
            w = met.weight.detach().requires_grad_()
            z = met.run(met.input, w)
        axis, self.axis = unit_axes(met, z)
        y = z.detach()
        others = [d for d in range(y.dim()) if d != axis]
        if self.center is None:
            self.center, self.weight = y.mean(others), w.detach().double()
        p = chosen(y)
        s = y - self.center.reshape([-1 if d == axis else 1 for d in range(y.dim())])
        self.total += y.numel() // y.shape[axis]
        self.offset += s.sum(others, dtype=torch.float64)
        self.count += p.sum(others, dtype=torch.float64)
        self.inputs += torch.autograd.grad(z, w, p, retain_graph=True)[0].double()
        self.products += torch.autograd.grad(z, w, s.mul_(p))[0].double()

    def pattern(self) -> Tensor:
        assert self.center is not None
        gap, across = self.offset / self.total, self.weight.movedim(self.axis, 0)
        found = patterns_of(
            across.flatten(1),
            self.count,
            self.inputs.movedim(self.axis, 0).flatten(1),
            self.products.movedim(self.axis, 0).flatten(1),
            gap,
            torch.finfo(self.center.dtype).eps,
        )
        return found.reshape(across.shape).movedim(0, self.axis).to(self.center.dtype).contiguous()


def patterns_of(
    weight: Tensor, count: Tensor, inputs: Tensor, products: Tensor, gap: Tensor, eps: float
) -> Tensor:
    """(E_p[xy] − E_p[x] E[y]) / wᵀ(…) for each row of weights, from sums over samples.

    y counts from any center, which cancels; gap is E[y] from there. Where y varies by no more than
    its rounding (eps) there is no pattern, and nothing to divide by.
    """
    count = count.clamp(min=1)[:, None]
    numerator = (products - inputs * gap[:, None]) / count
    denominator = (weight * numerator).sum(1)
    rounding = 16 * eps * (weight * inputs / count).abs().sum(1)
    constant = denominator <= rounding.square()
    return numerator / torch.where(constant, 1, denominator)[:, None]


# -- meeting linear maps -----------------------------------------------------------------------


def meet(model: Model, data: Any, see: Callable[[Call], None], doing: str) -> None:
    """Run the model on the data and show each linear map on the path to `see`, batch by batch."""
    watching = _Watching("patterns", (), LINEAR, see=see)
    composite = Composite(((Where(kind="linear"), watching),), "patterns", carries="gradient")
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    device = next((p.device for p in parameters), None)
    met = 0
    with progress(_size(data), doing) as advance:
        for batch in batches(data):
            batch = batch if device is None else batch.to(device)
            check(model, batch)
            met += _pass(model, batch, composite)
            advance(len(batch))
    if not met:
        raise InputError(f"{doing}: the data hold no samples; an iterator is empty once used up")


def _pass(model: Model, batch: Tensor, composite: Composite) -> int:
    """One batch forward, and nothing but zeros back, to be led to every map on the path."""
    engine = Propagation(composite, model)
    with torch.inference_mode(False), torch.enable_grad():
        with engine.forward():
            output = call(model, engine.enter(batch))
        outputs: list[Tensor] = []
        collect(engine.settle(output), outputs)
        ends = [t for t in outputs if t.requires_grad]
        if not ends or not any(step.linear for step in engine.steps):
            raise UnsupportedModelError(
                "no convolution or dense layer lies between the model's input and its output, so "
                "there are no patterns; models that detach or run under torch.no_grad() hide theirs"
            )
        zeros = [torch.zeros_like(t) for t in ends]
        with engine.backward():
            torch.autograd.grad(ends, engine.leaves, zeros, allow_unused=True)
    return len(batch)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Watching(Rule):
    """Shows each linear map to `see`, and lets nothing back."""

    see: Callable[[Call], None]

    def __call__(self, call: Call, m: Tensor) -> Tensor:
        self.see(call)
        return torch.zeros_like(call.input)


def unit_axes(met: Call, output: Tensor) -> tuple[int, int]:
    """Along which dimension of the output the units of a linear map lie, and of its weight."""
    step, weight = met.step, met.weight
    if step.name in CONVOLUTIONS and "transpose" not in step.name:
        return output.dim() - weight.dim() + 1, 0
    if step.name == "linear" and weight.dim() == 2:
        return output.dim() - 1, 0
    product = step.name in ("matmul", "mm") and step.roles[0] > step.live[0]
    if product and weight.dim() == 2 and output.dim() > 1:
        return output.dim() - 1, 1
    raise UnsupportedModelError(
        f"{step.name} in {step.module or 'the model'} has no patterns: they are defined for "
        "convolutions, linear layers and x @ W; use another method, such as lrp"
    )


def _size(data: Any) -> int:
    """How many samples, as far as known."""
    held = getattr(data, "dataset", data)
    return len(held) if hasattr(held, "__len__") else 0
