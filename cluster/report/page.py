"""A search, or several side by side, as one HTML file that needs no network: `report.html`, `comparison.html`.

Owns the page's parts and their escaping. The figures are `figures.py`'s; plotly.js, which draws them, is in the file.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.errors import MissingDependency
from cluster.record import Facts, Record
from cluster.report import tables
from cluster.report.facts import facts, headline
from cluster.report.figures import FIGURES
from cluster.state import write_atomically

STATIC = Path(__file__).parent / "static"
MESSAGES = 100  # failed trials whose messages are shown at most


def write(record: Record, path: Path) -> None:
    """Writes a search's page.

    Raises:
        MissingDependency: plotly is not here.
        CannotSave: the file cannot be written.
    """
    figures = {name: found for name, figure in FIGURES.items() if (found := figure(record)) is not None}
    rows = tables.rows(record)
    names = tables.columns(rows)
    trials = table([x.removeprefix("hp:") for x in names], [[row.get(x) for x in names] for row in rows])
    body = [_facts(facts(record))]
    body += [_plot(name, FIGURES[name].title) for name in figures]
    body += [_table("trials", "Trials")] if rows else []
    body += _messages(rows)
    write_atomically(path, page(record.name, headline(record) + ".", body, figures, {"trials": trials}))


def write_comparison(
    title: str, line: str, figure: Facts | None, columns: Sequence[str], rows: Sequence[Sequence[Any]], path: Path
) -> None:
    """Writes the page of several searches.

    Args:
        title: What stands above.
        line: What is compared, in a line.
        figure: The best so far of each; None where none has a score.
        columns: What is said of each search.
        rows: The searches.
        path: Where to.

    Raises:
        MissingDependency: plotly is not here.
        CannotSave: the file cannot be written.
    """
    figures = {} if figure is None else {"compare": figure}
    body = [_plot(name, "The best so far") for name in figures] + [_table("searches", "Searches")]
    write_atomically(path, page(title, line + ".", body, figures, {"searches": table(columns, rows)}))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Facts:
    """A table as the page takes it; what is neither a number nor nothing is text."""
    plain = [[x if isinstance(x, int | float) and not isinstance(x, bool) else _text(x) for x in row] for row in rows]
    return {"columns": list(columns), "rows": plain}


def page(title: str, line: str, body: Sequence[str], figures: Mapping[str, Facts], rows: Mapping[str, Facts]) -> str:
    """The whole file.

    Args:
        title: The page's title, as text.
        line: What stands below it, as text.
        body: The page's parts, as HTML.
        figures: What is drawn in each place for a plot, by its name.
        rows: What is in each table, by its name.

    Raises:
        MissingDependency: plotly is not here.
    """
    parts = {
        "title": html.escape(title),
        "headline": html.escape(line),
        "body": "\n".join(body),
        "data": in_script({"figures": figures, "tables": rows}),
        "style": _static("page.css"),
        "script": _static("page.js"),
        "plotly": plotly_js().read_text(encoding="utf-8"),
    }
    # In one pass: what is put in is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _static("page.html"))


def plotly_js() -> Path:
    """Plotly's script for browsers, from its Python package, which is not imported.

    Raises:
        MissingDependency: it is not here.
    """
    spec = importlib.util.find_spec("plotly")
    for place in [] if spec is None else spec.submodule_search_locations or []:
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.exists():
            return path
    raise MissingDependency("plotly is not installed, which draws the page: pip install 'keras-tuning-cluster[ui]'")


def in_script(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _facts(found: Sequence[tuple[str, str]]) -> str:
    lines = "\n".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in found)
    return f'<dl class="facts">\n{lines}\n</dl>'


def _plot(name: str, title: str) -> str:
    place = f'<div class="figure"><div class="plot" data-figure="{html.escape(name)}"></div></div>'
    return f"<h2>{html.escape(title)}</h2>\n{place}"


def _table(name: str, title: str) -> str:
    place = f'<div class="table" tabindex="0"><table data-table="{html.escape(name)}"></table></div>'
    return f"<h2>{html.escape(title)}</h2>\n{place}"


def _messages(rows: Sequence[Facts]) -> list[str]:
    """What trials said that did not end well, each to be opened."""
    telling = [row for row in rows if row["message"] and row["status"] != "PRUNED"]
    if not telling:
        return []
    lines = ["<h2>Failures</h2>"]
    for row in telling[:MESSAGES]:
        text = str(row["message"]).strip()
        why = html.escape(text.rpartition("\n")[2][:200])
        about = f"trial {html.escape(str(row['trial']))} {html.escape(row['status'].lower())}: {why}"
        lines.append(f"<details><summary>{about}</summary><pre>{html.escape(text)}</pre></details>")
    if len(telling) > MESSAGES:
        lines.append(f"<p>{len(telling) - MESSAGES} more are in trials.json.</p>")
    return lines


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
