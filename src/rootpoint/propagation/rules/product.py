"""Rules for products of live operands, and for attention, which is made of two products."""

from __future__ import annotations

from torch import Tensor

from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.rules import rule
from rootpoint.propagation.step import Slot, Step


@rule("uniform", kinds=("product", "attention"))
def uniform(call: Call, m: Tensor) -> Back:
    """The operands of a product share its relevance equally: R_a = R_b = R / 2. Conserves.

    As multipliers m_a = m·b / 2. In attention softmax(q·k) v both products share equally, and the
    softmax goes back by its gradient, which absorbs: v gets half, q and k a quarter of their
    gradients. Cost: one backward.
    Source: Achtibat et al. 2024, ICML (Prop. 3.1 to 3.3); as gradients: Arras et al. 2025.
    """
    return Back(native=m if call.step.kind == "attention" else m / len(call.step.live))


@rule("frozen-weights", kinds=("attention",))
def frozen_weights(call: Call, m: Tensor) -> Back:
    """The weights softmax(q·k) of attention count as constants: v takes all. Conserves.

    Where v does not depend on the input, q and k share as by `uniform`. Cost: one backward.
    Source: Ali et al. 2022, ICML.
    """
    return Back(native=m)


def portion_of(rule: str, step: Step, slot: int) -> float:
    """The share of its own gradient that an operand of attention receives under a rule."""
    names = ("query", "key", "value", "attn_mask")
    given = dict(zip(names, step.args, strict=False)) | step.kwargs
    slots = {name: p.index for name in names if isinstance(p := given.get(name), Slot)}
    live = {name for name, place in slots.items() if place in step.live}
    weighs = bool(live - {"value"})
    values = 1.0 if rule == "frozen-weights" or not weighs else 0.5
    weights = 1.0 - values if "value" in live else 1.0
    if slot == slots["value"]:
        return values
    both = {"query", "key"} <= live and slot != slots.get("attn_mask")
    return weights / 2 if both else weights
