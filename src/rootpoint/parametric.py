"""Things that are their name and their parameters: methods and metrics."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from rootpoint.errors import InputError, UnknownNameError


def parameter(default: Any, help: str, **bounds: Any) -> Any:
    """A field: default, a line of help, and `low`, `high`, `choices` or `number`."""
    return field(default=default, metadata={"help": help, **bounds})


@dataclass(frozen=True, eq=False)
class Parametric:
    """A frozen dataclass that can be printed, compared, hashed and named on a command line.

    name, summary   on the command line, in one line
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __post_init__(self) -> None:
        for f in fields(self):
            check_bounds(self.name, f, getattr(self, f.name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parametric) or type(self) is not type(other):
            return False
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __str__(self) -> str:
        """The name, and what differs from the defaults: `lrp(composite='epsilon')`."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = [f"{k}={_brief(v)}" for k, v in given.items() if not self._is_default(k, v)]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    def _is_default(self, name: str, value: Any) -> bool:
        default = next(f.default for f in fields(self) if f.name == name)
        return value is default or (type(value) is type(default) and bool(value == default))

    def _values(self) -> tuple[Any, ...]:
        """The parameters; tensors and mappings, which are no values, by their identity."""
        values = (getattr(self, f.name) for f in fields(self))
        return tuple(
            ("one", id(v)) if hasattr(v, "data_ptr") or isinstance(v, dict) else v for v in values
        )


P = TypeVar("P", bound=Parametric)

NO_LITERAL = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)
"""What reading a text as a Python literal raises: `{[]: 1}`, or a thousand brackets."""


def _brief(value: Any) -> str:
    plain = value is None or isinstance(value, str | int | float)
    return repr(value) if plain else f"<{type(value).__name__}>"


def known(package: str, base: type[P]) -> dict[str, type[P]]:
    """Every class derived from `base` that has a name, once all files of a package are imported."""
    room = importlib.import_module(package)
    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{package}.{module.name}")
    found: dict[str, type[P]] = {}
    waiting = [base]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if "name" in cls.__dict__:
            found[cls.name] = cls
    return dict(sorted(found.items()))


def make(kind: str, text: str, classes: Mapping[str, type[P]], parameters: dict[str, Any]) -> P:
    """The thing called `text`, which may carry parameters: `lrp(composite='epsilon')`.

    Further parameters may be strings, as a command line gives them.
    Raises UnknownNameError for an unknown name, InputError for a bad parameter.
    """
    name, options = split(kind, text)
    if name not in classes:
        raise UnknownNameError(kind, name, classes)
    cls = classes[name]
    allowed = {f.name: f for f in fields(cls)}
    read = {k: parse(allowed[k], v) if k in allowed else v for k, v in parameters.items()}
    given = {**options, **read}
    for key in given:
        if key not in allowed:
            offered = ", ".join(allowed) or "none"
            raise InputError(f"{name} has no parameter {key!r}; its parameters: {offered}")
    return cls(**given)


def split(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of `name(option=value, …)`, whose values are Python literals.

    Raises InputError if it is not written so.
    """
    name, bracket, _ = text.partition("(")
    if not bracket:
        return name, {}
    try:
        call = ast.parse(text.replace(name, "f", 1), mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("options are name=value, separated by commas")
        return name, {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    except NO_LITERAL as error:
        raise InputError(
            f"{kind} {text!r} cannot be read: {error}; write it as name(option=value, …) with "
            "values that are Python literals"
        ) from error


def parse(f: Field[Any], text: Any) -> Any:
    """A parameter's value from its text: a Python literal, or the text itself."""
    if not isinstance(text, str) or f.type == "str":
        return text  # "1.10" is the path of a module
    if f.type == "str | None" and text.lower() != "none":
        return text
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    try:
        value = ast.literal_eval(text)
    except NO_LITERAL:
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
