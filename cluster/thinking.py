"""What an oracle will be asked next, thought out beside the search.

A search calls its oracle under one lock. An oracle whose proposals take their time can offer its thoughts apart: as an
`Ahead`, in an attribute `cluster_ahead`. Then one thread of the search keeps the answer to its next question ready,
with the lock free, and a worker that comes too early waits with the lock free. An oracle without the attribute, or
where it is None, is asked under the lock, as ever.

    question()              under the lock: all that the next proposal depends on, or None where it takes no time
    think(question, check)  no lock, any thread: the answer, from the question alone
    keep(question, answer)  under the lock, right before the oracle is asked: what to answer, now

The oracle's `populate_space` takes what was kept where its question is still the same, and thinks for itself otherwise.
So the answers are those that it would give by itself: how fast anything was has no part in them. One exception: while
a worker waits, trials may end. It gets the proposal from what was known when it asked, if no trial has begun since;
whoever began anew with every result might never come to an end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Question(Protocol):
    """All that a proposal depends on, as it was at one moment; nobody changes it.

    Attributes:
        key: Equal for questions that have the same answer.
        turn: Equal as long as no trial has begun and the space is the same.
    """

    @property
    def key(self) -> Hashable: ...

    @property
    def turn(self) -> Hashable: ...


class Ahead(Protocol):
    """An oracle's thoughts, apart from the oracle."""

    def question(self) -> Question | None:
        """What will be asked next; None where there is nothing to think about. Quick."""

    def think(self, question: Any, check: Callable[[], None]) -> Any:
        """The answer.

        Args:
            question: One of this object's questions.
            check: To be called now and then; what it raises ends the thought and is passed on.
        """

    def keep(self, question: Any, answer: Any) -> None:
        """The oracle is about to be asked this question, and this is its answer."""


class Abandoned(Exception):
    """The answer is no longer wanted."""


class Thinking:
    """Thinks about one search's next proposal. All but the thread itself is called with the search's lock held.

    Args:
        ahead: The oracle's thoughts as of now; None where it has none.
        lock: The search's lock, a `threading.RLock`.
        changed: Its condition, which is notified of every answer.
    """

    def __init__(self, ahead: Callable[[], Ahead | None], lock: Any, changed: threading.Condition) -> None:
        self._ahead = ahead
        self._changed = changed
        self._look = threading.Condition(lock)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._wanted = False  # a worker waits for the answer
        self._about: Question | None = None  # what is being thought about
        self._for_worker = False  # whether that is for a worker who waits
        self._done: tuple[Question, Any, bool] | None = None  # question, answer, whether for a worker
        self._failed: Hashable = None  # the question that could not be thought about

    def look(self) -> None:
        """Something has changed: there may be a new question."""
        if self._thread is not None:
            self._look.notify()
        elif not self._closed and self._open() is not None:
            self._thread = threading.Thread(target=self._run, name="thinking", daemon=True)
            self._thread.start()

    def ready(self) -> bool:
        """Whether the oracle can be asked at once; if not, `changed` will be notified when to call this again."""
        ahead, question = self._asked()
        if ahead is None or question is None or self._closed:
            self._wanted = False
            return True
        if self._done is not None:
            asked, answer, waited_for = self._done
            if asked.key == question.key or (waited_for and asked.turn == question.turn):
                ahead.keep(question, answer)
                self._wanted = False
                return True
        self._wanted = True
        self.look()
        return False

    def nobody_waits(self) -> None:
        """All who waited are served, or have gone: what was thought for them is not for whoever comes later."""
        self._wanted = self._for_worker = False
        if self._done is not None:
            self._done = (*self._done[:2], False)

    def close(self) -> None:
        """No answer is wanted any more; a thought that goes on ends soon."""
        self._closed = True
        self._look.notify_all()

    def join(self, seconds: float) -> None:
        """Waits for the thread to end, `seconds` at most. Without the lock."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _asked(self) -> tuple[Ahead | None, Question | None]:
        """The oracle's thoughts, and what it will be asked next; without what fails, which the oracle shows itself."""
        ahead = self._ahead()
        try:
            question = None if ahead is None else ahead.question()
        except Exception:
            log.debug("what the next proposal depends on could not be found", exc_info=True)
            question = None
        return ahead, None if question is None or question.key == self._failed else question

    def _open(self) -> Question | None:
        """The question that has no answer yet."""
        _, question = self._asked()
        if question is None or self._done is None:
            return question
        asked, _, waited_for = self._done
        usable = asked.key == question.key or (waited_for and self._wanted and asked.turn == question.turn)
        return None if usable else question

    def _check(self) -> None:
        """Ends a thought that nobody waits for once somebody waits for another.

        Raises:
            Abandoned: this one is.
        """
        if self._closed:
            raise Abandoned
        # Who holds the lock may be waiting for this very thought to end: the next check will do as well.
        if self._wanted and not self._for_worker and self._look.acquire(blocking=False):
            try:
                question = self._open()
                if question is None or self._about is None or question.key != self._about.key:
                    raise Abandoned
                self._for_worker = True
            finally:
                self._look.release()

    def _run(self) -> None:
        while True:
            with self._look:
                self._about = None
                while not self._closed and (question := self._open()) is None:
                    self._look.wait()
                ahead = self._ahead()
                if self._closed or ahead is None:
                    return
                self._about, self._for_worker = question, self._wanted
            try:
                answer, failed = ahead.think(question, self._check), False
            except Abandoned:
                continue
            except Exception:
                log.debug("the next proposal could not be thought out ahead", exc_info=True)
                answer, failed = None, True  # it fails again where the oracle is asked, and is seen there
            with self._look:
                assert question is not None
                if failed:
                    self._failed = question.key
                else:
                    self._done = question, answer, self._for_worker
                self._changed.notify_all()
