"""The figures of a search for plotly.js: of the live page, and of `report.html`.

Each takes a record and gives `{"data": […], "layout": {…}}`, or None where there is too little to show. What they
contain is plain JSON: numbers are finite and rounded to what can be seen, and foreign text is escaped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.record import Facts, Record, Trial
from cluster.report import importance as importances
from cluster.report import series
from cluster.report.axes import ABSENT, Axis, axes, clipped, linear_ticks, rounded, short
from cluster.report.curves import curves
from cluster.report.facts import TITLES
from cluster.report.layout import (
    BLUE,
    GREY,
    OUTCOMES,
    SCALE,
    VERMILLION,
    base,
    grid,
    objective,
    parameter_axis,
    safe,
    some_of,
    title_of,
    value_axis,
)

PANELS = 24  # how many hyperparameters are drawn at most
MARKS = 30_000  # how many points the panels of `slices` have together at most
LABEL = 16  # letters of a name above its axis
TALLEST = 6_000  # of a figure, in pixels
HATCH = {"fillmode": "overlay", "fgcolor": "#ffffff", "fgopacity": 0.8, "solidity": 0.25, "size": 7}


@dataclass(frozen=True)
class Figure:
    """A figure: its title, and what draws it."""

    title: str
    draw: Callable[[Record], Facts | None]

    def __call__(self, record: Record) -> Facts | None:
        """The figure of a record; None where there is too little to show."""
        return self.draw(record)


def history(record: Record) -> Facts | None:
    """The objective of each trial in the order of their end, the best so far, and where trials failed."""
    shown = series.history(record)
    if not shown.count:
        return None
    name = objective(record)
    data: list[Facts] = []
    # Those that failed have no value: they are in a strip of their own.
    layout = base(xaxis=title_of("trials, in the order of their end"))
    layout |= {"legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}}
    if shown.best:
        last = (shown.count, shown.best[-1][1])
        steps = [*shown.best, last]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "best so far",
                "x": [n for n, _ in steps],
                "y": rounded(y for _, y in steps),
                "line": {"color": VERMILLION, "width": 2, "shape": "hv"},
                "hovertemplate": f"best {name} %{{y}}<extra></extra>",
            }
        )
    if shown.trials:
        bounds = series.bounds(record, _scores([x for _, x in shown.trials]))
        layout["yaxis"] = value_axis(record, bounds)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "completed",
                "x": [n for n, _ in shown.trials],
                "y": rounded(x.score for _, x in shown.trials),
                "customdata": [safe(x.id, 20) for _, x in shown.trials],
                "hovertemplate": f"trial %{{customdata}}<br>{name} %{{y}}<extra></extra>",
                "marker": {"color": BLUE, "size": 7 if shown.count < 300 else 4, "opacity": 0.85},
            }
        )
    if shown.failed:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "failed",
                "x": [n for n, _ in shown.failed],
                "y": [0] * len(shown.failed),
                "yaxis": "y2" if shown.trials else "y",
                "hovertext": [f"trial {safe(x.id, 20)} failed<br>{safe(x.reason, 100)}" for _, x in shown.failed],
                "hoverinfo": "text",
                "marker": {
                    "color": VERMILLION,
                    "symbol": "x-thin",
                    "size": 8,
                    "line": {"color": VERMILLION, "width": 2},
                },
            }
        )
        strip = {"range": [-1, 1], "fixedrange": True, "tickvals": [0], "ticktext": ["failed"], "showgrid": False}
        strip["zeroline"] = False
        if shown.trials:
            layout["yaxis"]["domain"] = [0.1, 1]
            layout["yaxis2"] = {**strip, "domain": [0, 0.07]}
            layout["xaxis"]["anchor"] = "y2"
        else:
            layout["yaxis"] = strip
    return {"data": data, "layout": layout}


def parallel(record: Record) -> Facts | None:
    """A line for each completed trial through its hyperparameters to its objective."""
    # What is drawn last is on top: the best.
    trials = record.done[::-1]
    if not trials:
        return None
    shown = [x for x in axes(record) if x.high > x.low or x.absent][:PANELS]
    if not shown:
        return None
    scores = _scores(trials)
    bounds = series.bounds(record, scores)
    dimensions: list[Facts] = []
    for axis in shown:
        ticks = axis.ticks()
        dimensions.append(
            {
                "label": safe(axis.name, LABEL),
                "values": rounded(axis.stand(x) for x in trials),
                "tickvals": rounded(x for x, _ in ticks),
                # Of all its texts, plotly shows these alone as they are.
                "ticktext": [clipped(x, 14) for _, x in ticks],
                "range": rounded(axis.bounds),
            }
        )
    inside = [min(max(x, bounds.low), bounds.high) for x in scores]
    ticks = linear_ticks(bounds.low, bounds.high)
    dimensions.append(
        {
            "label": safe(record.metric or "score", LABEL),
            "values": rounded(inside),
            "tickvals": rounded(x for x, _ in ticks),
            "ticktext": [x for _, x in ticks],
            "range": rounded([bounds.low, bounds.high]),
        }
    )
    scale = SCALE if record.sign < 0 else [(1 - at, colour) for at, colour in reversed(SCALE)]
    line = {
        "color": rounded(inside),
        "colorscale": [list(x) for x in scale] if record.metric is not None else [[0, BLUE], [1, BLUE]],
        "cmin": min(inside),
        "cmax": max(inside) if max(inside) > min(inside) else min(inside) + 1,
    }
    crowded = sum(min(LABEL, len(x.name)) + 2 for x in shown) > 90
    margin = {"l": 80, "r": 64, "t": 64, "b": 28}
    data = [{"type": "parcoords", "line": line, "dimensions": dimensions, "labelangle": -12 if crowded else 0}]
    return {"data": data, "layout": {"margin": margin, "height": 440}}


def importance(record: Record) -> Facts | None:
    """How much each hyperparameter matters for the objective, as a share."""
    found = importances.importance(record)
    if found is None:
        return None
    rows = [(name, share) for name, share in reversed(found.items())]
    bar = {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(rows))),
        "x": rounded(share for _, share in rows),
        "text": [f"{share:.0%}" for _, share in rows],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertext": [f"{safe(name)} {share:.1%}" for name, share in rows],
        "hoverinfo": "text",
        "marker": {"color": BLUE},
    }
    layout = base(
        xaxis=title_of("share of the importance") | {"tickformat": ".0%", "rangemode": "tozero"},
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [safe(name, 30) for name, _ in rows],
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
        },
        height=110 + 30 * len(rows),
    )
    layout["margin"]["r"] = 56
    return {"data": [bar], "layout": layout}


def slices(record: Record) -> Facts | None:
    """A panel for each hyperparameter: its value and the objective of each completed trial."""
    done = [x for x in record.ordered if x.scored]
    shown = [x for x in axes(record) if x.high > x.low or x.absent][:PANELS]
    if not done or not shown:
        return None
    trials = series.selected(record, done, max(50, MARKS // len(shown)))
    bounds = series.bounds(record, _scores(done))
    scores, ids = rounded(x.score for x in trials), [safe(x.id, 20) for x in trials]
    domains, height = grid(len(shown), 3, 230)
    layout: Facts = base(showlegend=False, height=height, annotations=some_of(len(trials), len(done)))
    data: list[Facts] = []
    for n, (axis, (wide, high)) in enumerate(zip(shown, domains, strict=True)):
        key = "" if n == 0 else str(n + 1)
        first = n % 3 == 0
        layout[f"xaxis{key}"] = parameter_axis(axis, domain=wide, anchor=f"y{key}")
        layout[f"yaxis{key}"] = value_axis(record, bounds, 20, domain=high, anchor=f"x{key}", showticklabels=first)
        if n:
            layout[f"yaxis{key}"]["matches"] = "y"
        if not first:
            layout[f"yaxis{key}"].pop("title")
        texts = [safe(_value(axis, x), 40) for x in trials] if axis.categories or axis.log or axis.absent else None
        places = axis.beside(trials)
        trace: Facts = {
            "type": "scatter",
            "mode": "markers",
            "x": rounded(places),
            "y": scores,
            "xaxis": f"x{key}",
            "yaxis": f"y{key}",
            "customdata": ids,
            "hovertemplate": f"trial %{{customdata}}<br>{safe(axis.name)} %{{{'x' if texts is None else 'text'}}}"
            f"<br>{objective(record)} %{{y}}<extra></extra>",
            "marker": {"color": BLUE, "size": 6 if len(trials) < 300 else 4, "opacity": 0.7},
        }
        if texts is not None:
            trace["text"] = texts
        data.append(trace)
        if record.best is not None:
            data.append(_star(axis, record.best, key))
    return {"data": data, "layout": layout}


def timeline(record: Record) -> Facts | None:
    """A row for each worker and its device, with a bar for each attempt in the colour of how it ended."""
    bars = series.bars(record)
    if not bars:
        return None
    size, name = series.unit(max(x.begin + x.length for x in bars))
    rows = list(dict.fromkeys(x.row for x in bars))[::-1]
    at = {row: n for n, row in enumerate(rows)}
    data: list[Facts] = []
    for outcome in dict.fromkeys([*OUTCOMES, *(x.outcome for x in bars)]):
        mine = [x for x in bars if x.outcome == outcome]
        if not mine:
            continue
        colour, pattern = OUTCOMES.get(outcome, (GREY, ""))
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": safe(outcome, 20),
                "y": [at[x.row] for x in mine],
                "base": rounded(x.begin / size for x in mine),
                "x": rounded(x.length / size for x in mine),
                "width": 0.7,
                "hovertext": [
                    f"trial {safe(x.trial, 20)}, attempt {x.attempt}: {safe(outcome, 20)}<br>{x.length:.4g} s"
                    + (f"<br>{safe(x.reason, 100)}" if x.reason else "")
                    for x in mine
                ],
                "hoverinfo": "text",
                # A thin line of no colour keeps neighbours apart.
                "marker": {"color": colour, "pattern": {**HATCH, "shape": pattern}, "line": {"width": 0}},
            }
        )
    layout = base(
        barmode="overlay",
        showlegend=True,
        xaxis=title_of(f"{name} since the search began") | {"rangemode": "tozero"},
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [safe(x, 40) for x in rows],
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
            "range": [-0.6, len(rows) - 0.4],
        },
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        height=min(TALLEST, 130 + 34 * len(rows)),
    )
    return {"data": data, "layout": layout}


FIGURES: dict[str, Figure] = {
    name: Figure(TITLES[name], draw)
    for name, draw in {
        "history": history,
        "curves": curves,
        "parallel": parallel,
        "importance": importance,
        "slices": slices,
        "timeline": timeline,
    }.items()
}


def _scores(trials: list[Trial]) -> list[float]:
    return [x.score for x in trials if x.score is not None]


def _value(axis: Axis, trial: Trial) -> Any:
    return short(trial.values[axis.name], 40) if axis.name in trial.values else ABSENT


def _star(axis: Axis, best: Trial, key: str) -> Facts:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded([axis.stand(best)]),
        "y": rounded([best.score]),
        "xaxis": f"x{key}",
        "yaxis": f"y{key}",
        "hoverinfo": "skip",
        "cliponaxis": False,
        "marker": {"color": VERMILLION, "symbol": "star", "size": 13},
    }
