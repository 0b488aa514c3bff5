"""Rules that go back by fitted patterns: by what drives a unit, instead of by its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.propagation.call import Call
from rootpoint.propagation.operations import LINEAR
from rootpoint.propagation.rules import rule

if TYPE_CHECKING:
    from rootpoint.propagation.patterns import Placed


def _pattern(call: Call, patterns: Placed | None) -> Tensor:
    if patterns is None:
        raise InputError(
            f"rule {call.step.rule} has no patterns: give it "
            "patterns=rootpoint.fit_patterns(model, data).on(model)"
        )
    return patterns(call)


@rule("pattern-net", kinds=LINEAR)
def pattern_net(call: Call, m: Tensor, *, patterns: Placed | None = None) -> Tensor:
    """m_i = Σ_j a_ij m_j, with the pattern a in place of the weights: the signal that drives j.

    For a composite that carries gradients. Cost: one backward.
    Source: Kindermans et al. 2018, ICLR.
    """
    return call.transpose(m, _pattern(call, patterns))


@rule("pattern-attribution", kinds=LINEAR)
def pattern_attribution(call: Call, m: Tensor, *, patterns: Placed | None = None) -> Tensor:
    """m_i = Σ_j w_ij a_ij m_j, with the pattern a: each input's share of the signal in j.

    As wᵀa = 1, the shares of a unit sum to 1; padding and inactive units lose theirs. The root
    point of unit j is its distractor, x − a y. For a composite that carries gradients.
    Cost: one backward. Source: Kindermans et al. 2018, ICLR.
    """
    pattern = _pattern(call, patterns)
    shares = call.modified(("pattern-attribution", patterns), lambda w: w * pattern)
    return call.transpose(m, shares)
