"""What evidence is compared with: a population's; and what it would be for other values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from rootpoint.additive.estimators import sums
from rootpoint.additive.sums import table, tables
from rootpoint.errors import InputError
from rootpoint.fitted import Fitted
from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class Population(Fitted):
    """The evidence of an estimator in every feature of N samples.

    evidence   (N, D, K), that of each feature for each class in rising order
    base       e_0 of the estimator, (K,), by which it is known again
    """

    kind: ClassVar[str] = "the evidence of a population"

    evidence: Tensor
    base: Tensor

    @cached_property
    def mean(self) -> Tensor:
        """The mean evidence in each feature for each class, (D, K)."""
        return self.evidence.mean(0)

    def rank(self, evidence: Tensor, target: Sequence[int]) -> Tensor:
        """The fraction of the population with less evidence (N, D); of ties, one half counts."""
        found = torch.empty_like(evidence)
        for k in set(target):
            rows = torch.tensor([t == k for t in target])
            among, value = self.evidence[:, :, k].T.contiguous(), evidence[rows].T.contiguous()
            left, right = (torch.searchsorted(among, value, right=side) for side in (False, True))
            found[rows] = (left + right).T.to(found.dtype) / (2 * among.shape[1])
        return found

    def check(self, evidence: Tensor, base: Tensor) -> None:
        """Raise InputError if this is the population of another estimator."""
        same = self.evidence.shape[1:] == evidence.shape[1:]
        if not same or not torch.allclose(self.base, base, rtol=1e-9, atol=1e-12):
            raise InputError(
                "the population is that of another estimator, or this one was fitted again since: "
                "use fit(estimator, data)"
            )


def fit_population(estimator: Any, data: Any) -> Population:
    """The evidence of a population of samples, with which evidence is to be compared.

    data   a table (N, D), or an iterable of batches of one. Memory: 8 · N · D · K bytes.
    Raises what method `evidence` raises. Cost: one call of the estimator per sample.
    """
    found = [sums(estimator, batch) for batch in tables(data)]
    if not found:
        raise InputError("there are no data to fit evidence to")
    return Population(torch.cat([f.parts for f in found]).sort(0).values, found[0].base)


def speculate(
    estimator: Any, x: Any, feature: int, values: Any, target: Target = "predicted"
) -> Tensor:
    """The scores of one sample if one of its features had other values, (len(values),).

    x         the sample, (D,) or (1, D)
    feature   the column whose value is exchanged
    target    a class index, or "predicted": the class predicted for x as it is
    Raises InputError if these do not fit, and what method `evidence` raises.
    Cost: one call of the estimator per value. Source: Poulin et al. 2006, IAAI ("decision
    speculation").
    """
    sample = table(x if getattr(x, "ndim", 1) > 1 else torch.as_tensor(x)[None])
    if len(sample) != 1:
        raise InputError(f"{len(sample)} samples were given: speculate about one, of shape (1, D)")
    if not -sample.shape[1] <= feature < sample.shape[1]:
        raise InputError(f"there is no feature {feature}: the sample has {sample.shape[1]}")
    chosen = sums(estimator, sample).share(target).target[0]
    others = torch.as_tensor(values, dtype=torch.float64).reshape(-1)
    changed = sample.repeat(len(others), 1)
    changed[:, feature] = others
    return sums(estimator, changed).share(chosen).score
