"""Curves with bands as small SVG pictures, whose colours are classes of the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rootpoint.visualize import number

WIDTH: Final = 480.0
PLOT: Final = 190.0  # height of the plot
TOP: Final = 10.0
LETTER: Final = 6.1  # width of a letter, on average
BOLD: Final = 6.8  # and of one in a label
ROW: Final = 14.0  # height of a label
LEADER: Final = 12.0  # width of the lines from curves to their labels
NAMED: Final = 10  # names below the axis, at most
LONGEST: Final = 18  # letters of a name below the axis

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Line:
    """One curve (k,), the ends of its band, its label, and the number of its colour."""

    label: str
    colour: int
    mean: Points
    low: Points
    high: Points


@dataclass(frozen=True, eq=False)
class Axis:
    """Values from `low` to `high` onto pixels from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def __call__(self, values: Points | float) -> Points:
        given = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        low, high = self.low, self.high
        if self.logarithmic:
            given, low, high = np.log(given), np.log(low), np.log(high)
        return self.start + (given - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """About five round values."""
        if self.logarithmic:
            first, last = np.ceil(np.log10(self.low)), np.floor(np.log10(self.high))
            step = max(1, int(np.ceil((last - first) / 5)))
            powers = [10.0**k for k in range(int(first), int(last) + 1, step)]
            return powers if len(powers) > 1 else [self.low, self.high]
        return round_values(self.low, self.high)


def round_values(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, three to seven of them."""
    raw = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1.0, 2.0, 5.0, 10.0), key=lambda s: abs(np.log(s * power / raw)))
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(k * step) for k in range(int(first), int(last) + 1)]


def chart(
    x: Sequence[float] | Sequence[str],
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    extent: tuple[float, float],
) -> str:
    """The lines over x, numbers or names, as SVG. `extent`: the least and largest y shown."""
    named = any(isinstance(value, str) for value in x)
    at = np.arange(len(x), dtype=np.float64) if named else np.array(x, dtype=np.float64)
    low, high, logarithmic = _range(*extent)
    y_axis = Axis(low, high, TOP + PLOT, TOP, logarithmic)
    ticks = [(tick, signed(tick)) for tick in y_axis.ticks()]
    left = 26.0 + LETTER * max(len(text) for _, text in ticks)
    right = WIDTH - LEADER - BOLD * max(len(line.label) for line in lines)
    x_axis = _x_axis(at, left, right)
    names = [str(value) for value in x] if named else None
    whole = not names and bool((at == np.round(at)).all())
    x_ticks = [tick for tick in x_axis.ticks() if not whole or tick == round(tick)]
    below, height = _x_ticks(x_axis, names, x_ticks, x_label)
    drawn = [_defined(at, line) for line in lines]
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n'
        + _y_ticks(y_axis, ticks, y_label, left, right)
        + below
        + "".join(_band(x_axis(own), y_axis, line) for own, line in drawn)
        + "".join(_line(x_axis(own), y_axis, line) for own, line in drawn)
        + _labels(y_axis, right, [line for _, line in drawn])
        + "</svg>\n"
    )


def extent(lines: Sequence[Line]) -> tuple[float, float]:
    """The least and largest value of the lines and their bands."""
    ends = np.concatenate([np.concatenate([line.low, line.high]) for line in lines])
    return float(np.nanmin(ends)), float(np.nanmax(ends))


def signed(value: float) -> str:
    """A number for people, with a real minus, and a word for what is no number."""
    if np.isnan(value):
        return "–"
    text = "∞" if np.isinf(value) else number(abs(value))
    return f"−{text}" if value < 0 and float(number(abs(value))) else text


def _defined(at: Points, line: Line) -> tuple[Points, Line]:
    """A line at the points where it is a number."""
    kept = np.isfinite(line.mean)
    own = Line(line.label, line.colour, line.mean[kept], line.low[kept], line.high[kept])
    return at[kept], own


def _range(low: float, high: float) -> tuple[float, float, bool]:
    """The axis for values from low to high: logarithmic if they differ by powers of ten."""
    if low > 0 and high / low > 1000:
        return low, high, True
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    start = 0.0 if 0 <= low < 0.2 * high else low - room
    return start, high + room, False


def _x_axis(at: Points, left: float, right: float) -> Axis:
    low, high = float(at.min()), float(at.max())
    if low == high:
        return Axis(low - 1, high + 1, left, right)
    return Axis(low, high, left, right, low > 0 and float(np.median(at)) < (low + high) / 4)


def _y_ticks(
    axis: Axis, ticks: Sequence[tuple[float, str]], label: str, left: float, right: float
) -> str:
    marks = "".join(
        f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>\n'
        for y, text in ((float(axis(tick)), text) for tick, text in ticks)
    )
    middle = TOP + PLOT / 2
    return (
        f'{marks}<text class="quiet" x="12" y="{middle:g}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle:g})">{escape(label)}</text>\n'
    )


def _x_ticks(
    axis: Axis, names: Sequence[str] | None, ticks: Sequence[float], label: str
) -> tuple[str, float]:
    """The marks below the plot, and the height of the picture."""
    bottom, middle = TOP + PLOT, (axis.start + axis.stop) / 2
    marks, depth = "", 0.0
    if names is None:
        for tick in ticks:
            x = float(axis(tick))
            marks += (
                f'<text x="{x:.1f}" y="{bottom + 17:g}" text-anchor="middle">{signed(tick)}</text>'
            )
    else:
        kept = range(0, len(names), -(-len(names) // NAMED))
        texts = {k: _ended(names[k], LONGEST) for k in kept}
        turned = any(
            len(text) * LETTER > (axis.stop - axis.start) / len(kept) for text in texts.values()
        )
        depth = 0.64 * LETTER * max(map(len, texts.values())) if turned else 0.0
        for k, text in texts.items():
            x, y = float(axis(float(k))), bottom + 15
            how = (
                f'text-anchor="end" transform="rotate(-40 {x:.1f} {y:g})"'
                if turned
                else 'text-anchor="middle"'
            )
            marks += f'<text x="{x:.1f}" y="{y:g}" {how}>{escape(text)}</text>'
    below = bottom + 36 + depth
    return (
        f'{marks}\n<text class="quiet" x="{middle:.1f}" y="{below:.1f}" text-anchor="middle">'
        f"{escape(label)}</text>\n",
        round(below + 8),
    )


def _ended(name: str, letters: int) -> str:
    """A name's end: of modules' paths that is what differs."""
    return name if len(name) <= letters else "…" + name[1 - letters :]


def _points(x: Points, y: Points) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _band(x: Points, axis: Axis, line: Line) -> str:
    outline = _points(np.append(x, x[::-1]), axis(np.append(line.low, line.high[::-1])))
    return f'<polygon class="band c{line.colour}" points="{outline}"/>\n'


def _line(x: Points, axis: Axis, line: Line) -> str:
    y = axis(line.mean)
    drawn = f'<polyline class="curve c{line.colour}" points="{_points(x, y)}"/>\n'
    if len(x) > 12:
        return drawn
    dots = "".join(
        f'<circle class="c{line.colour}" cx="{a:.1f}" cy="{b:.1f}" r="2.2"/>'
        for a, b in zip(x, y, strict=True)
    )
    return f"{drawn}{dots}\n"


def _labels(axis: Axis, right: float, lines: Sequence[Line]) -> str:
    """Each line's label at its end, moved up or down where they would cover each other."""
    wanted = sorted((float(axis(line.mean[-1])), k) for k, line in enumerate(lines))
    placed = _apart([y for y, _ in wanted])
    return "".join(
        f'<line class="leader c{lines[k].colour}" x1="{right + 2:.1f}" y1="{end:.1f}" '
        f'x2="{right + LEADER - 2:.1f}" y2="{y:.1f}"/>'
        f'<text class="label c{lines[k].colour}" x="{right + LEADER:.1f}" y="{y + 4:.1f}">'
        f"{escape(lines[k].label)}</text>\n"
        for y, (end, k) in zip(placed, wanted, strict=True)
    )


def _apart(wanted: Sequence[float]) -> list[float]:
    """Ascending heights at least `ROW` apart within the plot, near those wanted."""
    placed = np.array(wanted)
    for k in range(1, len(placed)):
        placed[k] = max(placed[k], placed[k - 1] + ROW)
    placed[-1] = min(placed[-1], TOP + PLOT)
    for k, _ in reversed(list(pairwise(range(len(placed))))):
        placed[k] = min(placed[k], placed[k + 1] - ROW)
    return placed.tolist()
