"""A record as the page wants it: a header, rows of trials, and one trial with all that is known of it.

Owns the names and units of the JSON: times in Unix seconds, spans in seconds, numbers that are finite or null.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from cluster.record import FINISHED, Attempt, Facts, Record, Trial, Worker
from cluster.watched import Reading

OVER = ("ended", "failed", "stopped")
LOG_LINES = 500  # of a trial's attempts and epochs, the newest


def delta(reading: Reading, mark: str, version: int, now: float) -> Facts:
    """What the page does not know yet.

    Args:
        reading: The search.
        mark: The reading that the page's version is of.
        version: What the page knows.
        now: The time in Unix seconds.

    Returns:
        `header`; `trials`, those that have changed; `whole`, whether they are all there are; `version` of all this.
    """
    whole = mark != reading.mark
    rows = [row(reading.record, x) for x in reading.record.ordered if whole or x.version > version]
    about = {"header": header(reading.record, now), "version": reading.record.version}
    found: Facts = plain({**about, "trials": rows, "whole": whole})
    return found


def header(record: Record, now: float) -> Facts:
    """What is known of a search beside its trials."""
    best = record.best
    until = end_of(record, now)
    attempts: dict[str, list[tuple[Trial, Attempt]]] = defaultdict(list)
    for trial in record.trials.values():
        for attempt in trial.attempts:
            attempts[attempt.worker].append((trial, attempt))
    ordered = sorted(record.workers.values(), key=lambda x: _natural(x.name))
    workers = [_worker(x, attempts[x.name], until) for x in ordered]
    here = sum(x["seconds_here"] for x in workers)
    return {
        "name": record.name,
        "directory": record.directory,
        "program": record.program,
        "oracle": record.oracle,
        "role": record.role,
        "state": record.state,
        "why": record.why,
        "objective": record.metric,
        "direction": record.direction,
        "counts": record.counts,
        "trials": len(record.trials),
        "max_trials": record.max_trials,
        "best": None if best is None else best.id,
        "began": record.began,
        "resumed": record.resumed,
        "last_event": record.last_event,
        "now": now,
        "until": until,
        "seconds_left": record.seconds_left(now),
        "trials_per_hour": _per_hour(record, until),
        "utilisation": sum(x["seconds_busy"] for x in workers) / here if here > 0 else None,
        "losses": sum(len(x.losses) for x in record.trials.values()),
        "space": [asdict(x) for x in record.space],
        "workers": workers,
    }


def row(record: Record, trial: Trial) -> Facts:
    """A trial in the table."""
    last = trial.last
    own = [x for x in trial.epochs if last is None or x.attempt <= last.number]
    return {
        "id": trial.id,
        "status": trial.status,
        "score": trial.score,
        "so_far": record.score_so_far(trial) if trial.status == "running" else None,
        "epoch": own[-1].number if own else None,
        "of": trial.of,
        "best_epoch": trial.best_epoch,
        "values": trial.values,
        "attempts": [asdict(x) for x in trial.attempts],
        "worker": trial.worker,
        "device": trial.device,
        "seconds": trial.seconds,
        "reason": trial.reason,
    }


def detail(record: Record, trial: Trial) -> Facts:
    """A trial on a page of its own: the row, the message, and what happened, one line each."""
    found: Facts = plain({**row(record, trial), "message": trial.message, "story": _story(trial)[-LOG_LINES:]})
    return found


def end_of(record: Record, now: float) -> float:
    """Up to when times count: now while the search goes on, else its last event."""
    return record.last_event if record.state in OVER and record.last_event is not None else now


def plain(value: Any) -> Any:
    """The same with what JSON has not as null or as text."""
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _per_hour(record: Record, until: float) -> float | None:
    """The trials that the newest run has ended, an hour; None while there are none."""
    if record.resumed is None or until <= record.resumed:
        return None
    ended = sum(
        x.ended is not None and x.ended >= record.resumed and x.outcome in FINISHED
        for trial in record.trials.values()
        for x in trial.attempts
    )
    return 3600.0 * ended / (until - record.resumed) if ended else None


def _worker(worker: Worker, attempts: list[tuple[Trial, Attempt]], until: float) -> Facts:
    own = [attempt for _, attempt in attempts]
    busy = sum(max(0.0, (until if x.ended is None else x.ended) - x.began) for x in own)
    here = worker.seconds_here(until)
    if here is None:  # nothing tells: a local run's only worker is here as long as it has anything to do
        here = until - min((x.began for x in own), default=until)
    return {
        "name": worker.name,
        "host": worker.host,
        "device": worker.device,
        "here": worker.here,
        "trials": sum(x.outcome in FINISHED for x in own),
        "losses": sum(x.outcome == "lost" for x in own),
        "running": [trial.id for trial, x in attempts if trial.status == "running" and x is trial.last],
        "seconds_busy": busy,
        "seconds_here": max(here, busy),
    }


def _story(trial: Trial) -> list[Facts]:
    """What happened to a trial: when, and in words."""
    told = []
    for attempt in trial.attempts:
        told.append((attempt.began, _began(attempt)))
        if attempt.ended is not None:
            told.append((attempt.ended, _ended(trial, attempt)))
    for epoch in trial.epochs:
        logs = ", ".join(f"{name}={value:.5g}" for name, value in epoch.logs.items() if value is not None)
        told.append((epoch.time, f"epoch {epoch.number}: {logs}"))
    return [{"time": time, "text": words} for time, words in sorted(told, key=lambda x: x[0])]


def _began(attempt: Attempt) -> str:
    return f"attempt {attempt.number} on {attempt.worker}{f', {attempt.device}' if attempt.device else ''}"


def _ended(trial: Trial, attempt: Attempt) -> str:
    known = {"again": "is to run again", "lost": "was lost", "pruned": "was stopped early"}
    reason = trial.pruned if attempt.outcome == "pruned" else attempt.reason
    return f"attempt {attempt.number} {known.get(attempt.outcome, attempt.outcome)}{f': {reason}' if reason else ''}"


def _natural(name: str) -> tuple[str, int, str]:
    """Sorts worker-10 after worker-9."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0), name
