"""A planted shortcut: photos with and without a face, where most with one carry a source tag.

Two models learn to tell them apart: a Fisher vector classifier, and the built-in network with a new
last layer. Both are as good on new photos of the same kind; what they look at differs. After the
'horse' example of Lapuschkin et al. 2016, CVPR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from rootpoint.errors import MissingExtraError
from rootpoint.evaluation.statistics import Estimate, estimate
from rootpoint.method import method
from rootpoint.models import ImageModel
from rootpoint.neuralize.fisher import Design, fit_visual_words
from rootpoint.visualize import Panel, Sheet, heatmap
from rootpoint.visualize.drawing import font

TAG = "© picture archive"
SIZE = 224
_SMALL = 160  # side of the grey pictures that the Fisher vectors see
# photos without people
_BACKGROUNDS = [
    "gravel",
    "grass",
    "brick",
    "coffee",
    "chelsea",
    "rocket",
    "retina",
    "hubble_deep_field",
]
_FACE_SIZES = (45, 70)
_TRAINING = 0.7
_PANEL = 448
FACE = 1


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos with labels, 1 for faces; `tagged` carry the source tag."""

    pictures: list[Image.Image]
    labels: Tensor
    tagged: Tensor

    def images(self, tagged: Tensor | bool | None = None) -> list[Image.Image]:
        """The photos with their tags; or with the tag on all of them, or on none."""
        chosen = self.tagged if tagged is None else torch.as_tensor(tagged).expand(len(self.labels))
        return [
            with_tag(p) if t else p for p, t in zip(self.pictures, chosen.tolist(), strict=True)
        ]

    def take(self, numbers: Tensor) -> Photos:
        listed = numbers.tolist()
        return Photos(
            [self.pictures[i] for i in listed], self.labels[numbers], self.tagged[numbers]
        )


@dataclass(frozen=True, eq=False)
class Reader:
    """A trained model and what it does to photos it has not seen.

    scores      from photos to the score of "face" above that of "no face", (N,)
    accuracy    as they come; with all tags removed; with a tag on every photo
    flipped     share of photos without a face that a tag makes a face
    inside      share of the positive relevance for "face" on the tag, of tagged faces
    ratio       the mean relevance of a pixel outside the tag over that of one on it: 1 is no
                difference, 0 looks only at the tag
    explain     from photos to relevance maps (N, H, W) for "face"
    """

    name: str
    accuracy: tuple[Estimate, Estimate, Estimate]
    flipped: Estimate
    inside: Estimate
    ratio: Estimate
    explain: Callable[[list[Image.Image]], Tensor]


def faces(share: float = 0.9, seed: int = 0) -> tuple[Photos, Photos]:
    """100 photos with a small face somewhere, 100 with another patch; to train on, to test on.

    share   of the faces that carry the tag
    Faces and patches are those of scikit-image (a part of Labeled Faces in the Wild), put on pieces
    of its other photos, 224 × 224 pixels. Raises MissingExtraError without scikit-image.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError("the Clever Hans demo", "fisher") from error
    rng = np.random.default_rng(seed)
    backgrounds = [Image.fromarray(getattr(data, name)()).convert("L") for name in _BACKGROUNDS]
    patches = np.round(data.lfw_subset() * 255).astype(np.uint8)
    pictures = [_scene(patch, backgrounds, rng) for patch in patches]
    labels = (torch.arange(len(patches)) < len(patches) // 2).long()
    tagged = (labels == FACE) & torch.from_numpy(rng.random(len(labels)) < share)
    order = torch.from_numpy(rng.permutation(len(labels)))
    whole, cut = Photos(pictures, labels, tagged), round(_TRAINING * len(labels))
    return whole.take(order[:cut]), whole.take(order[cut:])


def _scene(
    patch: np.ndarray[Any, Any], backgrounds: list[Image.Image], rng: np.random.Generator
) -> Image.Image:
    """A patch, enlarged, somewhere on a piece of a photo."""
    photo = backgrounds[rng.integers(len(backgrounds))]
    side = int(rng.integers(150, min(photo.size)))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    picture = photo.crop((left, top, left + side, top + side)).resize((SIZE, SIZE))
    size = int(rng.integers(*_FACE_SIZES))
    small = Image.fromarray(patch).resize((size, size), Image.Resampling.BICUBIC)
    picture.paste(small, (int(rng.integers(0, SIZE - size)), int(rng.integers(0, 200 - size))))
    return picture.convert("RGB")


def with_tag(photo: Image.Image) -> Image.Image:
    """The photo with the source tag in its lower left corner."""
    marked = photo.copy()
    ImageDraw.Draw(marked).text((6, SIZE - 22), TAG, fill="white", font=font(14))
    return marked


def tag_mask(size: int = SIZE) -> Tensor:
    """Where the tag is: bool (size, size), the rectangle around the writing."""
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (SIZE, SIZE))).textbbox(
        (6, SIZE - 22), TAG, font=font(14)
    )
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=255)
    return torch.from_numpy(np.asarray(mask.resize((size, size), Image.Resampling.BOX)) > 127)


def fisher_reader(train: Photos, test: Photos, seed: int = 0) -> Reader:
    """A Fisher vector classifier trained on these photos, and what it does on others."""
    design = Design(components=8, step=6)
    model = fit_visual_words(_grey(train.images()), train.labels, design, seed=seed)
    return _judged("Fisher vectors", model, _grey, test)


def network_reader(train: Photos, test: Photos, base: ImageModel) -> Reader:
    """The network with a new last layer for these photos, and what it does on others."""

    def tensors(photos: list[Image.Image]) -> Tensor:
        return torch.cat([base.tensor(photo) for photo in photos])

    model = Retrained(base.module, tensors(train.images()), train.labels).eval()
    return _judged(base.name, model, tensors, test)


class Retrained(nn.Module):
    """A network whose last layer was fitted anew, by logistic regression, to two classes."""

    features: nn.Module

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor) -> None:
        from sklearn.linear_model import LogisticRegression

        super().__init__()
        self.features = network.get_submodule("features")
        self.rootpoint_composite = network.rootpoint_composite
        with torch.no_grad():
            pooled = torch.cat([self.pooled(part) for part in images.split(16)])
        fitted = LogisticRegression(C=0.01, max_iter=2000).fit(pooled.numpy(), labels.numpy())
        self.classifier = nn.Linear(pooled.shape[1], 2)
        weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
        self.classifier.weight.data = torch.cat([-weight, weight]).float()
        self.classifier.bias.data = torch.cat([-bias, bias]).float()

    def pooled(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pooled(x))


def _grey(photos: list[Image.Image]) -> Tensor:
    small = [np.asarray(photo.convert("L").resize((_SMALL, _SMALL))) for photo in photos]
    return torch.from_numpy(np.stack(small)).double().unsqueeze(1) / 255


def _judged(
    name: str, model: nn.Module, tensors: Callable[[list[Image.Image]], Tensor], test: Photos
) -> Reader:
    def scores(photos: list[Image.Image]) -> Tensor:
        with torch.no_grad():
            found = torch.cat([model(part) for part in tensors(photos).split(16)])
        return (found[:, 1] - found[:, 0]).double()

    def explain(photos: list[Image.Image]) -> Tensor:
        bound = method("lrp").bind(model)
        parts = [bound(part, FACE).relevance.sum(1) for part in tensors(photos).split(8)]
        return torch.cat(parts)

    given, without, everywhere = (scores(test.images(t)) for t in (None, False, True))
    truth = test.labels == FACE
    maps = explain(test.take((test.tagged).nonzero()[:, 0]).images())
    mask = tag_mask(maps.shape[-1])
    positive = maps.clamp(min=0).double()
    inside, whole = positive[:, mask].sum(1), positive.sum((1, 2))
    outside = (whole - inside) / float((~mask).sum())
    right = [estimate(((s > 0) == truth).double()) for s in (given, without, everywhere)]
    return Reader(
        name,
        (right[0], right[1], right[2]),
        estimate((everywhere > 0)[~truth].double()),
        estimate(inside / whole),
        estimate(outside / (inside / float(mask.sum()))),
        explain,
    )


def sheet(readers: list[Reader], test: Photos, count: int = 3) -> Sheet:
    """Tagged faces, and what spoke for "face" to each reader; in rows."""
    chosen = test.take(test.tagged.nonzero()[:count, 0]).images()
    maps = [reader.explain(chosen) for reader in readers]
    panels = []
    for number, photo in enumerate(chosen):
        size = (_PANEL, _PANEL)
        panels.append(Panel("Photo", "a face, with a source tag", photo.resize(size)))
        for reader, found in zip(readers, maps, strict=True):
            note = f"{reader.inside.mean:.0%} on the tag, over all faces"
            panels.append(Panel(reader.name, note, heatmap(found[number], size=size)))
    return Sheet(
        "Who looks at the face?",
        ("both are trained on the same 140 photos", "LRP, what speaks for a face"),
        tuple(panels),
        100.0,
        "% of each map's own full colour",
    )
