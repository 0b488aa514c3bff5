"""A real shortcut: a Chinese copyright notice over a photo makes the built-in network say "carton".

The pictures of boxes that it learned from carried such writing. Source: Li et al. 2023, CVPR
("A Whac-A-Mole Dilemma": ImageNet-W).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from rootpoint.method import method
from rootpoint.models import ImageModel
from rootpoint.visualize import Panel, Sheet, heatmap

_MASK = Path(__file__).parent / "notice.png"
_OPACITY = 0.6
_REACH = 3  # pixels: relevance at the edge of a stroke is that of the stroke
_WIDTH = 448
CARTON = "carton"


@dataclass(frozen=True, eq=False)
class Misled:
    """What a notice did to one photo.

    before, after   the predicted class without and with it, and its probability
    carton          the probability of "carton" without and with it
    relevance       (H, W), with it: for "carton", and for "carton" rather than the class before
    inside          of the positive relevance of each, the share on the writing
    area            the share of the picture that the writing takes
    """

    name: str
    photo: Image.Image
    marked: Image.Image
    before: tuple[str, float]
    after: tuple[str, float]
    carton: tuple[float, float]
    relevance: tuple[Tensor, Tensor]
    inside: tuple[float, float]
    area: float


def with_notice(photo: Image.Image) -> Image.Image:
    """The photo under four lines of white writing ("all rights reserved"), half transparent."""
    alpha = Image.open(_MASK).resize(photo.size)
    alpha = Image.blend(Image.new("L", photo.size), alpha, _OPACITY)
    marked = photo.convert("RGB").copy()
    marked.paste((255, 255, 255), (0, 0), alpha)
    return marked


def mislead(model: ImageModel, photo: Image.Image, name: str) -> Misled:
    """Show a network one photo without and with the notice, and explain what it says with it.

    Explained by "lrp": the score of "carton", and the difference to that of the class which the
    network saw before. Cost: two forwards, one backward for each.
    """
    view = model.view(photo)
    marked = with_notice(view)
    inputs = torch.cat([model.tensor(view), model.tensor(marked)])
    with torch.no_grad():
        chances = model.module(inputs).softmax(1)
    carton = model.target(CARTON)
    seen, said = chances.argmax(1).tolist()
    bound = method("lrp").bind(model.module)
    found = bound.each(inputs[1:], [carton, lambda out: out[:, carton] - out[:, seen]])
    maps = [one.relevance[0].sum(0) for one in found]
    strokes = Image.open(_MASK).resize(view.size).filter(ImageFilter.MaxFilter(_REACH))
    mask = torch.from_numpy(np.asarray(strokes) > 127)
    shares = [float(r[mask].clamp(min=0).sum() / r.clamp(min=0).sum()) for r in maps]
    assert model.classes is not None  # or "carton" would not have been found
    names = model.classes
    return Misled(
        name,
        view,
        marked,
        (names[seen], float(chances[0, seen])),
        (names[said], float(chances[1, said])),
        (float(chances[0, carton]), float(chances[1, carton])),
        (maps[0], maps[1]),
        (shares[0], shares[1]),
        float(mask.float().mean()),
    )


def sheet(found: list[Misled]) -> Sheet:
    """The photos without and with the notice, and what spoke for "carton", in rows of four."""
    panels = [panel for one in found for panel in _row(one)]
    facts = (
        "MobileNetV2 with ImageNet weights",
        "LRP",
        f"the writing covers {found[0].area:.0%} of the picture",
    )
    unit = "% of each map's own full colour"
    return Sheet("The notice that says carton", facts, tuple(panels), 100.0, unit)


def _row(one: Misled) -> list[Panel]:
    size = (_WIDTH, _WIDTH)

    def enlarged(image: Image.Image) -> Image.Image:
        return image.resize(size, Image.Resampling.LANCZOS)

    def map_panel(title: str, index: int) -> Panel:
        note = f"{one.inside[index]:.0%} of what speaks for it on the writing"
        return Panel(title, note, heatmap(one.relevance[index], size=size))

    return [
        Panel(f"{one.before[0]} {one.before[1]:.2f}", "the photo", enlarged(one.photo)),
        Panel(f"{one.after[0]} {one.after[1]:.2f}", "with a notice", enlarged(one.marked)),
        map_panel("Why carton?", 0),
        map_panel(f"Why carton, not {one.before[0]}?", 1),
    ]
