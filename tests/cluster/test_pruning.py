"""What a search does with `--prune`: who is told to stop, what is kept of it, and what a restart makes of that."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import CannotSave
from cluster.policy import Policy
from cluster.search import Grant, Search
from cluster.state import EPOCHS, EventLog
from tests.cluster.conftest import finish, make_oracle, open_search, take

pytestmark = pytest.mark.usefixtures("owned")

ASHA = Policy(prune="asha", prune_min_epochs=1, prune_factor=3, max_attempts=9)
BAD, WHY = 9.0, "not among the best 1 of 2 after 1 epoch (--prune asha)"


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in EventLog(directory / "project").read() if e["event"] == kind]


def report(search: Search, grant: Grant, score: float, epoch: int = 0, **more: Any) -> bool:
    """An epoch's end, of ten."""
    logs = {"score": score, "other": 1.0}
    return search.report_epoch(grant.trial.trial_id, grant.attempt, epoch, logs, **{"of": 10, **more})


def test_a_trial_that_falls_behind_is_told_to_stop(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        assert not report(search, good, 1.0)
        assert report(search, bad, BAD)
        [event] = events(tmp_path, "pruned")
        assert (event["trial"], event["attempt"], event["epoch"], event["reason"]) == ("1", 1, 0, WHY)
        finish(search, bad, BAD)
        kept = search.trial("1")
        assert (kept.status, kept.score) == ("COMPLETED", BAD), "KerasTuner has no other word for it"
        assert kept.message == f"The trial was stopped early: it was {WHY}."
        finish(search, good, 1.0)
        assert search.trial("0").message is None


def test_without_the_option_nobody_is(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        for worker, score in (("a", 1.0), ("b", BAD)):
            assert not report(search, take(search, worker), score)
    assert not events(tmp_path, "pruned")


def test_more_is_better_where_the_objective_says_so(tmp_path: Path) -> None:
    import keras_tuner

    oracle = make_oracle(objective=keras_tuner.Objective("score", "max"))
    with open_search(tmp_path, oracle=oracle, policy=ASHA) as search:
        assert not report(search, take(search, "a"), BAD)
        assert report(search, take(search, "b"), 1.0)


def test_several_objectives_are_judged_together(tmp_path: Path) -> None:
    import keras_tuner

    both = [keras_tuner.Objective("score", "min"), keras_tuner.Objective("other", "max")]
    with open_search(tmp_path, oracle=make_oracle(objective=both), policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        assert not search.report_epoch("0", good.attempt, 0, {"score": 1.0, "other": 3.0}, 10)
        assert search.report_epoch("1", bad.attempt, 0, {"score": 1.0, "other": 2.0}, 10)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_the_worst(tmp_path: Path, value: float) -> None:
    with open_search(tmp_path, policy=ASHA) as search:
        assert not report(search, take(search, "a"), BAD)
        assert report(search, take(search, "b"), value)


def test_only_the_first_execution_is_judged(tmp_path: Path) -> None:
    """The score is the mean of them all: one that is cut short would count against the trial."""
    with open_search(tmp_path, policy=ASHA) as search:
        good, second = take(search, "a"), take(search, "b")
        assert not report(search, good, 1.0)
        assert not report(search, second, 0.5)
        assert not report(search, second, 0.1, execution=1)
        assert not report(search, good, BAD, execution=1)
    with open_search(tmp_path, policy=ASHA, after_crash=True) as search:
        assert not report(search, take(search, "c"), 0.4), "what a second execution came to is no measure for a first"


def test_a_search_that_goes_on_remembers_what_was_reported(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=ASHA) as search:
        good = take(search, "a")
        report(search, good, 1.0)
        finish(search, good, 1.0)
    with open_search(tmp_path, policy=ASHA, after_crash=True) as search:
        assert report(search, take(search, "b"), BAD)


def test_epochs_that_a_power_cut_took_are_not_missed(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=ASHA) as search:
        report(search, take(search, "a"), 1.0)
    path = tmp_path / "project" / EPOCHS
    path.write_bytes(path.read_bytes()[:-9])
    with open_search(tmp_path, policy=ASHA, after_crash=True) as search:
        assert not report(search, take(search, "b"), BAD), "the first that is known of goes on"


def test_a_trial_that_was_told_to_stop_and_is_lost_stops_again(tmp_path: Path) -> None:
    """Wherever it is in its epochs, and without another event."""
    with open_search(tmp_path, policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        report(search, good, 1.0)
        assert report(search, bad, BAD)
        search.lose_worker("b", "killed")
        again = take(search, "b")
        assert (again.trial.trial_id, again.attempt) == ("1", 2)
        assert report(search, again, 0.1), "whatever it comes to now"
        assert len(events(tmp_path, "pruned")) == 1


@pytest.mark.parametrize("policy", [ASHA, Policy()], ids=["with the option", "without it"])
def test_a_restart_stops_it_too(tmp_path: Path, policy: Policy) -> None:
    """Even where all epochs were lost by a power cut: the verdict was on disk before anybody was told."""
    with open_search(tmp_path, policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        report(search, good, 1.0)
        assert report(search, bad, BAD)
    (tmp_path / "project" / EPOCHS).unlink()
    with open_search(tmp_path, policy=policy, after_crash=True) as search:
        assert report(search, bad, BAD), "its lease is alive"
        assert not report(search, good, 1.0, epoch=1)
        finish(search, bad, BAD)
        assert "stopped early" in search.trial("1").message
    assert len(events(tmp_path, "pruned")) == 1


def test_a_verdict_that_nobody_was_told_of_is_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full when it was to be written: the trial goes on, and is stopped at its next epoch."""
    with open_search(tmp_path, policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        report(search, good, 1.0)

        def full(*_: Any, **__: Any) -> None:
            raise CannotSave("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(search._events, "append", full)
            assert not report(search, bad, BAD)
        assert not events(tmp_path, "pruned")
        assert report(search, bad, BAD, epoch=1)
        [event] = events(tmp_path, "pruned")
        assert event["epoch"] == 1


def test_a_trial_that_fails_all_the_same_has_failed(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        report(search, good, 1.0)
        report(search, bad, BAD)
        bad.trial.message = "it broke"
        finish(search, bad, status="FAILED")
        assert (search.trial("1").status, search.trial("1").message) == ("FAILED", "it broke")


def test_hyperband_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its rounds compare trials after as many epochs as it gave them."""
    oracle = make_oracle("HyperbandOracle", max_epochs=4)
    with caplog.at_level(logging.INFO), open_search(tmp_path, oracle=oracle, policy=ASHA) as search:
        assert not report(search, take(search, "a"), 1.0)
        assert not report(search, take(search, "b"), BAD)
    assert caplog.text.count("--prune asha has no effect here: Hyperband stops trials by its own rounds") == 1


def test_trials_without_epochs_are_never_stopped_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_search(tmp_path, policy=ASHA) as search:
        for number in range(3):
            grant = take(search)
            if number:  # its epochs have other metrics
                assert not search.report_epoch(grant.trial.trial_id, grant.attempt, 0, {"loss": float(number)}, 10)
            finish(search, grant)
    assert caplog.text.count("--prune asha has no effect here: trials report no score after their epochs") == 1


def test_median(tmp_path: Path) -> None:
    policy = Policy(prune="median", prune_min_epochs=2)
    with open_search(tmp_path, oracle=make_oracle(trials=9), policy=policy) as search:
        for number in range(5):
            grant = take(search, f"w{number}")
            assert not report(search, grant, 1.0)
            assert not report(search, grant, 1.0, epoch=1)
        slow = take(search, "slow")
        assert not report(search, slow, BAD)
        assert report(search, slow, BAD, epoch=1)
        [event] = events(tmp_path, "pruned")
        assert event["reason"] == "worse than the median of 5 others after 2 epochs (--prune median)"


def test_a_verdict_holds_from_its_epoch_on(tmp_path: Path) -> None:
    """An attempt that starts over is compared with nobody before it has come as far."""
    with open_search(tmp_path, policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        assert not report(search, bad, 5.0)
        for epoch in range(3):
            report(search, good, 1.0, epoch=epoch)
        assert not report(search, bad, 5.0, epoch=1)
        assert report(search, bad, 5.0, epoch=2)
        search.lose_worker("b", "killed")
        again = take(search, "b")
        assert [report(search, again, 5.0, epoch=epoch) for epoch in range(3)] == [False, False, True]
        assert not report(search, again, 5.0, epoch=0, execution=1), "an execution of which nothing was judged"


@pytest.mark.parametrize("restarts", [False, True])
def test_one_that_failed_and_runs_again_is_judged_anew(tmp_path: Path, restarts: bool) -> None:
    with open_search(tmp_path, oracle=make_oracle(max_retries_per_trial=1), policy=ASHA) as search:
        good, bad = take(search, "a"), take(search, "b")
        report(search, good, 1.0)
        assert report(search, bad, math.nan)
        finish(search, bad, status="INVALID")
        assert not search.trial("1").metrics.exists("score")
        if not restarts:
            again = take(search, "b")
            assert not report(search, again, 0.5), "it is the best now"
            assert not report(search, again, 0.5, epoch=1)
            return
    with open_search(tmp_path, oracle=make_oracle(max_retries_per_trial=1), policy=ASHA, after_crash=True) as search:
        again = take(search, "b")
        assert (again.trial.trial_id, again.attempt) == ("1", 2)
        assert not report(search, again, 0.5)
