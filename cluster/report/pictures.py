"""The plots of a search as PNG, by Matplotlib: `plots/*.png`.

Draws on canvases of its own, without pyplot: the program's own plots are the program's. Shows the same as `figures.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.record import Record, Trial
from cluster.report import compare as comparison
from cluster.report import importance as importances
from cluster.report import series
from cluster.report.axes import Axis, axes, linear_ticks
from cluster.report.canvas import (
    INK,
    canvas,
    figure_of,
    legend,
    note,
    objective,
    plain,
    save,
    thinned,
    whole_numbers,
    words,
)
from cluster.report.layout import BLUE, GREY, OUTCOMES, PALETTE, SCALE, SKY, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 12  # hyperparameters that are drawn at most
ROWS = 40  # of the timeline, at most
LABEL = 18  # letters of a name above its axis
LETTERS = 84  # such letters that a picture is wide
MANY = 400  # attempts, whose bars are too thin for edges and hatches
HATCHES = {"/": "////", "x": "xxxx", "\\": "\\\\\\\\", ".": "...."}


def draw(record: Record, directory: Path, names: Sequence[str] | None = None) -> list[str]:
    """Writes `plots/*.png`; removes the picture of an earlier search where there is too little to show now.

    Args:
        record: The search.
        directory: The directory in which `plots` is.
        names: Which pictures; None for all of them.

    Returns:
        The names of the pictures that are there.

    Raises:
        CannotSave: they cannot be written.
    """
    place = directory / "plots"
    found = []
    for name in PICTURES if names is None else names:
        path = place / f"{name}.png"
        figure = PICTURES[name](record)
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            save(figure, path)
            found.append(name)
    return found


def history(record: Record) -> Figure | None:
    """The objective of each trial in the order of their end, the best so far, and where trials failed."""
    shown = series.history(record)
    if not shown.trials:
        return None
    figure, ax = canvas(4.2)
    bounds = series.bounds(record, [x.score or 0.0 for _, x in shown.trials])
    size = 26 if shown.count < 300 else 9
    ax.scatter(
        [n for n, _ in shown.trials],
        [x.score or 0.0 for _, x in shown.trials],
        s=size,
        color=BLUE,
        alpha=0.75,
        linewidths=0,
        zorder=3,
        label="completed",
    )
    if shown.best:
        steps = [*shown.best, (shown.count, shown.best[-1][1])]
        ax.step(*zip(*steps, strict=True), where="post", color=VERMILLION, linewidth=2, label="best so far")
    ax.set_ylim(bounds.low, bounds.high)
    if shown.failed:
        _failures(ax, [n for n, _ in shown.failed])
    whole_numbers(ax)
    ax.set_xlabel("trials, in the order of their end")
    ax.set_ylabel(objective(record, bounds))
    legend(ax)
    return figure


def curves(record: Record) -> Figure | None:
    """The objective after each epoch, of the best and the newest trials."""
    trials, count = series.drawn_curves(record)
    if not trials:
        return None
    figure, ax = canvas(4.2)
    best, values = record.best, []
    for trial in sorted(trials, key=lambda x: (best is not None and x.id == best.id, x.status == "running")):
        line = series.curve(trial, record.metric or "")
        values += [x[1] for x in line if x is not None]
        is_best = best is not None and trial.id == best.id
        colour = VERMILLION if is_best else SKY if trial.status == "running" else GREY
        kind = {"running": "running", "pruned": "stopped early"}.get(trial.status, "others")
        label = f"best: trial {words(trial.id)}" if is_best else kind
        early = label == "stopped early"  # with a mark where it was
        known = ax.get_legend_handles_labels()[1]
        ax.plot(
            [math.nan if x is None else x[0] for x in line],
            [math.nan if x is None else x[1] for x in line],
            color=colour,
            linewidth=2.4 if is_best else 1,
            alpha=0.45 if colour == GREY else 1,
            marker="x" if early else "o" if is_best or len(line) == 1 else "",
            markevery=[len(line) - 1] if early else None,
            markersize=4,
            label="_" if label in known else label,
        )
    bounds = series.bounds(record, values)
    ax.set_ylim(bounds.low, bounds.high)
    whole_numbers(ax)
    ax.set_xlabel("epoch")
    ax.set_ylabel(objective(record, bounds))
    legend(ax)
    if len(trials) < count:
        note(ax, f"the best and the newest {len(trials)} of {count} trials")
    return figure


def parallel(record: Record) -> Figure | None:
    """A line for each completed trial through its hyperparameters to its objective."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    trials = record.done[::-1]
    shown = _differing(record)
    if not trials or not shown:
        return None
    figure, ax = canvas(4.6)
    scores = [x.score or 0.0 for x in trials]
    bounds = series.bounds(record, scores)
    scale = SCALE if record.sign < 0 else tuple((1 - at, colour) for at, colour in reversed(SCALE))
    colours = LinearSegmentedColormap.from_list("scores", scale if record.metric else [BLUE, BLUE])
    inside = [min(max(x, bounds.low), bounds.high) for x in scores]
    lines = []
    for trial, score in zip(trials, inside, strict=True):
        heights = [_height(axis, trial) for axis in shown] + [(score - bounds.low) / (bounds.high - bounds.low)]
        lines.append(_smooth(heights))
    few = len(lines) < 100
    drawn = LineCollection(
        lines,
        array=inside,
        cmap=colours,
        norm=Normalize(min(inside), max(inside)),
        linewidths=1.4 if few else 0.7,
        alpha=0.8 if few else 0.45,
    )
    ax.add_collection(drawn)
    last = len(shown)
    # Names that would meet are aslant.
    names = [*(x.name for x in shown), record.metric or "score"]
    crowded = any(min(len(x), LABEL) + min(len(y), LABEL) > 2 * LETTERS / last for x, y in pairwise(names))
    for n, axis in enumerate(shown):
        low, high = axis.bounds
        _pole(ax, n, axis.name, [((at - low) / (high - low), text) for at, text in axis.ticks()], crowded)
    ticks = linear_ticks(bounds.low, bounds.high)
    poles = [((at - bounds.low) / (bounds.high - bounds.low), text) for at, text in ticks]
    _pole(ax, last, record.metric or "score", poles, crowded, right=True)
    ax.set_xlim(-0.05, last + 0.05)
    ax.set_ylim(-0.02, 1.02)
    ax.set_axis_off()
    return figure


def importance(record: Record) -> Figure | None:
    """How much each hyperparameter matters for the objective, as a share."""
    found = importances.importance(record)
    if found is None:
        return None
    rows = list(reversed(list(found.items())[:PANELS]))
    figure, ax = canvas(1.1 + 0.42 * len(rows))
    drawn = ax.barh([words(name, 30) for name, _ in rows], [share for _, share in rows], color=BLUE, height=0.62)
    ax.bar_label(drawn, [f"{share:.0%}" for _, share in rows], padding=4, color=INK, fontsize=9)
    ax.set_xlim(0, 1.12 * max(share for _, share in rows))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    ax.set_xlabel(f"share of the importance for {words(record.metric or 'score')}")
    ax.grid(False, axis="y")
    return figure


def slices(record: Record) -> Figure | None:
    """A panel for each hyperparameter: its value and the objective of each completed trial."""
    trials = [x for x in record.ordered if x.scored]
    shown = _differing(record)
    if not trials or not shown:
        return None
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = figure_of(0.5 + 2.6 * rows)
    bounds = series.bounds(record, [x.score or 0.0 for x in trials])
    for n, axis in enumerate(shown):
        ax = figure.add_subplot(rows, columns, n + 1)
        plain(ax)
        places = axis.beside(trials)
        size = 18 if len(trials) < 300 else 5
        ax.scatter(places, [x.score or 0.0 for x in trials], s=size, color=BLUE, alpha=0.6, linewidths=0)
        if record.best is not None:
            ax.scatter(
                [axis.stand(record.best)],
                [record.best.score or 0.0],
                s=130,
                marker="*",
                color=VERMILLION,
                zorder=3,
                linewidths=0,
            )
        ax.set_ylim(bounds.low, bounds.high)
        ax.set_xlim(*axis.bounds)
        ticks = thinned(axis.ticks(5), 6)
        ax.set_xticks([at for at, _ in ticks], [words(x, 10) for _, x in ticks])
        ax.set_xlabel(words(axis.name, 30))
        if n % columns:
            ax.tick_params(labelleft=False)
        else:
            ax.set_ylabel(objective(record, bounds, 22))
    return figure


def timeline(record: Record) -> Figure | None:
    """A row for each worker and its device, with a bar for each attempt in the colour of how it ended."""
    bars = series.bars(record)
    if not bars:
        return None
    rows = list(dict.fromkeys(x.row for x in bars))
    left = len(rows) - ROWS
    rows = rows[:ROWS]
    at = {row: n for n, row in enumerate(rows)}
    size, name = series.unit(max(x.begin + x.length for x in bars))
    figure, ax = canvas(1.3 + 0.34 * len(rows))
    for outcome in dict.fromkeys([*OUTCOMES, *(x.outcome for x in bars)]):
        mine = [x for x in bars if x.outcome == outcome and x.row in at]
        if not mine:
            continue
        colour, pattern = OUTCOMES.get(outcome, (GREY, ""))
        ax.barh(
            [at[x.row] for x in mine],
            [x.length / size for x in mine],
            left=[x.begin / size for x in mine],
            height=0.66,
            color=colour,
            edgecolor="white",
            linewidth=0.6 if len(bars) < MANY else 0,
            hatch=HATCHES.get(pattern) if len(bars) < MANY else None,
            label=words(outcome),
        )
    ax.set_yticks(range(len(rows)), [words(x, 40) for x in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.margins(x=0.01)
    ax.grid(False, axis="y")
    ax.set_xlabel(f"{name} since the search began")
    legend(ax)
    if left > 0:
        note(ax, f"{left} more workers are not shown")
    return figure


def compare(records: Sequence[Record]) -> Figure | None:
    """The best so far of each search, against ended trials and against time; None where none has a score."""
    named = zip(comparison.names(records), records, strict=True)
    lines = [(name, x, points) for name, x in named if (points := series.best_so_far(x))]
    if not lines:
        return None
    times = [time for _, _, points in lines for _, time, _ in points if math.isfinite(time)]
    size, unit = series.unit(max(times, default=0.0))
    first = lines[0][1]
    bounds = series.bounds(first, [score for _, _, points in lines for _, _, score in points])
    panels = 2 if times else 1
    figure = figure_of(4.2)
    for panel, title in enumerate(("trials that have ended", f"{unit} since the search began")[:panels]):
        ax = figure.add_subplot(1, panels, panel + 1)
        plain(ax)
        for n, (name, _, points) in enumerate(lines):
            known = [x for x in points if panel == 0 or math.isfinite(x[1])]
            ax.step(
                [x[0] if panel == 0 else x[1] / size for x in known],
                [x[2] for x in known],
                where="post",
                linewidth=2,
                color=PALETTE[n % len(PALETTE)],
                linestyle=("-", "--", ":", "-.")[n // len(PALETTE) % 4],
                label=words(name, 40),
            )
        ax.set_ylim(bounds.low, bounds.high)
        ax.set_xlabel(title)
        if panel:
            ax.tick_params(labelleft=False)
        else:
            whole_numbers(ax)
            ax.set_ylabel(objective(first, bounds))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=min(3, len(labels)), frameon=False, fontsize=9)
    return figure


PICTURES: dict[str, Callable[[Record], Figure | None]] = {
    "history": history,
    "curves": curves,
    "parallel": parallel,
    "importance": importance,
    "slices": slices,
    "timeline": timeline,
}


def _differing(record: Record) -> list[Axis]:
    return [x for x in axes(record) if x.high > x.low or x.absent][:PANELS]


def _failures(ax: Axes, places: list[int]) -> None:
    """A row of crosses on the axis."""
    transform = ax.get_xaxis_transform()
    ax.plot(
        places, [0.02] * len(places), "x", color=VERMILLION, transform=transform, label="failed", markersize=6, mew=1.6
    )


def _height(axis: Axis, trial: Trial) -> float:
    low, high = axis.bounds
    return (axis.stand(trial) - low) / (high - low)


def _smooth(heights: list[float]) -> list[tuple[float, float]]:
    """A line through heights at 0, 1, 2, …, which leaves and comes to each of them level."""
    found = []
    for n, (a, b) in enumerate(pairwise(heights)):
        for step in range(30):
            t = step / 30
            found.append((n + t, a + (b - a) * t * t * (3 - 2 * t)))
    return [*found, (len(heights) - 1.0, heights[-1])]


def _pole(ax: Axes, at: float, name: str, ticks: list[tuple[float, str]], aslant: bool, *, right: bool = False) -> None:
    """The axis of one hyperparameter: a line, its ticks, and its name above."""
    import matplotlib.patheffects as effects

    halo: Any = [effects.withStroke(linewidth=3, foreground="white")]
    ax.plot([at, at], [0, 1], color="#555555", linewidth=1.2, zorder=3)
    for height, text in thinned(ticks, 14):
        ax.plot([at - 0.012, at + 0.012], [height, height], color="#555555", linewidth=1, zorder=3)
        x, side = (at + 0.025, "left") if right else (at - 0.025, "right")
        ax.text(x, height, words(text, 14), ha=side, va="center", fontsize=8, color=INK, zorder=4, path_effects=halo)
    side = "left" if aslant else "center"
    look: dict[str, Any] = {"fontsize": 9.5, "color": INK, "fontweight": "bold", "rotation": 20 if aslant else 0}
    ax.text(at, 1.05, words(name, LABEL), ha=side, va="bottom", rotation_mode="anchor", **look)
