"""What relevance sums to, and what it should: the score less that of a baseline."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.evaluation.metric import Case
from rootpoint.methods.integrated_gradients import baselines

ROUNDING = 16
"""How many units in the last place a difference must exceed to be more than rounding."""


def sums(relevance: Any) -> tuple[Tensor, Tensor]:
    """Σ max(R, 0) and Σ max(−R, 0) of each sample, (B,) each, in float64 on the CPU."""
    if isinstance(relevance, list):
        each = [sums(words[None]) for words in relevance]
        return torch.cat([one[0] for one in each]), torch.cat([one[1] for one in each])
    values = relevance.double().reshape(len(relevance), -1)
    return values.clamp(min=0).sum(1).cpu(), -values.clamp(max=0).sum(1).cpu()


def incompleteness(case: Case, baseline: Any) -> Tensor:
    """|Σ R − (f(x) − f(x̃))| / |f(x) − f(x̃)|, (B,): see `metrics.axioms.Completeness`."""
    positive, negative = sums(case.relevance)
    score, start = case.score.double().cpu(), _start(case, baseline).double().cpu()
    rounding = ROUNDING * _precision(case)
    wanted, sizes = score - start, score.abs() + start.abs()
    gap = (positive - negative - wanted).abs()
    share = (gap / wanted.abs()).where(wanted.abs() > rounding * sizes, torch.nan)
    return share.where(gap > rounding * (positive + negative + sizes), 0.0)


def _precision(case: Case) -> float:
    """ε of the coarsest numbers there are."""
    maps = case.relevance if isinstance(case.relevance, list) else [case.relevance]
    return max(torch.finfo(of.dtype).eps for of in (case.score, *maps))


def _start(case: Case, spec: Any) -> Tensor:
    """f(x̃), (B,): the candidate's own, if it promises one and no other is asked for."""
    if spec is None and case.baseline_score is not None:
        return case.baseline_score
    if isinstance(case.inputs, list):
        if spec is not None:
            raise InputError(
                f"completeness: baseline={spec!r}, but a text is compared with the empty text: "
                "leave out the baseline"
            )
        return case.scores(lambda start, stop: [""] * (stop - start), range(len(case.inputs)))
    begin = baseline(spec, case.inputs)
    return case.scores(lambda start, stop: begin[start:stop], range(len(begin)))


def baseline(spec: Any, inputs: Tensor) -> Tensor:
    """The baseline of each sample, like the inputs.

    spec   None is 0; a number; a tensor like one sample or like all of them
    Raises InputError if it does not fit, or holds several for each.
    """
    (found,) = baselines(spec, inputs)
    if found.shape[1] != 1:
        raise InputError(f"{found.shape[1]} baselines for each sample: give one")
    return found[:, 0].to(inputs)
