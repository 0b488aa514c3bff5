"""Relevance by one backward pass over an unmodified model."""

from rootpoint.propagation import recurrent  # noqa: F401  registers what it writes out
from rootpoint.propagation.composites import PRESETS, Composite, Where, composite
from rootpoint.propagation.engine import Propagation
from rootpoint.propagation.path import inspect
from rootpoint.propagation.rules import RULES, Rule, rule

__all__ = [
    "PRESETS",
    "RULES",
    "Composite",
    "Propagation",
    "Rule",
    "Where",
    "composite",
    "inspect",
    "rule",
]
