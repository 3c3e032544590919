"""What the figures of a search have in common: colours, escaped text, panels, axes as plotly's objects.

Owns how a figure looks, without its background, font and grid: the page and the report set those, for light and for
dark. Plotly's Python package is not used; a figure is what plotly.js takes.
"""

from __future__ import annotations

import html
import math
from typing import Any

from cluster.record import Facts, Record
from cluster.report.axes import Axis, clipped, rounded
from cluster.report.series import Bounds

# Okabe and Ito's colours, of which the light ones are darkened: on white and on black, and for the colour-blind.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#1b7fc4", "#d55e00", "#009e73", "#c98a00", "#b8689a", "#3a9bd9"
GREY = "#808080"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)
DASHES = ("solid", "dash", "dot", "dashdot")  # of each round through the palette
# From the worst to the best.
SCALE = ((0.0, "#9aa7b5"), (0.45, "#4a86cf"), (0.75, "#a35bb0"), (1.0, VERMILLION))
# How an attempt ended: its colour, and a pattern for those who do not see it.
OUTCOMES = {
    "completed": (BLUE, ""),
    "pruned": (GREY, ""),
    "failed": (VERMILLION, "x"),
    "lost": (ORANGE, "/"),
    "again": (PURPLE, "\\"),
    "running": (SKY, "."),
}


def safe(text: object, most: int = 60) -> str:
    """Foreign text as plotly shows it literally: its markup, its templates and its formulas mean nothing."""
    shown = html.escape(clipped(str(text), most), quote=False)
    return shown.replace("%{", "&#37;{").replace("$", "&#36;")


def objective(record: Record, most: int = 40) -> str:
    """The objective's name, as plotly shows it."""
    return safe(record.metric or "score", most)


def base(**more: Any) -> Facts:
    """A layout without colours."""
    return {"margin": {"l": 64, "r": 24, "t": 28, "b": 52}, "hovermode": "closest", **more}


def title_of(text: str) -> Facts:
    """An axis with a title, of escaped text."""
    return {"title": {"text": text, "standoff": 10}, "zeroline": False}


def value_axis(record: Record, bounds: Bounds, most: int = 40, **more: Any) -> Facts:
    """The objective's axis; it says how many values are beyond it, which a double click shows."""
    beyond = f"<br>({bounds.beyond} worse than shown)" if bounds.beyond else ""
    return {**title_of(objective(record, most) + beyond), "range": rounded([bounds.low, bounds.high]), **more}


def parameter_axis(axis: Axis, **more: Any) -> Facts:
    """A hyperparameter's axis, by positions."""
    ticks = axis.ticks()
    texts = [safe(x, 12) for _, x in ticks]
    places = {"tickvals": rounded(x for x, _ in ticks), "ticktext": texts, "range": rounded(axis.bounds)}
    return {**title_of(safe(axis.name, 40)), **places, **more}


def grid(panels: int, columns: int, row_height: int) -> tuple[list[tuple[list[float], list[float]]], int]:
    """The domains (x, y) of so many panels, row by row from the top, and the figure's height in pixels."""
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    height = rows * row_height + 60
    gap_x, gap_y = 0.06 / max(1, columns - 1) * (columns > 1) + 0.03 * (columns > 1), 88 / height
    wide, high = (1 - gap_x * (columns - 1)) / columns, (1 - gap_y * (rows - 1)) / rows
    domains = []
    for n in range(panels):
        left, top = (n % columns) * (wide + gap_x), 1 - (n // columns) * (high + gap_y)
        domains.append(([round(left, 4), round(left + wide, 4)], [round(max(0.0, top - high), 4), round(top, 4)]))
    return domains, height


def note(text: str) -> Facts:
    """A remark above the plot, to the right."""
    place = {"xref": "paper", "yref": "paper", "x": 1, "y": 1, "xanchor": "right", "yanchor": "bottom"}
    return {**place, "text": text, "showarrow": False, "font": {"size": 11}}


def some_of(shown: int, of: int) -> list[Facts]:
    """A remark that only some trials are drawn, where that is so."""
    return [note(f"the best and the newest {shown} of {of} trials")] if shown < of else []
