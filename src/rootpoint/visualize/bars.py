"""One row of a table as horizontal bars: what spoke for the score, and what against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from rootpoint.errors import InputError
from rootpoint.visualize.colors import colorize
from rootpoint.visualize.drawing import GAP, HAIRLINE, INK, MARGIN, QUIET, Font, font, legible
from rootpoint.visualize.sheets import number

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from rootpoint.explanation import Explanation

Vector: TypeAlias = "Tensor | NDArray[Any] | Sequence[float]"
Colour: TypeAlias = tuple[int, int, int]

SHOWN: Final = 12  # columns with a bar of their own
NAME_WIDTH: Final = 420  # longer texts are broken into lines
VALUE_WIDTH: Final = 260
BARS_WIDTH: Final = 620
THICK: Final = 26
LINE: Final = 28
LABEL: Final = 110  # beside the longest bar of each side
STRENGTH: Final = 0.7  # of the colour, in [0, 1]: the length tells the size
ROUNDING: Final = 1e-9  # of the score: what lacks less is written as 0
PALE: Final = 0.35  # of the sum of the other columns


@dataclass(frozen=True)
class Bar:
    """One line of the picture."""

    name: str
    value: str
    relevance: float
    others: bool = False

    @property
    def ink(self) -> Colour:
        return QUIET if self.others else INK

    @property
    def fill(self) -> Colour:
        shade = colorize(np.array(np.sign(self.relevance) * (PALE if self.others else STRENGTH)))
        return int(shade[0]), int(shade[1]), int(shade[2])


def top(
    names: Sequence[str], values: Sequence[Any], relevance: Vector, shown: int = SHOWN
) -> list[Bar]:
    """The columns of the largest |R|, the largest first, and the sum of the others as one more.

    Raises InputError if names, values and relevance differ in length, or relevance is not finite.
    """
    detached = getattr(relevance, "detach", None)
    found = np.asarray(relevance if detached is None else detached().cpu(), dtype=np.float64)
    if found.ndim != 1 or not found.size or not len(names) == len(values) == len(found):
        raise InputError(
            f"{len(names)} names and {len(values)} values do not go with relevance of shape "
            f"{found.shape}: give one row, and a name and a value for each column"
        )
    if not np.isfinite(found).all():
        raise InputError("the relevance holds NaN or infinity: there is no bar for that")
    order = np.argsort(-np.abs(found), kind="stable")
    count = shown if len(found) > shown + 1 else len(found)
    bars = [Bar(str(names[i]), _value(values[i]), float(found[i])) for i in order[:count]]
    if rest := len(found) - count:
        bars.append(
            Bar(f"{rest} other columns", "", float(found[order[count:]].sum()), others=True)
        )
    return bars


def bars(
    names: Sequence[str],
    values: Sequence[Any],
    relevance: Vector,
    *,
    title: str = "",
    facts: Sequence[str] = (),
    shown: int = SHOWN,
) -> Image.Image:
    """One row of a table: its most relevant columns, their values, and their relevance as bars.

    names      of the columns
    values     of the row, as they are to be read
    relevance  (columns,); red bars to the right speak for the score, blue ones to the left against
    facts      what else is to be known, such as score and sum
    shown      columns with a bar of their own; the others are summed up in a last one
    The picture is as high as its text needs: no text is cut, letters that the font lacks become
    question marks. Raises InputError as `top` does.
    """
    lines = top(names, values, relevance, shown)
    large, small, head = font(24), font(21), font(38)
    wide = [_widest((b.name for b in lines), large, NAME_WIDTH)]
    wide.append(_widest((b.value for b in lines), small, VALUE_WIDTH))
    left = MARGIN + wide[0] + wide[1] + 2 * GAP
    inner = left + BARS_WIDTH - MARGIN
    titles, notes = broken(title, head, inner), _joined(facts, font(22), inner)
    texts = [(broken(b.name, large, wide[0]), broken(b.value, small, wide[1])) for b in lines]
    heights = [max(THICK, LINE * max(map(len, pair))) + 14 for pair in texts]
    above = MARGIN + 48 * len(titles) + 30 * len(notes) + GAP
    picture = Image.new("RGB", (inner + 2 * MARGIN, above + sum(heights) + MARGIN), "white")
    pen = ImageDraw.Draw(picture)
    _write(pen, (MARGIN, MARGIN), titles, head, INK, 48)
    _write(pen, (MARGIN, MARGIN + 48 * len(titles) + 4), notes, font(22), QUIET, 30)
    scale = _Scale.of([b.relevance for b in lines], left)
    pen.line((scale.zero, above - 8, scale.zero, above + sum(heights)), fill=HAIRLINE, width=2)
    y = above
    for bar, (name, value), height in zip(lines, texts, heights, strict=True):
        _write(pen, (MARGIN, y), name, large, bar.ink, LINE)
        _write(pen, (MARGIN + wide[0] + GAP + wide[1], y + 2), value, small, QUIET, LINE, "ra")
        scale.draw(pen, y, bar)
        y += height
    return picture


def row(
    explanation: Explanation, sample: int = 0, names: Sequence[str] | None = None
) -> Image.Image:
    """One row of an explained table as bars. See `Explanation.plot`."""
    relevance, table = explanation.relevance[sample], explanation.inputs
    if names is None:
        names = [str(name) for name in getattr(table, "columns", range(len(relevance)))]
    found = getattr(table, "iloc", table)[sample]
    found = found.toarray() if hasattr(found, "toarray") else found  # a row of a sparse matrix
    if hasattr(found, "detach"):
        found = found.detach().cpu()
    values = list(np.asarray(found, dtype=object if hasattr(table, "iloc") else None).ravel())
    facts = sums(explanation, sample)
    if getattr(explanation.prediction, "ndim", 1) > 1 and isinstance(explanation.target, list):
        facts = (f"target {explanation.target[sample]}", *facts)
    return bars(names, values, relevance, title=f"sample {sample}", facts=facts)


def sums(explanation: Explanation, sample: int) -> tuple[str, ...]:
    """Score, sum of relevance and what the sum lacks of the score, in words."""
    gaps, base = explanation.completeness_gap, explanation.baseline_output
    score = float(explanation.output[sample])
    facts = [f"score {number(score)}"]
    if base is not None and float(base[sample]):
        facts.append(f"baseline {number(float(base[sample]))}")
    facts.append(f"sum of relevance {number(float(explanation.relevance[sample].sum()))}")
    if gaps is not None:
        word = "absorbed" if explanation.account is not None else "gap"
        gap = float(gaps[sample])
        facts.append(f"{word} {number(gap if abs(gap) > ROUNDING * abs(score) else 0)}")
    return (*facts, explanation.method.name)


@dataclass(frozen=True)
class _Scale:
    """Where relevance lies: zero so that the longest bars of both sides have room."""

    zero: int
    unit: float

    @classmethod
    def of(cls, relevance: Sequence[float], left: int) -> _Scale:
        least, most = min(0.0, *relevance), max(0.0, *relevance)
        aside = LABEL if least < 0 else 0
        unit = (BARS_WIDTH - aside - (LABEL if most > 0 else 0)) / (most - least or 1.0)
        return cls(left + aside - round(unit * least), unit)

    def draw(self, pen: ImageDraw.ImageDraw, y: int, bar: Bar) -> None:
        side = -1 if bar.relevance < 0 else 1
        end = self.zero + round(self.unit * bar.relevance)
        if end != self.zero:
            first, last = sorted((self.zero, end))
            pen.rectangle((first, y + 1, last, y + THICK), fill=bar.fill)
        text = f"{'+' if bar.relevance > 0 else ''}{number(bar.relevance)}"
        anchor = "la" if side > 0 else "ra"
        pen.text((end + side * 10, y + 3), text, font=font(21), fill=bar.ink, anchor=anchor)


def broken(text: str, font: Font, width: int) -> list[str]:
    """The text in lines that fit the width, broken at spaces, else after any letter."""
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    lines, rest = [], legible(text)
    while rest and pen.textlength(rest, font=font) > width:
        fits = max(1, next(n for n in range(len(rest), 0, -1) if _fits(pen, rest[:n], font, width)))
        space = rest.rfind(" ", 1, fits + 1)
        cut = space if space > 0 else fits
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*lines, rest] if rest else lines


def _fits(pen: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> bool:
    return len(text) == 1 or pen.textlength(text, font=font) <= width


def _joined(facts: Sequence[str], font: Font, width: int) -> list[str]:
    """Facts side by side, as many in a line as fit."""
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    lines: list[str] = []
    for fact in facts:
        longer = f"{lines[-1]}   ·   {fact}" if lines else ""
        if lines and pen.textlength(legible(longer), font=font) <= width:
            lines[-1] = longer
        else:
            lines.extend(broken(fact, font, width))
    return lines


def _widest(texts: Any, font: Font, limit: int) -> int:
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    return min(limit, int(max(pen.textlength(legible(text), font=font) for text in texts)) + 1)


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    lines: Sequence[str],
    font: Font,
    colour: Colour,
    step: int,
    anchor: str = "la",
) -> None:
    for index, line in enumerate(lines):
        at_line = (at[0], at[1] + index * step)
        pen.text(at_line, legible(line), font=font, fill=colour, anchor=anchor)


def _value(value: Any) -> str:
    """A value of a table: numbers with four digits, the rest as it stands, in one line."""
    if isinstance(value, float | np.floating):
        return f"{float(value):.4g}" if abs(value) < 1e4 else f"{float(value):.6g}"
    return " ".join(str(value).split())
