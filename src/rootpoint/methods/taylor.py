"""Taylor expansion of the whole model around a root point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Model
    from rootpoint.scoring import Decision
    from rootpoint.target import Target

_STEPS = 100  # of the search for a root
_LISTED = 256  # values of a sample, of which all interactions are listed


@dataclass(frozen=True, eq=False)
class Taylor(Method):
    """R_i = ∂_i f(x̃) (x_i − x̃_i), the gradient at the root point x̃; with order 2 also
    ½ Σ_j ∂²_ij f(x̃) (x_i − x̃_i)(x_j − x̃_j): what two inputs do together is shared equally.

    `baseline_output` is f(x̃), `completeness_gap` what higher orders would add. Inputs are one
    tensor.

    root    "search": a nearby root f(x̃) = 0, by Newton steps along the gradient from the input,
            x̃ ← x̃ − f(x̃) ∇f(x̃) / ‖∇f(x̃)‖², until |f(x̃)| is 10⁻⁵ of |f(x)| (10⁻¹⁰ in float64);
            a number; or a tensor like one sample or like the batch
    order   1; or 2: details hold "first-order", "second-order" (like the input, their sum is the
            relevance) and, for samples of at most 256 values, "interactions": the matrix
            ½ ∂²_ij f(x̃)(x_i − x̃_i)(x_j − x̃_j) of each sample's flattened values, (B, n, n)
    details["root"] is x̃. Raises InputError if the root does not fit the input or none is found,
    UnsupportedModelError if the model has no second derivatives.
    Cost: 2 forwards, 1 backward; the search 1 of each for each step (100 at most); order 2 one
    forward, two backwards, and one for each value where interactions are listed.
    Source: Bazen & Joutard 2013, GREQAM working paper "The Taylor decomposition".
    """

    name: ClassVar[str] = "taylor"
    summary: ClassVar[str] = "Taylor expansion around a root point, with interactions on request"
    cost: ClassVar[str] = "a few forward and backward: one of each for each step of the search"
    axioms: ClassVar[tuple[str, ...]] = ("implementation-invariant",)
    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    root: float | str | Tensor = parameter("search", "search, a number, or a tensor")
    order: int = parameter(1, "of the expansion", choices=(1, 2))

    def run(
        self, model: Model, inputs: Any, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.inputs import single
        from rootpoint.scoring import decide

        self.inputs_only(at)
        x = single(self.name, inputs)
        decisions = decide(model, x, targets)
        return [self._expanded(model, x, decision) for decision in decisions]

    def _expanded(self, model: Model, x: Tensor, decision: Decision) -> Explanation:
        if isinstance(self.root, str):
            if self.root != "search":
                raise InputError(f"root={self.root!r} is neither 'search', a number nor a tensor")
            root, slope, start, steps = _searched(model, x, decision)
        else:
            root = _given(self.root, x)
            slope, start = _gradient(model, root, decision.target)
            steps = 1
        first, way = slope * (x - root), x - root
        relevance, details, notes = first, {"root": root}, ()
        forward, backward = 1 + steps, steps
        if self.order == 2:
            second, interactions, spent = _second_order(model, root, way, decision.target)
            relevance = first + second
            details |= {"first-order": first, "second-order": second}
            if interactions is not None:
                details["interactions"] = interactions
            notes = _notes(x, second)
            forward, backward = forward + 1, backward + spent
        return Explanation(
            relevance,
            decision.score,
            decision.target,
            decision.prediction,
            x,
            self,
            passes=Passes(forward, backward),
            baseline_output=start,
            details=details,
            notes=notes,
        )


def _given(root: Any, x: Tensor) -> Tensor:
    if isinstance(root, int | float):
        return x.new_full(x.shape, float(root))
    shape = tuple(getattr(root, "shape", (0,)))
    if shape not in ((), tuple(x.shape[1:]), tuple(x.shape)):
        raise InputError(
            f"the root {shape} fits neither one sample {tuple(x.shape[1:])} nor the batch "
            f"{tuple(x.shape)}"
        )
    return root.detach().to(x).expand(x.shape)


def _gradient(model: Model, x: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Gradient and score at x."""
    from rootpoint.backward import Plain, explain_backward

    (found,) = explain_backward(model, x, [target], Plain(lambda x, slope: slope))
    return found["relevance"], found["output"]


def _searched(model: Model, x: Tensor, decision: Decision) -> tuple[Tensor, Tensor, Tensor, int]:
    """A root of each sample, gradient and score there, and how many steps it took."""
    from torch import finfo

    from rootpoint.progress import progress

    close = (1e-5 if finfo(x.dtype).bits < 64 else 1e-10) * decision.score.abs()
    root = x.detach().clone()
    with progress(_STEPS, "searching a root") as advance:
        for step in range(1, _STEPS + 1):
            slope, score = _gradient(model, root, decision.target)
            far = score.abs() > close
            if not far.any():
                return root, slope, score, step
            norm = slope.reshape(len(x), -1).square().sum(1)
            if bool((far & (norm == 0)).any()):
                break
            length = (score / norm).where(far, score.new_zeros(()))
            root = root - _column(length, x) * slope
            if not root.isfinite().all():
                break
            advance(1)
    raise InputError(
        f"no root f(x̃) = 0 was found from the input by at most {_STEPS} steps along the gradient: "
        "the score may not change its sign; give the root point as a number or a tensor"
    )


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.dim() - 1)).to(x.dtype)


def _second_order(
    model: Model, root: Tensor, way: Tensor, target: Target
) -> tuple[Tensor, Tensor | None, int]:
    """½ Δ_i Σ_j H_ij Δ_j, the matrix ½ Δ_i H_ij Δ_j of small samples, and backwards taken."""
    import torch

    from rootpoint.inputs import call
    from rootpoint.target import scores

    count = way[0].numel()
    with torch.inference_mode(False), torch.enable_grad():
        leaf, way = root.detach().clone().requires_grad_(), way.clone()
        score, _ = scores(call(model, leaf.clone()), target, len(root))
        try:
            (slope,) = torch.autograd.grad(score.sum(), leaf, create_graph=True)
            _check_derivable(slope)
            row = _derivative((slope * way).sum(), leaf)
            second = way * row / 2
            if count > _LISTED:
                return second, None, 2
            flat, rows = slope.reshape(len(way), -1), []
            rows = [_derivative(flat[:, i].sum(), leaf).reshape(len(way), -1) for i in range(count)]
        except RuntimeError as error:
            raise UnsupportedModelError(
                f"the model has no second derivatives: use order=1. PyTorch says: {error}"
            ) from error
        delta = way.reshape(len(way), -1)
        return second, torch.stack(rows, 1) * delta[:, :, None] * delta[:, None, :] / 2, 2 + count


def _check_derivable(slope: Tensor) -> None:
    """Raise RuntimeError for what autograd would take as a constant: functions marked by
    `once_differentiable` end the graph.
    """
    waiting, seen = [slope.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("Error"):
            raise RuntimeError("a function is marked by once_differentiable")
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]


def _derivative(value: Tensor, leaf: Tensor) -> Tensor:
    """∂value/∂leaf, with the graph kept; zeros where nothing depends on it."""
    import torch

    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def _notes(x: Tensor, second: Tensor) -> tuple[str, ...]:
    notes = []
    if x[0].numel() > _LISTED:
        notes.append(f"interactions are listed for at most {_LISTED} values, not {x[0].numel()}")
    if not second.any():
        notes.append("there are no second-order terms: the score is linear near the root")
    return tuple(notes)
