"""Which architectures run unmodified, and do their books balance? A table of some hundred.

From torchvision, timm, Hugging Face (small random configurations) and PyTorch Geometric, all with
random weights. Each is explained as it is, in float64 for the books and in float32 for the time.

    python benchmarks/architectures.py [--only swin] [--output docs]
"""

from __future__ import annotations

import argparse
import gc
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

import rootpoint as rp
from measuring import torchvision_models
from rootpoint.progress import progress

torchvision_models()  # before transformers and timm import torchvision, which may lack operators
warnings.filterwarnings("ignore")


@dataclass
class Case:
    """A model to be made, with inputs to be made for it, and the target that is explained."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Tensor]]
    target: Any = 0
    composite: str = "cp-lrp"


@dataclass
class Row:
    """What was measured of one model."""

    name: str
    explained: float
    """The part of the score that arrives at the inputs."""
    absorbed: str
    """What took most of the rest."""
    gap: float
    """Of the books, as a part of all that was entered."""
    ratio: float = math.nan
    """The time of an explanation, by that of a gradient."""


def image(size: int = 224) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"x": torch.randn(1, 3, size, size)}


# -- torchvision ------------------------------------------------------------------------------

TORCHVISION = "vit_b_16 swin_t swin_v2_t maxvit_t resnet18 efficientnet_b0 convnext_tiny"
SEGMENTATION = "fcn_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large"


def torchvision_cases() -> Iterator[Case]:
    models = torchvision_models()
    for name in TORCHVISION.split():
        yield Case(f"torchvision {name}", lambda n=name: models.get_model(n, weights=None), image())
    for name in SEGMENTATION.split():
        yield Case(
            f"torchvision {name}",
            lambda n=name: models.get_model(n, weights=None, weights_backbone=None),
            image(96),
            target=(3, 40, 40),
        )


# -- timm -------------------------------------------------------------------------------------

TIMM = """
    vit_tiny_patch16_224 deit_tiny_patch16_224 deit3_small_patch16_224 beit_base_patch16_224
    eva02_tiny_patch14_224 flexivit_small hiera_tiny_224 cait_xxs24_224 xcit_nano_12_p16_224
    levit_128s mixer_s32_224 resmlp_12_224 gmlp_ti16_224 convmixer_768_32 convnext_atto
    convnextv2_atto poolformer_s12 caformer_s18 convformer_s18 pvt_v2_b0 twins_pcpvt_small
    twins_svt_small visformer_tiny coat_lite_tiny crossvit_tiny_240 tnt_s_legacy_patch16_224
    pit_ti_224 nest_tiny volo_d1_224 coatnet_nano_rw_224 edgenext_xx_small mobilevit_xxs
    mobilevitv2_050 efficientformer_l1 efficientformerv2_s0 efficientvit_b0 efficientvit_m0
    fastvit_t8 swinv2_cr_tiny_ns_224 swin_tiny_patch4_window7_224 davit_tiny focalnet_tiny_srf
    gcvit_xxtiny mvitv2_tiny inception_next_tiny tiny_vit_5m_224 nextvit_small sequencer2d_s
    mambaout_femto vitamin_small_224 starnet_s1 rdnet_tiny repvit_m0_9 ghostnet_050 ghostnetv2_100
    hgnetv2_b0 hrnet_w18_small regnety_002 rexnet_100 repvgg_a0 resnest14d res2net50_26w_4s
    resnet10t skresnet18 selecsls42 tf_efficientnet_b0 mobilenetv3_small_050
    mobilenetv4_conv_small lcnet_035 ese_vovnet19b_dw dla34 dpn48b densenet121 inception_v4
    inception_resnet_v2 xception41 eca_nfnet_l0 nf_regnet_b0 lambda_resnet26t halonet26t
    botnet26t_256 bat_resnext26ts gcresnext26ts cspresnet50 tresnet_m
"""


def timm_cases() -> Iterator[Case]:
    import timm

    for name in TIMM.split():
        found = timm.get_pretrained_cfg(name)
        size = found.input_size[-1] if found is not None else 224
        yield Case(
            f"timm {name}", lambda n=name: timm.create_model(n, pretrained=False), image(size)
        )


# -- Hugging Face -----------------------------------------------------------------------------

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
PICTURE: dict[str, Any] = {"image_size": 32, "patch_size": 8}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

CLASSIFIERS: dict[str, dict[str, Any]] = {
    "Bert": TINY,
    "Roberta": TINY,
    "DistilBert": {"vocab_size": 60, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "Albert": TINY | {"embedding_size": 16},
    "DebertaV2": TINY
    | {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "max_relative_positions": 8,
        "position_biased_input": False,
    },
    "Electra": TINY | {"embedding_size": 16},
    "XLMRoberta": TINY,
    "MPNet": TINY,
    "Funnel": {
        "vocab_size": 60,
        "d_model": 32,
        "d_head": 8,
        "n_head": 4,
        "d_inner": 48,
        "block_sizes": [1, 1],
    },
    "Bart": {
        "vocab_size": 60,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "use_cache": False,
    },
}
CAUSAL: dict[str, dict[str, Any]] = {
    "GPT2": {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "GPTNeoX": TINY,
    "Llama": TINY | {"num_key_value_heads": 2},
    "Mistral": TINY | {"num_key_value_heads": 2},
    "Mixtral": TINY
    | {"num_key_value_heads": 2, "num_local_experts": 3, "experts_implementation": "eager"},
    "Qwen2": TINY | {"num_key_value_heads": 2},
    "Qwen3": TINY | {"num_key_value_heads": 2, "head_dim": 8},
    "Gemma": TINY | {"num_key_value_heads": 2, "head_dim": 8},
    "Gemma2": TINY | {"num_key_value_heads": 2, "head_dim": 8},
    "Phi": TINY,
    "Phi3": TINY,
    "Olmo2": TINY,
    "Cohere": TINY,
    "OPT": {
        "vocab_size": 60,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 32,
    },
    "Bloom": {"vocab_size": 60, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "Falcon": {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "Mamba": {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "Mamba2": {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "state_size": 4,
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 2,
        "chunk_size": 4,
    },
    "RecurrentGemma": TINY | {"num_hidden_layers": 3, "lru_width": 32, "head_dim": 8},
}
VISION: dict[str, dict[str, Any]] = {
    "ViT": TINY | PICTURE,
    "DeiT": TINY | PICTURE,
    "Beit": TINY | PICTURE | {"use_relative_position_bias": True},
    "Swin": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
    },
    "Swinv2": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
    },
    "ConvNext": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]},
    "ConvNextV2": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]},
    "Dinov2": TINY | PICTURE,
    "Segformer": {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 24, 32],
        "num_attention_heads": [1, 2, 2, 4],
    },
}


def hugging_face_cases() -> Iterator[Case]:
    import transformers as hf

    def built(config: str, head: str, options: dict[str, Any]) -> nn.Module:
        return getattr(hf, head)(getattr(hf, f"{config}Config")(**options))

    def text() -> dict[str, Tensor]:
        return {"input_ids": torch.tensor([[5, 8, 21, 3, 17, 9, 40, 2]])}

    heads = {
        "ForSequenceClassification": (CLASSIFIERS, text, 0),
        "ForCausalLM": (CAUSAL, text, rp.next_token()),
        "ForImageClassification": (VISION, lambda: {"pixel_values": torch.randn(1, 3, 32, 32)}, 0),
    }
    irregular = {"GPT2ForCausalLM": "GPT2LMHeadModel"}
    for suffix, (configs, inputs, target) in heads.items():
        for name, options in configs.items():
            head = irregular.get(name + suffix, name + suffix)
            if not (is_picture := suffix.startswith("ForImage")):
                options = options | IDS
            if is_picture:
                options = options | {"num_labels": 3}
            yield Case(
                f"Hugging Face {name}",
                lambda n=name, h=head, o=options: built(n, h, o),
                inputs,
                target,
            )
    small = {
        "vocab_size": 60,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 1,
        "num_heads": 4,
        "use_cache": False,
    }
    yield Case(
        "Hugging Face T5",
        lambda: built("T5", "T5ForConditionalGeneration", small),
        lambda: text() | {"decoder_input_ids": torch.tensor([[0, 4, 6]])},
        rp.next_token(),
    )
    yield Case(
        "Hugging Face CLIP",
        lambda: hf.CLIPModel(
            hf.CLIPConfig(
                text_config=TINY | {"eos_token_id": 2},
                vision_config=TINY | PICTURE,
                projection_dim=16,
            )
        ),
        lambda: text() | {"pixel_values": torch.randn(1, 3, 32, 32)},
        lambda output: output["logits_per_image"].flatten(),
    )
    yield Case(
        "Hugging Face Wav2Vec2",
        lambda: built(
            "Wav2Vec2",
            "Wav2Vec2ForSequenceClassification",
            TINY
            | {
                "conv_dim": [16, 16],
                "conv_stride": [5, 4],
                "conv_kernel": [10, 8],
                "num_feat_extract_layers": 2,
                "num_conv_pos_embeddings": 8,
                "num_conv_pos_embedding_groups": 4,
                "mask_time_prob": 0.0,
            },
        ),
        lambda: {"input_values": torch.randn(1, 800)},
    )
    yield Case(
        "Hugging Face Whisper",
        lambda: built(
            "Whisper",
            "WhisperForConditionalGeneration",
            {
                "vocab_size": 60,
                "num_mel_bins": 8,
                "d_model": 32,
                "encoder_layers": 1,
                "decoder_layers": 1,
                "encoder_attention_heads": 4,
                "decoder_attention_heads": 4,
                "encoder_ffn_dim": 48,
                "decoder_ffn_dim": 48,
                "max_source_positions": 16,
                "use_cache": False,
                "decoder_start_token_id": 1,
            }
            | IDS,
        ),
        lambda: {
            "input_features": torch.randn(1, 8, 32),
            "decoder_input_ids": torch.tensor([[1, 4, 6]]),
        },
        rp.next_token(),
    )


# -- PyTorch Geometric ------------------------------------------------------------------------

GRAPHS = "GCN GIN GAT GraphSAGE"


def graph_cases() -> Iterator[Case]:
    import torch_geometric.nn.models as models

    edges = torch.tensor([[0, 1, 1, 2, 3, 3, 4, 0], [1, 0, 2, 1, 0, 4, 3, 4]])
    for name in GRAPHS.split():
        yield Case(
            f"PyTorch Geometric {name}",
            lambda n=name: getattr(models, n)(6, 8, num_layers=3, out_channels=3),
            lambda: {"x": torch.randn(5, 6), "edge_index": edges},
            lambda scores: scores[:, 0] * (torch.arange(5) == 1),
        )


CASES = (torchvision_cases, timm_cases, hugging_face_cases, graph_cases)


def converted(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}


@torch.no_grad()
def prepared(model: nn.Module, inputs: dict[str, Tensor]) -> nn.Module:
    """Random weights under which something arrives at the end.

    Weights that begin as zeros are drawn; batch-norms learn the statistics of one small batch.
    """
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        model(*[torch.randn(4, *x.shape[1:]) for x in inputs.values()])
    return model.eval().requires_grad_(False)


def measured(case: Case) -> Row:
    torch.manual_seed(0)
    inputs = case.inputs()
    model = prepared(case.make().eval(), inputs)
    ratio = time_ratio(case, model, inputs)
    return replace(balanced(case, model, inputs), ratio=ratio)


def balanced(case: Case, model: nn.Module, inputs: dict[str, Tensor]) -> Row:
    """The books in float64. Raises ValueError if they have an entry that nothing explains."""
    explanation = explain(case, model.double(), converted(inputs, torch.float64))
    books = explanation.balance
    found = explanation.relevance
    arrived = found.values() if isinstance(found, dict) else [found]
    total = explanation.output.sum()
    absorbed = dict(books.absorbed)
    if any("unaccounted" in name for name in absorbed):
        raise ValueError(f"the books have an entry that nothing explains: {absorbed}")
    most = max(absorbed, key=lambda n: abs(absorbed[n]), default="")
    return Row(
        name=case.name,
        explained=float(sum(r.sum() for r in arrived) / total),
        absorbed=f"{most} {absorbed[most] / float(total):.2g}" if most else "nothing",
        gap=float(books.gap / max(abs(float(total)), *map(abs, absorbed.values()), 1e-30)),
    )


def explain(case: Case, model: nn.Module, inputs: dict[str, Tensor]) -> rp.Explanation:
    given: Any = inputs["x"] if list(inputs) == ["x"] else inputs
    return rp.explain(model, given, case.target, composite=case.composite)


def time_ratio(case: Case, model: nn.Module, inputs: dict[str, Tensor]) -> float:
    """Best of three, in turns, behind one that warms up."""
    given: Any = inputs["x"] if list(inputs) == ["x"] else inputs

    def gradient() -> None:
        rp.explain(model, given, case.target, method="gradient")

    def propagation() -> None:
        explain(case, model, inputs)

    taken: dict[Callable[[], None], list[float]] = {gradient: [], propagation: []}
    for _ in range(4):
        for run, seconds in taken.items():
            start = perf_counter()
            run()
            seconds.append(perf_counter() - start)
    return min(taken[propagation][1:]) / min(taken[gradient][1:])


def table(rows: list[Row], failed: dict[str, str]) -> str:
    lines = [
        "| model | arrives at inputs | most is absorbed by | gap of the books | time / gradient |",
        "|---|---|---|---|---|",
        *(
            f"| {r.name} | {r.explained:.3g} | {r.absorbed} | {r.gap:.0e} | {r.ratio:.2f} |"
            for r in rows
        ),
    ]
    if failed:
        lines += ["", "Refused:", "", *(f"- {name}: {why}" for name, why in failed.items())]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names of models to run")
    parser.add_argument("--output", type=Path, help="the folder of the page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [c for cases in CASES for c in cases() if arguments.only.lower() in c.name.lower()]
    rows, failed = [], {}
    with progress(len(cases), "explaining architectures") as done:
        for case in cases:
            try:
                rows.append(measured(case))
                if arguments.output is None:
                    print(rows[-1], flush=True)
            except Exception as error:  # one model must not end the table; a crash is told apart
                crash = "" if isinstance(error, rp.RootpointError) else f"{type(error).__name__}: "
                failed[case.name] = crash + " ".join(str(error).split())[:300]
                if arguments.output is None:
                    print(case.name, type(error).__name__, failed[case.name], flush=True)
            gc.collect()
            done(1)
    page = f"""# Architectures

Made by `benchmarks/architectures.py`: {len(rows)} models with random weights, none of them changed,
wrapped or patched, explained by `cp-lrp`. What does not arrive at the inputs is absorbed: by
biases, positions and other constants, named in the table with their largest share. The books
balance where the gap is rounding (float64). The time is that of one gradient by `rootpoint`'s own
`gradient`, float32, one thread; small models pay for Python.

{table(rows, failed)}
"""
    if arguments.output is None:
        print(page)
        return
    (arguments.output / "architectures.md").write_text(page)


if __name__ == "__main__":
    main()
