"""Relevance as pictures: heatmaps, bars, overlays, sheets, and a page that works offline."""

from rootpoint.visualize.bars import bars, row
from rootpoint.visualize.colors import colorize
from rootpoint.visualize.drawing import draw
from rootpoint.visualize.maps import colour_limit, focus, heatmap, overlay
from rootpoint.visualize.page import page
from rootpoint.visualize.sentences import sentence
from rootpoint.visualize.sheets import Candidate, Panel, Sheet, compared, explained, number
from rootpoint.visualize.text import highlighted, highlighted_html

__all__ = [
    "Candidate",
    "Panel",
    "Sheet",
    "bars",
    "colorize",
    "colour_limit",
    "compared",
    "draw",
    "explained",
    "focus",
    "heatmap",
    "highlighted",
    "highlighted_html",
    "number",
    "overlay",
    "page",
    "row",
    "sentence",
]
