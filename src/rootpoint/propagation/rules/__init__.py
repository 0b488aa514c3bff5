"""How relevance goes back through one operation: one file per kind, one function per rule.

A rule is a function `(call, m, **options)` of one operation (`Call`) and the multipliers `m` at its
output; it returns the multipliers at its input, or a `Back`. `@rule(name)` makes it a factory:
`gamma(gamma=0.1)` is a `Rule`, a value that composites hold, compare and print.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.propagation.call import Back, Call

RULES: dict[str, Callable[..., Rule]] = {}
"""Every rule by its name."""


@dataclass(frozen=True)
class Rule:
    """A rule with its options, ready to be applied to an operation.

    kinds   the kinds of operations it is made for; None: any
    exact   it may give relevance to inputs that are zero, which a multiplier cannot carry
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    function: Callable[..., Tensor | Back]
    kinds: tuple[str, ...] | None = None
    exact: bool = False

    def suits(self, kind: str) -> bool:
        return self.kinds is None or kind in self.kinds

    def __call__(self, call: Call, m: Tensor) -> Tensor | Back:
        return self.function(call, m, **dict(self.options))

    def __str__(self) -> str:
        options = ", ".join(f"{k}={_brief(v)}" for k, v in self.options)
        return f"{self.name}({options})"


def _brief(value: Any) -> str:
    return f"<{tuple(value.shape)}>" if isinstance(value, Tensor) else repr(value)


def rule(
    name: str, *, kinds: tuple[str, ...] | None = None, exact: bool = False
) -> Callable[[Callable[..., Tensor | Back]], Callable[..., Rule]]:
    """Register a function as the rule called `name`; its keyword arguments are the rule's options."""

    def register(function: Callable[..., Tensor | Back]) -> Callable[..., Rule]:
        signature = inspect.signature(function)
        names = list(signature.parameters)[2:]
        defaults = {n: signature.parameters[n].default for n in names}

        @functools.wraps(function)
        def make(**options: Any) -> Rule:
            if unknown := set(options) - set(names):
                raise InputError(
                    f"rule {name!r} has no option {sorted(unknown)}; its options: {names}"
                )
            return Rule(name, tuple({**defaults, **options}.items()), function, kinds, exact)

        RULES[name] = make
        return make

    return register


from rootpoint.propagation.rules.activation import passing  # noqa: E402
from rootpoint.propagation.rules.addition import magnitude  # noqa: E402
from rootpoint.propagation.rules.gradient import gradient  # noqa: E402
from rootpoint.propagation.rules.linear import (  # noqa: E402
    alpha_beta,
    box,
    epsilon,
    flat,
    gamma,
    w_square,
    z_plus,
    zero,
)
from rootpoint.propagation.rules.normalization import frozen_scale  # noqa: E402
from rootpoint.propagation.rules.pooling import proportional, ties, uniform_pool  # noqa: E402
from rootpoint.propagation.rules.product import uniform  # noqa: E402

__all__ = [
    "RULES",
    "Rule",
    "alpha_beta",
    "box",
    "epsilon",
    "flat",
    "frozen_scale",
    "gamma",
    "gradient",
    "magnitude",
    "passing",
    "proportional",
    "rule",
    "ties",
    "uniform",
    "uniform_pool",
    "w_square",
    "z_plus",
    "zero",
]
