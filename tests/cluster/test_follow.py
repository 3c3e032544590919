"""A project directory, read while it grows: the same as read at once, whatever is cut short."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import UsageError
from cluster.follow import Follower, projects, read
from cluster.record import Record
from tests.made_up import BEGAN, MadeUp, write


def facts(record: Record) -> object:
    """All but the versions, which depend on how often was looked."""
    found = asdict(record)
    found.pop("version")
    for trial in found["trials"].values():
        trial.pop("version")
    found["trials"] = dict(sorted(found["trials"].items()))
    return found


def test_a_search_that_is_over(tmp_path: Path) -> None:
    record = read(write(tmp_path / "project"))
    assert (record.objective, record.direction, record.max_trials) == ("val_accuracy", "max", 12)
    assert (record.name, record.program, record.oracle) == ("project", "-m fashion tune", "BayesianOptimizationOracle")
    assert record.counts == {"completed": 11, "failed": 1}
    assert record.state == "ended"
    assert record.best is not None
    assert record.best.score == max(x.score for x in record.done if x.score is not None)
    assert [x.name for x in record.space] == ["rate", "units", "optimizer", "dropout", "dropout_rate"]
    assert [(x.kind, x.log) for x in record.space][:2] == [("float", True), ("int", False)]
    assert record.space[4].conditions == "dropout is True"
    lost = record.trials["0000"]
    assert [x.outcome for x in lost.attempts] == ["lost", "completed"]
    assert lost.attempts[0].reason == "the trainer was killed by SIGKILL"
    assert [x.number for x in lost.epochs] == [1, 2, 3, 4]
    assert not any(x.here for x in record.workers.values())
    [failed] = [x for x in record.trials.values() if x.status == "failed"]
    assert failed.reason == "ValueError: no such layer"


def test_what_runs_shows_how_far_it_is(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(trials=8, running=3, over=False)))
    running = [x for x in record.trials.values() if x.status == "running"]
    assert len(running) == 3
    for trial in running:
        assert (trial.epochs[-1].number, trial.of) == (2, 4)
        assert record.score_so_far(trial) == max(x.logs["val_accuracy"] or 0 for x in trial.epochs)
    assert record.state == "running"
    assert all(x.here for x in record.workers.values())
    left = record.seconds_left((record.last_event or 0) + 1)
    assert left is not None
    assert 0 < left < 60


def test_what_is_left_is_not_known_before_a_trial_is_done(tmp_path: Path) -> None:
    record = read(write(tmp_path, MadeUp(trials=2, running=2, over=False, failed=0, lost=0)))
    assert record.seconds_left(BEGAN + 10) is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.floats(0, 1), max_size=4))
def test_read_in_pieces_it_is_the_same(tmp_path: Path, cuts: list[float]) -> None:
    """Files grow by any number of bytes between two looks: the middle of a line is waited for."""
    whole = write(tmp_path / "whole", MadeUp(running=2, over=False))
    growing = tmp_path / "growing"
    shutil.rmtree(growing, ignore_errors=True)
    shutil.copytree(whole, growing, ignore=shutil.ignore_patterns("*.jsonl", "trial_*"))
    lines = [
        (json.loads(line)["time"], name, line)
        for name in ("events.jsonl", "epochs.jsonl")
        for line in (whole / name).read_bytes().splitlines(keepends=True)
    ]
    stream = [(name, byte) for _, name, line in sorted(lines, key=lambda x: x[0]) for byte in line]
    begins = {line: f"trial_{json.loads(line)['trial']}" for _, _, line in lines if json.loads(line)["event"] == "end"}
    follower = Follower(growing)
    written = 0
    for cut in [*sorted(cuts), 1.0]:
        piece, written = stream[written : int(cut * len(stream))], int(cut * len(stream))
        for line, folder in begins.items():  # a trial's file is written before its end is
            if line[:-2] in bytes(byte for _, byte in stream[:written]):
                shutil.copytree(whole / folder, growing / folder, dirs_exist_ok=True)
        for name in ("events.jsonl", "epochs.jsonl"):
            with (growing / name).open("ab") as file:
                file.write(bytes(byte for of, byte in piece if of == name))
        follower.poll()
    there = read(whole)
    there.directory, there.name = str(growing), "growing"
    assert facts(follower.record) == facts(there)


def test_only_what_has_changed_has_a_new_version(tmp_path: Path) -> None:
    project = write(tmp_path, MadeUp(running=2, over=False))
    follower = Follower(project)
    assert follower.poll()
    before = follower.record.version
    assert not follower.poll()
    assert follower.record.version == before
    with (project / "epochs.jsonl").open("a") as file:
        about = {"event": "epoch", "trial": "0011", "attempt": 1, "epoch": 2, "of": 4, "logs": {"val_accuracy": 0.5}}
        file.write(json.dumps({"time": BEGAN + 99, **about}) + "\n")
    assert follower.poll()
    assert [x.id for x in follower.record.trials.values() if x.version > before] == ["0011"]


def test_a_search_begun_anew_is_a_new_record(tmp_path: Path) -> None:
    project = write(tmp_path / "project")
    follower = Follower(project)
    follower.poll()
    before = follower.record
    shutil.rmtree(project)
    write(project, MadeUp(trials=3, max_trials=3, seed=2, lost=0, failed=0))
    assert follower.poll()
    assert len(follower.record.trials) == 3
    assert follower.record.version > before.version


def test_projects_are_found_below(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "group" / "b")
    (tmp_path / "empty").mkdir()
    assert projects(tmp_path) == [tmp_path / "a", tmp_path / "group" / "b"]
    assert projects(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(UsageError, match=r"there is .*/a, .*/group/b"):
        Follower(tmp_path)
