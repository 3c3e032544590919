"""What the pictures have in common: Matplotlib's figures without pyplot, their look, and how they are written."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.record import Record
from cluster.report.axes import clipped
from cluster.report.series import Bounds
from cluster.state import cannot_save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 130
WIDTH = 9.0  # inches
INK, LINES = "#333333", "#e6e6e6"


def save(figure: Figure, path: Path) -> None:
    """Writes a picture: whole, or not at all.

    Raises:
        CannotSave: it cannot be written.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font does not have are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(content, format="png", dpi=DPI, facecolor="white")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content.getvalue())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise cannot_save(path, error) from error


def figure_of(height: float, width: float = WIDTH) -> Figure:
    """An empty picture; sizes are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def canvas(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A picture with one plot; sizes are in inches."""
    figure = figure_of(height, width)
    ax = figure.add_subplot()
    plain(ax)
    return figure, ax


def plain(ax: Axes) -> None:
    """Light lines, dark text, nothing else."""
    ax.grid(True, color=LINES, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#b0b0b0")
    ax.tick_params(colors=INK, labelsize=9, color="#b0b0b0")
    ax.xaxis.label.set(color=INK, fontsize=10)
    ax.yaxis.label.set(color=INK, fontsize=10)


def whole_numbers(ax: Axes) -> None:
    """Ticks of the horizontal axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def legend(ax: Axes) -> None:
    """The legend above the plot, to the left."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=9, labelcolor=INK)


def note(ax: Axes, text: str) -> None:
    """A remark above the plot, to the right."""
    ax.annotate(text, (1, 1.02), xycoords="axes fraction", ha="right", va="bottom", fontsize=8, color="#666666")


def words(text: object, most: int = 40) -> str:
    """Foreign text: short, and a dollar sign begins no formula."""
    return clipped(str(text), most).replace("$", r"\$")


def objective(record: Record, bounds: Bounds, most: int = 40) -> str:
    """The objective's name, and how many values are worse than shown."""
    beyond = f"\n({bounds.beyond} worse than shown)" if bounds.beyond else ""
    return words(record.metric or "score", most) + beyond


def thinned(ticks: list[tuple[float, str]], most: int) -> list[tuple[float, str]]:
    """At most so many ticks, the first among them."""
    return ticks[:: math.ceil(len(ticks) / most)]
