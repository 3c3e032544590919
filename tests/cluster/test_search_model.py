"""A search against a model of it: workers, the clock, crashes and power cuts in any sequence.

The oracle is KerasTuner's own. A power cut comes before any write, or right after a call whose answer is then lost; the
chief is started again over the same files, and the worker repeats its call, as its client does.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster import state
from cluster.errors import LeaseLost
from cluster.policy import Policy
from cluster.rpc import codec
from cluster.search import Answer, Grant, Search
from cluster.state import EventLog
from tests.cluster.conftest import Clock, make_oracle, open_search

TTL = 10.0
TRIALS = 4
RETRIES = 1  # of a trial whose end was INVALID
POLICY = Policy(TTL, max_attempts=3, max_failures=999)

workers = st.sampled_from(["a", "b"])
numbers = st.sampled_from(["1", "2"])
scores = st.integers(0, 9).map(float)
cuts = st.none() | st.integers(0, 4)
Result = TypeVar("Result")


class PowerCut(BaseException):
    """Everything in memory is gone."""


class Disk:
    """Counts the writes of a search, and loses power before the one after the last that is left."""

    left: int | None = None

    def write(self) -> None:
        if self.left == 0:
            raise PowerCut
        if self.left is not None:
            self.left -= 1


DISK = Disk()


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch, owned: None) -> None:
    """Every durable write goes through `DISK`, and none waits for the real one."""
    save, append = state.write_atomically, EventLog.append

    def write_atomically(path: Any, text: str) -> None:
        DISK.write()
        save(path, text)

    def append_event(self: EventLog, event: str, **fields: Any) -> None:
        try:
            DISK.write()
        except PowerCut:
            with self._path.open("a") as file:
                file.write('{"time": 1.0, "event": "gra')
            raise
        append(self, event, **fields)

    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(state, "write_atomically", write_atomically)
    monkeypatch.setattr(EventLog, "append", append_event)


@dataclass(frozen=True)
class Held:
    """A lease, as the model has it."""

    attempt: int
    worker: str
    trainer: str
    expires: float
    restored: bool = False  # an earlier process has granted it, and who loses it now is not to blame


class SearchModel(RuleBasedStateMachine):
    """What a search has promised so far, by trial.

    Attributes:
        grants: Every grant that a worker has ever had, as it came over the wire.
        attempts: The last attempt.
        held: The open lease.
        queued: The trials that will run again.
        finished: The final status, and the score.
        accepted: The attempt whose end was accepted, as long as no later one was granted.
        ends: How many ends were counted.
        losses: How many workers were lost.
        counted: Whether the loss in hand is somebody's fault.
        reported: The scores that each attempt has reported.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.open = ExitStack()
        self.place = Path(self.open.enter_context(tempfile.TemporaryDirectory()))
        self.grants: list[tuple[str, int]] = []
        self.attempts: Counter[str] = Counter()
        self.held: dict[str, Held] = {}
        self.queued: set[str] = set()
        self.finished: dict[str, tuple[str, float | None]] = {}
        self.accepted: dict[str, int] = {}
        self.ends: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.counted = True
        self.values: dict[str, dict[str, Any]] = {}
        self.reported: dict[tuple[str, int], list[float]] = {}
        self.search = self.start()

    # --- the chief's process

    def start(self) -> Search:
        oracle = make_oracle(trials=TRIALS, max_retries_per_trial=RETRIES)
        context = open_search(self.place, self.clock, oracle, POLICY, after_crash=True)
        return self.open.enter_context(context)

    @rule()
    def crash(self) -> None:
        """The chief is killed, and started again: what was held is held, for one more TTL."""
        DISK.left = None
        self.search = self.start()
        for trial_id, held in self.held.items():
            self.held[trial_id] = replace(held, expires=self.clock.now + TTL, restored=True)

    @rule()
    def stop(self) -> None:
        """The chief is stopped in order, and started again: everything runs again, and nobody is to blame."""
        self.search.give_back("the chief was stopped")
        for trial_id in list(self.held):
            self.lose(trial_id, counted=False)
        self.crash()

    def call(
        self, method: Callable[[], Result], cut: int | None, mine: Callable[[Held], bool] = lambda held: False
    ) -> Result:
        """A call, which is repeated when the power was cut before it had the answer.

        Args:
            method: The call.
            cut: How many writes the disk takes before the power is cut; None: all.
            mine: The leases that the call takes away; each that it had come to is lost, and the others are held.
        """
        DISK.left = cut
        try:
            answer = method()
            if DISK.left != 0:
                return answer
        except PowerCut:
            pass
        finally:
            DISK.left = None
        due = {x: held for x, held in self.held.items() if mine(held)}
        self.crash()
        still = {(lease.trial_id, lease.attempt) for lease in self.search.leases.open}
        for trial_id in [x for x, held in due.items() if (x, held.attempt) not in still]:
            self.held[trial_id] = due[trial_id]
            self.lose(trial_id, counted=self.counted)
            if trial_id in self.finished and self.search.trial(trial_id).status != "FAILED":
                # Cut after its loss was written down, and before its failure: it has one attempt more.
                del self.finished[trial_id]
                self.ends[trial_id] -= 1
                self.queued.add(trial_id)
        return method()

    # --- the model

    def lose(self, trial_id: str, *, counted: bool = True) -> None:
        restored = self.held.pop(trial_id).restored
        self.losses[trial_id] += counted and not restored
        if self.losses[trial_id] < POLICY.max_attempts:
            self.queued.add(trial_id)
        else:
            self.finished[trial_id] = ("FAILED", None)
            self.ends[trial_id] += 1

    def expired(self, held: Held) -> bool:
        return held.expires <= self.clock.now

    def expire(self) -> None:
        for trial_id in [x for x, held in self.held.items() if self.expired(held)]:
            self.lose(trial_id)

    def pick(self, number: int) -> tuple[Any, int, bool]:
        """A trial and attempt that a worker has had at some time, and whether it has it still."""
        text, attempt = self.grants[number % len(self.grants)]
        trial = codec.trial_from_json(text)
        held = self.held.get(trial.trial_id)
        return trial, attempt, held is not None and held.attempt == attempt

    # --- workers

    @rule(worker=workers, number=numbers, cut=cuts)
    def ask(self, worker: str, number: str, cut: int | None) -> None:
        trainer = worker + number
        answer = self.call(
            lambda: self.search.next_trial(worker, trainer),
            cut,
            lambda held: (held.worker == worker and held.trainer != trainer) or self.expired(held),
        )
        self.check_answer(worker, trainer, answer)

    def check_answer(self, worker: str, trainer: str, answer: Grant | Answer) -> None:
        for trial_id, held in list(self.held.items()):
            if held.trainer == trainer:
                assert isinstance(answer, Grant)
                assert (answer.trial.trial_id, answer.attempt) == (trial_id, held.attempt)
                return
            if held.worker == worker:
                self.lose(trial_id)
        self.expire()
        if self.search.set_aside(worker) is not None:
            assert answer is Answer.WAIT
        elif not isinstance(answer, Grant):
            assert not self.queued
            assert len(self.attempts) == TRIALS
            assert answer is (Answer.WAIT if self.held else Answer.OVER)
        else:
            trial_id = answer.trial.trial_id
            assert trial_id in self.queued or (trial_id not in self.attempts and len(self.attempts) < TRIALS)
            self.queued.discard(trial_id)
            self.attempts[trial_id] += 1
            assert answer.attempt == self.attempts[trial_id]
            assert not answer.trial.metrics.exists("score")
            values = dict(answer.trial.hyperparameters.values)
            assert values == self.values.setdefault(trial_id, values)
            restored = not self.search.granted[worker]  # the chief that granted it died before the answer
            self.held[trial_id] = Held(answer.attempt, worker, trainer, self.clock.now + TTL, restored)
            self.accepted.pop(trial_id, None)
            self.grants.append((codec.trial_to_json(answer.trial), answer.attempt))

    @precondition(lambda self: self.grants)
    @rule(number=st.integers(0, 99), score=scores, cut=cuts)
    def report(self, number: int, score: float, cut: int | None) -> None:
        trial, attempt, held = self.pick(number)
        seen = self.reported.setdefault((trial.trial_id, attempt), [])
        step = len(seen)
        if not held:
            with pytest.raises(LeaseLost):
                self.search.report_progress(trial.trial_id, attempt)
            with pytest.raises(LeaseLost):
                self.search.update_trial(trial.trial_id, attempt, {"score": score}, step)
            return
        self.call(lambda: self.search.update_trial(trial.trial_id, attempt, {"score": score}, step), cut)
        self.search.report_progress(trial.trial_id, attempt)
        seen.append(score)

    @precondition(lambda self: self.grants)
    @rule(number=st.integers(0, 99), status=st.sampled_from(["COMPLETED", "FAILED", "INVALID"]), score=scores, cut=cuts)
    def end(self, number: int, status: str, score: float, cut: int | None) -> None:
        trial, attempt, held = self.pick(number)
        trial_id = trial.trial_id
        trial.status = status
        if held and status == "COMPLETED" and not self.reported.get((trial_id, attempt)):
            self.report(number, score, None)
        before = json.dumps(self.search.state())
        if not held:
            if self.accepted.get(trial_id) == attempt:
                self.search.end_trial(trial, attempt)
            else:
                with pytest.raises(LeaseLost):
                    self.search.end_trial(trial, attempt)
            assert json.dumps(self.search.state()) == before
            return
        self.call(lambda: self.search.end_trial(trial, attempt), cut)
        del self.held[trial_id]
        self.accepted[trial_id] = attempt
        self.ends[trial_id] += 1
        if status == "COMPLETED":
            self.finished[trial_id] = ("COMPLETED", min(self.reported[trial_id, attempt]))
        elif status == "FAILED" or self.ends[trial_id] > RETRIES:
            self.finished[trial_id] = ("FAILED", None)
        else:
            self.queued.add(trial_id)

    # --- supervisors, and time

    @rule(worker=workers)
    def beat(self, worker: str) -> None:
        self.search.leases.renew(worker)
        for trial_id, held in self.held.items():
            if held.worker == worker:
                self.held[trial_id] = replace(held, expires=self.clock.now + TTL)

    @rule(seconds=st.sampled_from([1.0, 4.0, TTL]))
    def time_goes_by(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(cut=cuts)
    def watch(self, cut: int | None) -> None:
        self.call(lambda: self.search.watch(), cut, self.expired)
        self.expire()

    @rule(worker=workers, number=st.none() | numbers, counted=st.booleans(), cut=cuts)
    def leave(self, worker: str, number: str | None, counted: bool, cut: int | None) -> None:
        """A whole worker goes, or one trainer of it."""

        def mine(held: Held) -> bool:
            return held.worker == worker if number is None else held.trainer == worker + number

        def method() -> None:
            if number is None:
                self.search.lose_worker(worker, "gone", counted=counted)
            else:
                self.search.lose_trainer(worker + number, "killed", counted=counted)

        self.counted = counted
        self.call(method, cut, mine)
        for trial_id in [x for x, held in self.held.items() if mine(held)]:
            self.lose(trial_id, counted=counted)
        self.counted = True

    # --- what holds at any time

    @invariant()
    def the_leases_are_the_models(self) -> None:
        found = {x.trial_id: (x.attempt, x.worker, x.trainer, x.expires) for x in self.search.leases.open}
        assert found == {x: (y.attempt, y.worker, y.trainer, y.expires) for x, y in self.held.items()}
        assert len({held.worker for held in self.held.values()}) == len(self.held)

    @invariant()
    def every_result_is_there_and_counted_once(self) -> None:
        found = self.search.state()
        statuses = {x["trial_id"]: (x["status"], x["score"]) for x in found["trials"]}
        assert {x: y for x, y in statuses.items() if y[0] in ("COMPLETED", "FAILED")} == self.finished
        assert sorted(found["oracle"]["end_order"]) == sorted(self.finished)
        assert +Counter(found["oracle"]["run_times"]) == +self.ends

    @invariant()
    def every_file_is_whole_and_has_every_result(self) -> None:
        project = self.place / "project"
        trials = [json.loads(path.read_text()) for path in project.glob("trial_*/trial.json")]
        for trial in trials:
            if trial["trial_id"] in self.finished:
                assert (trial["status"], trial["score"]) == self.finished[trial["trial_id"]]
        assert {trial["trial_id"] for trial in trials} >= set(self.attempts)
        json.loads((project / "oracle.json").read_text())
        for event in EventLog(project).read():
            assert event["event"]

    def teardown(self) -> None:
        """With one worker that lives, the search comes to its end."""
        try:
            for _ in range(10 * TRIALS):
                answer = self.search.next_trial("last", "last1")
                self.check_answer("last", "last1", answer)
                if answer is Answer.OVER:
                    break
                if isinstance(answer, Grant):
                    self.end(len(self.grants) - 1, "COMPLETED", 1.0, None)
                else:
                    self.clock.now += TTL
            assert self.search.over
            assert self.search.failure is None
            assert len(self.finished) == TRIALS
            self.crash()
            assert self.search.over, "and a restart finds it there"
            self.every_result_is_there_and_counted_once()
        finally:
            self.open.close()


SearchModel.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestSearch = SearchModel.TestCase
