"""Explanation vectors: which way leads out of the decided class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.neuralize.gaussian_process import GaussianProcess
    from rootpoint.neuralize.parzen import Parzen
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class ExplanationVector(Method):
    """R_i = ∂/∂x_i P(Y ≠ g | x), g the decided class: how each input leads out of it.

    Its sign is opposite to that of the class score's gradient. `output` is P(Y ≠ g | x), not a
    logit; P is computed in logarithms.

    surrogate   None: P is the softmax of the model's outputs (B, classes), or the logistic function
                of a single one; or `Parzen` windows fitted to the labels that any classifier gives
                (`fit`, `rp.fit_parzen`), or a `GaussianProcess`: P is then theirs, and the model
                says only which class is decided; or the path of one of these
    target      the class g: "predicted", an index, or one per sample
    Raises InputError for other targets, and for models that are no classifiers.
    Cost: one forward, one backward; with a surrogate, one forward.
    Source: Baehrens et al. 2010, JMLR 11:1803.
    """

    name: ClassVar[str] = "explanation-vector"
    summary: ClassVar[str] = "The gradient of the probability of leaving the decided class"
    cost: ClassVar[str] = "1 forward, 1 backward"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    surrogate: str | Parzen | GaussianProcess | None = parameter(
        None, "Parzen windows or a Gaussian process for P, or their file; none is the model itself"
    )

    def fit(self, model: Model, data: Any) -> Self:
        """With Parzen windows on data as the model labels it."""
        from rootpoint.neuralize.parzen import fit_parzen

        return replace(self, surrogate=fit_parzen(model, data))

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.backward import Plain, explain_backward

        surrogate, labelled = self._surrogate(), None
        if surrogate is not None:
            self.inputs_only(at)
            labelled = _output(self.name, model, inputs)
        leaving = [_Leaving(target, labelled) for target in targets]
        explained = model if surrogate is None else surrogate
        found = explain_backward(explained, inputs, leaving, Plain(lambda x, slope: slope), at)
        return [
            Explanation(
                fields["relevance"],
                fields["output"],
                leave.decided(fields["prediction"]),
                fields["prediction"] if labelled is None else labelled,
                inputs,
                self,
                at,
                Passes(1, 1) if labelled is None else Passes(1),
                notes=leave.notes(fields["prediction"], fields["relevance"]),
            )
            for leave, fields in zip(leaving, found, strict=True)
        ]

    def _surrogate(self) -> Callable[[Tensor], Tensor] | None:
        from rootpoint.neuralize.gaussian_process import GaussianProcess
        from rootpoint.neuralize.parzen import Parzen

        if not isinstance(self.surrogate, str):
            return self.surrogate
        try:
            return Parzen.load(self.surrogate)
        except InputError:
            return GaussianProcess.load(self.surrogate)


@dataclass(frozen=True, eq=False)
class _Leaving:
    """P(Y ≠ g | x) from the logits of the classes: the score that is explained.

    labelled   what the classifier returned, if the logits are a surrogate's
    """

    target: Target
    labelled: Any

    def __call__(self, output: Any) -> Tensor:
        logs = _logits(output).log_softmax(1)
        classes = logs.new_tensor(self.decided(output)).long()[:, None]
        return logs.scatter(1, classes, -float("inf")).logsumexp(1).exp()

    def decided(self, output: Any) -> list[int]:
        """The class g of each sample."""
        from rootpoint.neuralize.parzen import labels
        from rootpoint.target import scores

        logits = _logits(output)
        count, classes = logits.shape
        if callable(self.target):
            raise InputError("an explanation vector leaves a class: the target is no function")
        if isinstance(self.target, str):
            label = labels(output if self.labelled is None else self.labelled, count)
            if self.target != "predicted":
                raise InputError(f"target {self.target!r} is neither 'predicted' nor a class")
            if int(label.max()) >= classes:
                raise InputError(
                    f"the classifier decides for class {int(label.max())}, but the surrogate was "
                    f"fitted to {classes} classes: fit it to data with all of them"
                )
            return label.tolist()
        _, resolved = scores(logits, self.target, count)
        return [i % classes for i in cast("list[int]", resolved)]

    def notes(self, output: Any, relevance: Any) -> tuple[str, ...]:
        from rootpoint.inputs import tensors

        notes = []
        if self.labelled is not None and self.target == "predicted":
            other = sum(map(int.__ne__, _logits(output).argmax(1).tolist(), self.decided(output)))
            if other:
                notes.append(f"the surrogate decides for another class at {other} sample(s)")
        if not all(bool(r.flatten(1).any(1).all()) for r in tensors(relevance)):
            notes.append("the relevance is zero where the decision is too certain, or is flat")
        return tuple(notes)


def _logits(output: Any) -> Tensor:
    """Scores of the classes (B, C), from a classifier's output; a single one is that of class 1."""
    if not hasattr(output, "is_floating_point") or not output.is_floating_point():
        raise UnsupportedModelError(
            "the model returns labels, which have no gradient: fit Parzen windows to it by "
            "`rootpoint.method('explanation-vector').fit(model, data)`"
        )
    if output.dim() == 1 or (output.dim() == 2 and output.shape[1] == 1):
        margin = output.reshape(-1, 1)
        return (margin * margin.new_tensor([0.0, 1.0])).contiguous()
    if output.dim() != 2:
        raise InputError(
            f"the model returns {tuple(output.shape)}: an explanation vector needs a classifier's "
            "scores (B, classes)"
        )
    return output


def _output(method: str, model: Model, inputs: Inputs) -> Any:
    """What the classifier itself says."""
    import torch

    from rootpoint.inputs import call, check, single
    from rootpoint.scoring import as_tensor

    check(model, single(method, inputs))
    with torch.no_grad():
        return as_tensor(call(model, inputs))
