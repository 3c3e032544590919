"""A record over a wire, and a copy of it: the same as the record itself, whenever the other side asks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.changes import changes, merged, snapshot
from cluster.follow import Follower, read
from cluster.record import Record
from tests.made_up import MadeUp, write


def over_the_wire(record: Record, since: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(changes(record, since)))
    return found


def test_all_of_a_record_arrives(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(running=2, over=False)))
    assert asdict(merged(None, over_the_wire(record, 0))) == asdict(record)


def test_what_has_changed_is_enough(tmp_path: Path) -> None:
    """The other side asks after every line of the log, and has the same as who reads it at once."""
    whole = write(tmp_path / "whole", MadeUp(trials=6, max_trials=6))
    growing = tmp_path / "growing"
    growing.mkdir()
    lines = (whole / "events.jsonl").read_text().splitlines(keepends=True)
    (growing / "events.jsonl").touch()
    (growing / "epochs.jsonl").write_text((whole / "epochs.jsonl").read_text())
    follower, there, sent = Follower(growing), None, 0
    for line in lines:
        with (growing / "events.jsonl").open("a") as file:
            file.write(line)
        follower.poll()
        facts = over_the_wire(follower.record, 0 if there is None else there.version)
        sent += len(facts["trials"])
        there = merged(there, facts)
    assert there is not None
    assert asdict(there) == asdict(follower.record)
    assert sent < len(lines) + 12, "each line sends the trials that it is about"


def test_the_record_before_stays_as_it_was(tmp_path: Path) -> None:
    first = merged(None, over_the_wire(read(write(tmp_path / "a", MadeUp(trials=4, lost=0, failed=0))), 0))
    kept = asdict(first)
    second = merged(first, over_the_wire(read(write(tmp_path / "b", MadeUp(trials=6, lost=0, failed=0, seed=2))), 0))
    assert len(second.trials) == 6
    assert asdict(first) == kept


def test_names_that_a_newer_chief_sends_are_left_out(tmp_path: Path) -> None:
    record = read(write(tmp_path))
    facts = over_the_wire(record, 0)
    facts["new"] = 1
    facts["trials"][0]["new"] = facts["workers"][0]["new"] = facts["trials"][0]["attempts"][0]["new"] = 1
    assert asdict(merged(None, facts)) == asdict(record)


def test_an_inferred_objective_arrives(tmp_path: Path) -> None:
    project = write(tmp_path)
    (project / "events.jsonl").unlink()
    record = read(project)
    assert record.objective is None
    there = merged(None, over_the_wire(record, 0))
    assert (there.metric, there.best and there.best.id) == ("val_accuracy", record.best and record.best.id)


def test_a_snapshot_stays_and_shares_what_has_not_changed(tmp_path: Path) -> None:
    project = write(tmp_path, MadeUp(running=2, over=False))
    follower = Follower(project)
    follower.poll()
    first = snapshot(follower.record)
    before = asdict(first)
    end = {"event": "end", "trial": "0010", "attempt": 1, "worker": "worker-1", "status": "COMPLETED", "score": 0.5}
    with (project / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": 1_790_000_999.0, **end}) + "\n")
    follower.poll()
    second = snapshot(follower.record, first)
    assert asdict(first) == before
    assert second.trials["0010"].status == "completed"
    assert [x for x in first.trials if first.trials[x] is not second.trials[x]] == ["0010"]
