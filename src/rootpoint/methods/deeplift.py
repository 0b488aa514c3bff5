"""DeepLIFT: the score's difference from that of a baseline, shared layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.propagation.composites import Composite
    from rootpoint.propagation.difference import Reference
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class DeepLift(Method):
    """R_i = (x_i − x̃_i) · m_i, where multipliers m go back like gradients, but by the slope Δz / Δa
    between input and baseline in place of the derivative: Σ R = f(x) − f(x̃).

    rule      of activations: "rescale", m_in = m · Δz / Δa (the derivative at the baseline where
              |Δa| < 1e-7); "reveal-cancel", which shares Δz between what raised and what lowered
              a, so that neither hides the other; "mixed" (published default): reveal-cancel where
              all linear maps right before the activation are dense layers, else rescale
    baseline  x̃: None is 0; a number; a tensor shaped like one sample; several of them, stacked
              (k, *sample), for the mean of their explanations (DeepSHAP); for a tuple or mapping
              of inputs one of these for all, or a tuple or mapping of them
    The sum is exact for whatever target is linear in the model's output: sums, maxima, products,
    quotients, norms and normalizations are shared exactly too. Raises UnsupportedOperationError for
    operations that cannot be, UnsupportedModelError for models that take another path at x̃.
    Cost: two forwards, one backward for each baseline; one of each where a bound method meets its
    only baseline again, as it keeps what it met there (as large as the activations); RevealCancel
    adds one forward and one backward of each of the linear maps right before it.
    Source: Shrikumar et al. 2017, ICML; Lundberg and Lee 2017, NeurIPS.
    """

    name: ClassVar[str] = "deeplift"
    summary: ClassVar[str] = "The score's difference from a baseline, shared layer by layer"
    cost: ClassVar[str] = "2 forward, 1 backward per baseline; reveal-cancel 3 and 2"
    axioms: ClassVar[tuple[str, ...]] = ("complete",)
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    rule: str = parameter(
        "mixed", "how activations share", choices=("rescale", "reveal-cancel", "mixed")
    )
    baseline: Any = parameter(
        None, "where the explanation puts zero: a number, one sample or several; None: 0"
    )

    def prepare(self, model: Model) -> Any:
        return {}, {}  # modified weights, and the last reference

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.inputs import check
        from rootpoint.progress import progress
        from rootpoint.propagation.difference import difference

        self.inputs_only(at)
        check(model, inputs)
        weights, kept = prepared
        baselines = _baselines(inputs, self.baseline)
        comparison = _Comparison(model, inputs, difference(self.rule), weights)
        each: list[list[dict[str, Any]]] = []
        with progress(len(baselines), "baselines") as advance:
            for baseline in baselines:
                again = kept if len(baselines) == 1 else None
                each.append(comparison.explain(baseline, targets, again))
                advance(1)
        return [
            Explanation(**_mean(found), inputs=inputs, method=self)
            for found in zip(*each, strict=True)
        ]


@dataclass(frozen=True)
class _Comparison:
    """The explanations of one batch of inputs with one baseline after the other."""

    model: Model
    inputs: Inputs
    composite: Composite
    weights: Any

    def explain(
        self, baseline: Inputs, targets: Sequence[Target], kept: dict[str, Any] | None
    ) -> list[dict[str, Any]]:
        """The fields of the explanations.

        kept   holds the last reference: taken if nothing has changed since, else replaced
        """
        from rootpoint.propagation.difference import OtherPathError, refer

        key = None if kept is None else _key(baseline)
        last, reference = (kept or {}).get("last", (None, None))
        if key is not None and last == key:
            try:
                return self._with(reference, targets, forwards=1)
            except OtherPathError:  # the model is not what it was
                pass
        reference = refer(self.model, baseline, self.composite)
        found = self._with(reference, targets, forwards=2)
        if kept is not None and key is not None:
            reference.keep()
            kept["last"] = key, reference
        return found

    def _with(
        self, reference: Reference, targets: Sequence[Target], forwards: int
    ) -> list[dict[str, Any]]:
        import torch

        from rootpoint.backward import explain_backward
        from rootpoint.inputs import batch_size
        from rootpoint.propagation.difference import Difference
        from rootpoint.target import scores

        one_pass = Difference(self.composite, self.model, reference, self.weights)
        found = explain_backward(self.model, self.inputs, targets, one_pass)
        revealed = self.composite.name == "deeplift reveal-cancel"
        for fields in found:
            with torch.no_grad():
                there, _ = scores(reference.output, fields["target"], batch_size(self.inputs))
            if not there.isfinite().all():
                raise InputError(
                    "the model's score at the baseline is NaN or infinite: choose another baseline"
                )
            fields["baseline_output"] = there.detach()
            fields["passes"] = Passes(forwards + revealed, 1 + revealed)
        return found


def _key(baseline: Inputs) -> Any:
    """What tells baselines apart: their values; None where these are not at hand."""
    import torch

    from rootpoint.inputs import tensors

    parts = tensors(baseline)
    if any(part.device.type != "cpu" for part in parts):
        return None
    return [
        (part.shape, part.dtype, part[0].reshape(-1).view(torch.uint8).numpy().tobytes())
        for part in parts
    ]


def _mean(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The explanations with several baselines as one."""
    from rootpoint.inputs import map_inputs, tensors

    if len(found) == 1:
        return found[0]
    means = iter(
        sum(r) / len(found) for r in zip(*(tensors(f["relevance"]) for f in found), strict=True)
    )
    baseline_output = sum(f["baseline_output"] for f in found) / len(found)
    passes = Passes(*(sum(n) for n in zip(*(f["passes"] for f in found), strict=True)))
    relevance = map_inputs(lambda _: next(means), found[0]["relevance"])
    return {
        **found[0],
        "relevance": relevance,
        "baseline_output": baseline_output,
        "passes": passes,
    }


# -- baselines ---------------------------------------------------------------------------------


def _baselines(inputs: Inputs, given: Any) -> list[Inputs]:
    """The baselines, each shaped like the inputs."""
    from collections.abc import Mapping

    from rootpoint.inputs import map_inputs, tensors, values

    structured = isinstance(given, tuple | Mapping)
    if structured and _names(given) != _names(inputs):
        raise InputError(
            "the baseline is a tuple or mapping of other parts than the inputs: give one baseline "
            "for each input, in the same structure, or a number for all"
        )
    wanted = values(given) if structured else [given] * len(tensors(inputs))
    several = [_of_one(x, value) for x, value in zip(tensors(inputs), wanted, strict=True)]
    count = max(len(one) for one in several)
    if any(len(one) not in (1, count) for one in several):
        counts = ", ".join(str(len(one)) for one in several)
        raise InputError(f"as many baselines are needed for each input, or one; given: {counts}")
    rows = []
    for k in range(count):
        row = iter([one[k % len(one)] for one in several])
        rows.append(map_inputs(lambda _, row=row: next(row), inputs))
    return rows


def _names(parts: Any) -> Any:
    """What tells tuples and mappings of other parts apart."""
    return len(parts) if isinstance(parts, tuple) else list(parts)


def _of_one(x: Tensor, given: Any) -> list[Tensor]:
    """The baselines of one input."""
    import torch

    if given is None or (isinstance(given, int | float) and not isinstance(given, bool)):
        return [torch.full_like(x, given or 0.0)]
    if not isinstance(given, torch.Tensor):
        raise InputError(f"baseline={given!r}: give a number or a tensor")
    baseline = given.detach().to(x)
    if not baseline.isfinite().all():
        raise InputError("the baseline holds NaN or infinity")
    if baseline.shape == x.shape[1:]:
        return [baseline.expand_as(x)]
    if baseline.shape[1:] == x.shape[1:] and baseline.dim() == x.dim() and len(baseline):
        return [row.expand_as(x) for row in baseline]
    sample = tuple(x.shape[1:])
    raise InputError(
        f"a baseline of shape {tuple(given.shape)} does not fit samples of shape {sample}: give a "
        f"number, one baseline {sample}, or several stacked: {(len(given), *sample)}"
    )
