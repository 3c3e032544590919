"""Thoughts beside a search: the lock is free meanwhile, and answers do not depend on how fast anything is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import SearchFailed
from cluster.policy import Policy
from cluster.search import Answer, Grant, Search
from tests.cluster.conftest import finish, make_oracle, open_search, take

LONG = 60.0


@dataclass(frozen=True)
class Asked:
    """How many trials have ended and begun."""

    ended: int
    begun: int

    @property
    def key(self) -> tuple[int, int]:
        return self.ended, self.begun

    @property
    def turn(self) -> int:
        return self.begun


class Slow:
    """Thoughts that the test lets come to their end."""

    def __init__(self, oracle: Any) -> None:
        self._oracle = oracle
        self.begun: list[Asked] = []
        self.kept: list[tuple[Asked, str]] = []
        self.news = threading.Condition()
        self._open = 0
        self.error: Exception | None = None
        self.asleep = False  # nothing to think about

    def question(self) -> Asked | None:
        return None if self.asleep else Asked(len(self._oracle.end_order), len(self._oracle.trials))

    def think(self, question: Asked, check: Callable[[], None]) -> str:
        with self.news:
            self.begun.append(question)
            self.news.notify_all()
            while not self._open:
                self.news.wait(0.01)
                check()
                self.news.notify_all()  # a check changes what is known of who waits
            self._open -= 1
        if self.error is not None:
            raise self.error
        return f"about {question.key}"

    def keep(self, question: Asked, answer: str) -> None:
        self.kept.append((question, answer))

    def let(self, thoughts: int = 10**9) -> None:
        """So many thoughts may end."""
        with self.news:
            self._open += thoughts
            self.news.notify_all()

    def wait_for(self, what: Callable[[], bool]) -> None:
        with self.news:
            assert self.news.wait_for(what, LONG)

    def wait_for_thought(self, *key: int) -> None:
        self.wait_for(lambda: bool(self.begun) and self.begun[-1].key == key)


@pytest.fixture
def slow_search(tmp_path: Path, owned: None) -> Iterator[tuple[Search, Slow]]:
    oracle = make_oracle(trials=9)
    oracle.cluster_ahead = slow = Slow(oracle)
    with open_search(tmp_path, oracle=oracle) as search:
        yield search, slow


def asking(search: Search, worker: str = "w", timeout: float = 0.0) -> tuple[threading.Thread, list[Any]]:
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(search.next_trial(worker, f"t-{worker}", timeout)))
    thread.start()
    return thread, got


def done(thread: threading.Thread, got: list[Any]) -> Any:
    thread.join(LONG)
    assert not thread.is_alive()
    return got[0]


def test_the_lock_is_free_while_a_proposal_is_thought_out(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    slow.let(1)
    first = take(search, "a")
    waiting = asking(search, "b")
    slow.wait_for_thought(0, 1)
    # All of these need the lock, and nothing lets the thought come to its end before them.
    search.update_trial(first.trial.trial_id, first.attempt, {"score": 1.0}, 0)
    search.report_epoch(first.trial.trial_id, first.attempt, 0, {"loss": 1.0})
    search.watch()
    assert search.best_trials(1)
    assert search.state()["trials"]
    assert waiting[0].is_alive()
    slow.let()
    assert isinstance(done(*waiting), Grant)


def test_the_next_one_is_thought_out_before_it_is_asked_for(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    slow.let(2)
    take(search, "a")
    slow.wait_for(lambda: len(slow.begun) == 2 and slow._open == 0)
    take(search, "b")  # no third thought may end, so this one was there
    assert slow.kept == [(Asked(0, 0), "about (0, 0)"), (Asked(0, 1), "about (0, 1)")]


def test_what_was_thought_before_a_result_came_is_not_used(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    slow.let(2)
    grant = take(search, "a")
    slow.wait_for(lambda: len(slow.begun) == 2 and slow._open == 0)
    finish(search, grant)
    slow.let()
    take(search, "a")
    assert slow.kept[-1] == (Asked(1, 1), "about (1, 1)")


def test_a_thought_that_nobody_waits_for_gives_way_to_one_that_somebody_does(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    slow.let(1)
    grant = take(search, "a")
    slow.wait_for_thought(0, 1)
    finish(search, grant)
    waiting = asking(search, "a")
    slow.wait_for_thought(1, 1)  # though the one before was never let come to its end
    slow.let()
    assert isinstance(done(*waiting), Grant)
    assert slow.kept[-1] == (Asked(1, 1), "about (1, 1)")


def test_who_waits_gets_what_was_known_when_it_asked(slow_search: tuple[Search, Slow]) -> None:
    """Or else results that come faster than thoughts would make it wait for ever."""
    search, slow = slow_search
    slow.let(2)
    one, two = take(search, "a"), take(search, "b")
    waiting = asking(search, "c")
    slow.wait_for_thought(0, 2)
    slow.wait_for(lambda: search._thinking._for_worker)
    finish(search, one)
    finish(search, two)
    slow.let(1)
    assert isinstance(done(*waiting), Grant)
    assert slow.kept[-1] == (Asked(2, 2), "about (0, 2)")


def test_a_caller_without_patience_waits_for_the_thought_and_no_longer(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    slow.let(1)
    assert isinstance(search.next_trial("w", "t", timeout=0.0), Grant)


def test_a_trial_that_runs_again_waits_for_no_thought(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    slow.let(1)
    grant = take(search, "a")
    search.lose_worker("a", "gone")
    again = take(search, "b")
    assert again.trial.trial_id == grant.trial.trial_id
    assert again.attempt == 2


def test_what_was_thought_for_one_who_got_another_trial_is_not_for_who_comes_later(
    slow_search: tuple[Search, Slow],
) -> None:
    search, slow = slow_search
    slow.let(2)
    one, _ = take(search, "a"), take(search, "b")
    waiting = asking(search, "c")
    slow.wait_for_thought(0, 2)
    slow.wait_for(lambda: search._thinking._for_worker)
    search.lose_worker("b", "gone")
    assert done(*waiting).attempt == 2, "the trial that runs again"
    finish(search, one)
    slow.let()
    assert isinstance(take(search, "d"), Grant)
    assert slow.kept[-1] == (Asked(1, 2), "about (1, 2)")


def test_a_thought_that_fails_is_the_oracles_own_failure(slow_search: tuple[Search, Slow]) -> None:
    """The oracle is asked all the same, and fails by itself, or does not."""
    search, slow = slow_search
    slow.error = ValueError("no idea")
    slow.let()
    assert isinstance(search.next_trial("w", "t"), Grant)
    assert slow.kept == []


def test_a_question_that_cannot_be_put_is_the_oracles_own_failure(tmp_path: Path, owned: None) -> None:
    oracle = make_oracle(trials=2)

    class Broken(Slow):
        def question(self) -> Asked | None:
            raise ValueError("no question")

    oracle.cluster_ahead = Broken(oracle)
    with open_search(tmp_path, oracle=oracle) as search:
        finish(search, take(search))


def test_an_oracle_with_nothing_to_think_about_is_asked_at_once(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    slow.asleep = True
    take(search)
    assert slow.begun == []


def test_an_oracle_without_thoughts_has_no_thread(tmp_path: Path, owned: None) -> None:
    with open_search(tmp_path) as search:
        finish(search, take(search))
        assert search._thinking._thread is None


def test_a_search_that_is_closed_ends_its_thought(tmp_path: Path, owned: None) -> None:
    oracle = make_oracle(trials=9)
    oracle.cluster_ahead = slow = Slow(oracle)
    with open_search(tmp_path, oracle=oracle) as search:
        slow.let(1)
        take(search)
        slow.wait_for_thought(0, 1)
    thread = search._thinking._thread
    assert thread is not None
    thread.join(LONG)
    assert not thread.is_alive()


def test_whoever_waits_is_told_when_the_search_fails(slow_search: tuple[Search, Slow]) -> None:
    search, slow = slow_search
    waiting = asking(search, "w", timeout=LONG)
    slow.wait_for_thought(0, 0)
    search.fail(SearchFailed("it is over"))
    assert done(*waiting) is Answer.OVER


def test_many_workers_get_one_proposal_each(tmp_path: Path, owned: None) -> None:
    oracle = make_oracle(trials=9)
    oracle.cluster_ahead = slow = Slow(oracle)
    slow.let()
    with open_search(tmp_path, oracle=oracle, policy=Policy()) as search:
        all_of_them = [asking(search, f"w{number}", timeout=LONG) for number in range(8)]
        grants = [done(*each) for each in all_of_them]
        assert len({grant.trial.trial_id for grant in grants}) == 8
