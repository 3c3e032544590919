"""Several searches side by side, as files: `comparison.md`, `comparison.html`, `comparison.png`.

Owns what is said of each search; the figure is `compare.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster import follow
from cluster.errors import UsageError
from cluster.record import Record
from cluster.report import tables
from cluster.report.axes import short
from cluster.report.compare import check, compare, names
from cluster.report.extras import complain, without
from cluster.report.facts import busy_seconds, span
from cluster.state import write_atomically

COLUMNS = (
    "search",
    "oracle",
    "best",
    "in trial",
    "trials",
    "failed",
    "lost attempts",
    "workers",
    "time",
    "together",
)


def write(directories: Sequence[Path], output: Path) -> str:
    """Writes the comparison; the Markdown first, which needs nothing.

    Args:
        directories: The project directories.
        output: Where to.

    Returns:
        A line: which search is best.

    Raises:
        UsageError: one of them is no project directory or is named twice, or their objectives differ.
        MissingDependency: a package that draws is not here; what the other one draws is there.
        CannotSave: the files cannot be written.
    """
    if len({x.resolve() for x in directories}) < len(directories):
        raise UsageError("a search is named twice; compare it with others")
    records = [follow.read(directory) for directory in directories]
    check(records)
    rows = [_row(name, record) for name, record in zip(names(records), records, strict=True)]
    line = _line(records)
    missing = without(("plotly", "comparison.html"), ("matplotlib", "comparison.png"))
    drawn = False
    if "matplotlib" not in missing:
        from cluster.report import canvas, pictures

        figure = pictures.compare(records)
        drawn = figure is not None
        if figure is not None:
            canvas.save(figure, output / "comparison.png")
    write_atomically(output / "comparison.md", _markdown(line, rows, drawn))
    if "plotly" not in missing:
        from cluster.report import page

        page.write_comparison("Comparison", line, compare(records), COLUMNS, rows, output / "comparison.html")
    complain(missing)
    return line


def _line(records: Sequence[Record]) -> str:
    """Which search is best."""
    scored = [(name, x) for name, x in zip(names(records), records, strict=True) if x.best is not None]
    if not scored:
        return f"{len(records)} searches, none with a score yet"
    sign = scored[0][1].sign
    name, best = min(scored, key=lambda x: sign * ((x[1].best.score if x[1].best else None) or 0.0))
    score = best.best.score if best.best is not None else None
    return f"{len(records)} searches; the best {best.metric} is {score:.5g}, of {name}"


def _row(name: str, record: Record) -> list[Any]:
    busy, together = busy_seconds(record)
    best = record.best
    return [
        name,
        record.oracle or None,
        None if best is None else best.score,
        None if best is None else best.id,
        len(record.trials),
        record.counts.get("failed", 0),
        sum(len(x.losses) for x in record.trials.values()),
        len(record.workers) or None,
        span(busy) if together else None,
        span(together) if together else None,
    ]


def _markdown(line: str, rows: Sequence[Sequence[Any]], drawn: bool) -> str:
    lines = ["# Comparison", "", tables.inline(line) + ".", ""]
    lines += ["![The best so far of each search](comparison.png)", ""] if drawn else []
    lines += tables.markdown(COLUMNS, [["" if x is None else short(x, 60) for x in row] for row in rows])
    lines += ["", "Time: for how long trials ran, and how long all attempts took together."]
    return "\n".join(lines) + "\n"
