"""What a search promises, over KerasTuner's own oracles, without a network or a process."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import CannotSave, LeaseLost, SearchFailed
from cluster.policy import Policy
from cluster.search import Answer, Grant
from cluster.state import EventLog
from tests.cluster.conftest import Clock, finish, make_oracle, on_disk, open_search, take

pytestmark = pytest.mark.usefixtures("owned")


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in EventLog(directory / "project").read() if e["event"] == kind]


def test_one_of_those_who_wait_asks_the_oracle_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wake for news alone, which they get at once."""
    monkeypatch.setattr("cluster.search.ASK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("cluster.search.BEHIND_SECONDS", 1e6)
    with open_search(tmp_path, oracle=make_oracle(trials=1)) as search, ThreadPoolExecutor(3) as pool:
        grant = take(search, "runs")
        woke: Counter[str] = Counter()
        often = threading.Event()

        def awake(name: str) -> bool:
            woke[name] += 1
            if max(woke.values()) > 20:
                often.set()
            return True

        names = ["a", "b", "c"]
        waiting = [pool.submit(search.next_trial, x, x, 1e6, lambda x=x: awake(x)) for x in names]  # type: ignore[misc]
        assert often.wait(30)
        assert sum(sorted(woke.values())[:-1]) <= 2, "the others have not woken since they began to wait"
        finish(search, grant)
        assert [x.result(30) for x in waiting] == [Answer.OVER] * 3


def test_trials_are_granted_until_the_search_is_over(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        for number in range(3):
            grant = take(search)
            assert (grant.trial.trial_id, grant.attempt) == (str(number), 1)
            finish(search, grant)
        assert search.next_trial("w", "t") is Answer.OVER
        assert search.wait(0)
        assert sorted(search.granted.elements()) == ["w"] * 3
    assert [e["trial"] for e in events(tmp_path, "grant")] == ["0", "1", "2"]
    assert [e["status"] for e in events(tmp_path, "end")] == ["COMPLETED"] * 3


def test_a_grant_is_on_disk_before_it_is_given(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        grant = take(search)
        [event] = events(tmp_path, "grant")
        assert (event["trial"], event["attempt"], event["worker"]) == ("0", 1, "w")
        assert event["values"] == dict(grant.trial.hyperparameters.values)
        saved = on_disk(tmp_path / "project")
        assert (saved["ongoing_trials"], saved["start_order"]) == ({"w": "0"}, ["0"])


def test_idle_workers_wait_while_a_trial_runs(tmp_path: Path) -> None:
    """KerasTuner tells them to stop, and a trial that is lost later has no taker."""
    with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
        grant = take(search, "a")
        assert search.next_trial("b", "tb") is Answer.WAIT
        search.lose_worker("a", "killed")
        again = take(search, "b")
        assert (again.trial.trial_id, again.attempt) == (grant.trial.trial_id, 2)
        finish(search, again)
        assert search.next_trial("b", "tb") is Answer.OVER


def test_a_waiting_call_gets_the_trial_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: it is told, and does not look again by itself."""
    monkeypatch.setattr("cluster.search.ASK_AGAIN_SECONDS", 60.0)
    got: list[Any] = []
    with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
        take(search, "a")
        waiting = threading.Thread(target=lambda: got.append(search.next_trial("b", "tb", timeout=30)))
        waiting.start()
        search.lose_worker("a", "killed")
        waiting.join(timeout=10)
    assert isinstance(got[0], Grant)
    assert got[0].attempt == 2


def test_a_caller_that_has_given_up_takes_nothing_from_its_successor(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        grant = take(search, "w", "successor")
        assert search.next_trial("w", "gone", active=lambda: False) is Answer.WAIT
        search.leases.check(grant.trial.trial_id, grant.attempt)


def test_a_caller_that_is_gone_gets_no_trial(tmp_path: Path) -> None:
    gone = threading.Event()
    got: list[Any] = []
    with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
        take(search, "a")

        def ask() -> None:
            got.append(search.next_trial("b", "tb", timeout=30, active=lambda: not gone.is_set()))

        waiting = threading.Thread(target=ask)
        waiting.start()
        gone.set()
        waiting.join(timeout=10)
        assert got == [Answer.WAIT]
        assert [lease.worker for lease in search.leases.open] == ["a"]


def test_asking_again_gives_the_same_attempt_again(tmp_path: Path) -> None:
    """The answer to the first call was lost on the way."""
    with open_search(tmp_path) as search:
        first, second = take(search), take(search)
        assert (first.trial.trial_id, first.attempt) == (second.trial.trial_id, second.attempt)
        assert len(events(tmp_path, "grant")) == 1


def test_a_new_trainer_of_a_worker_loses_the_old_ones_trial(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        old = take(search, "w", "first")
        new = take(search, "w", "second")
        assert (new.trial.trial_id, new.attempt) == (old.trial.trial_id, 2)
        with pytest.raises(LeaseLost):
            search.end_trial(old.trial, old.attempt)


def test_an_end_is_counted_once(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        grant = take(search)
        finish(search, grant)
        search.end_trial(grant.trial, grant.attempt)
        assert len(events(tmp_path, "end")) == 1
        assert search.state()["oracle"]["end_order"] == ["0"]
        assert search.state()["oracle"]["run_times"] == {"0": 1}


def test_the_result_of_an_older_attempt_is_refused(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        slow = take(search, "slow")
        clock.now += 16
        search.watch()
        fast = take(search, "fast")
        assert (fast.trial.trial_id, fast.attempt) == (slow.trial.trial_id, 2)
        with pytest.raises(LeaseLost):
            search.update_trial("0", slow.attempt, {"score": 0.0}, 0)
        with pytest.raises(LeaseLost):
            search.report_epoch("0", slow.attempt, 0, {})
        with pytest.raises(LeaseLost):
            search.end_trial(slow.trial, slow.attempt)
        finish(search, fast, 4.0)
        assert search.best_trials(1)[0].score == 4.0
    assert events(tmp_path, "lost")[0]["reason"] == "slow was not heard of in time"


def test_a_heartbeat_keeps_a_lease_alive(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        take(search)
        for _ in range(5):
            clock.now += 10
            search.leases.renew("w")
            search.watch()
        assert len(search.leases.open) == 1


def test_a_trial_that_loses_its_workers_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=Policy(max_attempts=2)) as search:
        for _ in range(2):
            take(search)
            search.lose_worker("w", "the trainer was killed by SIGKILL")
        lost = search.trial("0")
        assert lost.status == "FAILED"
        assert "lost 2 workers" in lost.message
        assert "SIGKILL" in lost.message
        for _ in range(2):
            finish(search, take(search))
        assert search.next_trial("w", "t") is Answer.OVER
        assert search.failure is None


def test_a_worker_told_to_leave_costs_its_trial_no_attempt(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=Policy(max_attempts=1)) as search:
        take(search)
        search.lose_worker("w", "told to leave", counted=False)
        finish(search, take(search))
        assert search.trial("0").status == "COMPLETED"


def test_losses_are_counted_across_a_restart(tmp_path: Path) -> None:
    policy = Policy(max_attempts=2)
    with open_search(tmp_path, policy=policy) as search:
        take(search)
        search.lose_worker("w", "killed")
    with open_search(tmp_path, policy=policy) as search:
        assert take(search).attempt == 2
        search.lose_worker("w", "killed")
        assert search.trial("0").status == "FAILED"


def test_failures_in_a_row_end_the_search_and_keep_the_results(tmp_path: Path) -> None:
    oracle = make_oracle(trials=9, max_consecutive_failed_trials=2)
    with open_search(tmp_path, oracle=oracle) as search:
        finish(search, take(search), 3.0)
        finish(search, take(search), status="FAILED")
        finish(search, take(search), 5.0)
        for _ in range(2):
            grant = take(search)
            grant.trial.message = "Traceback\nZeroDivisionError: boom"
            finish(search, grant, status="FAILED")
        assert search.next_trial("w", "t") is Answer.OVER
        assert isinstance(search.failure, SearchFailed)
        assert str(search.failure) == (
            "Number of consecutive failures exceeded the limit of 2. The last: ZeroDivisionError: boom"
        )
        assert [t.score for t in search.best_trials(2)] == [3.0, 5.0]


def test_the_users_own_limit_on_the_oracle_is_given_back(tmp_path: Path) -> None:
    oracle = make_oracle(max_consecutive_failed_trials=7)
    with open_search(tmp_path, oracle=oracle):
        assert oracle.max_consecutive_failed_trials > 1000
    assert oracle.max_consecutive_failed_trials == 7
    assert oracle.save.__func__ is type(oracle).save


def test_an_invalid_trial_is_run_again_by_kerastuners_own_rule(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle(max_retries_per_trial=1)) as search:
        grant = take(search)
        finish(search, grant, status="INVALID")
        again = take(search)
        assert (again.trial.trial_id, again.attempt) == ("0", 2)
        finish(search, again, status="INVALID")
        assert search.trial("0").status == "FAILED"


@pytest.mark.filterwarnings("ignore:All-NaN axis:RuntimeWarning")
def test_metrics_of_a_lost_attempt_are_forgotten(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        grant = take(search)
        search.update_trial("0", grant.attempt, {"score": float("nan")}, 0)
        search.lose_worker("w", "killed")
        again = take(search)
        assert not again.trial.metrics.exists("score")
        finish(search, again, 5.0)
        assert (search.trial("0").status, search.trial("0").score) == ("COMPLETED", 5.0)


def test_an_error_in_the_oracle_ends_the_search_and_holds_no_lock(tmp_path: Path) -> None:
    oracle = make_oracle()
    oracle.populate_space = lambda trial_id: 1 / 0
    with open_search(tmp_path, oracle=oracle) as search:
        assert search.next_trial("w", "t") is Answer.OVER
        assert isinstance(search.failure, ZeroDivisionError)
        other = threading.Thread(target=search.space)
        other.start()
        other.join(timeout=5)
        assert not other.is_alive()


def test_a_search_is_resumed_where_it_was(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        finish(search, take(search), 2.0)
        running = take(search)
    with open_search(tmp_path) as search:
        again = take(search)
        assert (again.trial.trial_id, again.attempt) == (running.trial.trial_id, 2)
        assert again.trial.hyperparameters.values == running.trial.hyperparameters.values
        finish(search, again)
        finish(search, take(search))
        assert search.next_trial("w", "t") is Answer.OVER
        assert sorted(t["trial_id"] for t in search.state()["trials"]) == ["0", "1", "2"]


class TestARestartedChief:
    """The chief was killed while workers were running; it goes on from the files, and they from where they are."""

    def test_takes_the_result_of_a_trial_that_ran_meanwhile(self, tmp_path: Path, clock: Clock) -> None:
        with open_search(tmp_path) as search:
            running = take(search, "w", "t")
            search.update_trial("0", running.attempt, {"score": 6.0}, 0)
        with open_search(tmp_path, clock, after_crash=True) as search:
            assert [(x.trial_id, x.attempt, x.worker, x.trainer) for x in search.leases.open] == [("0", 1, "w", "t")]
            again = search.next_trial("w", "t")
            assert isinstance(again, Grant)
            assert (again.trial.trial_id, again.attempt) == ("0", 1)
            running.trial.status = "COMPLETED"
            search.end_trial(running.trial, running.attempt)
            assert (search.trial("0").status, search.trial("0").score) == ("COMPLETED", 6.0)
            assert take(search).trial.trial_id == "1"
        assert [e["attempt"] for e in events(tmp_path, "grant")] == [1, 1]

    def test_gives_a_trial_whose_worker_is_not_heard_of_to_another(self, tmp_path: Path, clock: Clock) -> None:
        with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
            take(search, "dead")
        with open_search(tmp_path, clock, oracle=make_oracle(trials=1), after_crash=True) as search:
            assert search.next_trial("w", "t") is Answer.WAIT
            clock.now += 16
            again = take(search)
            assert (again.trial.trial_id, again.attempt) == ("0", 2)
            assert not again.trial.metrics.exists("score")

    def test_accepts_the_repeat_of_an_end_and_refuses_an_older_attempt(self, tmp_path: Path) -> None:
        with open_search(tmp_path) as search:
            first = take(search)
            search.lose_worker("w", "killed")
            second = take(search)
            finish(search, second)
        with open_search(tmp_path, after_crash=True) as search:
            search.end_trial(second.trial, second.attempt)
            with pytest.raises(LeaseLost):
                search.end_trial(first.trial, first.attempt)

    def test_is_over_when_the_search_was(self, tmp_path: Path) -> None:
        """Its workers may have gone, and nobody would ask."""
        with open_search(tmp_path) as search:
            for _ in range(3):
                finish(search, take(search))
            assert search.next_trial("w", "t") is Answer.OVER
        with open_search(tmp_path, after_crash=True) as search:
            assert search.over
        with open_search(tmp_path, oracle=make_oracle(trials=4)) as search:
            assert not search.over, "a new run, with more trials to do"

    def test_counts_no_loss_of_what_an_earlier_chief_granted(self, tmp_path: Path) -> None:
        """The whole run was killed, again and again: no trial is to blame."""
        for attempt in range(1, 5):
            with open_search(tmp_path, policy=Policy(max_attempts=2), after_crash=attempt > 1) as search:
                assert take(search, "w", f"trainer {attempt}").attempt == attempt
        assert [e["counted"] for e in events(tmp_path, "lost")] == [False] * 3


def test_a_finished_trial_whose_lease_was_left_open_stays_finished(tmp_path: Path) -> None:
    """An interruption came between the end of a trial and that of its lease."""
    with open_search(tmp_path) as search:
        grant = take(search)
        search.update_trial("0", grant.attempt, {"score": 2.0}, 0)
        grant.trial.status = "COMPLETED"
        search._owned.end(grant.trial)
        search.lose_worker("w", "the run was stopped", counted=False)
        assert search.trial("0").status == "COMPLETED"
        assert search.leases.open == []
        assert take(search).trial.trial_id == "1"


def test_a_full_disk_ends_the_search_with_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_search(tmp_path) as search:
        finish(search, take(search), 1.0)

        def full(self: Any, event: str, **fields: Any) -> None:
            raise CannotSave("events.jsonl cannot be written: No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(EventLog, "append", full)
            with pytest.raises(CannotSave):
                search.next_trial("w", "t")
        with pytest.raises(CannotSave):
            search.next_trial("w", "t")  # memory is ahead of the disk from now on
    with open_search(tmp_path) as search:
        assert search.best_trials(1)[0].score == 1.0
        assert take(search).trial.trial_id == "1"


def test_a_trial_to_blame_is_not_its_workers_fault(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=Policy(max_attempts=3)) as search:
        for number in range(3):
            take(search, "only", f"t{number}")
            search.lose_trainer(f"t{number}", "killed")
        assert search.trial("0").status == "FAILED"
        assert search.set_aside("only") is None
        finish(search, take(search, "only", "t4"))


def test_a_stopped_chief_grants_nothing_more(tmp_path: Path) -> None:
    got: list[Any] = []
    with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
        take(search, "a")
        waiting = threading.Thread(target=lambda: got.append(search.next_trial("b", "tb", timeout=1.0)))
        waiting.start()
        search.give_back("the chief was stopped")
        waiting.join(timeout=10)
        assert got == [Answer.WAIT]
        assert search.state()["oracle"]["ongoing_trials"] == {}


def test_a_stopped_chief_gives_every_trial_back(tmp_path: Path) -> None:
    with open_search(tmp_path, policy=Policy(max_attempts=1)) as search:
        take(search, "a")
        take(search, "b")
        search.give_back("the chief was stopped")
    with open_search(tmp_path, policy=Policy(max_attempts=1)) as search:
        assert {take(search, name).attempt for name in "ab"} == {2}


@pytest.mark.parametrize("kind", ["GridSearchOracle", "BayesianOptimizationOracle", "HyperbandOracle"])
def test_every_oracle_comes_to_its_end_with_workers_that_die(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"max_epochs": 4, "factor": 2} if kind == "HyperbandOracle" else {}
    with open_search(tmp_path, oracle=make_oracle(kind, trials=6, **options), policy=Policy(max_attempts=99)) as search:
        number = 0
        while (answer := search.next_trial(f"w{number}", f"t{number}")) is not Answer.OVER:
            number += 1
            assert isinstance(answer, Grant), "one worker at a time never has to wait"
            if number % 3 == 0:
                search.lose_trainer(f"t{number - 1}", "killed")
            else:
                finish(search, answer)
        assert search.failure is None
        assert {t["status"] for t in search.state()["trials"]} == {"COMPLETED"}
        assert search.state()["oracle"]["end_order"] == sorted(set(search.state()["oracle"]["end_order"]))
