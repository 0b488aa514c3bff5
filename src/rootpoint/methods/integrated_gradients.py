"""Gradients integrated on the way from a baseline to the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.perturbation.gradients import Points
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class IntegratedGradients(Method):
    """R_i = (x_i − x̃_i) ∫₀¹ ∂_i f(x̃ + t (x − x̃)) dt; with several baselines x̃, their mean.

    Σ R = f(x) − f(x̃), with the mean of f over several baselines; `completeness_gap` is what the
    quadrature leaves of it.

    steps        points of the quadrature on the way from each baseline
    quadrature   "midpoint": t = (k − ½)/n; "gauss-legendre": its n nodes and weights, the most
                 accurate where f is smooth; "right": t = k/n, as published
    baseline     None is 0; a number; a tensor like one sample; several of them, (k, …), each used
                 for every sample (expected gradients); or k for each sample, (B, k, …). A tuple or
                 mapping of these for inputs that are one
    Raises InputError for a baseline that does not fit the inputs.
    Cost: k · (steps + 1) + 1 forwards, k · steps backwards. Source: Sundararajan, Taly, Yan 2017,
    arXiv 1703.01365; expected gradients: Erion et al. 2021, arXiv 1906.10670.
    """

    name: ClassVar[str] = "integrated-gradients"
    summary: ClassVar[str] = "The gradient integrated on the way from a baseline to the input"
    cost: ClassVar[str] = "steps + 2 forward, steps backward, for each baseline"
    axioms: ClassVar[tuple[str, ...]] = ("complete", "implementation-invariant")
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    steps: int = parameter(50, "points on the way", low=1)
    quadrature: str = parameter(
        "midpoint", "where they lie", choices=("midpoint", "gauss-legendre", "right")
    )
    baseline: Any = parameter(
        None, "where the way begins: a number (none is 0), or a tensor of one or several"
    )

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.perturbation.gradients import scores_at
        from rootpoint.scoring import decide

        self.inputs_only(at)
        decisions = decide(model, inputs, targets)
        resolved = [d.target for d in decisions]
        starts = baselines(self.baseline, inputs)
        count = starts[0].shape[1]
        at_start = scores_at(model, inputs, resolved, count, _begun(inputs, starts)).mean(1)
        relevance = self._integrated(model, inputs, resolved, starts)
        notes = (f"the mean over {count} baselines",) if count > 1 else ()
        return [
            Explanation(
                found,
                d.score,
                d.target,
                d.prediction,
                inputs,
                self,
                passes=Passes(1 + count * (self.steps + 1), count * self.steps),
                baseline_output=start,
                notes=notes,
            )
            for d, found, start in zip(decisions, relevance, at_start, strict=True)
        ]

    def _integrated(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], starts: list[Tensor]
    ) -> list[Any]:
        """For each target Σ_k w_k (x − x̃) ∂f(x̃ + t_k (x − x̃)), mean over the baselines."""
        from rootpoint.inputs import tensors
        from rootpoint.perturbation.gradients import gradients_at, like, summable

        xs, count = tensors(inputs), starts[0].shape[1]
        places, weights = nodes(self.quadrature, self.steps)
        sums = [[summable(x) for x in xs] for _ in targets]

        def points(steps: Tensor, samples: Tensor) -> Inputs:
            made = []
            for x, start in zip(xs, starts, strict=True):
                begin = start[samples, steps // self.steps]
                t = _column([places[i % self.steps] for i in steps.tolist()], x)
                made.append(begin + t * (x[samples] - begin))
            return like(inputs, made)

        for batch in gradients_at(
            model,
            inputs,
            targets,
            count * self.steps,
            points,
            doing="integrating gradients",
        ):
            w = [weights[i % self.steps] / count for i in batch.steps.tolist()]
            for mine, gradients in zip(sums, batch.found, strict=True):
                for total, x, start, slope in zip(mine, xs, starts, gradients, strict=True):
                    way = x[batch.samples] - start[batch.samples, batch.steps // self.steps]
                    share = (slope * way).to(total.dtype) * _column(w, total)
                    total.index_add_(0, batch.samples, share)
        return [
            like(inputs, [s.to(x.dtype) for s, x in zip(mine, xs, strict=True)]) for mine in sums
        ]


def _begun(inputs: Inputs, starts: list[Tensor]) -> Points:
    """The baselines, one by one."""
    from rootpoint.perturbation.gradients import like

    return lambda steps, samples: like(inputs, [start[samples, steps] for start in starts])


def _column(values: list[float], x: Tensor) -> Tensor:
    """One value for each sample of a batch, of a shape that multiplies it."""
    return x.new_tensor(values).reshape(-1, *[1] * (x.dim() - 1))


def nodes(quadrature: str, steps: int) -> tuple[list[float], list[float]]:
    """Places and weights of a quadrature on [0, 1]."""
    if quadrature == "gauss-legendre":
        import numpy as np

        z, w = np.polynomial.legendre.leggauss(steps)
        return ((1 + z) / 2).tolist(), (w / 2).tolist()
    shift = 0.5 if quadrature == "midpoint" else 1.0
    return [(k + shift) / steps for k in range(steps)], [1 / steps] * steps


def baselines(baseline: Any, inputs: Inputs) -> list[Tensor]:
    """The baselines (B, k, …) of each input, equally many of each.

    Raises InputError if they do not fit the inputs.
    """
    from rootpoint.inputs import tensors

    xs = tensors(inputs)
    if isinstance(inputs, Mapping) and isinstance(baseline, Mapping):
        if set(baseline) != set(inputs):
            raise InputError(f"the baseline has {sorted(baseline)}, the inputs {sorted(inputs)}")
        each = [baseline[name] for name in inputs]
    elif isinstance(baseline, tuple):
        each = list(baseline)
        if isinstance(inputs, Mapping) or len(each) != len(xs):
            raise InputError(f"{len(each)} baselines in a tuple do not fit {len(xs)} inputs")
    elif hasattr(baseline, "shape") and len(xs) > 1:
        raise InputError(
            f"one baseline tensor for {len(xs)} inputs: give one for each, as they are"
        )
    else:
        each = [baseline] * len(xs)
    found = [_baseline(b, x) for b, x in zip(each, xs, strict=True)]
    most = max(b.shape[1] for b in found)
    if any(b.shape[1] not in (1, most) for b in found):
        counts = ", ".join(str(b.shape[1]) for b in found)
        raise InputError(f"unequal numbers of baselines for the inputs: {counts}")
    return [b.expand(-1, most, *b.shape[2:]) for b in found]


def _baseline(baseline: Any, x: Tensor) -> Tensor:
    """The baselines (B, k, …) of one input."""
    batch, shape = len(x), tuple(x.shape[1:])
    if baseline is None or isinstance(baseline, int | float):
        return x.new_full((), float(baseline or 0)).expand(batch, 1, *shape)
    if not hasattr(baseline, "expand"):
        raise InputError(f"baseline={baseline!r} is neither a number nor a tensor")
    given = tuple(baseline.shape)
    value = baseline.detach().to(x)
    if given == () or given == shape:
        value = value.expand(batch, 1, *shape)
    elif given[1:] == shape and given[0]:
        value = value.expand(batch, *given)
    elif given[2:] != shape or given[0] != batch or not given[1]:
        raise InputError(
            f"the baseline is {given}, the input {tuple(x.shape)}: give a number, one sample "
            f"{shape}, several for all samples (k, …), or several for each (B, k, …)"
        )
    if not value.isfinite().all():
        raise InputError("the baseline holds NaN or infinity")
    return value
