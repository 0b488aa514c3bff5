"""Which score is explained: from the model's output to one number per sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rootpoint.errors import InputError

Index: TypeAlias = "int | tuple[int, ...]"
Target: TypeAlias = "Index | str | Sequence[Index] | Tensor | Callable[[Any], Tensor]"


def scores(output: Any, target: Target, batch: int) -> tuple[Tensor, Target]:
    """The explained score of each sample, shape (B,), and the target as resolved.

    output   the model's output, (B, …); with a function as target, whatever the model returns
    target   see `rootpoint.explain`; "predicted" is the class with the highest score, or the single
             output of a model that has one
    Raises InputError for a target that does not fit the output.
    """
    if callable(target):
        return _chosen_by(target, output, batch), target
    output = unwrapped(output)
    if not isinstance(output, Tensor):
        raise InputError(
            f"the model returns a {type(output).__name__}, not a tensor: give as target a function "
            "from this output to one score per sample"
        )
    if output.dim() == 0 or output.shape[0] != batch:
        raise InputError(
            f"the model's output has shape {tuple(output.shape)} for {batch} samples: the first "
            "dimension must be the samples; otherwise give a function as target"
        )
    indices = _indices(output, target, batch)
    if output.dim() == 1:
        return output, [0] * batch
    if any(len(index) < output.dim() - 1 for index in indices):
        raise InputError(
            f"target {target!r} leaves more than one score per sample of an output of shape "
            f"{tuple(output.shape)}: give an index for each dimension after the first, "
            "of a language model rp.next_token()"
        )
    places = torch.tensor(indices, device=output.device).T
    picked = output[(torch.arange(batch, device=output.device), *places)]
    return picked, [i[0] if len(i) == 1 else i for i in indices]


def unwrapped(output: Any) -> Any:
    """The scores in what a model returns: of a mapping `logits`, `out`, or its only tensor."""
    if not isinstance(output, Mapping):
        return output
    for name in ("logits", "out"):
        if isinstance(output.get(name), Tensor):
            return output[name]
    found = [value for value in output.values() if isinstance(value, Tensor)]
    return found[0] if len(found) == 1 else output


@dataclass(frozen=True)
class Contrast:
    """See `contrast`."""

    chosen: Index
    other: Index

    def __call__(self, output: Any) -> Tensor:
        found = unwrapped(output)
        first, second = (
            scores(found, target, len(found))[0] for target in (self.chosen, self.other)
        )
        return first - second


def contrast(chosen: Index, other: Index) -> Contrast:
    """The target f_chosen(x) − f_other(x): why this class rather than that one.

    chosen, other   class indices, or index tuples of dense outputs
    """
    return Contrast(chosen, other)


@dataclass(frozen=True)
class NextToken:
    """See `next_token`."""

    token: int | None = None
    other: int | None = None

    def __call__(self, output: Any) -> Tensor:
        found = unwrapped(output)
        if not isinstance(found, Tensor) or found.dim() != 3:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"next_token needs scores (B, positions, tokens), not {what}")
        last = found[:, -1]
        token: Any = "predicted" if self.token is None else self.token
        score = scores(last, token, len(last))[0]
        return score if self.other is None else score - scores(last, self.other, len(last))[0]


def next_token(token: int | None = None, other: int | None = None) -> NextToken:
    """The target of a language model: its score for the token behind the last position.

    token   the id to explain; None: the one predicted, of each sample
    other   explain why the token rather than this one: the difference of both scores
    Pad batches on the left, so that the last position is each sample's last token.
    """
    return NextToken(token, other)


def _chosen_by(target: Callable[[Any], Tensor], output: Any, batch: int) -> Tensor:
    score = target(output)
    if not isinstance(score, Tensor) or score.shape not in ((batch,), (batch, 1)):
        what = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
        raise InputError(
            f"the target function must return one score per sample, ({batch},), not {what}"
        )
    return score.reshape(batch)


def _indices(output: Tensor, target: Any, batch: int) -> list[tuple[int, ...]]:
    """One index tuple per sample, checked against the output's shape."""
    sizes = tuple(output.shape[1:])
    if isinstance(target, str):
        if target != "predicted":
            raise InputError(f"target {target!r} is not 'predicted', an index, or a function")
        if len(sizes) > 1:
            raise InputError(
                f"the output has shape {tuple(output.shape)}: 'predicted' needs one score per "
                "class; name the target by an index tuple, rp.next_token() or a function"
            )
        best = output.detach().argmax(1).tolist() if sizes else [0] * batch
        return [(i,) for i in best]
    if hasattr(target, "tolist"):  # a tensor, an array, or one of their numbers
        target = target.tolist()
    if isinstance(target, int | tuple):
        target = [target] * batch
    if not isinstance(target, Sequence):
        raise InputError(
            f"target {target!r} is not 'predicted', an index, one index per sample, or a function"
        )
    if len(target) != batch:
        raise InputError(f"{len(target)} targets for {batch} samples: give one, or one per sample")
    indices = [tuple(t) if isinstance(t, tuple | list) else (t,) for t in target]
    for index in indices:
        _check_index(index, sizes or (1,))
    return indices


def _check_index(index: tuple[Any, ...], sizes: tuple[int, ...]) -> None:
    for position, (i, size) in enumerate(zip(index, sizes, strict=False)):
        if not isinstance(i, int) or isinstance(i, bool):
            raise InputError(f"target {index} is not made of integers")
        if not -size <= i < size:
            where = f" in dimension {position + 1}" if len(sizes) > 1 else ""
            raise InputError(
                f"target {i} is out of range{where}: the model has {size} outputs there"
            )
    if len(index) > len(sizes):
        raise InputError(f"target {index} has more indices than the output has dimensions {sizes}")


def of_part(target: Target, part: slice, batch: int) -> Target:
    """The target of some samples: its part, if there is one for each sample."""
    if isinstance(target, str | int | tuple) or callable(target) or len(target) != batch:
        return target
    return target[part]
