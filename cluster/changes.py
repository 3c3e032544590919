"""What has changed in a record, as JSON for a wire, and a record filled from it on the other side.

Owns how a record travels and how it is copied. Reads no file and knows no wire: `watched.py` reads, `rpc` carries.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, fields
from typing import Any

from cluster.record import Attempt, Epoch, Facts, Parameter, Record, Trial, Worker

# What of a record does not belong to a single trial; its own private fields aside.
PLAIN = [x.name for x in fields(Record) if x.name not in ("space", "trials", "workers")]


def changes(record: Record, since: int) -> Facts:
    """What of a record is newer than a version: its head whole, and each trial that has changed.

    Args:
        record: The record.
        since: The version that the other side has; 0 for nothing.
    """
    return {
        **{name: getattr(record, name) for name in PLAIN},
        "metric": record.metric,
        "space": [asdict(x) for x in record.space],
        "workers": [asdict(x) for x in record.workers.values()],
        "trials": [asdict(x) for x in record.trials.values() if x.version > since],
    }


def merged(before: Record | None, facts: Facts) -> Record:
    """The record that the other side has, from what it sent.

    Args:
        before: The record as it was at the version that was asked from; None for nothing. It stays as it is.
        facts: What `changes` gave; names that this release does not know are left out.
    """
    record = Record(str(facts["directory"]), str(facts["name"]))
    for name in PLAIN:
        setattr(record, name, facts.get(name, getattr(record, name)))
    record.objective = record.objective or facts.get("metric")
    record.space = [_made(Parameter, {**x, "values": tuple(x.get("values") or ())}) for x in facts.get("space", [])]
    record.workers = {str(x["name"]): _made(Worker, x) for x in facts.get("workers", [])}
    record.trials = {} if before is None else dict(before.trials)
    for entry in facts.get("trials", []):
        attempts = [_made(Attempt, x) for x in entry.get("attempts", [])]
        epochs = [_made(Epoch, x) for x in entry.get("epochs", [])]
        record.trials[str(entry["id"])] = _made(Trial, {**entry, "attempts": attempts, "epochs": epochs})
    return record


def snapshot(record: Record, before: Record | None = None) -> Record:
    """A copy of a record, which stays as it is while the record is filled further.

    Args:
        record: The record.
        before: The snapshot before this one; the trials that have not changed since are its own.
    """
    taken = copy.copy(record)
    taken.space = list(record.space)
    taken.workers = {name: copy.copy(worker) for name, worker in record.workers.items()}
    taken.trials = {}
    for name, trial in record.trials.items():
        kept = None if before is None else before.trials.get(name)
        if kept is None or kept.version != trial.version:
            kept = copy.copy(trial)
            kept.attempts = [copy.copy(attempt) for attempt in trial.attempts]
            kept.epochs = list(trial.epochs)
        taken.trials[name] = kept
    return taken


def _made(kind: Any, facts: Facts) -> Any:
    known = {x.name for x in fields(kind)}
    return kind(**{name: value for name, value in facts.items() if name in known})
