"""What a search has found, as tables: `trials.csv`, `trials.json` and `report.md`.

Owns turning trials into rows, and rows into text.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.record import Record
from cluster.report.facts import TITLES, facts, headline
from cluster.state import write_atomically

ROWS = 200  # of the table in `report.md`


def write(record: Record, directory: Path) -> None:
    """Writes the three files.

    Raises:
        CannotSave: the directory cannot be written.
    """
    found = rows(record)
    write_atomically(directory / "trials.json", json.dumps(found, indent=2) + "\n")
    write_atomically(directory / "trials.csv", _csv(found))
    write_markdown(record, directory)


def write_markdown(record: Record, directory: Path, pictures: Sequence[str] = ()) -> None:
    """Writes `report.md`, with links to the pictures of these names."""
    write_atomically(directory / "report.md", _markdown(record, rows(record), pictures))


def rows(record: Record) -> list[dict[str, Any]]:
    """One row a trial, the best first, those without a score last."""
    devices = any(x.ran is not None and x.ran.device for x in record.trials.values())
    good = record.done if record.metric is not None else []
    seen = {x.id for x in good}
    found = []
    for trial in [*good, *(x for x in record.ordered if x.id not in seen)]:
        ran = trial.ran
        # A trial that failed may carry a score, and would be taken for a good one.
        score = trial.score if trial.scored else None
        found.append(
            {
                "trial": trial.id,
                "status": trial.status.upper(),
                "score": score,
                "best_epoch": None if score is None else trial.best_epoch,
                "attempts": None if ran is None else ran.number,
                "worker": None if ran is None else ran.worker,
                **({"device": None if ran is None else ran.device} if devices else {}),
                "seconds": None if ran is None else ran.seconds,
                **{f"hp:{name}": _plain(value) for name, value in trial.values.items()},
                "message": trial.message or None,
            }
        )
    return found


def columns(found: list[dict[str, Any]]) -> list[str]:
    """The columns of the table, without the messages."""
    return list(dict.fromkeys(name for row in found for name in row if name != "message"))


def _csv(found: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, columns(found), extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(found)
    return text.getvalue()


def _markdown(record: Record, found: list[dict[str, Any]], pictures: Sequence[str]) -> str:
    lines = [f"# {inline(record.name)}", "", inline(headline(record)) + ".", ""]
    lines += [f"- {name}: {inline(value)}" for name, value in facts(record)]
    for name in pictures:
        lines += ["", f"![{TITLES[name]}](plots/{name}.png)"]
    names = columns(found)
    if names:
        shown = [[row.get(name) for name in names] for row in found[:ROWS]]
        lines += ["", "## Trials", "", *markdown([x.removeprefix("hp:") for x in names], shown)]
    if len(found) > ROWS:
        lines += ["", f"{len(found) - ROWS} more are in `trials.csv`."]
    for row in found:
        if row["message"] and row["status"] != "PRUNED":
            text = str(row["message"]).rstrip()
            fence = "`" * max(3, 1 + max((len(x) for x in re.findall("`+", text)), default=0))
            lines += ["", f"## Trial {row['trial']}: {row['status']}", "", fence, text, fence]
    return "\n".join(lines) + "\n"


def markdown(names: Sequence[str], cells: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table."""
    lines = [[_cell(name) for name in names], ["---"] * len(names), *([_cell(x) for x in row] for row in cells)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return inline(f"{value:.5g}" if isinstance(value, float) else str(value)).replace("|", "\\|")


def inline(text: str) -> str:
    """Foreign text on one line, in which no tag begins."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def _plain(value: Any) -> Any:
    """The same, or None for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
