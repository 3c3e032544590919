"""Several searches side by side: the best so far of each, as a figure for plotly.js, and a table.

Owns which searches can be compared: those of one objective.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from cluster.errors import UsageError
from cluster.record import Facts, Record
from cluster.report import series
from cluster.report.axes import rounded
from cluster.report.layout import DASHES, PALETTE, base, grid, objective, safe, title_of, value_axis


def check(records: Sequence[Record]) -> None:
    """Refuses a comparison that would mean nothing.

    Raises:
        UsageError: two searches have different objectives; the text names both.
    """
    known = [x for x in records if x.metric is not None]
    for record in known[1:]:
        first = known[0]
        if (record.metric, record.direction) != (first.metric, first.direction):
            raise UsageError(
                f"{first.directory} has the objective {first.metric} ({first.direction}), {record.directory} "
                f"{record.metric} ({record.direction}): they cannot be compared"
            )


def names(records: Sequence[Record]) -> list[str]:
    """A name for each search: the project's, or as much more of its path as tells it from the others."""
    paths = [PurePath(x.directory).parts for x in records]
    found = [x.name for x in records]
    for depth in range(2, max((len(x) for x in paths), default=0) + 1):
        count = Counter(found)
        found = ["/".join(p[-depth:]) if count[name] > 1 else name for name, p in zip(found, paths, strict=True)]
    return found


def compare(records: Sequence[Record]) -> Facts | None:
    """The best so far of each search, against ended trials and against time; None where none has a score."""
    lines = [(name, x, series.best_so_far(x)) for name, x in zip(names(records), records, strict=True)]
    drawn = [x for x in lines if x[2]]
    if not drawn:
        return None
    first = drawn[0][1]
    times = [time for _, _, points in drawn for _, time, _ in points if math.isfinite(time)]
    size, unit = series.unit(max(times, default=0.0))
    panels = 2 if times else 1
    domains, height = grid(panels, 2, 380)
    scores = [score for _, _, points in drawn for _, _, score in points]
    span = series.bounds(first, scores)
    layout = base(height=height, legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"})
    for n, title in enumerate(("trials that have ended", f"{unit} since the search began")[:panels]):
        key = "" if n == 0 else str(n + 1)
        layout[f"xaxis{key}"] = {**title_of(title), "domain": domains[n][0], "anchor": f"y{key}"}
        layout[f"yaxis{key}"] = value_axis(first, span, domain=domains[n][1], anchor=f"x{key}")
    if panels == 2:
        layout["yaxis2"] |= {"matches": "y", "showticklabels": False}
        layout["yaxis2"].pop("title")
    data: list[Facts] = []
    for n, (name, _, points) in enumerate(drawn):
        look = {"color": PALETTE[n % len(PALETTE)], "dash": DASHES[n // len(PALETTE) % len(DASHES)], "width": 2}
        for panel in range(panels):
            key = "" if panel == 0 else "2"
            known = [x for x in points if panel == 0 or math.isfinite(x[1])]
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": safe(name),
                    "legendgroup": str(n),
                    "showlegend": panel == 0,
                    "x": rounded(x[0] if panel == 0 else x[1] / size for x in known),
                    "y": rounded(x[2] for x in known),
                    "xaxis": f"x{key}",
                    "yaxis": f"y{key}",
                    "line": {**look, "shape": "hv"},
                    "hovertemplate": f"{safe(name)}<br>{objective(first)} %{{y}}<extra></extra>",
                }
            )
    return {"data": data, "layout": layout}
