"""Does BiLRP find which parts of two photos belong together, where that is known?

Each bundled photo beside its mirror image, and two crops of it beside each other: every patch has
one true partner. The similarity is the cosine of the bundled network's 1280 features, explained at
`features.13`, in 14 × 14 patches. Pairs are ranked by BiLRP, by the product of what each side alone
is explained by, and by the cosine of the module's activations.

    python benchmarks/similarity.py [--output docs/images/similarity.jpg] [--composite NAME]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F

import rootpoint as rp
from rootpoint import models
from rootpoint.data import open_photo, photos
from rootpoint.similarity import Side, Similarity

AT = "features.13"
GRID = 14
COUNT = 100  # strongest pairs that are looked at
CROP, SHIFT = 168, 48  # pixels; the crop is stretched to 224, so that the shift is 4 patches
PROJECTED = (16, 64, 256)


class Features(nn.Module):
    """The network without its classifier: photos to (B, 1280)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features = network.features
        self.rootpoint_composite = network.rootpoint_composite

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))


def crop(x: Tensor, start: int) -> Tensor:
    part = x[..., start : start + CROP, start : start + CROP]
    return F.interpolate(part, x.shape[2:], mode="bilinear", antialias=True)


def partners() -> dict[str, Tensor]:
    """Whether two patches are, up to one patch, the same place: (14, 14, 14, 14)."""
    row, column = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    true = {"mirror": (row, GRID - 1 - column), "crop": (row - 4, column - 4)}
    found = {}
    for name, (i, j) in true.items():
        near_row = (i[..., None, None] - row).abs() <= 1
        near_column = (j[..., None, None] - column).abs() <= 1
        found[name] = near_row & near_column
    return found


def orders(found: Similarity, activations: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Scores of all pairs by name, (B, 14, 14, 14, 14)."""
    first, second = found.first, found.second
    alone = [  # LRP of the similarity, the other side held constant
        torch.einsum("bm,bmij->bij", other.outputs, side.factors)
        for side, other in ((first, second), (second, first))
    ]
    a, b = (F.normalize(x, dim=1) for x in activations)
    return {
        "BiLRP": found.relevance(),
        "product of each side's own LRP": torch.einsum("bij,bkl->bijkl", *alone),
        "cosine of activations": torch.einsum("bcij,bckl->bijkl", a, b),
    }


def hits(scores: Tensor, true: Tensor) -> Tensor:
    """The share of the strongest pairs that are the same place, of each photo."""
    best = scores.flatten(1).topk(COUNT).indices
    return true.flatten()[best].double().mean(1)


def activations(phi: Features, x: Tensor) -> Tensor:
    last = int(AT.rsplit(".", 1)[1])
    with torch.no_grad():
        return phi.features[: last + 1](x)


def projected(found: Similarity, count: int) -> Tensor:
    """How alike the matrices with `count` random outputs and with all of them are: the cosine."""
    generator = torch.Generator().manual_seed(0)
    outputs = found.first.outputs.shape[1]
    projection = torch.randn(count, outputs, generator=generator) / count**0.5
    a, b = (projection @ side.matrix for side in (found.first, found.second))
    return F.cosine_similarity((a.mT @ b).flatten(1), found.relevance().flatten(1))


def rows(
    name: str, found: Similarity, values: tuple[Tensor, Tensor], true: Tensor
) -> Iterator[str]:
    for order, scores in orders(found, values).items():
        shares = hits(scores, true)
        each = ", ".join(f"{share:.2f}" for share in shares.tolist())
        yield f"| {name} | {order} | {shares.mean():.2f} | {each} |"
    yield f"| {name} | chance | {true.double().mean():.2f} | |"


def pair(first: Side, second: Side) -> Similarity:
    return Similarity((first.outputs * second.outputs).sum(1), first, second, rp.LRP())


def of(side: Side, sample: int) -> Side:
    part = slice(sample, sample + 1)
    return Side(side.outputs[part], side.factors[part], side.inputs[part], side.extent, side.patch)


def stacked(pictures: list[Image.Image]) -> Image.Image:
    width = max(p.width for p in pictures)
    whole = Image.new("RGB", (width, sum(p.height for p in pictures)), "white")
    y = 0
    for picture in pictures:
        whole.paste(picture, (0, y))
        y += picture.height
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, help="file of the picture")
    parser.add_argument("--composite", default="recommended")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = models.load()
    phi = Features(model.module).eval()
    opened = {photo.name: open_photo(photo.path) for photo in photos()}
    x = torch.cat([model.tensor(photo) for photo in opened.values()])
    explain = {"normalize": True, "at": AT, "pool": 1, "composite": options.composite}
    mirror = rp.explain_similarity(phi, x, x.flip(3), **explain)
    crops = crop(x, 0), crop(x, SHIFT)
    shifted = rp.explain_similarity(phi, *crops, **explain)
    true = partners()
    print(f"| pair | order | the same place, of {COUNT} | {', '.join(opened)} |\n|---|---|---|---|")
    for name, found, inputs in (("mirror", mirror, (x, x.flip(3))), ("crop", shifted, crops)):
        values = activations(phi, inputs[0]), activations(phi, inputs[1])
        print("\n".join(rows(name, found, values, true[name])))
    for found in (mirror, shifted):
        print("similarity", found.output.tolist(), "absorbed", found.gap.tolist())
    for count in PROJECTED:
        print(count, "random outputs:", [round(c, 3) for c in projected(mirror, count).tolist()])
    if options.output is not None:
        names = list(opened)
        views = {name: model.view(photo) for name, photo in opened.items()}
        cat, tower = names.index("chelsea"), names.index("china")
        own = mirror.plot(views["chelsea"], ImageOps.mirror(views["chelsea"]), sample=cat)
        across = pair(of(mirror.first, cat), of(mirror.first, tower))
        stacked([own, across.plot(views["chelsea"], views["china"])]).save(
            options.output, quality=88
        )


if __name__ == "__main__":
    main()
