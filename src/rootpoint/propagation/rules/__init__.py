"""How relevance goes back through one operation: one file per kind, one function per rule.

A rule is a function `(call, m, **options)` of one operation (`Call`) and the multipliers `m` at its
output; it returns the multipliers at its input, or a `Back`. `@rule(name)` makes it a factory:
`gamma(gamma=0.1)` is a `Rule`, a value that composites hold, compare and print.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Any

from torch import Tensor

from rootpoint.errors import InputError, UnknownNameError
from rootpoint.parametric import split
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.operations import LINEAR, TABLE, Operation
from rootpoint.propagation.step import Step

RULES: dict[str, Callable[..., Rule]] = {}
"""Every rule by its name."""

_FUNCTIONS: dict[str, Callable[..., Tensor | Back]] = {}

READS = ("input", "output")

DEFAULTS: dict[str, Rule] = {}
"""The rule of each kind of operation where a composite names none."""


@dataclass(frozen=True)
class Rule:
    """A rule with its options, ready to be applied to an operation.

    kinds   the kinds of operations it is made for; None: any
    exact   it may give relevance to inputs that are zero, which a multiplier cannot carry
    native  it does no more than scale what goes into the operation's own backward
    reads   what it needs of "input" and "output": the rest is not kept for the way back
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    kinds: tuple[str, ...] | None = None
    exact: bool = False
    native: bool = False
    reads: tuple[str, ...] = READS

    def suits(self, kind: str) -> bool:
        return kind in self.kinds if self.kinds is not None else kind != "shift"

    def __call__(self, call: Call, m: Tensor) -> Tensor | Back:
        return _FUNCTIONS[self.name](call, m, **dict(self.options))

    def portion(self, step: Step, slot: int) -> float:
        """The share of its own gradient that an operand of attention receives."""
        return portion_of(self.name, step, slot)

    def __str__(self) -> str:
        options = ", ".join(f"{k}={_brief(v)}" for k, v in self.options)
        return f"{self.name}({options})"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]} …"


def _plain(value: Any) -> Any:
    """An option as a value that can be compared and hashed: tensors as nested tuples."""
    if isinstance(value, Tensor):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _check_option(rule: str, option: str, value: Any, default: Any) -> None:
    if isinstance(default, bool) or not isinstance(default, int | float):
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if not number or (value < 0 and option in ("epsilon", "gamma")):
        raise InputError(f"rule {rule!r}: {option}={value!r} is not a number, or negative")


def rule(
    name: str,
    *,
    kinds: tuple[str, ...] | None = None,
    exact: bool = False,
    native: bool = False,
    reads: tuple[str, ...] = READS,
    operation: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Tensor | Back]], Callable[..., Rule]]:
    """Register a function as the rule called `name`; its keyword arguments are the rule's options.

    kinds       the kinds of operations it is made for; None: any
    exact       it may give relevance to inputs that are zero
    native      it does no more than scale what goes into the operation's own backward
    reads       what it needs of "input" and "output": the rest is not kept for the way back
    operation   a torch function that has no rule yet: from now on it has this one
    """

    def register(function: Callable[..., Tensor | Back]) -> Callable[..., Rule]:
        parameters = list(signature(function).parameters.values())[2:]
        defaults = {p.name: p.default for p in parameters}

        @wraps(function)
        def make(**options: Any) -> Rule:
            if unknown := set(options) - set(defaults):
                known = ", ".join(defaults) or "none"
                raise InputError(
                    f"rule {name!r} has no option {sorted(unknown)}; its options: {known}"
                )
            given = {**defaults, **{o: _plain(v) for o, v in options.items()}}
            for option, value in given.items():
                _check_option(name, option, value, defaults[option])
            suited = (name,) if operation else kinds
            return Rule(name, tuple(given.items()), suited, exact, native, reads)

        RULES[name], _FUNCTIONS[name] = make, function
        if operation is not None:
            TABLE[operation] = Operation(operation.__name__, kind=name)
            DEFAULTS[name] = make()
        return make

    return register


def read(text: str | Rule) -> Rule:
    """The rule called `text`, with options in parentheses if any: `gamma(gamma=0.5)`.

    Raises UnknownNameError for an unknown rule, InputError for options it does not have.
    """
    if isinstance(text, Rule):
        return text
    if not isinstance(text, str):
        raise InputError(f"{text!r} is neither a Rule nor the name of one")
    name, options = split("rule", text)
    if name not in RULES:
        raise UnknownNameError("rule", name, RULES)
    return RULES[name](**options)


from rootpoint.propagation.rules.activation import passing  # noqa: E402
from rootpoint.propagation.rules.addition import magnitude  # noqa: E402
from rootpoint.propagation.rules.backprop import (  # noqa: E402
    contrast,
    deconvnet,
    excitation,
    guided,
    spread_bias,
)
from rootpoint.propagation.rules.difference import (  # noqa: E402
    midpoint,
    rescale,
    reveal_cancel,
    winners,
)
from rootpoint.propagation.rules.gradient import gradient  # noqa: E402
from rootpoint.propagation.rules.kernel import (  # noqa: E402
    columnwise,
    distance,
    exponential_difference,
    harmonic_minimum,
    soft_minimum,
)
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
from rootpoint.propagation.rules.pattern import pattern_attribution, pattern_net  # noqa: E402
from rootpoint.propagation.rules.pooling import average, proportional, ties, uniform_pool  # noqa: E402
from rootpoint.propagation.rules.product import (  # noqa: E402
    frozen_weights,
    portion_of,
    uniform,
)

_NATIVE = (
    *("maximum", "addition", "scaling", "quotient", "batch-norm", "softmax"),
    *("piecewise-constant", "concept"),
)

DEFAULTS |= {
    **dict.fromkeys(LINEAR, epsilon()),
    "activation": passing(),
    "shift": passing(),
    "p-norm": proportional(),
    "normalization": frozen_scale(),
    "product": uniform(),
    "average": average(),
    "distance": distance(),
    "soft-minimum": soft_minimum(),
    "harmonic-minimum": harmonic_minimum(),
    "exponential-difference": exponential_difference(),
    "columnwise": columnwise(),
    "attention": frozen_weights(),
    **dict.fromkeys(_NATIVE, gradient()),
}

__all__ = [
    "DEFAULTS",
    "RULES",
    "Rule",
    "alpha_beta",
    "average",
    "box",
    "columnwise",
    "contrast",
    "deconvnet",
    "distance",
    "epsilon",
    "excitation",
    "exponential_difference",
    "flat",
    "frozen_scale",
    "frozen_weights",
    "gamma",
    "gradient",
    "guided",
    "harmonic_minimum",
    "magnitude",
    "midpoint",
    "passing",
    "pattern_attribution",
    "pattern_net",
    "proportional",
    "read",
    "rescale",
    "reveal_cancel",
    "rule",
    "soft_minimum",
    "spread_bias",
    "ties",
    "uniform",
    "uniform_pool",
    "w_square",
    "winners",
    "z_plus",
    "zero",
]
