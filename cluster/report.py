"""What a search has found, as tables: `trials.csv`, `trials.json` and `report.md` in the project directory.

Owns turning trials into rows. Reads an oracle's public attributes only; draws nothing yet.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from cluster.state import EventLog, write_atomically


def write(oracle: Any, directory: Path) -> str:
    """Writes the report of a search that has ended.

    Args:
        oracle: The oracle, filled.
        directory: The project directory.

    Returns:
        A line for the log: how many trials ended how, and the best.
    """
    rows = _rows(oracle, directory)
    write_atomically(directory / "trials.json", json.dumps(rows, indent=2) + "\n")
    write_atomically(directory / "trials.csv", _csv(rows))
    headline = _headline(oracle, rows)
    write_atomically(directory / "report.md", _markdown(oracle, rows, headline))
    return headline


def _rows(oracle: Any, directory: Path) -> list[dict[str, Any]]:
    """One row a trial, the best first, those without a score last."""
    events = EventLog(directory).read()
    ends = {e["trial"]: e for e in events if e["event"] == "end"}
    granted_on = {(e["trial"], e["attempt"]): e.get("device") for e in events if e["event"] == "grant"}
    devices = {trial: granted_on.get((trial, end.get("attempt"))) for trial, end in ends.items()}
    rows = []
    for trial in oracle.trials.values():
        end = ends.get(trial.trial_id, {})
        # A trial that failed may carry a score that is no number, and would be sorted among the good ones.
        good = trial.status == "COMPLETED" and trial.score is not None and math.isfinite(trial.score)
        score = float(trial.score) if good else None
        rows.append(
            {
                "trial": trial.trial_id,
                "status": trial.status,
                "score": score,
                "best_epoch": None if score is None or trial.best_step is None else trial.best_step + 1,
                "attempts": end.get("attempt"),
                "worker": end.get("worker"),
                **({"device": devices.get(trial.trial_id)} if any(devices.values()) else {}),
                "seconds": end.get("seconds"),
                **{f"hp:{name}": value for name, value in trial.hyperparameters.values.items()},
                "message": trial.message,
            }
        )
    sign = -1 if oracle.objective.direction == "max" else 1
    return sorted(rows, key=lambda row: (row["score"] is None, sign * (row["score"] or 0.0)))


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name != "message"))


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, _columns(rows), extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _headline(oracle: Any, rows: list[dict[str, Any]]) -> str:
    done = sum(row["status"] == "COMPLETED" for row in rows)
    failed = f", {len(rows) - done} not completed" if done < len(rows) else ""
    text = f"{done} trial{'' if done == 1 else 's'} completed{failed}"
    if rows and rows[0]["score"] is not None:
        text += f"; best {oracle.objective.name}={rows[0]['score']:.5g} (trial {rows[0]['trial']})"
    return text


def _markdown(oracle: Any, rows: list[dict[str, Any]], headline: str) -> str:
    columns = _columns(rows)
    lines = [f"# {type(oracle).__name__}", "", headline + ".", ""]
    lines.append("| " + " | ".join(name.removeprefix("hp:") for name in columns) + " |")
    lines.append("| " + " | ".join("---" for _ in columns) + " |")
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in rows]
    failures = [row for row in rows if row["message"]]
    for row in failures:
        lines += ["", f"## Trial {row['trial']}: {row['status']}", "", "```", str(row["message"]).rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
