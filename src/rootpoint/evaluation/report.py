"""An evaluation as one HTML file: pictures inside it, no script, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image

from rootpoint.errors import RootpointError
from rootpoint.evaluation.charts import Line, chart, extent, signed
from rootpoint.evaluation.findings import finding, interval
from rootpoint.evaluation.reproducing import script
from rootpoint.evaluation.statistics import bands
from rootpoint.parametric import split
from rootpoint.visualize import heatmap
from rootpoint.visualize.page import data_uri, document

if TYPE_CHECKING:
    from rootpoint.evaluation.metric import Metric
    from rootpoint.evaluation.result import Evaluation

SHOWN: Final = 8  # methods in curves and examples, at most: as many as there are colours
FEW: Final = 20  # samples below which intervals by bootstrap are clearly too narrow
PICTURE: Final = 224  # the longer side of a picture, in pixels
LABEL: Final = 20  # letters of a label in a chart

ARROWS: Final = {"higher": "↑ higher is better", "lower": "↓ lower is better"}
READING: Final = (
    "Every method explained the same decisions and was judged by the same metrics. Numbers are "
    "means over samples; brackets and bands are their 95\u00a0% intervals, by bootstrap over "
    "samples. Methods are compared sample by sample: p is the chance of a difference at least as "
    "large if both were equally good. Of many comparisons, one in twenty has p below 0.05 by "
    "chance alone."
)


def report(evaluation: Evaluation) -> str:
    """The evaluation as an HTML document, which forbids itself every request."""
    about = evaluation.configuration
    count = max((result.count for result in evaluation.results.values()), default=0)
    title = f"{about.get('model', 'Model')}: explanations judged on {_plural(count, 'sample')}"
    shown = leading(evaluation)
    sections = (
        _summary(evaluation, count),
        _table(evaluation),
        _curves(evaluation, shown),
        _examples(evaluation, shown),
        _failures(evaluation.failures),
        _setup(evaluation),
    )
    return document(title, READING, "".join(sections), _style())


def leading(evaluation: Evaluation) -> list[str]:
    """At most `SHOWN` methods, those with the best mean rank over metrics, in their own order."""
    methods = list(evaluation.methods)
    if len(methods) <= SHOWN:
        return methods
    rankings = [evaluation.ranking(metric) for metric in evaluation.metrics]
    ranks = {name: sum(ranking.index(name) for ranking in rankings) for name in methods}
    best = sorted(methods, key=ranks.__getitem__)[:SHOWN]
    return [name for name in methods if name in best]


def _style() -> str:
    return "".join(
        files(package).joinpath(name).read_text(encoding="utf-8")
        for package, name in (
            ("rootpoint.visualize", "page.css"),
            ("rootpoint.evaluation", "report.css"),
        )
    )


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}</section>\n" if content else ""


def _name(text: str) -> str:
    """The name of a method or metric, which may go on in a new line after its bracket."""
    return escape(text).replace("(", "(<wbr>")


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# -- summary --------------------------------------------------------------------------------------


def _summary(evaluation: Evaluation, count: int) -> str:
    found = "".join(
        f"<li>{finding(evaluation, name)}"
        f'<span class="about"><code>{escape(name)}</code>: {escape(metric.summary)}; '
        f"{metric.better} is better</span></li>\n"
        for name, metric in evaluation.metrics.items()
    )
    few = ""
    if count < FEW:
        few = (
            f'<p class="note">With only {_plural(count, "sample")} the intervals are too narrow, '
            f"and p is at least {0.5 ** (count - 1):.2g}: take more.</p>\n"
        )
    return _section("What was found", f'<ul class="findings">\n{found}</ul>\n{few}')


# -- table ----------------------------------------------------------------------------------------


def _table(evaluation: Evaluation) -> str:
    first = {name: evaluation.ranking(name)[0] for name in evaluation.metrics}
    head = "".join(
        f'<th scope="col">{_name(name)}<small>{ARROWS[metric.better]}</small></th>'
        for name, metric in evaluation.metrics.items()
    )
    rows = "".join(
        f'<tr><th scope="row">{_name(method)}</th>'
        + "".join(_cell(evaluation, name, method, first[name]) for name in evaluation.metrics)
        + f"<td>{signed(result.seconds)}</td></tr>\n"
        for method, result in evaluation.results.items()
    )
    return _section(
        "Methods and metrics",
        f'<div class="wide"><table>\n<thead><tr><th scope="col">Method</th>{head}'
        '<th scope="col">Seconds<small>per explanation</small></th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table></div>\n"
        '<p class="note">● marks the best mean of each metric, – where one is not defined.</p>\n',
    )


def _cell(evaluation: Evaluation, metric: str, method: str, first: str) -> str:
    found = evaluation.mean(metric, method)
    if np.isnan(found.mean):
        return "<td>–</td>"
    mark = ' class="best"' if found.mean == evaluation.mean(metric, first).mean else ""
    total = len(evaluation.values(metric, method))
    part = f"<small>{found.samples} of {total} samples</small>" if found.samples < total else ""
    return f"<td{mark}>{signed(found.mean)}<small>{interval(found)}</small>{part}</td>"


# -- curves ---------------------------------------------------------------------------------------


def _curves(evaluation: Evaluation, shown: Sequence[str]) -> str:
    drawn = "".join(_charts(evaluation, metric, shown) for metric in evaluation.metrics)
    if not drawn:
        return ""
    legend = "".join(
        f'<li><svg viewBox="0 0 14 6" aria-hidden="true"><rect class="c{k}" width="14" '
        f'height="6"/></svg>{escape(name)}</li>\n'
        for k, name in enumerate(shown)
    )
    return _section(
        "Curves",
        f'{_chosen(evaluation, shown)}<ul class="legend">\n{legend}</ul>\n'
        f'<div class="charts">\n{drawn}</div>\n',
    )


def _chosen(evaluation: Evaluation, shown: Sequence[str]) -> str:
    total = len(evaluation.methods)
    if len(shown) == total:
        return ""
    return (
        f"<p>Of {total} methods, the {len(shown)} with the best mean rank over all metrics are "
        "shown.</p>\n"
    )


def _charts(evaluation: Evaluation, metric: str, shown: Sequence[str]) -> str:
    """The curves of one metric: a chart for each kind of line, with one scale for all."""
    found = {
        name: curves
        for name in shown
        if (curves := evaluation.results[name].curves.get(metric)) is not None
    }
    if not found:
        return ""
    one = next(iter(found.values()))
    labels = dict(zip(shown, short(shown), strict=True))
    kinds = {
        kind: _lines({name: curves.lines[kind] for name, curves in found.items()}, shown, labels)
        for kind in one.lines
    }
    kinds = {kind: lines for kind, lines in kinds.items() if lines}
    if not kinds:
        return ""
    scale = extent([line for lines in kinds.values() for line in lines])
    figures = "".join(
        f"<figure><figcaption>{escape(ORDERS.get(kind, kind))}</figcaption>\n"
        + chart(
            one.x,
            lines,
            title=f"{metric}: {kind}",
            x_label=one.x_label,
            y_label=one.y_label,
            extent=scale,
        )
        + "</figure>\n"
        for kind, lines in kinds.items()
    )
    direction = evaluation.metrics[metric].better
    size = "several" if len(kinds) > 1 else "one"
    return (
        f'<div class="{size}">\n<h3>{_name(metric)} <small>{ARROWS[direction]}</small></h3>\n'
        f"{figures}</div>\n"
    )


ORDERS: Final = {
    "morf": "most relevant first",
    "lerf": "least relevant first",
    "random": "in random order",
}


def _lines(found: Mapping[str, Any], shown: Sequence[str], labels: Mapping[str, str]) -> list[Line]:
    return [
        Line(labels[name], shown.index(name), *bands(values))
        for name, values in found.items()
        if np.isfinite(values).any()
    ]


def short(names: Sequence[str]) -> list[str]:
    """Labels for charts: "lrp epsilon" for lrp(composite='epsilon'), if they stay different."""
    labels = [_ended(_short(name)) for name in names]
    return labels if len(set(labels)) == len(labels) else [_ended(name) for name in names]


def _short(name: str) -> str:
    try:
        own, options = split("method", name)
    except RootpointError:
        return name
    return " ".join([own, *map(str, options.values())])


def _ended(label: str) -> str:
    return label if len(label) <= LABEL else label[: LABEL - 1] + "…"


# -- examples -------------------------------------------------------------------------------------


def _examples(evaluation: Evaluation, shown: Sequence[str]) -> str:
    kept = {name: examples for name in shown if (examples := evaluation.results[name].examples)}
    inputs = [given for given, _ in next(iter(kept.values()), ())]
    if not inputs or not all(map(_pictured, inputs)):
        return ""
    photos = evaluation.configuration.get("photos", ())
    names = [Path(name).name for name in photos] or [f"Sample {i}" for i in range(len(inputs))]
    metric = next(iter(evaluation.metrics))
    pictures = 1 + len(kept)
    columns = max(4, pictures if pictures <= 6 else -(-pictures // 2))
    rows = "".join(
        f'<div class="examples of{columns}">\n'
        + _figure(_picture(given), names[i], "what the model sees")
        + "".join(
            _figure(
                heatmap(kept[name][i][1], size=_size(given)),
                name,
                f"{evaluation.metrics[metric].name} {signed(evaluation.values(metric, name)[i])}",
            )
            for name in kept
        )
        + "</div>\n"
        for i, given in enumerate(inputs)
    )
    reading = (
        "Red speaks for what was explained, blue against it. Each map has its own scale: its full "
        "colour is what it finds most relevant."
    )
    return _section("Examples", f"<p>{reading}</p>\n{_chosen(evaluation, shown)}{rows}")


def _pictured(given: Any) -> bool:
    return isinstance(given, torch.Tensor) and given.dim() == 3 and len(given) in (1, 3)


def _size(given: torch.Tensor) -> tuple[int, int]:
    height, width = given.shape[1:]
    scale = PICTURE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _picture(given: torch.Tensor) -> Image.Image:
    """An image of values from 0 to 1 as it is, others from their least to their largest value."""
    values = given.detach().cpu().double()
    low, high = values.aminmax()
    if low >= 0 and high <= 1:
        low, high = low * 0, low * 0 + 1
    shares = (values - low) / (high - low) if high > low else torch.full_like(values, 0.5)
    array = (shares * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    small = min(picture.size) < PICTURE
    return picture.resize(
        _size(given), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    )


def _figure(picture: Image.Image, title: str, note: str) -> str:
    width, height = picture.size
    return (
        f'<figure><img src="{data_uri(picture, quality=88)}" '
        f'width="{width}" height="{height}" alt="{escape(f"{title}: {note}")}">'
        f"<figcaption><b>{_name(title)}</b>{escape(note)}</figcaption></figure>\n"
    )


# -- how it was made ------------------------------------------------------------------------------


def _failures(failures: Mapping[str, str]) -> str:
    content = "These methods could not be judged; all others were."
    rows = _rows(failures.items())
    return _section("Failures", f"<p>{content}</p>\n{rows}") if failures else ""


def _setup(evaluation: Evaluation) -> str:
    about = evaluation.configuration
    apart = ("methods", "command")
    facts = {name: _brief(value) for name, value in about.items() if name not in apart}
    metrics = {name: _described(metric) for name, metric in evaluation.metrics.items()}
    again = about.get("command") or script(evaluation)
    return _section(
        "How it was made",
        f"<h3>Configuration and versions</h3>\n{_rows(facts.items())}"
        f"<h3>Methods</h3>\n{_rows(about.get('methods', {}).items(), code=True)}"
        f"<h3>Metrics</h3>\n{_rows(metrics.items())}"
        f"<h3>To do it again</h3>\n<pre><code>{escape(again)}</code></pre>\n"
        '<p class="note">The same model, data and seed give the same values, whatever the batch. '
        f"The mean of the explained scores was {escape(str(about.get('scores', '–')))}.</p>\n",
    )


def _rows(given: Iterable[tuple[str, Any]], *, code: bool = False) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>'
        f"<td>{'<code>' if code else ''}{escape(str(value))}{'</code>' if code else ''}</td></tr>\n"
        for name, value in given
    )
    return f'<table class="plain">\n<tbody>\n{rows}</tbody>\n</table>\n'


def _brief(value: Any) -> str:
    if isinstance(value, list) and len(value) > 12:
        return f"{', '.join(map(str, value[:12]))}, … ({len(value)} of them)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _described(metric: Metric) -> str:
    group = f"{metric.group}. " if hasattr(metric, "group") else ""
    return f"{group}{metric.summary}. {metric.better.capitalize()} is better."
