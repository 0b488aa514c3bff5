"""Inputs that are integers, as the ids of tokens: explained through the embeddings they look up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from rootpoint.errors import InputError

_EMBEDDINGS = (F.embedding, torch.embedding)
_MOVES = """
    view reshape flatten unflatten ravel permute transpose t swapaxes movedim squeeze unsqueeze
    expand expand_as broadcast_to repeat repeat_interleave narrow select __getitem__ index_select
    gather flip roll clone contiguous detach to type int long cpu cuda view_as reshape_as
"""
"""Functions that move ids, by name, so that each can be told where it stood."""


@dataclass
class Lookup:
    """One embedding of ids on the path: vectors (…, D), explained in place of the ids.

    source     which of the integer inputs was looked up
    positions  where in that input each id stood
    leaf       the vectors, with a place in the graph
    """

    source: int
    positions: Tensor
    leaf: Tensor


class Lookups(TorchFunctionMode):
    """Meets the embeddings that ids of the input look up; the vectors enter as explained inputs.

    Ids are followed through operations that only move data. What is computed from them otherwise,
    as masks and positions, is a constant.

    begin   lets a floating-point tensor enter the explanation; returns its leaf and its entry
    """

    def __init__(self, begin: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.begin = begin
        self.found: list[Lookup] = []
        self.known: Any = WeakIdKeyDictionary()  # which input, and the positions in it
        self.count = 0

    def enter(self, ids: Tensor) -> Tensor:
        """Integers as the model gets them, known from now on."""
        entry = ids.detach().clone()
        positions = torch.arange(ids.numel(), device=ids.device).view(ids.shape)
        self.known[entry] = (self.count, positions)
        self.count += 1
        return entry

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in _EMBEDDINGS:
            return self._embedded(function, args, kwargs, result)
        if isinstance(result, Tensor) and not result.is_floating_point():
            self._follow(function, args, kwargs, result)
        return result

    def _embedded(self, function: Any, args: Any, kwargs: Any, result: Tensor) -> Tensor:
        names = ("weight", "indices") if function is torch.embedding else ("input", "weight")
        given = dict(zip(names, args, strict=False)) | kwargs
        ids = given.get("indices", given.get("input"))
        known = self.known.get(ids) if isinstance(ids, Tensor) else None
        if known is None:
            return result
        source, positions = known
        leaf, entry = self.begin(result.detach())
        self.found.append(Lookup(source, positions, leaf))
        return entry

    def _follow(self, function: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        """Where each of the result's ids stood, if they were only moved."""
        moves = getattr(function, "__name__", "") in _MOVES.split() and result.dtype != torch.bool
        if not moves or not args or not isinstance(args[0], Tensor):
            return
        known = self.known.get(args[0])
        others = any(isinstance(a, Tensor) for a in (*args[1:], *kwargs.values()))
        if known is None or others:
            return
        positions = function(known[1], *args[1:], **kwargs)
        self.known[result] = (known[0], positions)

    def relevance(self, ids: Tensor, source: int, shares: Mapping[int, Tensor]) -> Tensor | None:
        """Relevance of each id, shaped like the ids: the sum over its vectors; None if none were
        looked up.

        shares   relevance of the vectors (…, D), by number of the lookup
        """
        mine = [(i, one) for i, one in enumerate(self.found) if one.source == source]
        if not mine:
            return None
        total = torch.zeros(ids.numel(), dtype=shares[mine[0][0]].dtype, device=ids.device)
        for i, one in mine:
            total = total.index_add(0, one.positions.flatten(), shares[i].sum(-1).flatten())
        return total.view(ids.shape)

    def check(self, others: bool) -> None:
        """Raise InputError if there are only ids and none of them was looked up."""
        if self.count and not self.found and not others:
            raise InputError(
                "the input is made of integers, and the model looks none of them up in an "
                "embedding: relevance needs floating point; use .float()"
            )


def as_tensors(inputs: Any) -> Any:
    """A tokenizer's lists of ids as tensors (B, T); anything else as it is.

    Raises InputError for texts of different lengths.
    """
    if not isinstance(inputs, Mapping) or not any(_are_ids(v) for v in inputs.values()):
        return inputs
    found = copy(inputs) if hasattr(inputs, "tokens") else dict(inputs)
    for name, value in inputs.items():
        if _are_ids(value):
            rows = value if isinstance(value[0], list) else [value]
            if len({len(row) for row in rows}) > 1:
                raise InputError(f"rows of {name!r} differ in length: tokenize with padding=True")
            found[name] = torch.tensor(rows)  # pyright: ignore[reportIndexIssue]
    return found


def _are_ids(value: Any) -> bool:
    """A list of integers, or of such lists."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0][0] if isinstance(value[0], list) and value[0] else value[0]
    return isinstance(first, int)
