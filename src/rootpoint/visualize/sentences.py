"""A text that was explained by its tokens: its words, coloured by their relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from rootpoint.errors import InputError
from rootpoint.visualize.text import highlighted

if TYPE_CHECKING:
    from rootpoint.explanation import Explanation

_MARKS = str.maketrans({"\u0120": " ", "\u2581": " ", "\u010a": "\u21b5"})
"""How tokenizers write a space before a word, and the end of a line."""


def sentence(explanation: Explanation, ids: str, sample: int = 0, names: Any = None) -> Image.Image:
    """The tokens of one sample as running text. See `Explanation.plot`."""
    inputs, relevance = explanation.inputs, explanation.relevance
    found = inputs[ids] if ids else inputs
    shares = (relevance[ids] if ids else relevance)[sample]
    words = words_of(inputs, found[sample].tolist(), sample, names)
    if len(words) != len(shares):
        raise InputError(f"{len(words)} words for {len(shares)} tokens: give one for each token")
    mask = inputs.get("attention_mask") if ids else None
    kept = range(len(words)) if mask is None else mask[sample].nonzero().flatten().tolist()
    return highlighted([words[i] for i in kept], shares[kept])


def words_of(inputs: Any, ids: Sequence[int], sample: int, names: Any) -> list[str]:
    """A word for each token: as given, by the tokenizer given, by the inputs', else the ids."""
    if hasattr(names, "convert_ids_to_tokens"):
        words = names.convert_ids_to_tokens(ids)
    elif names is not None:
        words = names
    elif getattr(inputs, "is_fast", False):
        words = inputs.tokens(sample)
    else:
        words = ids
    return [str(word).translate(_MARKS).strip(" ") or "\u00b7" for word in words]
