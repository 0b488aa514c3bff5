"""What every attribution method is: its parameters, its name, and one way to be called."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rootpoint.errors import InputError
from rootpoint.parametric import Parametric, known, make, parameter

if TYPE_CHECKING:
    from rootpoint.explanation import Explanation
    from rootpoint.inputs import Inputs, Model
    from rootpoint.target import Target


__all__ = [
    "AXIOMS",
    "NEEDS",
    "At",
    "BoundMethod",
    "Method",
    "explain",
    "method",
    "methods",
    "parameter",
]

At = str | Sequence[str] | None
"""The path of an inner module to explain instead of the input, or several."""

AXIOMS = {
    "complete": "Σ relevance = score − score of the baseline",
    "conserving": "Σ relevance = score, but for what biases and stabilizers absorb",
    "implementation-invariant": "networks that compute the same function get the same relevance",
}
"""What a method may promise."""

NEEDS = {
    "gradients": "a model that autograd goes through",
    "layer": "a layer with spatial extent, or its name",
    "images": "inputs of the shape (B, C, H, W)",
    "data": "data to be fitted to first: `method.fit(model, data)`",
    "estimator": "a scikit-learn estimator instead of a network",
    "graph": "a network over the nodes of a graph",
}
"""What a method may need, beside a function from inputs to scores."""


@dataclass(frozen=True, eq=False)
class Method(Parametric, ABC):
    """An attribution method: anything that turns (model, inputs, target) into relevance.

    A method is its parameters and nothing else: it knows no model and can be printed, compared,
    hashed and named on a command line. Subclasses are dataclasses that set the class variables and
    write `run`; being defined in `rootpoint.methods` makes them known by name everywhere.

    name, summary   on the command line, in one line
    cost            in forward and backward passes of the model
    axioms, needs   keys of `AXIOMS` and `NEEDS`
    """

    cost: ClassVar[str]
    axioms: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(
        self, model: Model, inputs: Inputs, target: Target = "predicted", *, at: At = None
    ) -> Explanation:
        """Explain `target` of `model`; `at` is an inner module to explain instead of the input."""
        return self.bind(model)(inputs, target, at=at)

    def bind(self, model: Model) -> BoundMethod:
        """This method with a model, keeping between calls what has to be computed only once."""
        return BoundMethod(self, model, self.prepare(model))

    def fit(self, model: Model, data: Any) -> Self:
        """This method with what it learns from data; itself, if it needs none.

        data   a tensor (N, …), or an iterable of batches such as a DataLoader's
        """
        return self

    def prepare(self, model: Model) -> Any:
        """What this method computes once per model; passed to every `run`."""
        return None

    def inputs_only(self, at: At) -> None:
        """Raise InputError if an inner module is to be explained, which this method cannot."""
        if at is not None:
            raise InputError(f"{self.name} explains inputs, not inner modules: leave out at={at!r}")

    def one_module(self, at: At) -> str | None:
        """Raise InputError if several inner modules are to be explained at once."""
        if at is None or isinstance(at, str):
            return at
        raise InputError(f"{self.name} explains one module at a time, not at={list(at)}")

    def save(self, path: str | Path) -> Path:
        """Write name and parameters as JSON, for `rootpoint.method(path)` and `--method path`.

        Raises InputError if a parameter is no plain value: what is fitted has its own file.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        for key, value in given.items():
            if not (value is None or isinstance(value, str | int | float)):
                raise InputError(
                    f"{self.name}: {key} is a {type(value).__name__}, which cannot be written as "
                    "text: name a composite or a fitted file instead"
                )
        path = Path(path)
        path.write_text(json.dumps({"method": self.name, "parameters": given}, indent=2) + "\n")
        return path

    @abstractmethod
    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        """One explanation for each of several targets of the same inputs."""


@dataclass(frozen=True, eq=False)
class BoundMethod:
    """A method bound to a model. `attribute` is what Captum and Quantus call.

    What it keeps of the model's parameters is made anew when they are written to; only writes to
    single values through `parameter.data` can go unseen: bind again after them.
    """

    method: Method
    model: Model
    prepared: Any = field(repr=False)

    def __call__(
        self, inputs: Inputs, target: Target = "predicted", *, at: At = None
    ) -> Explanation:
        return self.each(inputs, [target], at=at)[0]

    def each(
        self, inputs: Inputs, targets: Sequence[Target], *, at: At = None
    ) -> list[Explanation]:
        """Explain several targets of the same inputs: one forward, and one backward for each."""
        from rootpoint.tokens import as_tensors

        inputs = as_tensors(inputs)
        if (encode := _encoder(self.model, inputs)) is None:
            return self.method.run(self.model, inputs, targets, at, self.prepared)
        rows = getattr(self.model, "rootpoint_rows", None)
        if not isinstance(inputs, list) or rows is None or len(inputs) <= rows:
            return self._encoded(encode, inputs, targets, at)
        from rootpoint.explanation import joined
        from rootpoint.target import of_part

        parts = []  # texts become wide tables: only so many at once
        for start in range(0, len(inputs), rows):
            part = slice(start, start + rows)
            wanted = [of_part(target, part, len(inputs)) for target in targets]
            parts.append(self._encoded(encode, inputs[part], wanted, at))
        return [joined(each, inputs) for each in zip(*parts, strict=True)]

    def _encoded(
        self, encode: Any, inputs: Any, targets: Sequence[Target], at: At
    ) -> list[Explanation]:
        """Explanations of what is no tensor, as the model encodes it."""
        found = self.method.run(self.model, encode(inputs), targets, at, self.prepared)
        decode = self.model.rootpoint_decode  # pyright: ignore[reportFunctionMemberAccess]
        return [
            replace(
                one,
                inputs=inputs,
                relevance=one.relevance if at is not None else decode(one.relevance, inputs),
            )
            for one in found
        ]

    def attribute(
        self,
        inputs: Inputs,
        target: Target | None = "predicted",
        *,
        baselines: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """The relevance alone, shaped like `inputs`. The arguments are Captum's, by keyword.

        target      as everywhere here; None is "predicted", of a model with one output that one
        baselines   in place of the method's own: a number, or a tensor (B, …) or (1, …) like the
                    input; of several inputs a tuple
        additional_forward_args   what the model takes after the inputs, several as a tuple; tensors
                    (B, …) are by sample
        return_convergence_delta  also return Σ relevance − (f(x) − f(x̃)), (B,), which is minus the
                    `completeness_gap`

        Where samples differ in baseline or further arguments they are explained one by one. Raises
        InputError if the method has no baseline or promises no sum.
        """
        found = self._explanations(inputs, target, baselines, additional_forward_args)
        if not return_convergence_delta:
            return _joined([one.relevance for one in found])
        gaps = [one.completeness_gap for one in found]
        if any(gap is None for gap in gaps):
            raise InputError(
                f"{self.method.name} promises no sum, so there is no convergence delta: leave out "
                "return_convergence_delta"
            )
        return _joined([one.relevance for one in found]), -_joined(gaps)

    def _explanations(
        self, inputs: Inputs, target: Target | None, baselines: Any, arguments: Any
    ) -> list[Explanation]:
        """What `attribute` is made of: one explanation, or one for each sample."""
        target = "predicted" if target is None else target
        if baselines is None and arguments is None:
            return [self(inputs, target)]
        from rootpoint.arguments import calls, with_arguments

        if baselines is not None and "baseline" not in {f.name for f in fields(self.method)}:
            raise InputError(f"{self.method.name} has no baseline: leave out baselines")
        found = []
        for call in calls(inputs, target, baselines, arguments):
            method, model = self.method, self.model
            if baselines is not None:
                method = replace(method, baseline=call.baseline)
            if call.arguments:
                model = with_arguments(model, call)
            found.append(method(model, call.inputs, call.target))
        return found


def _encoder(model: Model, inputs: Any) -> Any:
    """How a neuralized model reads what is no tensor, as data frames and texts."""
    tensor = hasattr(inputs, "data_ptr") or isinstance(inputs, tuple | Mapping)
    return None if tensor else getattr(model, "rootpoint_encode", None)


def _joined(each: Sequence[Any]) -> Any:
    """The samples of several explanations together: tensors, or tuples of them."""
    if len(each) == 1:
        return each[0]
    import torch

    if isinstance(each[0], tuple):
        return tuple(torch.cat(tensors) for tensors in zip(*each, strict=True))
    return torch.cat(list(each))


def methods() -> dict[str, type[Method]]:
    """Every attribution method by its name. Imports no torch."""
    return known("rootpoint.methods", Method)


def method(name: str, **parameters: Any) -> Method:
    """The method called `name`, which may carry parameters: "lrp(composite='epsilon')".

    name   also a file (.json) that `Method.save` wrote
    Parameters may be strings, as a command line gives them. Raises UnknownNameError for an unknown
    method, InputError for a bad parameter or file.
    """
    if name.endswith(".json"):
        name, saved = _loaded(Path(name))
        parameters = saved | parameters
    return make("method", name, methods(), parameters)


def _loaded(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return str(document["method"]), dict(document["parameters"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no method: write it with method.save(path)") from error


def explain(
    model: Model,
    inputs: Inputs | None = None,
    target: Target = "predicted",
    *,
    method: str | Method = "lrp",
    at: At = None,
    **parameters: Any,
) -> Explanation:
    """Explain one decision of `model` for each sample in `inputs`.

    model       any callable on tensors; an nn.Module must be in eval mode; for `evidence` and `ebm`
                a fitted scikit-learn estimator
    inputs      a tensor (B, …), or a tuple or mapping of what the model takes; integers are
                explained through the embeddings they look up, and get no relevance where they look
                up none, as masks; a list of texts or a table for what explains those. If left out,
                the keyword arguments that are no parameter of the method:
                `explain(model, **tokenizer(text))`
    target      a class index, one per sample, "predicted" (the highest score), an index tuple for
                dense outputs, or a function from the model's output to one score per sample
    method      a name (see `methods()`) or a Method; `parameters` are those of the named method
    at          the path of an inner module ("features.12"): to explain its output instead of the
                input; of several, a list: relevance by path, from the same backward pass
    """
    if inputs is None:
        own = methods().get(method) if isinstance(method, str) else None
        known = {f.name for f in fields(own)} if own is not None else set()
        inputs = {name: value for name, value in parameters.items() if name not in known}
        parameters = {name: value for name, value in parameters.items() if name in known}
    if isinstance(method, str):
        method = _by_name(method, **parameters)
    elif parameters:
        raise InputError(
            f"parameters {sorted(parameters)} go with a method's name; set them on {method}"
        )
    return method(model, inputs, target, at=at)


_by_name = method  # `explain` has a parameter of that name
