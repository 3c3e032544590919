"""The lease table against a model of it, under any sequence of calls."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.errors import LeaseLost
from cluster.leases import LeaseTable
from tests.cluster.conftest import Clock

TTL = 10.0
trials = st.sampled_from(["0", "1", "2"])
workers = st.sampled_from(["a", "b"])


class LeaseModel(RuleBasedStateMachine):
    """`holders` maps a trial to (attempt, worker, expiry); `highest` to the last attempt ever granted."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.table = LeaseTable(self.clock, TTL)
        self.holders: dict[str, tuple[int, str, float]] = {}
        self.highest: dict[str, int] = {}
        self.accepted: set[tuple[str, int]] = set()

    @rule(trial=trials, worker=workers)
    def grant(self, trial: str, worker: str) -> None:
        if trial in self.holders:
            with pytest.raises(ValueError, match="is held by"):
                self.table.grant(trial, worker, worker)
            return
        expected = self.highest.get(trial, 0) + 1
        assert self.table.next_attempt(trial) == expected
        lease = self.table.grant(trial, worker, worker)
        assert lease.attempt == expected
        self.highest[trial] = expected
        self.holders[trial] = (expected, worker, self.clock.now + TTL)

    @rule(worker=workers)
    def renew(self, worker: str) -> None:
        self.table.renew(worker)
        for trial, (attempt, holder, _) in self.holders.items():
            if holder == worker:
                self.holders[trial] = (attempt, holder, self.clock.now + TTL)

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def reclaim(self) -> None:
        expired = {lease.trial_id for lease in self.table.expired()}
        assert expired == {x for x, (_, _, expiry) in self.holders.items() if expiry <= self.clock.now}
        for trial in expired:
            self.table.drop(trial)
            del self.holders[trial]

    @rule(trial=trials, attempt=st.integers(0, 4))
    def end(self, trial: str, attempt: int) -> None:
        if trial in self.holders and self.holders[trial][0] == attempt:
            self.table.end(trial, attempt)
            del self.holders[trial]
            assert (trial, attempt) not in self.accepted, "two ends of one attempt were accepted"
            self.accepted.add((trial, attempt))
            assert self.table.was_ended(trial, attempt)
        else:
            with pytest.raises(LeaseLost):
                self.table.end(trial, attempt)

    @rule()
    def restart(self) -> None:
        """Another process knows the attempts, and no lease."""
        self.table = LeaseTable(self.clock, TTL, self.highest)
        self.holders.clear()

    @invariant()
    def the_same_is_open(self) -> None:
        found = {lease.trial_id: (lease.attempt, lease.worker, lease.expires) for lease in self.table.open}
        assert found == self.holders


LeaseModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestLeaseTable = LeaseModel.TestCase


def test_a_repeated_end_is_known_and_an_older_one_is_not() -> None:
    table = LeaseTable(Clock(), TTL)
    table.grant("0", "a", "a1")
    table.end("0", 1)
    assert table.was_ended("0", 1)
    table.grant("0", "b", "b1")
    assert not table.was_ended("0", 1)
    with pytest.raises(LeaseLost, match="attempt 1 at trial 0 is over"):
        table.check("0", 1)


def test_the_end_of_an_earlier_process_is_remembered() -> None:
    table = LeaseTable(Clock(), TTL, {"0": 3})
    table.remember_end("0")
    assert table.was_ended("0", 3)
    assert not table.was_ended("0", 2)
    assert table.next_attempt("0") == 4


def test_leases_are_found_by_worker_and_by_trainer() -> None:
    table = LeaseTable(Clock(), TTL)
    table.grant("0", "a", "a1")
    table.grant("1", "b", "b1")
    assert [x.trial_id for x in table.held_by(worker="a")] == ["0"]
    assert [x.trial_id for x in table.held_by(trainer="b1")] == ["1"]
    assert table.held_by(worker="a", trainer="b1") == []
