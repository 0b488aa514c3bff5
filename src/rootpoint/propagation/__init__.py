"""Relevance by one backward pass over an unmodified model."""

from rootpoint.propagation import deviations, multilinear, recurrent  # noqa: F401  write out
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
