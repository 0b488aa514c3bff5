from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.transformers import layer_of

MAILS = [
    "Win a FREE prize now, free money for you!",
    "Cheap pills: buy now, no risk, money back",
    "You have won 1000 dollars. Claim the prize now",
    "Free offer!! click here and win money",
    "Lose weight fast — cheap and free of risk",
    "Claim your free pills, buy two now",
    "Meeting moved to Tuesday, the notes are attached",
    "On Monday Anna wrote: the café patch looks fine",
    "url: the list archive, date of the release",
    "Please review my patch before the meeting",
    "Bob wrote that the naïve test fails on Tuesday",
    "The release notes are in the archive, see the date",
]
SPAM = np.array([1] * 6 + [0] * 6)
VECTORIZERS = {
    "counts": lambda: CountVectorizer(),
    "binary counts": lambda: CountVectorizer(binary=True),
    "accents": lambda: CountVectorizer(strip_accents="unicode", lowercase=False),
    "ascii": lambda: TfidfVectorizer(strip_accents="ascii", norm=None),
    "stop words": lambda: TfidfVectorizer(stop_words="english", norm="l1"),
    "pairs": lambda: TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    "only pairs": lambda: TfidfVectorizer(ngram_range=(2, 3), stop_words=["the"], max_df=0.5),
    "pattern": lambda: CountVectorizer(token_pattern=r"(\w)\w+\s"),
    "empty tokens": lambda: CountVectorizer(token_pattern=r"[a-z]*|(\d+)"),
    "no idf": lambda: TfidfVectorizer(use_idf=False, max_features=7),
    "vocabulary": lambda: TfidfVectorizer(vocabulary=["free", "money", "patch", "meeting"]),
    "characters": lambda: TfidfVectorizer(analyzer="char", ngram_range=(1, 3)),
    "characters of words": lambda: TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 6)),
    "stemming tokenizer": lambda: CountVectorizer(
        tokenizer=lambda t: [w[:3] for w in t.split()], token_pattern=None
    ),
    "searched tokenizer": lambda: CountVectorizer(
        tokenizer=lambda t: re.split(r"[\s,]+(?!$)", t.strip()), token_pattern=None
    ),
    "preprocessor": lambda: CountVectorizer(preprocessor=lambda t: re.sub(r"\d", "", t)),
    "analyzer": lambda: CountVectorizer(analyzer=lambda t: [w.upper() for w in t.split()]),
    "hashing": lambda: HashingVectorizer(n_features=64),
    "hashing, unsigned": lambda: HashingVectorizer(
        n_features=16, alternate_sign=False, norm="l1", ngram_range=(1, 2)
    ),
}
texts = st.lists(
    st.lists(
        st.sampled_from([*" ".join(MAILS).split(), "unknown", "ΟΔΟΣ,", "İstanbul", "x-ray", "é"]),
        max_size=12,
    ).map("  ".join),
    min_size=1,
    max_size=4,
)


def fitted(vectorizer: Any, *more: Any) -> Any:
    return make_pipeline(vectorizer, *more, LinearSVC(C=3.0)).fit(MAILS, SPAM)


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    made = {name: fitted(make()) for name, make in VECTORIZERS.items()}
    made["a step of its own"] = fitted(CountVectorizer(), TfidfTransformer(sublinear_tf=True))
    return made


@pytest.mark.parametrize("name", [*VECTORIZERS, "a step of its own"])
@given(texts=texts)
@settings(max_examples=12, deadline=None)
def test_scores_are_the_pipelines_own_and_relevance_of_words_sums_up_to_them(
    pipelines: dict[str, Any], name: str, texts: list[str]
) -> None:
    pipeline = pipelines[name]
    network = rp.neuralize(pipeline)
    scores = network(network.rootpoint_encode(texts))
    own = pipeline.decision_function(texts)
    assert np.abs(scores[:, 1].numpy() - own).max() <= 1e-10
    found = rp.explain(network, texts, 1)
    bias = float(pipeline[-1].intercept_[0])
    for text, relevance, score in zip(texts, found.relevance, own, strict=True):
        assert relevance.shape == (len(text.split()),)
        if len(relevance):
            assert abs(float(relevance.sum()) - (score - bias)) <= 1e-10 * max(1, abs(score))


def relevance_of(vectorizer: Any, text: str, weights: dict[str, float]) -> list[float]:
    """Of a regressor's score whose weights are given."""
    vectorizer.fit([text])
    regressor = Ridge().fit(np.eye(len(weights)), np.zeros(len(weights)))
    names = vectorizer.get_feature_names_out()
    regressor.coef_ = np.array([weights[name] for name in names])
    pipeline = make_pipeline(vectorizer, regressor)
    network = rp.neuralize(pipeline)
    return rp.explain(network, [text], lambda y: y).relevance[0].tolist()


def test_the_relevance_of_a_word_is_its_count_times_weight_shared_by_its_occurrences() -> None:
    vectorizer = CountVectorizer(vocabulary=["free", "now"])
    found = relevance_of(vectorizer, "Free, - is FREE now!", {"free": 2.0, "now": -1.0})
    assert found == [2.0, 0.0, 0.0, 2.0, -1.0]


def test_the_relevance_of_an_n_gram_is_shared_equally_by_its_words() -> None:
    vectorizer = CountVectorizer(vocabulary=["buy now", "now"], ngram_range=(1, 2))
    found = relevance_of(vectorizer, "buy now", {"buy now": 3.0, "now": 1.0})
    assert found == [1.5, 2.5]


def test_the_relevance_of_characters_is_summed_into_words_blanks_into_the_word_before() -> None:
    vectorizer = CountVectorizer(analyzer="char", vocabulary=["b c"], ngram_range=(3, 3))
    assert relevance_of(vectorizer, "ab  cd", {"b c": 3.0}) == [2.0, 1.0]


def test_a_token_between_signs_and_two_in_one_word_go_to_that_word() -> None:
    vectorizer = CountVectorizer(vocabulary=["ray", "yes", "no"])
    found = relevance_of(vectorizer, "(ray) yes/no", {"ray": 1.0, "yes": 2.0, "no": 4.0})
    assert found == [1.0, 6.0]


def test_hashed_features_that_share_a_column_share_by_their_signs() -> None:
    pipeline = fitted(HashingVectorizer(n_features=1, norm=None))
    weight = float(pipeline[-1].coef_[0, 0])
    words = ["free", "money", "patch", "click", "here", "risk"]
    hasher = HashingVectorizer(n_features=1, norm=None)
    signs = [float(hasher.transform([word]).toarray()[0, 0]) for word in words]
    if sum(signs) == 0:
        words, signs = words[:-1], signs[:-1]
    found = rp.explain(rp.neuralize(pipeline), [" ".join(words)], 1).relevance[0]
    assert torch.allclose(found, torch.tensor(signs, dtype=torch.float64) * weight, atol=1e-12)


def test_texts_together_are_explained_as_one_by_one() -> None:
    network = rp.neuralize(fitted(TfidfVectorizer(ngram_range=(1, 2))))
    together = rp.explain(network, MAILS, 0).relevance
    for text, relevance in zip(MAILS, together, strict=True):
        alone = rp.explain(network, [text], 0).relevance[0]
        assert torch.allclose(relevance, alone, atol=1e-12)


@pytest.mark.parametrize("target", ["predicted", SPAM.tolist()])
def test_texts_explained_a_few_at_a_time_are_explained_as_all_together(target: Any) -> None:
    network = rp.neuralize(fitted(TfidfVectorizer()))
    whole = rp.explain(network, MAILS, target)
    network.rootpoint_rows = 5
    parts = rp.explain(network, MAILS, target)
    assert parts.inputs == MAILS
    assert parts.target == whole.target
    for name in ("output", "prediction", "completeness_gap"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=0, atol=1e-12)
    for one, other in zip(parts.relevance, whole.relevance, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert abs(parts.balance.gap) < 1e-12
    for one, other in zip(parts.balance.entries, whole.balance.entries, strict=True):
        assert one.operation == other.operation
        assert one.passed == pytest.approx(other.passed, abs=1e-12)
        absorbed = sum(one.absorbed.values())
        assert absorbed == pytest.approx(sum(other.absorbed.values()), abs=1e-12)


def test_words_are_those_of_the_methods_that_leave_them_out() -> None:
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(MAILS, SPAM)
    text = ["Free money\tor the  patch?"]
    network = rp.neuralize(pipeline)
    score = lambda given: torch.from_numpy(pipeline.predict_proba(given))  # noqa: E731
    shapley = rp.explain(score, text, 1, method="shapley")
    relevance = rp.explain(network, text, 1).relevance[0]
    assert relevance.shape == shapley.relevance[0].shape == (5,)
    assert relevance[0] > 0 > relevance[4]


@pytest.mark.parametrize("text", ["", "   ", "unheard words only"])
def test_a_text_without_known_words_has_no_relevance(text: str) -> None:
    pipeline = fitted(TfidfVectorizer(vocabulary=["free", "patch"]))
    found = rp.explain(rp.neuralize(pipeline), [text, "free patch"], 1)
    assert found.relevance[0].tolist() == [0.0] * len(text.split())
    assert float(found.output[0]) == pytest.approx(float(pipeline[-1].intercept_[0]))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("one text", "the input is one text"),
        ([], "there is no text"),
        (["good", 3], "text 1 is a int"),
        ([b"bytes"], "text 0 is a bytes"),
        (np.array([["a"], ["b"]], dtype=object), "no list of texts"),
    ],
)
def test_what_is_no_list_of_texts_is_an_error(given: Any, problem: str) -> None:
    network = rp.neuralize(fitted(CountVectorizer()))
    with pytest.raises(InputError, match=problem):
        rp.explain(network, given, 1)


@pytest.mark.parametrize(
    ("vectorizer", "kind"),
    [
        (CountVectorizer(preprocessor=lambda t: t[::2]), "preprocessor"),
        (CountVectorizer(tokenizer=lambda t: [str(len(t))], token_pattern=None), "tokenizer"),
        (CountVectorizer(analyzer=lambda t: [str(len(t))]), "analyzer"),
    ],
)
def test_features_that_cannot_be_located_are_an_error(vectorizer: Any, kind: str) -> None:
    network = rp.neuralize(fitted(vectorizer))
    with pytest.raises(InputError, match=f"{kind} gives what cannot be located"):
        rp.explain(network, ["a free text"], 1)


def test_files_are_not_explained() -> None:
    with pytest.raises(UnsupportedModelError, match="input='content'"):
        layer_of(CountVectorizer(input="filename", vocabulary=["free"]))


def test_a_vectorizer_that_is_not_fitted_is_an_error() -> None:
    for vectorizer in (CountVectorizer(), TfidfVectorizer()):
        with pytest.raises(InputError, match="not fitted"):
            layer_of(vectorizer)


def test_a_vectorizer_behind_another_step_is_an_error() -> None:
    with pytest.raises(UnsupportedModelError, match="must be the first"):
        layer_of(CountVectorizer(vocabulary=["free"])).behind()
