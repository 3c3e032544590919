"""Watchdogs, budgets and checkpoints, over KerasTuner's oracles and a clock that the test moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.errors import LeaseLost
from cluster.policy import Policy
from cluster.search import Answer
from cluster.state import EventLog
from tests.cluster.conftest import Clock, finish, make_oracle, open_search, take

pytestmark = pytest.mark.usefixtures("owned")


def test_a_trial_that_takes_too_long_runs_again_and_its_trainer_is_dismissed(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, policy=Policy(trial_timeout=60, lease_seconds=1000)) as search:
        slow = take(search, "w", "slow")
        clock.now += 59
        search.watch()
        search.report_progress("0", slow.attempt)
        assert search.dismissed("slow") is None
        clock.now += 2
        search.watch()
        assert search.dismissed("slow") == "trial 0: it took longer than 60 s (--trial-timeout)"
        again = take(search, "w", "new")
        assert (again.trial.trial_id, again.attempt) == ("0", 2)
        assert search.dismissed("new") is None


def test_a_trial_that_reports_learns_itself_that_it_is_late(tmp_path: Path, clock: Clock) -> None:
    """In a local run nobody can dismiss it."""
    with open_search(tmp_path, clock, policy=Policy(trial_timeout=60, lease_seconds=1000)) as search:
        slow = take(search)
        clock.now += 61
        with pytest.raises(LeaseLost, match="took longer than 60 s"):
            search.report_epoch("0", slow.attempt, 0, {})
        assert search.leases.open == []


def test_a_stalled_trial_runs_again_and_one_that_gets_on_does_not(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, policy=Policy(stall_seconds=30, lease_seconds=1000)) as search:
        stuck, busy = take(search, "a"), take(search, "b")
        for _ in range(4):
            clock.now += 10
            search.report_progress(busy.trial.trial_id, busy.attempt)
            search.watch()
        assert [lease.worker for lease in search.leases.open] == ["b"]
        assert search.dismissed("trainer of a") == "trial 0: it got nowhere for 30 s (--stall-seconds)"
        assert stuck.trial.trial_id == "0"


def test_when_the_time_is_spent_what_runs_may_finish(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, policy=Policy(max_minutes=1, lease_seconds=1000)) as search:
        running = take(search, "a")
        clock.now += 61
        assert search.next_trial("b", "tb") is Answer.WAIT
        finish(search, running)
        assert search.next_trial("a", "trainer of a") is Answer.OVER
        assert search.failure is None
        assert len(search.state()["trials"]) == 1


def test_time_is_counted_over_all_runs(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    wall = Clock()
    events = EventLog(project, wall)
    for event, seconds in [("search_begin", 0), ("grant", 10), ("end", 40), ("search_begin", 900), ("grant", 5)]:
        wall.now += seconds
        events.append(event, trial="0", attempt=1, worker="w", trainer="t")
    events.close()
    for minutes, over in [(0.9, True), (1.0, False)]:
        clock = Clock()
        with open_search(tmp_path, clock, policy=Policy(max_minutes=minutes)) as search:
            search.watch()
            assert search.over is over, "55 seconds were spent, the pause between the runs not counted"


def test_when_the_objective_is_reached_no_trial_is_begun(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle(trials=9), policy=Policy(stop_at=0.5)) as search:
        finish(search, take(search), 0.6)
        finish(search, take(search), 0.4)
        assert search.next_trial("w", "t") is Answer.OVER
        assert [t.score for t in search.best_trials(1)] == [0.4]


def test_a_search_closed_by_its_budget_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=Policy(stop_at=5.0)) as search:
        finish(search, take(search), 4.0)
        assert search.next_trial("w", "t") is Answer.OVER
    with open_search(tmp_path) as search:
        for _ in range(2):
            finish(search, take(search))
        assert search.next_trial("w", "t") is Answer.OVER
        assert len(search.state()["trials"]) == 3


def test_the_users_limit_of_failures_replaces_the_programs(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle(trials=9), policy=Policy(max_failures=5)) as search:
        for number in range(5):
            assert search.failure is None, number
            finish(search, take(search), status="FAILED")
        assert "exceeded the limit of 5" in str(search.failure)


def test_a_worker_that_loses_trial_after_trial_is_set_aside(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle(trials=9), policy=Policy(max_attempts=99)) as search:
        for number in range(3):
            assert search.set_aside("bad") is None
            take(search, "bad", f"t{number}")
            search.lose_trainer(f"t{number}", "killed")
        assert search.set_aside("bad") == "bad has lost 3 trials in a row"
        assert search.next_trial("bad", "t9") is Answer.WAIT
        finish(search, take(search, "good"))
        assert search.set_aside("good") is None


def test_one_good_trial_makes_up_for_losses(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle(trials=9), policy=Policy(max_attempts=99)) as search:
        for number in range(2 * 3):
            grant = take(search, "w", f"t{number}")
            if number % 3 == 0:
                finish(search, grant)
            else:
                search.lose_trainer(f"t{number}", "killed")
        assert search.set_aside("w") is None


def checkpoint(search: Any, trial_id: str) -> Path:
    path: Path = search.directory / f"trial_{trial_id}" / "checkpoint.weights.h5"
    return path


def test_only_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle(trials=4), policy=Policy(keep_checkpoints=2)) as search:
        for score in [3.0, 1.0, 2.0, 4.0]:
            grant = take(search)
            checkpoint(search, grant.trial.trial_id).write_text("weights")
            finish(search, grant, score)
        assert [checkpoint(search, str(n)).exists() for n in range(4)] == [False, True, True, False]


def test_a_restart_knows_whose_checkpoints_are_kept(tmp_path: Path) -> None:
    options: dict[str, Any] = {"policy": Policy(keep_checkpoints=1)}
    for number, score in enumerate([2.0, 1.0, 3.0]):
        with open_search(tmp_path, oracle=make_oracle(trials=4), **options) as search:
            grant = take(search)
            checkpoint(search, grant.trial.trial_id).write_text("weights")
            finish(search, grant, score)
            kept = [n for n in range(number + 1) if checkpoint(search, str(n)).exists()]
            assert kept == [0 if number == 0 else 1]


def test_a_hyperband_parent_keeps_its_checkpoint(tmp_path: Path) -> None:
    oracle = make_oracle("HyperbandOracle", max_epochs=4, factor=2)
    parents: list[str] = []
    with open_search(tmp_path, oracle=oracle, policy=Policy(keep_checkpoints=1)) as search:
        while (answer := search.next_trial("w", "t")) is not Answer.OVER:
            assert not isinstance(answer, Answer)
            parent = answer.trial.hyperparameters.values.get("tuner/trial_id")
            if parent is not None:
                parents.append(parent)
                assert checkpoint(search, parent).exists()
            checkpoint(search, answer.trial.trial_id).write_text("weights")
            finish(search, answer)
        assert parents
        left = [t["trial_id"] for t in search.state()["trials"] if checkpoint(search, t["trial_id"]).exists()]
        assert len(left) < len(search.state()["trials"]) / 2
