"""One photo explained, in the forms that commands give out: numbers, facts and a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from rootpoint.errors import InputError
from rootpoint.visualize import Sheet, explained, number

if TYPE_CHECKING:
    from PIL.Image import Image

    from rootpoint.explanation import Explanation
    from rootpoint.method import BoundMethod, Method
    from rootpoint.models import ImageModel

BEST = 5  # classes listed
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True, eq=False)
class Answer:
    """Why `model` said what it said about one photo. `view` is the part of it that it saw."""

    photo: Path
    view: Image
    model: ImageModel
    explanation: Explanation
    seconds: float

    @property
    def index(self) -> int:
        return int(cast("Sequence[int]", self.explanation.target)[0])

    @property
    def score(self) -> float:
        return float(self.explanation.output[0])

    @property
    def total(self) -> float:
        return float(self.explanation.relevance[0].sum())

    @property
    def gap(self) -> float | None:
        """What the sum of relevance lacks of the score, less that of the baseline, if promised."""
        gap = self.explanation.completeness_gap
        return None if gap is None else float(gap[0])

    @property
    def missing(self) -> str | None:
        """The gap in words: relevance that goes back is absorbed, a sum is short of its promise."""
        if self.gap is None:
            return None
        kept = self.explanation.account is not None
        return f"{'absorbed' if kept else 'gap'} {number(self.gap)}"

    @property
    def best(self) -> list[tuple[int, float]]:
        """The classes with the highest scores, the highest first."""
        values, indices = self.explanation.prediction[0].sort(descending=True)
        return list(zip(indices[:BEST].tolist(), values[:BEST].tolist(), strict=True))

    def label(self, index: int) -> str:
        return self.model.classes[index] if self.model.classes else f"class {index}"

    @property
    def facts(self) -> tuple[str, ...]:
        return (
            f"explained class: {self.label(self.index)} ({self.index})",
            f"score {self.score:.2f}",
            f"sum of relevance {number(self.total)}",
            *(() if self.missing is None else (self.missing,)),
            *(() if self.explanation.passes is None else (str(self.explanation.passes),)),
            str(self.explanation.method),
            self.model.name,
        )

    @property
    def sheet(self) -> Sheet:
        return explained(
            self.view,
            self.explanation.relevance[0],
            title=self.photo.name,
            facts=self.facts,
            scores=[(self.label(index), score) for index, score in self.best],
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain values, ready for JSON."""
        passes = self.explanation.passes
        return {
            "photo": str(self.photo),
            "target": {"index": self.index, "name": self.label(self.index)},
            "score": self.score,
            "relevance": self.total,
            "gap": self.gap,
            "passes": passes._asdict() if passes is not None else None,
            "notes": list(self.explanation.notes),
            "seconds": self.seconds,
            "best": [
                {"index": index, "name": self.label(index), "score": score}
                for index, score in self.best
            ],
        }


def answer(photo: Path, model: ImageModel, method: BoundMethod, target: str) -> Answer:
    """Explain one photo; InputError if it cannot be read or has no such target."""
    from rootpoint.data import open_photo

    whole = open_photo(photo)
    inputs, chosen = model.tensor(whole), model.target(target)
    start = perf_counter()
    explanation = method(inputs, chosen)
    return Answer(photo, model.view(whole), model, explanation, perf_counter() - start)


def fitted(method: Method, model: ImageModel, folder: Path | None) -> Method:
    """The method fitted to a folder of images, if it is one that needs data and one is given."""
    if folder is None or "data" not in method.needs:
        return method
    from rootpoint.data import open_photo

    return method.fit(model.module, [model.tensor(open_photo(path)) for path in images(folder)])


def images(folder: Path) -> list[Path]:
    """The image files in a folder, in order. Raises InputError if there are none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGES)
    if not paths:
        raise InputError(f"there are no images in {folder}: {', '.join(sorted(IMAGES))}")
    return paths
