"""What stands in for features that are taken away."""

from __future__ import annotations

from torch import Tensor

from rootpoint.perturbation.features import Features


def replacements(
    spec: float | str | Tensor, sample: Tensor, features: Features, *, seed: int = 0
) -> Tensor:
    """What replaces the values of one sample (without batch dimension): (k, *sample's shape).

    spec   a number; "mean" (of each feature's own values, per channel), "blur", "noise", "inpaint";
           a tensor like the sample; or data (k, …), of which each is tried: the mean score counts
    Raises InputError if it does not fit the sample.
    """
    raise NotImplementedError
