"""What every attribution method is: its parameters, its name, and one way to be called."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rootpoint.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from rootpoint.explanation import Explanation
    from rootpoint.inputs import Inputs, Model
    from rootpoint.target import Target


def parameter(default: Any, help: str, **bounds: Any) -> Any:
    """A field of a method: default, a line of help, and `low`, `high`, `choices` or `number`."""
    return field(default=default, metadata={"help": help, **bounds})


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
}
"""What a method may need, beside a function from inputs to scores."""


@dataclass(frozen=True, eq=False)
class Method(ABC):
    """An attribution method: anything that turns (model, inputs, target) into relevance.

    A method is its parameters and nothing else: it knows no model and can be printed, compared,
    hashed and named on a command line. Subclasses are dataclasses that set the class variables and
    write `run`; being defined in `rootpoint.methods` makes them known by name everywhere.

    name, summary   on the command line, in one line
    cost            in forward and backward passes of the model
    axioms, needs   keys of `AXIOMS` and `NEEDS`
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    cost: ClassVar[str]
    axioms: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for f in fields(self):
            check_bounds(self.name, f, getattr(self, f.name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Method) or type(self) is not type(other):
            return False
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def _values(self) -> tuple[Any, ...]:
        """The parameters; tensors and mappings, which are no values, by their identity."""
        values = (getattr(self, f.name) for f in fields(self))
        return tuple(
            ("one", id(v)) if hasattr(v, "data_ptr") or isinstance(v, dict) else v for v in values
        )

    def __call__(
        self, model: Model, inputs: Inputs, target: Target = "predicted", *, at: str | None = None
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

    def inputs_only(self, at: str | None) -> None:
        """Raise InputError if an inner module is to be explained, which this method cannot."""
        if at is not None:
            raise InputError(f"{self.name} explains inputs, not inner modules: leave out at={at!r}")

    @abstractmethod
    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: str | None, prepared: Any
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
        self, inputs: Inputs, target: Target = "predicted", *, at: str | None = None
    ) -> Explanation:
        return self.method.run(self.model, inputs, [target], at, self.prepared)[0]

    def each(
        self, inputs: Inputs, targets: Sequence[Target], *, at: str | None = None
    ) -> list[Explanation]:
        """Explain several targets of the same inputs: one forward, and one backward for each."""
        return self.method.run(self.model, inputs, targets, at, self.prepared)

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
    package = importlib.import_module("rootpoint.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"rootpoint.methods.{module.name}")
    found: dict[str, type[Method]] = {}
    waiting = [Method]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if "name" in cls.__dict__:
            found[cls.name] = cls
    return dict(sorted(found.items()))


def method(name: str, **parameters: Any) -> Method:
    """The method called `name`. Parameters may be strings, as a command line gives them.

    Raises UnknownNameError for an unknown method, InputError for a bad parameter.
    """
    known = methods()
    if name not in known:
        raise UnknownNameError("method", name, known)
    cls = known[name]
    allowed = {f.name: f for f in fields(cls)}
    for key, value in parameters.items():
        if key not in allowed:
            offered = ", ".join(allowed) or "none"
            raise InputError(f"{name} has no parameter {key!r}; its parameters: {offered}")
        if isinstance(value, str):
            parameters[key] = parse(allowed[key], value)
    return cls(**parameters)


def explain(
    model: Model,
    inputs: Inputs,
    target: Target = "predicted",
    *,
    method: str | Method = "lrp",
    at: str | None = None,
    **parameters: Any,
) -> Explanation:
    """Explain one decision of `model` for each sample in `inputs`.

    model       any callable on tensors; an nn.Module must be in eval mode; for `evidence` and `ebm`
                a fitted scikit-learn estimator
    inputs      a floating-point tensor (B, …), or a tuple or mapping of them; a list of texts or a
                table as an array for the methods that explain those
    target      a class index, one per sample, "predicted" (the highest score), an index tuple for
                dense outputs, or a function from the model's output to one score per sample
    method      a name (see `methods()`) or a Method; `parameters` are those of the named method
    at          the path of an inner module ("features.12"): to explain instead of the input
    """
    if isinstance(method, str):
        method = _by_name(method, **parameters)
    elif parameters:
        raise InputError(
            f"parameters {sorted(parameters)} go with a method's name; set them on {method}"
        )
    return method(model, inputs, target, at=at)


_by_name = method  # `explain` has a parameter of that name


def parse(f: Field[Any], text: str) -> Any:
    """A parameter's value from its text: a Python literal, or the text itself."""
    if f.type == "str" or (f.type == "str | None" and text.lower() != "none"):
        return text  # "1.10" is the path of a module
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return float(value) if isinstance(f.default, float) and isinstance(value, int) else value


def check_bounds(owner: str, f: Field[Any], value: Any) -> None:
    """Raise InputError if a parameter's value is not of its default's type or out of bounds."""
    where = f"{owner}: {f.name}={value!r}"
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    optional = f.metadata.get("number", False)
    wanted = isinstance(f.default, int | float) and not isinstance(f.default, bool)
    if not number and (wanted or (optional and value is not None)):
        raise InputError(f"{where} is not a number")
    if number and wanted and isinstance(f.default, int) and not isinstance(value, int):
        raise InputError(f"{where} is not a whole number")
    if isinstance(f.default, bool) and not isinstance(value, bool):
        raise InputError(f"{where} is neither true nor false")
    choices = f.metadata.get("choices")
    if choices and value not in choices:
        raise InputError(f"{where}; choose one of {', '.join(map(str, choices))}")
    low, high = f.metadata.get("low"), f.metadata.get("high")
    if number and ((low is not None and value < low) or (high is not None and value > high)):
        raise InputError(f"{where} is out of range [{low}, {high}]")
