"""What a search writes down for those who look: epochs, workers, what it is after, how it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from cluster.errors import LeaseLost
from cluster.follow import read
from cluster.past import Past
from cluster.seams import OwnedOracle
from cluster.state import EventLog
from tests.cluster.conftest import Clock, finish, make_oracle, open_search, take

PROJECT = "project"

pytestmark = pytest.mark.usefixtures("owned")


def test_epochs_of_every_attempt_are_kept(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        first = take(search, "a")
        search.report_epoch("0", first.attempt, 0, {"score": 3.0, "loss": float("nan")}, of=4)
        search.lose_worker("a", "it has gone")
        with pytest.raises(LeaseLost):
            search.report_epoch("0", first.attempt, 1, {"score": 2.0}, of=4)
        second = take(search, "b")
        search.report_epoch("0", second.attempt, 1, {"score": 2.5}, of=4)
        trial = read(tmp_path / PROJECT).trials["0"]
    assert [(x.attempt, x.number, x.logs) for x in trial.epochs] == [
        (1, 1, {"score": 3.0, "loss": None}),
        (2, 2, {"score": 2.5}),
    ]
    assert trial.of == 4


def test_a_full_disk_does_not_stop_training_for_the_sake_of_a_curve(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_search(tmp_path, clock) as search:
        grant = take(search)
        (tmp_path / PROJECT / "epochs.jsonl").mkdir()
        search.report_epoch("0", grant.attempt, 0, {"score": 1.0})
        finish(search, grant, 1.0)
        assert read_events(tmp_path)[-1]["event"] == "end"


def test_the_first_event_says_what_the_search_is_after(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, make_oracle(trials=7)) as search:
        search.begin(role="chief")
    record = read(tmp_path / PROJECT)
    assert (record.objective, record.direction, record.max_trials) == ("score", "min", 7)


def test_workers_come_and_go(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        search.note_worker("a", "box", here=True)
        search.note_worker("b", "box", here=True)
        search.note_worker("b", "box", here=False)
        workers = read(tmp_path / PROJECT).workers
        assert {x.name: (x.host, x.here) for x in workers.values()} == {"a": ("box", True), "b": ("box", False)}
    search.note_worker("late", "box", here=True)
    assert "late" not in read(tmp_path / PROJECT).workers, "a search that is closed writes nothing"


def test_a_search_that_was_stopped_says_so_and_can_go_on(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        take(search)
        search.give_back("the run was stopped")
    record = read(tmp_path / PROJECT)
    assert (record.state, record.why) == ("stopped", "the run was stopped")
    assert record.counts == {"waiting": 1}
    past = Past.read(EventLog(tmp_path / PROJECT))
    assert not past.over
    assert not past.held


def test_the_time_that_a_suggestion_took_is_kept(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        take(search)
    [grant] = [x for x in read_events(tmp_path) if x["event"] == "grant"]
    assert grant["suggest_seconds"] >= 0


@pytest.mark.parametrize(("max_epochs", "factor", "iterations"), [(9, 3, 1), (10, 3, 2), (4, 2, 1)])
def test_hyperband_tells_how_many_trials_its_brackets_have(max_epochs: int, factor: int, iterations: int) -> None:
    space = keras_tuner.HyperParameters()
    space.Float("x", 0, 1)
    oracle = keras_tuner.oracles.HyperbandOracle(
        objective=keras_tuner.Objective("score", "min"),
        max_epochs=max_epochs,
        factor=factor,
        hyperband_iterations=iterations,
        hyperparameters=space,
    )
    oracle._set_project_dir("/nonexistent", "project")
    oracle._save_trial = lambda trial: None
    owned = OwnedOracle(oracle)
    expected = owned.expected_trials()
    began = 0
    while (trial := owned.create("w")).status == "RUNNING":
        began += 1
        oracle.update_trial(trial.trial_id, {"score": float(began)})
        trial.status = "COMPLETED"
        owned.end(trial)
    assert began == expected


def test_a_grid_without_a_limit_does_not_know(tmp_path: Path) -> None:
    oracle = keras_tuner.oracles.GridSearchOracle(objective=keras_tuner.Objective("score", "min"))
    assert OwnedOracle(oracle).expected_trials() is None


def read_events(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / PROJECT / "events.jsonl").read_text().splitlines()]
