"""Backward passes between gradient and relevance: deconvnet, guided and excitation backprop,
contribution propagation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation
from rootpoint.method import At, parameter
from rootpoint.methods.propagating import Propagating

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.inputs import Inputs, Model
    from rootpoint.propagation.composites import Composite
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class DeconvNet(Propagating):
    """The gradient, but ReLUs rectify what goes back instead of what went forward: m_in = m⁺.

    Relevance is the multiplier at the input, which promises no sum. Max-pooling goes to the winner.
    ReLU6, clamps at zero and the leaky or smooth kin of ReLU (GELU, SiLU, ELU, …) count as ReLUs;
    all else goes back by its gradient. Without max-pooling the map hardly depends on the input.
    Cost: one forward, one backward. Source: Zeiler, Fergus 2014, ECCV, arXiv 1311.2901.
    """

    name: ClassVar[str] = "deconvnet"
    summary: ClassVar[str] = "The gradient with ReLUs that rectify on the way back only"
    cost: ClassVar[str] = "1 forward, 1 backward"

    def rules(self) -> Composite:
        from rootpoint.propagation import rules
        from rootpoint.propagation.composites import Composite, Where

        entry = (Where(kind="activation"), rules.deconvnet())
        return Composite((entry,), "deconvnet", carries="gradient")


@dataclass(frozen=True, eq=False)
class GuidedBackprop(Propagating):
    """The gradient, but ReLUs rectify on the way back too: m_in = m⁺ · 1[z > 0].

    Relevance is the multiplier at the input, which promises no sum. Of ReLUs' kin (see `DeconvNet`)
    the slope takes the step's place: m_in = m⁺ · f′(z), for ReLU6 m⁺ · 1[0 < z < 6].
    Shows edges that excite the score; known to change little when weights above are randomized.
    Cost: one forward, one backward. Source: Springenberg et al. 2015, arXiv 1412.6806.
    """

    name: ClassVar[str] = "guided-backprop"
    summary: ClassVar[str] = "The gradient through active units, where it is positive"
    cost: ClassVar[str] = "1 forward, 1 backward"

    def rules(self) -> Composite:
        from rootpoint.propagation import rules
        from rootpoint.propagation.composites import Composite, Where

        entry = (Where(kind="activation"), rules.guided())
        return Composite((entry,), "guided-backprop", carries="gradient")


@dataclass(frozen=True, eq=False)
class ContributionPropagation(Propagating):
    """The score's additive terms, shared on by the terms of each sum: R_i = Σ_j z_ij / z_j · R_j.

    bias   of the last linear map: "spread" adds b_j / n to each of the n inputs of j that are not
           zero; "absorb" leaves it out, which is LRP-0 everywhere
    A maximum goes to its winner. Biases below the last linear map absorb their shares
    (`Explanation.balance`). Cost: one forward, one backward.
    Source: Landecker et al. 2013, IEEE CIDM.
    """

    name: ClassVar[str] = "contribution-propagation"
    summary: ClassVar[str] = "Each sum passes its contribution on to its terms"
    cost: ClassVar[str] = "1 forward, 1 backward"
    axioms: ClassVar[tuple[str, ...]] = ("conserving",)

    bias: str = parameter(
        "spread", "what becomes of the last linear map's bias", choices=("spread", "absorb")
    )

    def rules(self) -> Composite:
        from rootpoint.propagation import rules
        from rootpoint.propagation.composites import Composite, Where

        top = ((Where(kind="linear", last=True), rules.spread_bias()),)
        zero = (Where(kind="linear"), rules.zero())
        return Composite(
            (*(top if self.bias == "spread" else ()), zero), "contribution-propagation"
        )


@dataclass(frozen=True, eq=False)
class ExcitationBackprop(Propagating):
    """Probability that a unit wins: P_i = Σ_j z_ij⁺ / Σ_i z_ij⁺ · P_j, from P = 1 at the target.

    z_ij = a_i w_ij, without biases, for every linear map; a sum of branches shares by their
    positive parts, a maximum goes to its winner, activations pass. Σ relevance = 1 but for what
    ends at units that nothing excites: details["probability"] (B,) is what arrived.
    contrast   the last linear map passes on P(w) − P(−w), what speaks for the target less what
               speaks against it; negative values are cut at the end, of images by the sum over
               the channels. (Cut right below that map nothing would change: no unit has both.)
    The theory asks for activations ≥ 0. Where they are not, as in pixels, z_ij⁺ is the positive
    part of the product: dark pixels win by negative weights.
    Where biases excite units that no input does, much ends: the map says where, not how much.
    Raises InputError where the score is exactly 0.
    Cost: one forward, one backward, as LRP with z⁺. Source: Zhang et al. 2016, ECCV.
    """

    name: ClassVar[str] = "excitation-backprop"
    summary: ClassVar[str] = "The probability that each input wins, top-down; contrastive or not"
    cost: ClassVar[str] = "1 forward, 1 backward; z⁺ takes 1.5 × that"

    contrast: bool = parameter(False, "less the probability of what speaks against the target")

    def rules(self) -> Composite:
        from rootpoint.propagation import rules
        from rootpoint.propagation.composites import Composite, Where

        entries = (
            (Where(kind="linear"), rules.z_plus()),
            (Where(kind="addition"), rules.excitation()),
        )
        top = ((Where(kind="linear", last=True), rules.contrast()),) if self.contrast else ()
        return Composite((*top, *entries), "excitation-backprop")

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.inputs import batch_size, check, map_inputs, tensors
        from rootpoint.propagation.balance import keep_books
        from rootpoint.target import scores

        check(model, inputs)
        batch, composite = batch_size(inputs), self.rules()
        starts = [_certain(target, batch) for target in targets]
        found = self.propagate(model, inputs, starts, at, prepared)
        explanations = []
        for fields, target, start in zip(found, targets, starts, strict=True):
            score, fields["target"] = scores(fields["prediction"], target, batch)
            fields["output"] = score.detach()
            arrived = [r.reshape(batch, -1).sum(1) for r in tensors(fields["relevance"])]
            fields["details"] = {"probability": sum(arrived)}
            if self.contrast:
                fields["relevance"] = map_inputs(_cut, fields["relevance"])
            elif at is None:
                fields["account"] = partial(keep_books, model, inputs, start, composite)
            explanations.append(Explanation(**fields, inputs=inputs, method=self, at=at))
        return explanations


def _certain(target: Target, batch: int) -> Callable[[Any], Tensor]:
    """The score divided by its own value: 1, the probability at the target."""

    def start(output: Any) -> Tensor:
        from rootpoint.inputs import check_scores
        from rootpoint.target import scores

        score, _ = scores(output, target, batch)
        check_scores(score)
        if (score == 0).any():
            sample = (score == 0).nonzero()[0].item()
            raise InputError(
                f"the explained score of sample {sample} is exactly 0, where relevance cannot "
                "start; choose another target"
            )
        return score / score.detach()

    return start


def _cut(relevance: Tensor) -> Tensor:
    """Nothing where relevance is negative: of images, where its sum over the channels is."""
    total = relevance.sum(1, keepdim=True) if relevance.dim() == 4 else relevance
    return relevance.masked_fill(total < 0, 0)
