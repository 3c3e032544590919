"""Follows a search from within the process that owns it, and tells those who show it.

What is shown (on the terminal, in TensorBoard's files) is read from the search's own files, so that showing it can
neither slow the search nor end it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from cluster.errors import UsageError
from cluster.follow import Follower
from cluster.record import Record

log = logging.getLogger(__name__)

Looker = Callable[[Record], None]

REST = 3.0  # how long to rest between two steps of a gentle looker, in times of what the step took
MOST_REST = 0.7  # seconds, of one look


@runtime_checkable
class Gentle(Protocol):
    """A looker that may have much to do, and can do it in steps: it runs beside who grants trials."""

    def gently(self, record: Record) -> Iterator[None]:
        """Does the same as a call, a step at a time."""


class Observer:
    """Looks at a search about once a second, and once more at its end.

    Args:
        directory: The project directory.
        lookers: Who is told after a change; one that raises is told no more, and the log says why.
        seconds: How long to wait between two looks.
    """

    def __init__(self, directory: Path, lookers: Sequence[Looker], seconds: float = 1.0) -> None:
        self._directory = directory
        self._lookers = list(lookers)
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        if self._lookers:
            self._thread.start()

    def close(self) -> None:
        """Looks for the last time; returns when all have been told."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        follower: Follower | None = None
        while True:
            last = self._ended.wait(self._seconds)
            try:
                follower = follower or Follower(self._directory)
                changed = follower.poll()
            except UsageError as error:
                log.debug("not followed: %s", error)
                changed = False
            if changed and follower is not None:
                self._tell(follower.record)
            if last:
                return

    def _tell(self, record: Record) -> None:
        for looker in list(self._lookers):
            try:
                if isinstance(looker, Gentle):
                    self._tell_gently(looker, record)
                else:
                    looker(record)
            except Exception:
                log.exception("the search goes on, but is not shown by %s any more", looker)
                self._lookers.remove(looker)

    def _tell_gently(self, looker: Gentle, record: Record) -> None:
        """Between two steps the other threads have the interpreter; at the end nothing rests."""
        left = MOST_REST
        began = time.monotonic()
        for _ in looker.gently(record):
            rest = min(left, REST * (time.monotonic() - began))
            if rest > 0:
                self._ended.wait(rest)
                left -= rest
            began = time.monotonic()
