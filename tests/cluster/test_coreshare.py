"""When a trainer takes up another share of its host's cores, and when it makes room for one with other threads."""

from __future__ import annotations

import pytest

from cluster.cores import THREADS
from cluster.coreshare import SETTLED_SECONDS, WORTH, CoreShare
from tests.cluster.conftest import Clock

FOUR = (0, 1, 2, 3)
TWO = (0, 1)
OTHER_TWO = (2, 3)
START = 4.0  # how long the process took to start
LONG = WORTH * START + 1


class Trainer:
    """A trainer whose cores and threads are written down."""

    def __init__(self, clock: Clock, own: tuple[int, ...] | None = FOUR) -> None:
        self.clock = clock
        self.pinned: list[tuple[int, ...]] = []
        self.threads: list[int] = []
        self.share = CoreShare(own, clock, self.pinned.append, self._set)

    def _set(self, variables: dict[str, str]) -> None:
        assert set(variables) == set(THREADS)
        (count,) = set(variables.values())
        self.threads.append(int(count))

    def started(self) -> Trainer:
        """It has its threads now, and is about to ask for its first trial."""
        self.share.begin()
        self.clock.now += START
        self.share.settle()
        self.share.between_trials()
        return self

    def trial(self, seconds: float) -> bool:
        """Runs a trial; returns whether a new process should run the next one, and else goes on."""
        self.clock.now += seconds
        new = self.share.needs_new_process()
        if not new:
            self.share.between_trials()
        return new


@pytest.fixture
def trainer(clock: Clock) -> Trainer:
    return Trainer(clock)


def test_a_process_begins_with_its_share(trainer: Trainer) -> None:
    trainer.share.begin()
    assert (trainer.pinned, trainer.threads) == ([FOUR], [4])


def test_a_change_before_there_are_threads_is_taken_up_at_once(trainer: Trainer) -> None:
    trainer.share.begin()
    trainer.share.change(TWO)
    assert (trainer.pinned, trainer.threads) == ([FOUR, TWO], [4, 2])
    trainer.clock.now += START
    trainer.share.settle()
    trainer.share.between_trials()
    assert not trainer.trial(LONG), "it has the right number already"
    assert (trainer.pinned, trainer.threads) == ([FOUR, TWO], [4, 2])


def test_a_change_afterwards_waits_until_it_has_settled_and_no_trial_runs(trainer: Trainer) -> None:
    trainer.started()
    trainer.share.change(OTHER_TWO)
    assert trainer.pinned == [FOUR]
    trainer.trial(SETTLED_SECONDS - 0.1)
    assert trainer.pinned == [FOUR], "a worker that was killed is back in a second"
    trainer.clock.now += 0.2
    assert trainer.pinned == [FOUR], "not in the middle of a trial"
    trainer.share.between_trials()
    assert trainer.pinned == [FOUR, OTHER_TWO]
    assert trainer.threads == [4], "a backend's threads cannot be undone"


def test_a_change_that_was_changed_again_settles_anew(trainer: Trainer) -> None:
    trainer.started()
    trainer.share.change(TWO)
    trainer.trial(SETTLED_SECONDS - 1)
    trainer.share.change(OTHER_TWO)
    trainer.trial(SETTLED_SECONDS - 1)
    assert trainer.pinned == [FOUR]
    trainer.trial(2)
    assert trainer.pinned == [FOUR, OTHER_TWO]


def test_a_change_that_is_taken_back_changes_nothing(trainer: Trainer) -> None:
    trainer.started()
    trainer.share.change(TWO)
    trainer.share.change(FOUR)
    assert not trainer.trial(LONG)
    assert trainer.pinned == [FOUR]


def test_hearing_the_same_again_does_not_begin_the_wait_anew(trainer: Trainer) -> None:
    trainer.started()
    trainer.share.change(TWO)
    trainer.clock.now += SETTLED_SECONDS - 1
    trainer.share.change(TWO)
    trainer.clock.now += 1
    trainer.share.between_trials()
    assert trainer.pinned == [FOUR, TWO]


def test_another_number_of_threads_is_worth_a_new_process_when_trials_are_long(trainer: Trainer) -> None:
    trainer.started()
    trainer.share.change(TWO)
    assert not trainer.trial(WORTH * START - 1), "its start would cost more than it saves"
    assert trainer.pinned == [FOUR, TWO], "so it runs on the right cores, with too many threads"
    assert trainer.trial(LONG)


def test_other_cores_with_as_many_threads_need_no_new_process(trainer: Trainer) -> None:
    trainer.share.begin()
    trainer.share.change(TWO)
    trainer.clock.now += START
    trainer.share.settle()
    trainer.share.between_trials()
    trainer.share.change(OTHER_TWO)
    assert not trainer.trial(LONG)
    assert trainer.pinned[-1] == OTHER_TWO


def test_a_change_that_has_not_settled_is_worth_no_new_process(trainer: Trainer) -> None:
    trainer.started()
    trainer.trial(1)
    trainer.clock.now += LONG
    trainer.share.change(TWO)
    assert not trainer.share.needs_new_process()
    trainer.share.between_trials()
    assert trainer.trial(LONG)


def test_nothing_is_worth_a_new_process_before_the_first_trial(trainer: Trainer) -> None:
    assert not trainer.share.needs_new_process()
    trainer.share.begin()
    trainer.clock.now += START
    trainer.share.change(TWO)
    trainer.clock.now += LONG
    assert not trainer.share.needs_new_process()
    trainer.share.settle()
    assert not trainer.share.needs_new_process()


def test_several_tuners_in_one_process_settle_once(trainer: Trainer) -> None:
    trainer.started()
    trainer.share.change(TWO)
    trainer.trial(SETTLED_SECONDS)
    trainer.share.settle()  # the program makes its next tuner; the threads are those of the first
    assert trainer.trial(LONG)


def test_the_start_is_measured_to_the_first_threads(clock: Clock) -> None:
    """A slow start makes a new process dearer."""
    slow = Trainer(clock)
    slow.share.begin()
    clock.now += 10 * START
    slow.share.settle()
    slow.share.between_trials()
    slow.share.change(TWO)
    assert not slow.trial(LONG)
    assert slow.trial(10 * LONG)


def test_without_a_share_nothing_is_touched(clock: Clock) -> None:
    free = Trainer(clock, None).started()
    free.share.change(TWO)
    assert not free.trial(LONG)
    free.share.settle()
    assert not free.trial(LONG)
    assert (free.pinned, free.threads) == ([], [])
