"""What there is to say of a search in a few lines: for the report as text and as a page, and for a comparison.

Owns words and units; what is known is `record.py`'s.
"""

from __future__ import annotations

from cluster.record import FINISHED, SCORED, Record
from cluster.report.axes import short
from cluster.report.series import bars

TITLES = {
    "history": "The search's progress",
    "curves": "The objective during training",
    "parallel": "Hyperparameters and objective",
    "importance": "Which hyperparameters matter",
    "slices": "Each hyperparameter",
    "timeline": "Who ran what, and when",
}


def headline(record: Record) -> str:
    """How many trials ended how, and the best, in a line."""
    counts = record.counts
    total, done = len(record.trials), sum(counts.get(x, 0) for x in SCORED)
    text = f"{done} trial{'' if done == 1 else 's'} completed"
    text += f" ({counts['pruned']} stopped early)" if "pruned" in counts else ""
    text += f", {total - done} not completed" if done < total else ""
    best = record.best
    if best is not None and best.score is not None:
        text += f"; best {record.metric}={best.score:.5g} (trial {best.id})"
    return text


def facts(record: Record) -> list[tuple[str, str]]:
    """Names and values; what nothing tells is left out."""
    found = [("Program", record.program), ("Oracle", record.oracle)]
    if record.metric is not None:
        found.append(("Objective", f"{record.metric} ({record.direction})"))
    best = record.best
    if best is not None and best.score is not None:
        epoch = "" if best.best_epoch is None else f", after epoch {best.best_epoch}"
        found.append(("Best", f"{best.score:.5g} in trial {best.id}{epoch}"))
        values = ", ".join(f"{name}={short(value)}" for name, value in best.values.items())
        found.append(("Best hyperparameters", values))
    limit = record.max_trials
    of = f" of {limit}" if limit is not None and limit > len(record.trials) else ""
    counts = ", ".join(f"{count} {status}" for status, count in record.counts.items())
    found.append(("Trials", f"{len(record.trials)}{of}" + (f": {counts}" if counts else "")))
    found.append(("Attempts", _attempts(record)))
    found.append(("Workers", str(len(record.workers)) if record.workers else ""))
    found.append(("Time", _time(record)))
    found.append(("Throughput", _throughput(record)))
    state = record.state + (f": {record.why}" if record.why else "")
    found.append(("State", state))
    return [(name, value) for name, value in found if value]


def _attempts(record: Record) -> str:
    attempts = [x for trial in record.trials.values() for x in trial.attempts]
    if not attempts:
        return ""
    lost = sum(x.outcome == "lost" for x in attempts)
    again = sum(x.outcome == "again" for x in attempts)
    words = [f"{lost} lost"] if lost else []
    words += [f"{again} to be run once more"] if again else []
    return str(len(attempts)) + (f", of which {' and '.join(words)}" if words else "")


def busy_seconds(record: Record) -> tuple[float, float]:
    """For how long at least one trial ran, and how long all attempts took together, in seconds."""
    found = bars(record)
    busy = until = 0.0
    for bar in sorted(found, key=lambda x: x.begin):
        end = bar.begin + bar.length
        busy += max(0.0, end - max(bar.begin, until))
        until = max(until, end)
    return busy, sum(x.length for x in found)


def _time(record: Record) -> str:
    busy, together = busy_seconds(record)
    return f"{span(busy)} with trials running, {span(together)} of all attempts together" if together else ""


def _throughput(record: Record) -> str:
    busy, _ = busy_seconds(record)
    done = sum(record.counts.get(x, 0) for x in FINISHED)
    if not busy or not done:
        return ""
    hourly = done * 3600 / busy
    return f"{hourly:.3g} trials per hour" if hourly < 600 else f"{hourly / 60:.3g} trials per minute"


def span(seconds: float) -> str:
    """A length of time in its two largest units, such as `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(n for n, (size, _) in enumerate(parts) if size)
    return " ".join(f"{size} {word}" for size, word in parts[first : first + 2] if size)
