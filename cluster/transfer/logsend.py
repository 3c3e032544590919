"""The worker's side of logs: what a trial prints goes from a file here to the end of the trial's log on the chief."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ChiefUnreachable, ClusterError
from cluster.transfer.entry import CHUNK

log = logging.getLogger(__name__)

SECONDS = 2.0  # how often the chief is told what is new
LAST_SECONDS = 5.0  # for the rest, when the attempt is over …
CALL_SECONDS = 5.0  # … and how long one call takes at most


class LogSender:
    """Sends what is added to a file; what the chief has taken, it never gets again, and what it has not, again.

    Args:
        path: The file.
        append: `store.Store.append_log` of the trial and its attempt, on the chief.
        seconds: How often the file is looked at.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        path: Path,
        append: Callable[[int, bytes], int],
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._append = append
        self._seconds = seconds
        self._clock = clock
        self._sent = 0  # bytes of the file
        self._start: int | None = None  # where in the chief's log the file's first byte is
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trial's log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nothing is added any more: sends the rest, for a while; then the file is gone."""
        self._over.set()
        self._thread.join(LAST_SECONDS + 2 * CALL_SECONDS)

    def _run(self) -> None:
        try:
            while not self._over.wait(self._seconds):
                with contextlib.suppress(ChiefUnreachable):
                    self._send()
            deadline = self._clock() + LAST_SECONDS
            while True:
                try:
                    self._send()
                    break
                except ChiefUnreachable:
                    if self._clock() >= deadline:
                        raise
                time.sleep(0.2)
        except (ClusterError, OSError, KeyError) as error:
            log.debug("the rest of %s is not sent: %s", self._path.name, error)
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _send(self) -> None:
        if self._start is None:
            self._start = self._append(-1, b"")
        with self._path.open("rb") as file:
            while data := os.pread(file.fileno(), CHUNK // 2, self._sent):
                taken = self._append(self._start + self._sent, data)
                if taken == self._start + self._sent + len(data):
                    self._sent += len(data)
                else:  # the log is shorter than it was: it goes on from there
                    self._start = taken - self._sent
