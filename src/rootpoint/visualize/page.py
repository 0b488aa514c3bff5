"""Sheets as one HTML file: images inside it, no script, nothing loaded from anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import BytesIO

from PIL import Image

from rootpoint.visualize.drawing import colour_bar
from rootpoint.visualize.sheets import Panel, Sheet, number

READING = (
    "Relevance is each pixel's share of the score: red pixels speak for the explained class, blue "
    "ones against it, and colourless ones do not matter. "
    "The shares add up to the sum of relevance; the rest of the score was absorbed on the way, "
    "by biases for instance."
)


def page(sheets: Sequence[Sheet], *, title: str, reading: str = READING) -> str:
    """The sheets below each other as an HTML document; `reading` tells how to read them.

    The page forbids itself every request by its content security policy.
    """
    style = files("rootpoint.visualize").joinpath("page.css").read_text(encoding="utf-8")
    return document(title, reading, "".join(_section(sheet) for sheet in sheets), style)


def document(title: str, reading: str, main: str, style: str) -> str:
    """An HTML document that forbids itself every request: no script, no image but those in it.

    title, reading   plain text; main is HTML, style CSS
    """
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p>{escape(reading)}</p>
</header>
<main>
{main}</main>
<footer>Made with Rootpoint.</footer>
</body>
</html>
"""


def _section(sheet: Sheet) -> str:
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in sheet.facts)
    panels = "".join(_figure(panel, sheet.title) for panel in sheet.panels)
    return f"""<section>
<h2>{escape(sheet.title)}</h2>
<ul class="facts">{facts}</ul>
<div class="panels">
{panels}</div>
<div class="below">
{_scores(sheet.scores)}{_scale(sheet)}</div>
</section>
"""


def _figure(panel: Panel, of: str) -> str:
    width, height = panel.image.size
    alt = escape(f"{panel.title} of {of}: {panel.note}")
    return (
        f'<figure><img src="{data_uri(panel.image)}" width="{width}" height="{height}" '
        f'alt="{alt}">'
        f"<figcaption><b>{escape(panel.title)}</b>{escape(panel.note)}</figcaption></figure>\n"
    )


def _scores(scores: Sequence[tuple[str, float]]) -> str:
    """The best classes as a table with bars, whose length is the share of the highest score."""
    if not scores:
        return ""
    highest = max(score for _, score in scores)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="measure"><svg viewBox="0 0 100 8" '
        f'preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{_length(score, highest):.1f}" height="8"/></svg></td>'
        f"<td>{score:.2f}</td></tr>\n"
        for name, score in scores
    )
    return f"<table><caption>The model's best classes and their scores</caption>\n{rows}</table>\n"


def _length(score: float, highest: float) -> float:
    return 100.0 * max(score, 0.0) / highest if highest > 0 else 0.0


def _scale(sheet: Sheet) -> str:
    limit, bar = number(sheet.limit), colour_bar()
    alt = "Colour scale from blue, against, over white, zero, to red, in favour"
    return (
        f'<div class="scale"><img src="{data_uri(bar)}" width="{bar.width}" height="{bar.height}" '
        f'alt="{alt}">'
        f'<div class="ends"><span>−{limit}</span><span>0</span><span>+{limit}</span></div>'
        f"{escape(sheet.legend)}</div>\n"
    )


def data_uri(image: Image.Image, quality: int = 92) -> str:
    """The image inside a URI, as JPEG of high quality with its colours at full resolution."""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality, subsampling=0)
    return f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}"
