"""A trial whose device had no memory left: it runs once more, where it has the device alone, and nobody is to blame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import seams
from cluster.policy import Policy
from cluster.search import Answer, Grant, Search
from cluster.state import EventLog
from cluster.trainer import (
    OUT_OF_MEMORY,
    RECYCLED,
    WAIT_SECONDS,
    WANTS_ALONE,
    Device,
    Leave,
    LocalSession,
    OracleProxy,
)
from tests.cluster.conftest import Clock, OwnerRole, finish, make_oracle, open_search, take

GPU = Device("gpu 0", gpu=True)
PACKED = Device("gpu 0 slot 1/2", gpu=True, packed=True)
ALONE = Device("gpu 0", gpu=True, alone=True)
CPU = Device("cpu")


def packed(search: Search, worker: str = "p") -> Grant | Answer:
    """What a trainer that shares its device is given."""
    return search.next_trial(worker, f"trainer of {worker}", packed=True)


def granted(answer: Grant | Answer) -> Grant:
    assert isinstance(answer, Grant)
    return answer


def run_out(search: Search, worker: str) -> None:
    """The supervisor says that its trainer ended for want of memory."""
    search.lose_trainer(f"trainer of {worker}", "no memory left", counted=False, out_of_memory=True)


@pytest.mark.usefixtures("owned")
class TestASearch:
    def test_gives_others_to_those_who_share_and_then_sends_them_for_a_device_of_their_own(
        self, tmp_path: Path
    ) -> None:
        with open_search(tmp_path) as search:
            large = granted(packed(search, "p"))
            assert not large.ran_out
            run_out(search, "p")
            for expected in ("1", "2"):
                other = granted(packed(search, "p"))
                assert (other.trial.trial_id, other.ran_out) == (expected, False)
                finish(search, other)
            assert packed(search, "p") is Answer.ALONE
            assert packed(search, "q") is Answer.ALONE
            assert not search.over
            again = take(search, "alone")
            assert (again.trial.trial_id, again.attempt, again.ran_out) == (large.trial.trial_id, 2, True)
            assert again.trial.hyperparameters.values == large.trial.hyperparameters.values
            finish(search, again)
            assert packed(search, "p") is Answer.OVER
            assert len(search.state()["trials"]) == 3

    def test_gives_it_to_one_who_shares_nothing_before_others(self, tmp_path: Path) -> None:
        with open_search(tmp_path) as search:
            granted(packed(search))
            run_out(search, "p")
            assert take(search, "alone").ran_out
            assert not take(search, "another").ran_out

    def test_has_nothing_for_those_who_share_while_the_last_one_runs_alone(self, tmp_path: Path) -> None:
        """Nothing to wait alone for either: it may come to its end."""
        with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
            granted(packed(search))
            run_out(search, "p")
            alone = take(search, "alone")
            assert packed(search) is Answer.WAIT
            finish(search, alone)
            assert packed(search) is Answer.OVER

    def test_waits_for_other_trials_that_run_meanwhile(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=make_oracle(trials=2)) as search:
            granted(packed(search, "p"))
            running = granted(packed(search, "q"))
            run_out(search, "p")
            assert packed(search, "p") is Answer.ALONE, "there is something to do, though not here"
            finish(search, running)
            assert packed(search, "q") is Answer.ALONE
            assert not search.over
            finish(search, take(search, "alone"))
            assert take_over(search)

    def test_wakes_who_waits_for_a_trial(self, tmp_path: Path, clock: Clock) -> None:
        """One that has the device alone is not told to wait for what another was told a moment before."""
        with open_search(tmp_path, clock, oracle=make_oracle(trials=1)) as search:
            granted(packed(search, "p"))
            assert search.next_trial("idle", "t") is Answer.WAIT
            run_out(search, "p")
            assert packed(search, "q") is Answer.ALONE
            assert granted(search.next_trial("alone", "t2", timeout=0.0)).ran_out

    def test_refuses_it_to_those_who_share_however_often_it_is_lost(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
            granted(packed(search))
            run_out(search, "p")
            for attempt in (2, 3):
                assert take(search, "alone").attempt == attempt
                search.lose_worker("alone", "it was told to leave", counted=False)
                assert packed(search) is Answer.ALONE
            again = take(search, "alone")
            assert again.ran_out
            finish(search, again, status="INVALID")
            assert search.trial("0").status == "FAILED"
            assert packed(search) is Answer.OVER

    def test_refuses_it_to_those_who_share_when_kerastuner_runs_it_again(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=make_oracle(trials=1, max_retries_per_trial=1)) as search:
            granted(packed(search))
            run_out(search, "p")
            finish(search, take(search, "alone"), status="INVALID")
            assert packed(search) is Answer.ALONE
            finish(search, take(search, "alone"))
            assert search.over or packed(search) is Answer.OVER

    def test_gives_the_same_grant_again_when_the_answer_was_lost(self, tmp_path: Path) -> None:
        with open_search(tmp_path) as search:
            granted(packed(search))
            run_out(search, "p")
            first, second = take(search, "alone"), take(search, "alone")
            assert (first.trial.trial_id, first.attempt, first.ran_out) == ("0", 2, True)
            assert (second.trial.trial_id, second.attempt, second.ran_out) == ("0", 2, True)

    @pytest.mark.parametrize("after_crash", [True, False])
    def test_knows_it_still_after_a_restart(self, tmp_path: Path, after_crash: bool) -> None:
        with open_search(tmp_path, oracle=make_oracle(trials=2)) as search:
            granted(packed(search))
            run_out(search, "p")
        with open_search(tmp_path, oracle=make_oracle(trials=2), after_crash=after_crash) as search:
            other = granted(packed(search))
            assert other.trial.trial_id == "1"
            finish(search, other)
            assert packed(search) is Answer.ALONE
            assert take(search, "alone").ran_out

    def test_knows_that_one_which_ran_alone_at_the_crash_is_on_its_last_chance(self, tmp_path: Path) -> None:
        with open_search(tmp_path, oracle=make_oracle(trials=1)) as search:
            granted(packed(search))
            run_out(search, "p")
            take(search, "alone")
        with open_search(tmp_path, oracle=make_oracle(trials=1), after_crash=True) as search:
            again = take(search, "alone")
            assert (again.attempt, again.ran_out) == (2, True)

    def test_blames_neither_the_trial_nor_its_workers(self, tmp_path: Path) -> None:
        """Many more losses than either may have."""
        policy = Policy(max_attempts=2, losses_in_a_row=2)
        with open_search(tmp_path, policy=policy, oracle=make_oracle(trials=4)) as search:
            for _ in range(4):
                granted(packed(search))
                run_out(search, "p")
            assert search.set_aside("p") is None
            while (answer := search.next_trial("alone", "t")) is not Answer.OVER:
                finish(search, granted(answer))
            assert {trial["status"] for trial in search.state()["trials"]} == {"COMPLETED"}
        lost = [event for event in EventLog(tmp_path / "project").read() if event["event"] == "lost"]
        assert [(event["counted"], event["out_of_memory"]) for event in lost] == [(False, True)] * 4

    def test_goes_on_as_ever_where_a_trainer_was_killed_for_another_reason(self, tmp_path: Path) -> None:
        with open_search(tmp_path) as search:
            granted(packed(search))
            search.lose_trainer("trainer of p", "was killed by SIGKILL")
            again = granted(packed(search))
            assert (again.trial.trial_id, again.attempt, again.ran_out) == ("0", 2, False)

    def test_that_is_to_begin_no_further_trial_sends_nobody_for_a_device(self, tmp_path: Path, clock: Clock) -> None:
        with open_search(tmp_path, clock, policy=Policy(max_minutes=1)) as search:
            granted(packed(search))
            run_out(search, "p")
            clock.now += 61
            assert packed(search) is Answer.OVER

    def test_of_hyperband_comes_to_its_end(self, tmp_path: Path) -> None:
        """Whose rounds wait for all of their trials; every other one runs out of memory at first."""
        oracle = make_oracle("HyperbandOracle", max_epochs=4, factor=2)
        with open_search(tmp_path, oracle=oracle) as search:
            seen: set[str] = set()
            for _ in range(300):
                answer = packed(search)
                if answer is Answer.OVER:
                    break
                if answer is Answer.ALONE:
                    alone = take(search, "alone")
                    assert alone.ran_out
                    finish(search, alone, 1.0)
                    continue
                grant = granted(answer)
                assert not grant.ran_out
                assert grant.trial.trial_id not in seen
                if len(seen) % 2:
                    run_out(search, "p")
                else:
                    finish(search, grant, 1.0)
                seen.add(grant.trial.trial_id)
            assert search.over
            assert {trial["status"] for trial in search.state()["trials"]} == {"COMPLETED"}


def take_over(search: Search) -> bool:
    return search.next_trial("w", "t") is Answer.OVER


# --- the trainer


class FakeSession:
    """Answers as it was told to."""

    def __init__(self, *answers: Grant | Answer) -> None:
        self.answers = list(answers)
        self.timeouts: list[float] = []

    def next_trial(self, timeout: float) -> Grant | Answer:
        self.timeouts.append(timeout)
        return self.answers.pop(0)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def proxy(session: FakeSession, device: Device) -> OracleProxy:
    class FakeTrial(SimpleNamespace):
        def __init__(self, space: Any, **fields: Any) -> None:
            super().__init__(**fields)

    oracle = SimpleNamespace(get_space=lambda: None)
    return OracleProxy(oracle, session, FakeTrial, device=device)  # type: ignore[arg-type]


def a_grant(trial_id: str = "7", ran_out: bool = False) -> Grant:
    hyperparameters = SimpleNamespace(values={})
    return Grant(SimpleNamespace(trial_id=trial_id, status="RUNNING", hyperparameters=hyperparameters), 1, ran_out)


def leaves(call: Callable[[], object]) -> int:
    """The code with which a call leaves."""
    with pytest.raises(Leave) as leave:
        call()
    return leave.value.code


@pytest.mark.parametrize("device", [GPU, PACKED, ALONE])
def test_a_trainer_leaves_when_its_gpu_has_no_memory_left(device: Device) -> None:
    """What it holds of the GPU goes with it."""
    oracle = proxy(FakeSession(a_grant()), device)
    oracle.create_trial("w")
    assert leaves(lambda: oracle.ran_out_of_memory("7")) == OUT_OF_MEMORY


def test_the_last_chance_is_the_last_one() -> None:
    """Then the error is the trial's, as in KerasTuner."""
    oracle = proxy(FakeSession(a_grant("7", ran_out=True), a_grant("8")), ALONE)
    oracle.create_trial("w")
    oracle.ran_out_of_memory("7")
    oracle.create_trial("w")
    assert leaves(lambda: oracle.ran_out_of_memory("8")) == OUT_OF_MEMORY, "each trial has its own"


@pytest.mark.parametrize("ran_out", [False, True])
def test_the_processors_memory_is_no_gpus(ran_out: bool) -> None:
    oracle = proxy(FakeSession(a_grant(ran_out=ran_out)), CPU)
    oracle.create_trial("w")
    oracle.ran_out_of_memory("7")


def test_a_trainer_that_shares_leaves_for_a_device_of_its_own() -> None:
    session = FakeSession(Answer.WAIT, Answer.ALONE)
    assert leaves(lambda: proxy(session, PACKED).create_trial("w")) == WANTS_ALONE
    assert session.timeouts == [WAIT_SECONDS] * 2


def test_a_trainer_that_has_its_device_alone_does_not_keep_it_waiting() -> None:
    """Another has taken the trial, and others wait for the device."""
    session = FakeSession(Answer.WAIT)
    assert leaves(lambda: proxy(session, ALONE).create_trial("w")) == RECYCLED
    assert session.timeouts == [0.0]


@pytest.mark.parametrize("device", [GPU, PACKED, ALONE, CPU])
def test_the_end_of_a_search_is_the_same_everywhere(device: Device) -> None:
    assert proxy(FakeSession(Answer.OVER), device).create_trial("w").status == "STOPPED"


# --- KerasTuner's own loop


class ResourceExhaustedError(Exception):
    """By its name TensorFlow's."""


class TrainerRole(OwnerRole):
    """A role that runs KerasTuner's own loop over a search, as a trainer does."""

    served: Search
    device: Device

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        own = tuner.oracle
        tuner.oracle = OracleProxy(own, LocalSession(self.served), seams.trial_class(), device=self.device)
        try:
            loop()
        finally:
            tuner.oracle = own


class Program:
    """A program whose trials raise, and the search that serves them."""

    def __init__(self, directory: Path, role: TrainerRole) -> None:
        self._directory = directory
        self._role = role
        self.search = role.served

    def run(self, device: Device, error: Exception, base: str = "BaseTuner") -> list[str]:
        """Runs it in a trainer on a device; returns the trials that began."""
        import keras_tuner

        self._role.device = device
        began: list[str] = []

        def run_trial(self: Any, trial: Any, *args: Any, **kwargs: Any) -> Any:
            began.append(trial.trial_id)
            raise error

        classes = {"BaseTuner": keras_tuner.engine.base_tuner.BaseTuner, "Tuner": keras_tuner.Tuner}
        kind = type("ProgramsTuner", (classes[base],), {"run_trial": run_trial})
        options: dict[str, Any] = {"directory": str(self._directory / "trainer"), "overwrite": True}
        if base == "Tuner":
            options["hypermodel"] = lambda hp: None
        kind(oracle=make_oracle(trials=2), **options).search()
        return began

    def replaced(self) -> None:
        """The supervisor says how its trainer ended, and starts another."""
        (lease,) = self.search.leases.open
        self.search.lose_trainer(lease.trainer, "no memory left", counted=False, out_of_memory=True)

    @property
    def statuses(self) -> list[str]:
        return [trial["status"] for trial in self.search.state()["trials"]]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    role = TrainerRole()
    with seams.installed(role), open_search(tmp_path, oracle=make_oracle(trials=2)) as search:
        role.served = search
        yield Program(tmp_path, role)


OOM = ResourceExhaustedError("OOM when allocating tensor with shape[1024,1024]")


@pytest.mark.parametrize("base", ["BaseTuner", "Tuner"])
def test_a_trial_that_runs_out_of_memory_ends_its_trainer_and_not_itself(program: Program, base: str) -> None:
    assert leaves(lambda: program.run(GPU, OOM, base)) == OUT_OF_MEMORY
    (lease,) = program.search.leases.open
    assert (lease.trial_id, program.statuses) == ("0", ["RUNNING"])
    program.replaced()
    assert program.run(GPU, ValueError("the program's own"), base) == ["0", "1"], "it comes first"


def test_a_trial_that_runs_out_of_memory_once_more_has_failed(program: Program) -> None:
    for _ in range(2):
        assert leaves(lambda: program.run(GPU, OOM)) == OUT_OF_MEMORY
        program.replaced()
    assert program.statuses == ["FAILED", "INVALID"], "and the second one has its last chance still"
    assert "OOM when allocating tensor" in program.search.trial("0").message


def test_an_error_of_another_kind_is_the_trials(program: Program) -> None:
    assert program.run(GPU, ValueError("bad")) == ["0", "1"]
    assert program.statuses == ["FAILED", "FAILED"]


def test_on_the_processor_it_is_the_trials_too(program: Program) -> None:
    assert program.run(CPU, OOM) == ["0", "1"]
    assert program.statuses == ["FAILED", "FAILED"]


def test_an_error_behind_the_programs_own_is_noticed(program: Program) -> None:
    error = ValueError("the trial is too large")
    error.__cause__ = OOM
    assert leaves(lambda: program.run(GPU, error)) == OUT_OF_MEMORY
