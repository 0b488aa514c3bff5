"""Why are these two alike? The similarity of two inputs, shared out among pairs of features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.backward import Entries, Explained, forward, shares
from rootpoint.errors import InputError
from rootpoint.inputs import (
    Inputs,
    Model,
    batch_size,
    check_scores,
    is_explained,
    tensors,
    values,
)
from rootpoint.methods.lrp import LRP
from rootpoint.progress import progress
from rootpoint.propagation import Propagation
from rootpoint.target import unwrapped
from rootpoint.tokens import as_tensors

if TYPE_CHECKING:
    from PIL.Image import Image

    from rootpoint.propagation.composites import Composite
    from rootpoint.visualize.pairs import Half

__all__ = ["Pair", "Side", "Similarity", "explain_similarity"]

T = TypeVar("T")

LARGEST = 2**27  # numbers in a matrix of pairs: half a gigabyte of float32
AT_ONCE = 2**22  # of them while the strongest are sought
DRAWN = 14  # patches along the longer side of a picture that was not pooled


class Pair(NamedTuple):
    """A feature of the first input, one of the second, and their share of the similarity."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    relevance: float


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two inputs: what the model makes of it, and why.

    outputs  φ(x), (B, M); of a cosine divided by its norm
    factors  LRP of each φ_m, (B, M, …): like the input, or the module's output; of ids (B, M, T)
    inputs   as given
    extent   of images (B, C, H, W) their (H, W), of ids and sequences (B, T, D) their (T,), else ()
    patch    how many values were pooled into one, along each dimension of the extent; 0: none yet
    """

    outputs: Tensor
    factors: Tensor
    inputs: Any = field(repr=False)
    extent: tuple[int, ...] = ()
    patch: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample's features, in which a `Pair` has its indices."""
        return tuple(self.factors.shape[2:])

    @property
    def matrix(self) -> Tensor:
        """The factors with all features in one dimension, (B, M, N)."""
        return self.factors.reshape(*self.factors.shape[:2], -1)

    def pool(self, size: int) -> Side:
        """This side in patches. See `Similarity.pool`."""
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"pool({size!r}): the size of a patch is a whole number from 1")
        if not self.extent:
            raise InputError(
                f"features of shape {self.shape} cannot be pooled: only images (B, C, H, W), "
                "sequences (B, T, D) and ids can"
            )
        pooled = _pooled(self.factors, self.extent, size, fresh=self.patch == 0)
        return replace(self, factors=pooled, patch=max(1, self.patch) * size)


@dataclass(frozen=True, eq=False)
class Similarity:
    """The answer to *why are these two alike?*

    output         the similarity of each sample's two inputs, (B,)
    first, second  the factors of both: relevance of a pair is their product, summed over m
    method         LRP with its composite, that of the first input
    """

    output: Tensor
    first: Side
    second: Side
    method: LRP

    @property
    def gap(self) -> Tensor:
        """output − Σ relevance of each sample, (B,): what biases and stabilizers absorbed."""
        sums = [side.matrix.double().sum(-1) for side in (self.first, self.second)]
        return (self.output.double() - (sums[0] * sums[1]).sum(1)).to(self.output.dtype)

    def relevance(self) -> Tensor:
        """R_ii' = Σ_m LRP(φ_m, x)_i · LRP(φ_m, x')_i' of all pairs, (B, …, …').

        Raises InputError if they are too many to be held: `pool` them first.
        """
        batch = len(self.output)
        count = batch * math.prod(self.first.shape) * math.prod(self.second.shape)
        if count > LARGEST:
            raise InputError(
                f"features of the shapes {self.first.shape} and {self.second.shape} make "
                f"{count:.2g} pairs: pool them first, as .pool(16), or ask for the .strongest()"
            )
        pairs = self.first.matrix.transpose(1, 2) @ self.second.matrix
        return pairs.reshape(batch, *self.first.shape, *self.second.shape)

    def pool(self, size: int, other: int | None = None) -> Similarity:
        """The same in patches of size × size pixels, or of `size` tokens: relevance is summed.

        So are the channels of images and the dimensions of vectors. Patches at the far borders may
        be smaller; pooling again multiplies the sizes. Exact: it is as if the matrix were pooled.

        other   the size on the second side; None: as the first
        Raises InputError for features that lie on no grid.
        """
        second = self.second.pool(size if other is None else other)
        return replace(self, first=self.first.pool(size), second=second)

    def strongest(self, count: int = 20, *, sample: int = 0) -> list[Pair]:
        """The pairs of the largest |R|, the largest first; never holds all pairs at once."""
        if count < 1:
            raise InputError(f"strongest({count}): ask for one pair or more")
        first, second = self.first.matrix[sample], self.second.matrix[sample]
        width = second.shape[1]
        rows = max(1, AT_ONCE // width)
        best, places = first.new_empty(0), torch.empty(0, dtype=torch.long, device=first.device)
        for start in range(0, first.shape[1], rows):
            found = (first[:, start : start + rows].T @ second).flatten()
            here = torch.arange(len(found), device=first.device) + start * width
            best, places = torch.cat((best, found)), torch.cat((places, here))
            kept = best.abs().topk(min(count, len(best))).indices
            best, places = best[kept], places[kept]
        shapes = self.first.shape, self.second.shape
        return [
            Pair(_index(place // width, shapes[0]), _index(place % width, shapes[1]), relevance)
            for place, relevance in zip(places.tolist(), best.tolist(), strict=True)
        ]

    def plot(
        self,
        photo: Image | None = None,
        other: Image | None = None,
        *,
        sample: int = 0,
        count: int = 40,
        names: Any = None,
        other_names: Any = None,
    ) -> Image:
        """Both inputs side by side, lines between the strongest pairs: red where they make the two
        alike, blue where unlike.

        photo, other        the photos that the inputs were made of; else the inputs are drawn
        count               how many lines
        names, other_names  of tokens or columns, or the tokenizer
        Images that were not pooled are: into patches of a fourteenth of their longer side. Raises
        InputError for inputs that are neither images, nor texts, nor rows of a table.
        """
        from rootpoint.visualize import number
        from rootpoint.visualize.pairs import connected

        drawn = replace(self, first=_drawable(self.first), second=_drawable(self.second))
        halves = (
            _half(drawn.first, photo, names, sample, left=True),
            _half(drawn.second, other, other_names, sample, left=False),
        )
        pairs = drawn.strongest(count, sample=sample)
        total = math.prod(drawn.first.shape) * math.prod(drawn.second.shape)
        facts = (
            f"similarity {number(float(self.output[sample]))}",
            f"sum of relevance {number(float((self.output - self.gap)[sample]))}",
            f"the {len(pairs)} strongest of {total} pairs",
        )
        return connected(*halves, pairs, facts)


def explain_similarity(
    model: Model,
    x: Inputs,
    other: Inputs,
    *,
    other_model: Model | None = None,
    composite: str | Composite = "recommended",
    normalize: bool = False,
    at: str | tuple[str | None, str | None] | None = None,
    pool: int | tuple[int, int] | None = None,
) -> Similarity:
    """BiLRP: which pairs of features make y = Σ_m φ_m(x) · φ_m(x') as large as it is.

    R_ii' = Σ_m LRP(φ_m, x)_i · LRP(φ_m, x')_i', Σ R = y up to what biases and stabilizers absorb.

    model        φ: from inputs to (B, M); in eval mode
    x, other     inputs as `explain` takes them, B samples each: the first of x goes with the first
                 of `other`. One tensor of each is explained: the values, or what ids look up
    other_model  φ of the second input, if it has its own
    composite    which rule where, as for `lrp`; "recommended" is each model's own
    normalize    explain the cosine y / (‖φ(x)‖ ‖φ(x')‖); both norms count as constants
    at           an inner module to explain instead of the inputs, as "features.6": cheaper by what
                 lies below; a pair, if they differ
    pool         the size of patches into which relevance is pooled as it is found, a pair if sizes
                 differ: to hold M maps of pixels takes much memory
    Cost: for each side one forward and M backwards, as far as the input or the inner module.
    Source: Eberle et al. 2020, arXiv 2003.05386.
    """
    method = LRP(composite=composite)
    places, sizes = _of_both(at), _of_both(pool)
    second_model = model if other_model is None else other_model
    same = other is x and second_model is model and (places[0], sizes[0]) == (places[1], sizes[1])
    with progress(2, "explaining both sides") as advance:
        first = second = _side(model, x, method, places[0], sizes[0])
        advance(1)
        if not same:
            second = _side(second_model, other, method, places[1], sizes[1], beside=first.outputs)
    if normalize:
        first, second = _normalized(first), _normalized(second)
    output = (first.outputs * second.outputs).sum(1)
    return Similarity(output, first, second, method.chosen(model, as_tensors(x)))


def _of_both(given: T | tuple[T, T]) -> tuple[T, T]:
    return given if isinstance(given, tuple) else (given, given)


def _side(
    model: Model,
    x: Inputs,
    method: LRP,
    at: str | None,
    pool: int | None,
    beside: Tensor | None = None,
) -> Side:
    """The factors of one input: one forward, one backward for each output.

    beside   the outputs for the other input, which these must match
    """
    inputs = as_tensors(x)
    engine = Propagation(method.chosen(model, inputs).rules(), model, {})
    with torch.inference_mode(False), torch.enable_grad():
        found, entries, watched = forward(model, inputs, engine, at)
        outputs = _checked(unwrapped(found), batch_size(inputs))
        if beside is not None:
            _check_match(beside, outputs)
        explained = entries.explained() if at is None else _only_run(watched[at], at)
        count = outputs.shape[1]
        sides = []
        with progress(count, "going back from each output") as advance:
            for m, output in enumerate(outputs.unbind(1), start=1):
                parts = shares(output, explained, engine, keep=m < count)
                relevance = _only(entries, inputs, parts) if at is None else parts[0]
                side = Side(output, relevance[:, None], x, _extent(relevance, inputs, at))
                sides.append(side if pool is None else side.pool(pool))
                advance(1)
    factors = torch.cat([side.factors for side in sides], 1)
    return replace(sides[0], outputs=outputs.detach(), factors=factors)


def _checked(outputs: Any, batch: int) -> Tensor:
    """The model's outputs. Raises InputError if they are not (B, M), and finite."""
    if (
        not isinstance(outputs, Tensor)
        or outputs.dim() != 2
        or len(outputs) != batch
        or not outputs.numel()
    ):
        what = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"the model returns {what} for {batch} samples; a similarity needs ({batch}, M): wrap "
            "it in a function that returns one vector for each sample, as x: model(x).mean(1)"
        )
    if not outputs.is_floating_point():
        raise InputError(f"the model returns {outputs.dtype}: a similarity needs floating point")
    check_scores(outputs)
    return outputs


def _check_match(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise InputError(
            f"the two inputs become {tuple(first.shape)} and {tuple(second.shape)}: a similarity "
            "needs as many samples of both, and outputs of one length"
        )
    if first.device != second.device:
        raise InputError(f"one side is on {first.device}, the other on {second.device}")


def _only_run(runs: list[Explained], at: str) -> list[Explained]:
    if len(runs) > 1:
        raise InputError(f"the module at={at!r} ran {len(runs)} times: name one that runs once")
    return runs


def _only(entries: Entries, inputs: Any, parts: tuple[Tensor, ...]) -> Tensor:
    """The relevance of the one input that is explained, a mask or a number beside it aside."""
    relevance = entries.relevance(inputs, parts)
    found = [r for r in values(relevance) if isinstance(r, Tensor)]
    if len(found) != 1:
        raise InputError(
            f"the model takes {len(found)} inputs that are explained, a similarity pairs one with "
            "one: hold the others constant in a function, or name an inner module by at="
        )
    return found[0]


def _extent(relevance: Tensor, inputs: Any, at: str | None) -> tuple[int, ...]:
    """What can be pooled: the grid of images, the length of sequences."""
    shape = tuple(relevance.shape[1:])
    of_ids = at is None and not any(
        is_explained(t) and t.shape == relevance.shape for t in tensors(inputs)
    )
    if of_ids:
        return shape
    return {3: shape[1:], 2: shape[:1]}.get(len(shape), ())


def _pooled(factors: Tensor, extent: tuple[int, ...], size: int, *, fresh: bool) -> Tensor:
    """Sums over patches of (B, M, …), and if `fresh` over what is no dimension of the extent."""
    if fresh and factors.dim() > 2 + len(extent):
        factors = factors.sum(2 if len(extent) == 2 else 3)
    for dimension in range(2, factors.dim()):
        length = factors.shape[dimension]
        padding = [0, 0] * (factors.dim() - 1 - dimension) + [0, -length % size]
        factors = F.pad(factors, padding).unflatten(dimension, (-1, size)).sum(dimension + 1)
    return factors


def _normalized(side: Side) -> Side:
    """For the cosine: outputs and relevance by the norm of the outputs."""
    norms = side.outputs.norm(dim=1, keepdim=True)
    if not norms.all():
        raise InputError("an output vector is zero, so that its cosine is not defined")
    factors = side.factors / norms.reshape(-1, *[1] * (side.factors.dim() - 1))
    return replace(side, outputs=side.outputs / norms, factors=factors)


def _index(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The place in the flattened features as one index for each of their dimensions."""
    index = []
    for length in reversed(shape):
        place, here = divmod(place, length)
        index.append(here)
    return tuple(reversed(index))


def _drawable(side: Side) -> Side:
    """In patches large enough to be told apart, vectors summed up."""
    if not side.extent or side.patch:
        return side
    return side.pool(-(-max(side.extent) // DRAWN) if len(side.extent) == 2 else 1)


def _half(side: Side, photo: Image | None, names: Any, sample: int, *, left: bool) -> Half:
    """One side of the picture: an image, or words below each other."""
    from rootpoint.visualize.pairs import of_photo, of_words

    if len(side.extent) == 2:
        return of_photo(_photo(side, sample) if photo is None else photo, side.extent, side.patch)
    if len(side.shape) != 1:
        raise InputError(
            "only images (B, C, H, W), texts and rows of a table can be drawn side by side; this "
            f"is {side.shape}"
        )
    return of_words(_words(side, sample, names), left=left)


def _photo(side: Side, sample: int) -> Image:
    """The input itself as an image, its values from the least to the greatest."""
    from PIL import Image

    found = [t for t in tensors(side.inputs) if t.dim() == 4 and t.shape[1] in (1, 3)]
    if len(found) != 1:
        raise InputError("the input is no image that could be drawn: give its photo")
    x = found[0][sample].detach().cpu().double()
    x = (x - x.min()) / (x.max() - x.min()).clamp_min(1e-12)
    return Image.fromarray((x.expand(3, -1, -1).movedim(0, -1) * 255).byte().numpy())


def _words(side: Side, sample: int, names: Any) -> list[str]:
    """A word for each feature; for several that were pooled, theirs together."""
    from rootpoint.visualize.sentences import words_of

    inputs = as_tensors(side.inputs)
    ids = next((t for t in tensors(inputs) if not is_explained(t)), None)
    count = side.extent[0] if side.extent else side.shape[0]
    if ids is None or tuple(ids.shape[1:]) != (count,):
        words = [str(name) for name in (range(count) if names is None else names)]
    else:
        given = side.inputs if isinstance(side.inputs, Mapping) else None
        words = words_of(given, ids[sample].tolist(), sample, names)
    if len(words) != count:
        raise InputError(f"{len(words)} names for {count} features: give one for each")
    size = max(1, side.patch)
    return [" ".join(words[i : i + size]) for i in range(0, count, size)]
