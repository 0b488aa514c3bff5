"""Speed and memory of AttnLRP and CP-LRP on transformers against one gradient, in one process.

Random weights, one thread, one sample: ViT-B/16 at 224 × 224 pixels, a BERT-base and a 12-layer
Llama at 512 tokens. Medians of interleaved runs; embedded tokens are the input of both.

    python benchmarks/attention.py [--runs 5] [--output docs/speed-attention.md]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from measuring import Run, gradient, seconds, torchvision_model, torchvision_models
from propagation import peak_bytes, rootpoint

torchvision_models()  # before transformers imports torchvision, which may lack operators
TOKENS, WIDTH = 512, 768
BOUND = {"attn-lrp": 1.1}


class Scores(nn.Module):
    """A Hugging Face model from embedded tokens to the scores of one position."""

    def __init__(self, model: Any, position: int | None = None) -> None:
        super().__init__()
        self.model, self.position = model, position

    def forward(self, embedded: Tensor) -> Tensor:
        logits = self.model(inputs_embeds=embedded).logits
        return logits if self.position is None else logits[:, self.position]


def vision() -> tuple[nn.Module, Tensor]:
    model = torchvision_model("vit_b_16")
    nn.init.normal_(model.heads[0].weight, std=0.02)  # pyright: ignore
    return model, torch.randn(1, 3, 224, 224)


def bert() -> tuple[nn.Module, Tensor]:
    from transformers import BertConfig, BertForSequenceClassification

    return Scores(BertForSequenceClassification(BertConfig())), torch.randn(1, TOKENS, WIDTH)


def llama() -> tuple[nn.Module, Tensor]:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": 2048, "vocab_size": 32000}
    config = LlamaConfig(num_hidden_layers=12, num_attention_heads=12, use_cache=False, **shape)
    return Scores(LlamaForCausalLM(config), position=-1), torch.randn(1, TOKENS, WIDTH)


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "ViT-B/16": vision,
    "BERT-base": bert,
    "Llama, 12 layers": llama,
}


def measure(name: str, repeats: int) -> list[str]:
    torch.manual_seed(0)
    model, x = MODELS[name]()
    model.eval().requires_grad_(False)
    runs: dict[str, Run] = {"gradient": gradient(model)}
    runs |= {c: rootpoint(model, c) for c in ("attn-lrp", "cp-lrp")}
    taken = seconds(runs, x, repeats)
    peak = {n: peak_bytes(run, x) for n, run in runs.items()}
    rows = []
    for n in runs:
        ratio, memory = taken[n] / taken["gradient"], peak[n] / peak["gradient"]
        cells = (name, n, f"{taken[n]:.2f}", f"{ratio:.2f}", BOUND.get(n, ""), f"{memory:.2f}")
        rows.append("| " + " | ".join(map(str, cells)) + " |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each")
    parser.add_argument("--output", type=Path, help="file for the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in MODELS for row in measure(name, chosen.runs)]
    if chosen.output:
        chosen.output.write_text(
            f"""# Speed on transformers

Made by `benchmarks/attention.py`: random weights, one sample, {TOKENS} tokens or 224 × 224
pixels, one thread, medians of {chosen.runs} interleaved runs, PyTorch {torch.__version__}. Peak
memory of tensors as a ratio to the gradient's.

| model | method | seconds | × gradient | bound | × memory |
|---|---|---|---|---|---|
"""
            + "\n".join(rows)
            + "\n"
        )


if __name__ == "__main__":
    main()
