"""Rootpoint answers *why did the model say that?* for a single decision of a model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import rootpoint.methods as _methods  # noqa: F401  (sets `methods`, which the next line sets for good)
from rootpoint.method import BoundMethod, Method, explain, method, methods

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rootpoint.errors import RootpointError, UnsupportedOperationError
    from rootpoint.explanation import Balance, Explanation
    from rootpoint.methods.gradient import Gradient, GradientTimesInput
    from rootpoint.methods.lrp import LRP, DeepTaylor
    from rootpoint.propagation import composites, inspect, rules
    from rootpoint.propagation.composites import Composite, Where
    from rootpoint.propagation.rules import Rule, rule

_WHERE = {
    "Balance": "explanation",
    "Composite": "propagation.composites",
    "DeepTaylor": "methods.lrp",
    "Explanation": "explanation",
    "Gradient": "methods.gradient",
    "GradientTimesInput": "methods.gradient",
    "LRP": "methods.lrp",
    "RootpointError": "errors",
    "Rule": "propagation.rules",
    "UnsupportedOperationError": "errors",
    "Where": "propagation.composites",
    "composites": "propagation",
    "inspect": "propagation",
    "rule": "propagation.rules",
    "rules": "propagation",
}
"""The module of each public name, imported when first used: `import rootpoint` is instant."""

__all__ = [
    "LRP",
    "Balance",
    "BoundMethod",
    "Composite",
    "DeepTaylor",
    "Explanation",
    "Gradient",
    "GradientTimesInput",
    "Method",
    "RootpointError",
    "Rule",
    "UnsupportedOperationError",
    "Where",
    "composites",
    "explain",
    "inspect",
    "method",
    "methods",
    "rule",
    "rules",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"rootpoint.{_WHERE[name]}"), name, None)
    if value is None:
        value = import_module(f"rootpoint.{_WHERE[name]}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
