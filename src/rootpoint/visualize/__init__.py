"""Relevance as pictures: heatmaps, overlays, sheets, and a page that works offline."""

from rootpoint.visualize.colors import colorize
from rootpoint.visualize.drawing import draw
from rootpoint.visualize.maps import colour_limit, focus, heatmap, overlay
from rootpoint.visualize.page import page
from rootpoint.visualize.sheets import Candidate, Panel, Sheet, compared, explained, number

__all__ = [
    "Candidate",
    "Panel",
    "Sheet",
    "colorize",
    "colour_limit",
    "compared",
    "draw",
    "explained",
    "focus",
    "heatmap",
    "number",
    "overlay",
    "page",
]
