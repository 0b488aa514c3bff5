"""What an evaluation says of each metric's best method, in sentences."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from rootpoint.evaluation.charts import signed
from rootpoint.evaluation.statistics import Difference, Estimate

if TYPE_CHECKING:
    from rootpoint.evaluation.result import Evaluation


def finding(evaluation: Evaluation, metric: str) -> str:
    """Which method is best by this metric, by how much, and how sure that is, as HTML."""
    means = {name: evaluation.mean(metric, name) for name in evaluation.ranking(metric)}
    defined = [name for name, found in means.items() if not np.isnan(found.mean)]
    name = escape(evaluation.metrics[metric].name)
    if not defined:
        return f"<b>{name}</b>: not defined for any sample."
    best = f"<b>{name}</b>: <b>{escape(defined[0])}</b>"
    value = f"{signed(means[defined[0]].mean)} {interval(means[defined[0]])}"
    if len(defined) == 1:
        return f"{best} has a mean of {value}; no other method has a value to compare it with."
    found = evaluation.difference(metric, defined[0], defined[1])
    return f"{best} is best, with a mean of {value}. {_compared(found, escape(defined[1]))}"


def _compared(found: Difference, other: str) -> str:
    if np.isnan(found.mean):
        return f"Its difference to the next, <b>{other}</b>, is not defined."
    if found.mean == found.low == found.high == 0:
        return f"The next, <b>{other}</b>, is exactly as good."
    chance = "" if np.isnan(found.p) else f", p&nbsp;=&nbsp;{_chance(found.p)}"
    text = (
        f"The next is <b>{other}</b>, at a paired difference of {signed(found.mean)} "
        f"{interval(found)}{chance}. "
    )
    if found.samples == 1:
        return text + "One sample says nothing of others."
    if found.low <= 0 <= found.high:
        return text + "The interval includes zero: these samples do not tell the two apart."
    if found.p > 0.05:
        return text + "The interval excludes zero, but p is too large to tell the two apart."
    return text + "The interval excludes zero."


def interval(found: Estimate | Difference) -> str:
    """The ends of the 95 % interval, as HTML."""
    return f"[{signed(found.low)},&nbsp;{signed(found.high)}]"


def _chance(p: float) -> str:
    return f"{p:.1g}" if p < 0.01 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
