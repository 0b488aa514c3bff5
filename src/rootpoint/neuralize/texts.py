"""Texts: vectorizers as first layers, whose relevance arrives at the words of the raw text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.transformers import Layer, Normalized, transformer
from rootpoint.propagation.functions import columnwise

_ORDERS = {"l1": 1.0, "l2": 2.0}


class Piece(NamedTuple):
    """A token, or a character, and the words of the raw text that it stands in."""

    text: str
    words: tuple[int, ...]


class Found(NamedTuple):
    """A feature that occurs in a text, and the pieces that it consists of."""

    feature: str
    pieces: Sequence[Piece]


class Weighted(Layer):
    """tf-idf of counts: (1 + log n, if sublinear) · idf, over the norm of the row.

    Relevance stays in its column; the norm counts as a constant, so that it takes none.
    """

    idf: Tensor

    def __init__(self, columns: int, sublinear: bool, idf: Any, norm: str | None) -> None:
        super().__init__(columns)
        self.sublinear = sublinear
        self.constant("idf", np.ones(columns) if idf is None else idf)
        self.norm = None if norm is None else Normalized(columns, _ORDERS[norm])

    def forward(self, x: Tensor) -> Tensor:
        x = columnwise(x, self._weighted)
        return x if self.norm is None else self.norm(x)

    def _weighted(self, n: Tensor) -> Tensor:
        if self.sublinear:
            n = torch.where(n == 0, n, 1 + n.masked_fill(n == 0, 1).log())
        return n * self.idf


@transformer("TfidfTransformer")
def tfidf(step: Any) -> Layer:
    """tf-idf of the counts that another step has made."""
    idf = step.idf_ if step.use_idf else None
    return Weighted(step.n_features_in_, step.sublinear_tf, idf, step.norm)


class Texts(Layer):
    """Texts, read as the counts of their features; then what the vectorizer makes of these.

    A list of B texts becomes (B, columns); its relevance a list of tensors (words,), float64: one
    value for each word of `text.split()`. A column's relevance is shared by its occurrences, an
    occurrence's by the tokens of its n-gram, equally; n-grams of characters share by characters,
    where white space belongs to the word before it. Words that are no feature have 0; hashed
    features in one column share by their signs. So Σ words = Σ columns for all texts with words.

    Raises InputError for what is no list of texts, or where a preprocessor, tokenizer or analyzer
    of the user's own gives what cannot be located in the text.
    """

    def __init__(self, step: Any, columns: int, weights: Layer | None, count: Any) -> None:
        super().__init__(columns)
        if step.input != "content":
            raise UnsupportedModelError(
                f"the step {type(step).__name__} reads input={step.input!r}, but texts are "
                "explained: fit it with input='content'"
            )
        self.step, self.weights, self.count = step, weights, count
        self.analyze = step.build_analyzer()

    def behind(self) -> NoReturn:
        raise UnsupportedModelError(
            f"the step {type(self.step).__name__} reads texts: it must be the first one"
        )

    def forward(self, x: Tensor) -> Tensor:
        return x if self.weights is None else self.weights(x)

    def encode(self, texts: Any) -> Tensor:
        counts = self.count(checked(texts))
        return torch.from_numpy(np.asarray(counts.toarray(), dtype=np.float64))

    def decode(self, relevance: Tensor, texts: Any) -> list[Tensor]:
        pairs = zip(relevance.detach().cpu().double(), checked(texts), strict=True)
        return [self._words(row, text) for row, text in pairs]

    def _words(self, row: Tensor, text: str) -> Tensor:
        """The relevance (words,) of one text, from that of its columns."""
        result = torch.zeros(len(text.split()), dtype=torch.float64)
        if not len(result):
            return result
        found = located(self.step, text, self.analyze)
        columns, signs = self._columns([one.feature for one in found])
        sums, times = np.zeros(self.columns), np.zeros(self.columns)
        known = columns >= 0
        np.add.at(sums, columns[known], signs[known])
        np.add.at(times, columns[known], 1)
        for one, column, sign in zip(found, columns, signs, strict=True):
            if column >= 0:
                share = sign / sums[column] if sums[column] else 1 / times[column]
                for piece in one.pieces:
                    amount = (
                        float(row[column]) * float(share) / (len(one.pieces) * len(piece.words))
                    )
                    for word in piece.words:
                        result[word] += amount
        return result

    def _columns(self, features: list[str]) -> tuple[Any, Any]:
        """The column of each feature, −1 if it has none, and the sign with which it counts."""
        if hasattr(self.step, "vocabulary_"):
            known = self.step.vocabulary_
            return np.array([known.get(f, -1) for f in features], dtype=int), np.ones(len(features))
        if not features:
            return np.zeros(0, dtype=int), np.zeros(0)
        hashed = self.step._get_hasher().transform([[f] for f in features])
        return hashed.indices, hashed.data


@transformer("CountVectorizer")
def counts(step: Any) -> Layer:
    """The counts of the vocabulary's features."""
    _ready(step)
    return Texts(step, len(step.vocabulary_), None, step.transform)


@transformer("TfidfVectorizer")
def tfidf_of_texts(step: Any) -> Layer:
    """The tf-idf of the vocabulary's features."""
    from sklearn.feature_extraction.text import CountVectorizer

    _ready(step)
    columns = len(step.vocabulary_)
    idf = step.idf_ if step.use_idf else None
    count = partial(CountVectorizer.transform, step)
    return Texts(step, columns, Weighted(columns, step.sublinear_tf, idf, step.norm), count)


@transformer("HashingVectorizer")
def hashed(step: Any) -> Layer:
    """The signed counts in each column that features are hashed to, over the norm."""
    counter = copy(step)
    counter.norm = None
    norm = None if step.norm is None else Normalized(step.n_features, _ORDERS[step.norm])
    return Texts(step, step.n_features, norm, counter.transform)


def _ready(step: Any) -> None:
    from sklearn.exceptions import NotFittedError

    try:
        step._check_vocabulary()
    except NotFittedError as error:
        raise InputError(f"{type(step).__name__} is not fitted: call fit first") from error


def checked(texts: Any) -> list[str]:
    """A list of texts. Raises InputError for one text, a table, or what is no text."""
    if isinstance(texts, str):
        raise InputError("the input is one text: give a list of texts, [text], as the model takes")
    if getattr(texts, "ndim", 1) != 1 or isinstance(texts, dict) or not hasattr(texts, "__len__"):
        raise InputError("the input is no list of texts: give [text, …], or one column of a table")
    found = list(texts)
    if not found:
        raise InputError("there is no text to explain")
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"text {i} is a {type(text).__name__}, not a string")
    return [str(text) for text in found]


def located(step: Any, text: str, analyze: Callable[[str], Any]) -> list[Found]:
    """The features of a text in the analyzer's order, and where they stand.

    Raises InputError where they cannot be located.
    """
    if callable(step.analyzer):
        pieces = _by_function(step.analyzer, text, _owners(text, str), "analyzer")
        return [Found(piece.text, [piece]) for piece in pieces]
    preprocess = step.build_preprocessor()
    owners, read = _owners(text, preprocess), preprocess(text)
    if len(owners) != len(read):
        raise _lost("preprocessor", "it changes a text otherwise than word by word")
    found = list(_FEATURES[step.analyzer](step, read, owners))
    if [one.feature for one in found] != list(analyze(text)):
        raise _lost("analyzer", "its features are not those that its parts make")
    return found


def _owners(text: str, preprocess: Callable[[str], str]) -> list[int]:
    """The word that each character of the preprocessed text belongs to, if words stay words.

    White space belongs to the word before it, at the start to the first.
    """
    owners: list[int] = []
    word = -1
    for run in re.findall(r"\s+|\S+", text):
        word += not run.isspace()
        owners += [max(word, 0)] * len(preprocess(run))
    return owners


def _words(step: Any, read: str, owners: list[int]) -> Iterator[Found]:
    """n-grams of tokens, without stop words, as scikit-learn orders them."""
    if step.tokenizer is not None:
        pieces = _by_function(step.tokenizer, read, owners, "tokenizer")
    else:
        pattern = re.compile(step.token_pattern)
        spans = (m.span(min(pattern.groups, 1)) for m in pattern.finditer(read))
        pieces = [_piece(read, owners, *span) for span in spans]
    stop = step.get_stop_words() or ()
    return _ngrams(step, [piece for piece in pieces if piece.text not in stop], " ")


def _characters(step: Any, read: str, owners: list[int]) -> Iterator[Found]:
    """n-grams of characters, white space of several characters as one."""
    pieces: list[Piece] = []
    for run in re.finditer(r"\s\s+|(?s:.)", read):
        text = " " if len(run.group()) > 1 else run.group()
        pieces.append(Piece(text, (owners[run.start()],)))
    return _ngrams(step, pieces, "")


def _characters_within(step: Any, read: str, owners: list[int]) -> Iterator[Found]:
    """n-grams of the characters of each word between two blanks; a short word's only once."""
    low, high = step.ngram_range
    for run in re.finditer(r"\S+", read):
        at = (run.start(), *range(*run.span()), run.end() - 1)
        texts = f" {run.group()} "
        pieces = [Piece(t, (owners[i],)) for t, i in zip(texts, at, strict=True)]
        for n in range(low, high + 1):
            for i in range(max(1, len(pieces) - n + 1)):
                yield _joined(pieces[i : i + n], "")
            if n >= len(pieces):
                break


_FEATURES = {"word": _words, "char": _characters, "char_wb": _characters_within}


def _ngrams(step: Any, pieces: list[Piece], joint: str) -> Iterator[Found]:
    low, high = step.ngram_range
    for n in range(low, high + 1):
        for i in range(len(pieces) - n + 1):
            yield _joined(pieces[i : i + n], joint)


def _joined(pieces: Sequence[Piece], joint: str) -> Found:
    return Found(joint.join(piece.text for piece in pieces), pieces)


def _piece(read: str, owners: list[int], start: int, stop: int) -> Piece:
    """A part of the text; white space in it counts for no word, if there is anything else."""
    within = [owners[i] for i in range(start, stop) if not read[i].isspace()]
    within = within or owners[max(start, 0) :][:1] or owners[-1:] or [0]  # of an empty token
    return Piece(read[start:stop], tuple(dict.fromkeys(within)))


def _by_function(function: Any, read: str, owners: list[int], kind: str) -> list[Piece]:
    """The tokens of a function of the user's own: word by word, or where they stand in the text."""
    tokens = list(function(read))
    runs = [(owners[run.start()], run.group()) for run in re.finditer(r"\S+", read)]
    singly = [Piece(token, (word,)) for word, run in runs for token in function(run)]
    if [piece.text for piece in singly] == tokens:
        return singly
    pieces: list[Piece] = []
    at = 0
    for token in tokens:
        start = read.find(token, at) if isinstance(token, str) and token else -1
        if start < 0:
            raise _lost(kind, f"its token {token!r} does not stand in the text behind the others")
        at = start + len(token)
        pieces.append(_piece(read, owners, start, at))
    return pieces


def _lost(kind: str, why: str) -> InputError:
    return InputError(
        f"the vectorizer's {kind} gives what cannot be located in the text: {why}; fit with one "
        "that works word by word, or explain the steps behind it on the counts that it makes"
    )
