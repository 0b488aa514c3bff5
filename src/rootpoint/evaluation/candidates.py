"""What is judged: methods of ours, and any function that returns relevance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError
from rootpoint.explanation import Explanation
from rootpoint.inputs import Model
from rootpoint.method import Method
from rootpoint.method import method as by_name
from rootpoint.target import Target

Judged: TypeAlias = "str | Method | Callable[..., Any]"
"""A method, its name, or a function (model, inputs, targets) → relevance."""


@dataclass(eq=False)
class Explainer:
    """A candidate with a model. Counts the seconds that its explanations take.

    Functions of others get what they expect: the model, the inputs, and the targets as a tensor of
    class indices (a list of index tuples, or the target function, where targets are such).
    """

    candidate: Method | Callable[..., Any]
    model: Model
    seconds: float = 0.0

    def __call__(self, inputs: Any, target: Target, model: Model | None = None) -> Any:
        """The relevance of the inputs, for another model if one is given: see `Case.relevance`."""
        return self.explain(inputs, target, model)[0]

    def explain(
        self, inputs: Any, target: Target, model: Model | None = None
    ) -> tuple[Any, Tensor | None]:
        """The relevance, and the score of the baseline if the candidate promises completeness."""
        started = perf_counter()
        explain = self._bound if model in (None, self.model) else _bind(self.candidate, model)
        found = explain(inputs, target)
        self.seconds += perf_counter() - started
        base = found.baseline_output if isinstance(found, Explanation) else None
        return as_relevance(found, inputs), base

    @cached_property
    def _bound(self) -> Callable[[Any, Target], Any]:
        return _bind(self.candidate, self.model)


def _bind(candidate: Method | Callable[..., Any], model: Model) -> Callable[[Any, Target], Any]:
    if isinstance(candidate, Method):
        return candidate.bind(model)

    def explain(inputs: Any, target: Target) -> Any:
        plain = isinstance(target, list) and all(isinstance(t, int) for t in target)
        device = inputs.device if isinstance(inputs, Tensor) else None
        return candidate(model, inputs, torch.tensor(target, device=device) if plain else target)

    return explain


def candidates(
    given: Judged | Sequence[Judged] | Mapping[str, Judged],
) -> dict[str, Method | Callable[..., Any]]:
    """Candidates by the names they have in tables. A mapping sets names; others name themselves.

    Raises InputError if two have one name, UnknownNameError for an unknown method.
    """
    if isinstance(given, Mapping):
        return {name: _candidate(one) for name, one in given.items()}
    found: dict[str, Method | Callable[..., Any]] = {}
    for one in [given] if isinstance(given, str | Method) or callable(given) else given:
        candidate = _candidate(one)
        name = str(candidate) if isinstance(candidate, Method) else _name(candidate)
        if name in found:
            raise InputError(
                f"two candidates are called {name!r}: give a mapping from names to them"
            )
        found[name] = candidate
    if not found:
        raise InputError("there is no method to evaluate")
    return found


def _candidate(given: Judged) -> Method | Callable[..., Any]:
    if isinstance(given, str):
        return by_name(given)
    if callable(given):
        return given
    raise InputError(
        f"{given!r} is no method, no name of one, and no function of (model, inputs, targets)"
    )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def as_relevance(found: Any, inputs: Any) -> Any:
    """What a candidate returned as relevance: a tensor of the input's number of dimensions.

    Maps (B, H, W) of images become (B, 1, H, W). Of texts: a list of tensors (words,).
    Raises InputError if it is something else, or holds NaN or infinity.
    """
    if isinstance(found, Explanation):
        found = found.relevance
    if isinstance(found, tuple) and len(found) == 1:
        found = found[0]
    if isinstance(inputs, list):
        maps = [_as_tensor(one) for one in found]
        for text, words in zip(inputs, maps, strict=True):
            if words.shape != (len(text.split()),):
                raise InputError(
                    f"relevance of shape {tuple(words.shape)} for a text of {len(text.split())} "
                    "words: give one value for each"
                )
        return maps
    relevance = _as_tensor(found).to(inputs.device)
    if relevance.dim() == inputs.dim() - 1 and relevance.shape[1:] == inputs.shape[2:]:
        relevance = relevance[:, None]
    fits = relevance.dim() == inputs.dim() and all(
        r in (1, i) for r, i in zip(relevance.shape[1:], inputs.shape[1:], strict=True)
    )
    if not fits or len(relevance) != len(inputs):
        raise InputError(
            f"relevance of shape {tuple(relevance.shape)} does not fit inputs of shape "
            f"{tuple(inputs.shape)}: it must be like them, or have one channel"
        )
    return relevance


def _as_tensor(found: Any) -> Tensor:
    if isinstance(found, np.ndarray):
        found = torch.from_numpy(np.ascontiguousarray(found))
    if not isinstance(found, Tensor):
        raise InputError(
            f"a candidate returned a {type(found).__name__}: relevance is a tensor or an array"
        )
    found = found.detach()
    found = found if found.is_floating_point() else found.float()
    if not torch.isfinite(found).all():
        raise InputError("a candidate returned NaN or infinity as relevance")
    return found
