"""Which rule where: composites, and the named presets of the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from rootpoint.errors import InputError, UnknownNameError
from rootpoint.parametric import split
from rootpoint.propagation import rules
from rootpoint.propagation.operations import LINEAR
from rootpoint.propagation.rules import DEFAULTS, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.propagation.step import Step


@dataclass(frozen=True)
class Where:
    """A set of operations: those that meet every condition given.

    kind         of the operation ("convolution", "dense", "linear" for both, "maximum", …)
    operation    the torch function's name ("conv2d")
    module       glob of the module's path in the model ("features.*")
    module_type  the module's class or a tuple of classes, or a class name
    first        no linear map lies before it on any path
    last         a linear map that no other lies behind
    behind       the kind of all linear maps right before it ("dense")
    depth        share of the path's linear maps before it, from 0 to 1, as (from, to)
    """

    kind: str | None = None
    operation: str | None = None
    module: str | None = None
    module_type: type | tuple[type, ...] | str | None = None
    first: bool | None = None
    last: bool | None = None
    behind: str | None = None
    depth: tuple[float, float] | None = None

    def meets_kind(self, kind: str) -> bool:
        return self.kind in (None, kind) or (self.kind == "linear" and kind in LINEAR)

    def __contains__(self, step: Step) -> bool:
        return (
            self.meets_kind(step.kind)
            and self.operation in (None, step.name)
            and (self.module is None or fnmatchcase(step.module, self.module))
            and self._meets_type(step.module_type)
            and self.first in (None, step.first)
            and self.last in (None, step.last)
            and (self.behind is None or self.behind == step.behind)
            and (self.depth is None or self.depth[0] <= step.reach <= self.depth[1])
        )

    def _meets_type(self, module_type: type | None) -> bool:
        wanted = self.module_type
        if wanted is None:
            return True
        if module_type is None:
            return False
        if isinstance(wanted, str):
            return wanted in {cls.__name__ for cls in module_type.__mro__}
        return issubclass(module_type, wanted)

    def __str__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return (
            ", ".join(f"{k} {_brief(v)}" for k, v in given.items() if v is not None) or "anywhere"
        )


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return "–".join(_brief(v) for v in value)
    return value.__name__ if isinstance(value, type) else str(value)


GRADIENT = rules.gradient()


@dataclass(frozen=True)
class Composite:
    """Rules and where they apply: for each operation, the first entry whose place contains it and
    whose rule is made for its kind; else the kind's default (`DEFAULTS`).

    A composite is a value: it can be printed, compared and shared between models and threads.

    carries   "relevance"; or "gradient": multipliers are a modified gradient, whatever has no entry
              goes back by its own, zeros are nothing special, and the books are not kept; or
              "difference": as a gradient, but what has no exact secant is refused
    """

    entries: tuple[tuple[Where, Rule], ...] = ()
    name: str = "composite"
    carries: str = "relevance"

    def rule(self, step: Step) -> Rule | None:
        for where, rule in self.entries:
            if rule.suits(step.kind) and step in where:
                return rule
        return self.defaults.get(step.kind)

    @property
    def defaults(self) -> dict[str, Rule]:
        """The rule of each kind that no entry names."""
        return DEFAULTS if self.carries == "relevance" else dict.fromkeys(DEFAULTS, GRADIENT)

    def override(self, where: Where, rule: Rule) -> Composite:
        """This composite, but with `rule` at `where`."""
        return replace(self, entries=((where, rule), *self.entries), name=f"{self.name}, changed")

    def touches(self, kind: str) -> bool:
        """Whether any entry may give this kind of operation a rule of its own."""
        return any(r.suits(kind) and w.meets_kind(kind) for w, r in self.entries)

    def reads(self, kind: str) -> set[str]:
        """What of "input" and "output" any rule that this kind may be given needs."""
        rules = [r for w, r in self.entries if r.suits(kind) and w.meets_kind(kind)]
        if kind in self.defaults:
            rules.append(self.defaults[kind])
        return {name for rule in rules for name in rule.reads}

    @property
    def exact(self) -> bool:
        """Whether zeros may carry relevance beyond the first linear map."""
        return any(r.exact and not w.first for w, r in self.entries)

    def keeps_zeros(self, depth: int) -> bool:
        """Whether zeros behind so many linear maps may carry relevance."""
        return self.carries == "relevance" and (self.exact or depth == 0)

    def __str__(self) -> str:
        rows = [(str(where), str(rule)) for where, rule in self.entries]
        rows += [
            (f"other {kind}" if self.touches(kind) else kind, str(rule))
            for kind, rule in self.defaults.items()
            if not any(
                w == Where(kind=kind) or (w == Where(kind="linear") and kind in LINEAR)
                for w, _ in self.entries
            )
        ]
        width = max(len(place) for place, _ in rows)
        return "\n".join([self.name, *(f"  {place:<{width}}  {rule}" for place, rule in rows)])


_CONVOLUTION = Where(kind="convolution")
_LINEAR = Where(kind="linear")
_FIRST = Where(first=True, kind="convolution")


def Epsilon(epsilon: float = 1e-6) -> Composite:
    """LRP-ε on every linear map; ε → 0 is LRP-0: gradient × input on bias-free ReLU nets."""
    return Composite(((_LINEAR, rules.epsilon(epsilon=epsilon)),), "epsilon")


def EpsilonPlus(epsilon: float = 1e-6, bias: str = "ignore") -> Composite:
    """z⁺ on convolutions, ε on dense layers."""
    plus = (_CONVOLUTION, rules.z_plus(bias=bias))
    return Composite((plus, (_LINEAR, rules.epsilon(epsilon=epsilon))), "epsilon-plus")


def EpsilonPlusFlat(epsilon: float = 1e-6, bias: str = "ignore") -> Composite:
    """As epsilon-plus, with the flat rule where the first linear map is a convolution."""
    entries = EpsilonPlus(epsilon, bias).entries
    return Composite(((_FIRST, rules.flat()), *entries), "epsilon-plus-flat")


def EpsilonAlpha2Beta1(
    epsilon: float = 1e-6, bias: str = "ignore", guard: bool = False
) -> Composite:
    """α2β1 on convolutions, ε on dense layers."""
    contrast = (_CONVOLUTION, rules.alpha_beta(alpha=2.0, beta=1.0, bias=bias, guard=guard))
    dense = (_LINEAR, rules.epsilon(epsilon=epsilon))
    return Composite((contrast, dense), "epsilon-alpha2-beta1")


def EpsilonAlpha2Beta1Flat(
    epsilon: float = 1e-6, bias: str = "ignore", guard: bool = False
) -> Composite:
    """As epsilon-alpha2-beta1, with the flat rule where the first linear map is a convolution."""
    entries = EpsilonAlpha2Beta1(epsilon, bias, guard).entries
    return Composite(((_FIRST, rules.flat()), *entries), "epsilon-alpha2-beta1-flat")


def EpsilonGammaBox(
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
) -> Composite:
    """zᴮ on the first convolution, γ on the others, ε on dense layers.

    low, high   the least and greatest value an input can have, after preprocessing (see `box`)
    """
    box = (_FIRST, rules.box(low=low, high=high))
    dense = (_LINEAR, rules.epsilon(epsilon=epsilon))
    return Composite((box, (_CONVOLUTION, rules.gamma(gamma=gamma)), dense), "epsilon-gamma-box")


def Alpha1Beta0(bias: str = "ignore") -> Composite:
    """α1β0 = z⁺ on every linear map."""
    return Composite(((_LINEAR, rules.z_plus(bias=bias)),), "alpha1-beta0")


def GammaEpsilonZero(gamma: float = 0.25, epsilon: float = 0.25) -> Composite:
    """γ on the lower half of the path, ε on the next three tenths, LRP-0 on top, zᴮ on pixels.

    After Montavon et al. 2019, LNCS 11700, ch. 10, with ε absolute.
    """
    entries = (
        (_FIRST, rules.box()),
        (Where(kind="linear", depth=(0.0, 0.5)), rules.gamma(gamma=gamma)),
        (Where(kind="linear", depth=(0.5, 0.8)), rules.epsilon(epsilon=epsilon)),
        (_LINEAR, rules.zero()),
    )
    return Composite(entries, "gamma-epsilon-zero")


def CPLRP(epsilon: float = 1e-6, gamma: float = 0.0) -> Composite:
    """Conservative propagation for transformers: attention weights, gates and norms are constants.

    gamma   0: ε on every linear map; else the γ-rule, which is less noisy on vision transformers
    Source: Ali et al. 2022, ICML.
    """
    return Composite(((_LINEAR, _epsilon_or_gamma(epsilon, gamma)),), "cp-lrp")


def AttnLRP(epsilon: float = 1e-6, gamma: float = 0.0) -> Composite:
    """Attention-aware LRP: factors of products share equally, the softmax by its gradient.

    gamma   0: ε on every linear map; else the γ-rule, which is less noisy on vision transformers
    Source: Achtibat et al. 2024, ICML.
    """
    entries = (
        (_LINEAR, _epsilon_or_gamma(epsilon, gamma)),
        (Where(kind="product"), rules.uniform()),
        (Where(kind="attention"), rules.uniform()),
    )
    return Composite(entries, "attn-lrp")


def _epsilon_or_gamma(epsilon: float, gamma: float) -> Rule:
    return rules.gamma(gamma=gamma) if gamma else rules.epsilon(epsilon=epsilon)


_ROOTS: dict[str, Callable[[], Rule]] = {
    "nearest": rules.w_square,
    "rescaled-excitations": rules.z_plus,
    "rescaled-activation": rules.zero,
    "embedding": rules.w_square,
}

_MAXIMA: dict[str, Callable[[], Rule]] = {
    "winner": rules.gradient,
    "proportional": rules.proportional,
}


def DeepTaylor(
    input: str = "box",
    hidden: str = "rescaled-excitations",
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    maximum: str = "proportional",
) -> Composite:
    """Deep Taylor decomposition: each layer's rule named by its root point.

    input     "box" (pixels between low and high), "embedding" (no bounds), or as hidden
    hidden    "rescaled-excitations" (z⁺), "rescaled-activation" (LRP-0), "nearest" (w²)
    maximum   how max-pooling shares: "proportional" or to the "winner"
    Source: Montavon et al. 2017, Pattern Recognition 65:211.
    """
    roots = {**_ROOTS, "box": lambda: rules.box(low=low, high=high)}
    for name, known in ((input, roots), (hidden, _ROOTS)):
        if name not in known:
            raise UnknownNameError("root point", name, known)
    if maximum not in _MAXIMA:
        raise UnknownNameError("treatment of maxima", maximum, _MAXIMA)
    entries = (
        (Where(first=True, kind="linear"), roots[input]()),
        (_LINEAR, _ROOTS[hidden]()),
        (Where(kind="maximum"), _MAXIMA[maximum]()),
    )
    return Composite(entries, "deep-taylor")


def Layered(
    input: str | Rule | None = "flat",
    lower: str | Rule = "gamma(gamma=0.25)",
    middle: str | Rule = "gamma(gamma=0.25)",
    upper: str | Rule = "epsilon(epsilon=0.25)",
    dense: str | Rule | None = "epsilon",
    splits: tuple[float, float] = (1 / 3, 2 / 3),
) -> Composite:
    """A rule for each range of the path's linear maps, in text: what `rootpoint.select` searches.

    input     the rule of the first linear map; None: that of its range
    lower, middle, upper   by depth, the share of the path's linear maps that lie before
    dense     the rule of dense layers, at any depth; None: that of their range
    splits    the depths where the middle range begins and ends
    Raises UnknownNameError for an unknown rule, InputError for a bad one or bad splits.
    """
    if not (
        isinstance(splits, tuple | list)
        and len(splits) == 2
        and all(isinstance(s, int | float) for s in splits)
        and 0 <= splits[0] <= splits[1] <= 1
    ):
        raise InputError(f"splits={splits!r}: give two depths in order, each from 0 to 1")
    places = (
        (Where(first=True, kind="linear"), input),
        (Where(kind="dense"), dense),
        (Where(kind="linear", depth=(0.0, float(splits[0]))), lower),
        (Where(kind="linear", depth=(float(splits[0]), float(splits[1]))), middle),
        (_LINEAR, upper),
    )
    entries = tuple((where, _for_linear(rule)) for where, rule in places if rule is not None)
    return Composite(entries, "layered")


def _for_linear(given: str | Rule) -> Rule:
    found = rules.read(given)
    if not all(found.suits(kind) for kind in LINEAR):
        raise InputError(f"rule {found.name!r} is not made for linear maps")
    return found


PRESETS: dict[str, Callable[..., Composite]] = {
    "epsilon": Epsilon,
    "epsilon-plus": EpsilonPlus,
    "epsilon-plus-flat": EpsilonPlusFlat,
    "epsilon-alpha2-beta1": EpsilonAlpha2Beta1,
    "epsilon-alpha2-beta1-flat": EpsilonAlpha2Beta1Flat,
    "epsilon-gamma-box": EpsilonGammaBox,
    "alpha1-beta0": Alpha1Beta0,
    "gamma-epsilon-zero": GammaEpsilonZero,
    "deep-taylor": DeepTaylor,
    "layered": Layered,
    "attn-lrp": AttnLRP,
    "cp-lrp": CPLRP,
}
"""The named composites. A name may carry options: `epsilon-gamma-box(low=-2.1, high=2.6)`."""


def composite(name: str | Composite) -> Composite:
    """The composite called `name`, with options in parentheses if any.

    Raises UnknownNameError for an unknown name, InputError for options it does not have.
    """
    if isinstance(name, Composite):
        return name
    if not isinstance(name, str):
        raise InputError(f"{name!r} is neither a Composite nor the name of one")
    base, options = split("composite", name)
    if base not in PRESETS:
        raise UnknownNameError("composite", base, PRESETS)
    try:
        return PRESETS[base](**options)
    except TypeError as error:
        raise InputError(f"composite {name!r} cannot be read: {error}") from error
