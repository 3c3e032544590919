"""Corners of a search: power cuts, late calls, damaged files, a full disk at the worst moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.errors import CannotSave, LeaseLost
from cluster.policy import Policy
from cluster.search import Answer
from cluster.state import EventLog
from tests.cluster.conftest import Clock, finish, make_oracle, open_search, take

pytestmark = pytest.mark.usefixtures("owned")


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in EventLog(directory / "project").read() if e["event"] == kind]


def retrying() -> Any:
    return make_oracle(trials=2, max_retries_per_trial=1)


class PowerCut(BaseException):
    """Everything in memory is gone."""


def test_an_end_that_was_saved_and_not_written_down_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two runs of a trial is invalid; the power is cut before its end is in the event log."""

    def cut(*_: Any, **__: Any) -> None:
        raise PowerCut

    with open_search(tmp_path, oracle=retrying()) as search:
        grant = take(search)
        grant.trial.status = "INVALID"
        with monkeypatch.context() as power:
            power.setattr(EventLog, "append", cut)
            with pytest.raises(PowerCut):
                search.end_trial(grant.trial, grant.attempt)
    with open_search(tmp_path, oracle=retrying(), after_crash=True) as search:
        search.end_trial(grant.trial, grant.attempt)  # the worker repeats what had no answer
        assert search.state()["oracle"]["run_times"] == {"0": 1}
        again = take(search)
        assert (again.trial.trial_id, again.attempt) == ("0", 2)
        finish(search, again)
    assert [(e["attempt"], e["status"]) for e in events(tmp_path, "end")] == [(1, "INVALID"), (2, "COMPLETED")]


def test_the_repeat_of_an_invalid_end_is_answered_after_a_restart(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=retrying()) as search:
        grant = take(search)
        finish(search, grant, status="INVALID")
    with open_search(tmp_path, oracle=retrying(), after_crash=True) as search:
        search.end_trial(grant.trial, grant.attempt)
        assert search.state()["oracle"]["run_times"] == {"0": 1}


def test_an_attempt_that_was_lost_stays_refused_after_a_restart(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=Policy(max_attempts=1)) as search:
        grant = take(search)
        search.lose_worker("w", "killed")
        assert search.trial("0").status == "FAILED"
    with open_search(tmp_path, policy=Policy(max_attempts=1), after_crash=True) as search:
        grant.trial.status = "COMPLETED"
        with pytest.raises(LeaseLost):
            search.end_trial(grant.trial, grant.attempt)


def test_a_search_that_is_closed_takes_and_gives_nothing(tmp_path: Path) -> None:
    """It has failed, or the chief was stopped; workers are still on their way out."""
    with open_search(tmp_path) as search:
        grant = take(search, "busy")
    before = (tmp_path / "project" / "events.jsonl").read_bytes()
    assert search.next_trial("idle", "t") is Answer.WAIT
    with pytest.raises(LeaseLost):
        finish(search, grant)
    search.lose_worker("busy", "it has left")
    assert (tmp_path / "project" / "events.jsonl").read_bytes() == before
    with open_search(tmp_path) as search:
        assert (take(search).trial.trial_id, search.leases.open[0].attempt) == ("0", 2)


def test_a_trial_whose_file_was_damaged_ends_once(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        finish(search, take(search))
        finish(search, take(search))
    path = tmp_path / "project" / "trial_0" / "trial.json"
    path.write_bytes(path.read_bytes()[:40])
    with open_search(tmp_path) as search:
        finish(search, take(search))
        assert search.state()["oracle"]["end_order"] == ["1", "0"]


def test_a_disk_that_is_full_when_a_trial_is_late_ends_the_search(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise CannotSave("No space left on device")

    with open_search(tmp_path, clock, policy=Policy(trial_timeout=60, lease_seconds=1000)) as search:
        grant = take(search)
        clock.now += 61
        with monkeypatch.context() as disk:
            disk.setattr(EventLog, "append", full)
            with pytest.raises(CannotSave):
                search.report_progress("0", grant.attempt)
        assert isinstance(search.failure, CannotSave), "else the trial would be nobody's for ever"


def test_a_lease_is_not_restored_past_a_run_that_took_the_trial_back(tmp_path: Path) -> None:
    """A chief is killed, then a local run, then another chief: the first one's workers are long gone."""
    with open_search(tmp_path) as search:
        take(search, "a")
        take(search, "b")
    for worker in ("local", "c"):
        with open_search(tmp_path) as search:
            assert take(search, worker).trial.trial_id == "1"
    with open_search(tmp_path, after_crash=True) as search:
        assert [(lease.trial_id, lease.worker) for lease in search.leases.open] == [("1", "c")]
