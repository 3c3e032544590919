"""A trainer's share of its host's cores, which is dealt again when workers come and go.

Owns when a new share takes effect. Where threads may run can be changed at any time; how many threads a backend has
cannot, once it has made them, and then only a new process has the right number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from cluster import cores

SETTLED_SECONDS = 5.0  # a share that is younger may be changed again: a worker that was killed is back in a second
# A new process costs its start. It pays where a trial, which would run on too many or too few threads, is longer.
WORTH = 3.0


class CoreShare:
    """The cores of this process. One thread may change the share while another takes it up.

    Args:
        own: The cores at the start; None: all that there are, for ever.
        clock: A monotonic clock, in seconds.
        pin: Keeps all threads of this process on some cores.
        set_variables: Sets variables of this process.
    """

    def __init__(
        self,
        own: tuple[int, ...] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pin: Callable[[tuple[int, ...]], None] = cores.pin,
        set_variables: Callable[[dict[str, str]], None] = os.environ.update,
    ) -> None:
        self._own = own
        self._wanted = own
        self._changed_at = self._began_at = clock()
        self._clock = clock
        self._pin = pin
        self._set_variables = set_variables
        self._threads: int | None = None  # how many the backend has; None while it has none yet
        self._start_seconds = 0.0
        self._trial_at: float | None = None

    def begin(self) -> None:
        """Takes up the share that this process was started with."""
        self._take_up()

    def change(self, own: tuple[int, ...]) -> None:
        """The share is another one from now on. A backend that has no threads yet will have the right number."""
        if self._own is None or own == self._wanted:
            return
        self._wanted = own
        self._changed_at = self._clock()
        if self._threads is None:
            self._take_up()

    def settle(self) -> None:
        """The backend is about to make its threads, or has made them."""
        if self._threads is None and self._own is not None:
            self._threads = len(self._own)
            self._start_seconds = self._clock() - self._began_at

    def between_trials(self) -> None:
        """No trial is in hand, and the next one is about to be asked for."""
        now = self._clock()
        if self._wanted != self._own and now - self._changed_at >= SETTLED_SECONDS:
            self._take_up()
        self._trial_at = now

    def needs_new_process(self) -> bool:
        """Whether this process, between two trials, should make room for one with the right number of threads."""
        if self._threads is None or self._wanted is None or self._trial_at is None:
            return False
        seconds = self._clock() - self._trial_at
        settled = self._clock() - self._changed_at >= SETTLED_SECONDS
        return settled and len(self._wanted) != self._threads and seconds > WORTH * self._start_seconds

    def _take_up(self) -> None:
        self._own = self._wanted
        if self._own is not None:
            if self._threads is None:
                self._set_variables(cores.thread_variables(len(self._own)))
            self._pin(self._own)
