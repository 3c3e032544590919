"""The figures of what was reported during training: the objective of many trials, and every metric of one.

Gives figures for plotly.js, as `figures.py` does.
"""

from __future__ import annotations

from itertools import pairwise

from cluster.record import Facts, Record, Trial
from cluster.report import series
from cluster.report.axes import rounded
from cluster.report.layout import (
    BLUE,
    GREY,
    SKY,
    VERMILLION,
    base,
    grid,
    objective,
    safe,
    some_of,
    title_of,
    value_axis,
)

MEASURES = 12  # how many metrics of a trial are drawn at most
VALIDATION = "val_"


def curves(record: Record) -> Facts | None:
    """The objective after each epoch, of the best and the newest trials; the best and those that run stand out.

    One that was stopped early has a mark at its end.
    """
    trials, count = series.drawn_curves(record)
    if not trials:
        return None
    metric, best = record.metric or "", record.best
    lines = {x.id: series.curve(x, metric) for x in trials}
    values = [y[1] for line in lines.values() for y in line if y is not None]
    name = objective(record)
    data: list[Facts] = []
    # What is drawn last is on top.
    order = sorted(trials, key=lambda x: (best is not None and x.id == best.id, x.status == "running"))
    for trial in order:
        line = lines[trial.id]
        is_best = best is not None and trial.id == best.id
        kind = "best" if is_best else trial.status if trial.status in ("running", "pruned") else "others"
        colour = {"best": VERMILLION, "running": SKY}.get(kind, GREY)
        alone = len(line) == 1
        name_of = {"best": f"best: trial {safe(trial.id, 20)}", "pruned": "stopped early", "others": "other trials"}
        trace: Facts = {
            "type": "scatter",
            "mode": "lines+markers" if is_best or alone or kind == "pruned" else "lines",
            "name": name_of.get(kind, kind),
            "legendgroup": kind,
            "showlegend": kind not in {x["legendgroup"] for x in data},
            "x": [None if x is None else x[0] for x in line],
            "y": rounded(None if x is None else x[1] for x in line),
            "line": {"color": colour, "width": 3 if is_best else 1.5},
            "marker": {"size": 6, "color": colour},
            "opacity": 0.5 if colour == GREY else 1,
            "hovertemplate": f"trial {safe(trial.id, 20)}<br>epoch %{{x}}<br>{name} %{{y}}<extra></extra>",
        }
        if kind == "pruned":  # a mark where it was stopped
            trace["marker"] |= {"symbol": "x", "size": [0] * (len(line) - 1) + [7]}
        data.append(trace)
    layout = base(
        xaxis=title_of("epoch") | _whole(max(x for t in data for x in t["x"] if x)),
        yaxis=value_axis(record, series.bounds(record, values), zeroline=False),
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        annotations=some_of(len(trials), count),
    )
    return {"data": data, "layout": layout}


def curve(record: Record, trial: Trial) -> Facts | None:
    """Every metric of one trial after each epoch, its attempts joined; what belongs together is in one panel."""
    runs = series.runs(trial)
    names = list(dict.fromkeys(x for run in runs for epoch in run for x in epoch.logs))
    # The objective's panel comes first.
    panels = list(dict.fromkeys(x.removeprefix(VALIDATION) for x in sorted(names, key=lambda x: x != record.metric)))
    panels = panels[:MEASURES]
    if not panels:
        return None
    domains, height = grid(len(panels), 2, 210)
    layout = base(height=height, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    data: list[Facts] = []
    last = max(epoch.number for run in runs for epoch in run)
    for n, (measure, (wide, high)) in enumerate(zip(panels, domains, strict=True)):
        key = "" if n == 0 else str(n + 1)
        layout[f"xaxis{key}"] = {"domain": wide, "anchor": f"y{key}", **title_of("epoch"), **_whole(last)}
        layout[f"yaxis{key}"] = {"domain": high, "anchor": f"x{key}", **title_of(safe(measure, 24))}
        for metric in (measure, VALIDATION + measure):
            if metric not in names:
                continue
            line = series.curve(trial, metric, 1000)
            kind = "validation" if metric.startswith(VALIDATION) else "training"
            colour, dash = (VERMILLION, "solid") if kind == "validation" else (BLUE, "dot")
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if len(line) <= 60 else "lines",
                    "name": kind,
                    "legendgroup": kind,
                    "showlegend": kind not in {x["legendgroup"] for x in data},
                    "x": [None if x is None else x[0] for x in line],
                    "y": rounded(None if x is None else x[1] for x in line),
                    "xaxis": f"x{key}",
                    "yaxis": f"y{key}",
                    "line": {"color": colour, "dash": dash},
                    "marker": {"size": 5},
                    "hovertemplate": f"{safe(metric)} %{{y}}<br>epoch %{{x}}<extra></extra>",
                }
            )
    layout["shapes"] = [
        {"type": "line", "xref": "x", "yref": "y domain", "x0": x, "x1": x, "y0": 0, "y1": 1}
        | {"line": {"color": GREY, "dash": "dash", "width": 1}}
        for x in _taken_up(trial)
    ]
    return {"data": data, "layout": layout}


def _taken_up(trial: Trial) -> list[float]:
    """Between which epochs one attempt ends and the next takes it up."""
    found = []
    for run in series.runs(trial):
        for before, after in pairwise(run):
            if before.attempt != after.attempt:
                found.append((before.number + after.number) / 2)
    return found


def _whole(last: int) -> Facts:
    """Ticks at whole numbers only."""
    return {"dtick": 1} if last <= 12 else {"tickformat": "d"}
