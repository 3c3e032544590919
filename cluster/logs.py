"""What trials print, kept in the project directory: `logs/<trial>.log`, its attempts one after another.

Owns the files and their bounds. Who reads a trial's output is elsewhere: the supervisor of a trainer, which still has
the last lines of one that was killed, or the process itself, by `streams.py`. A log that cannot be written is not kept,
and nothing else comes of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from cluster.asides import Asides
from cluster.lines import Lines, plain

log = logging.getLogger(__name__)

FOLDER = "logs"
LIMIT = 10_000_000  # bytes of a trial's log, beyond which an attempt keeps but its end
TAIL = 100_000  # bytes of that end
SHOWN = 300  # characters of the hyperparameters in the line above an attempt
MESSAGE = 2000  # characters of a failed trial's message


def log_of(project: Path, trial: str) -> Path:
    """Where the log of a trial is.

    Args:
        project: The project directory.
        trial: The trial's id.
    """
    return project / FOLDER / f"{trial.replace(os.sep, '_')}.log"


def heading(attempt: int, worker: str, device: str, values: Mapping[str, Any]) -> str:
    """The line above an attempt."""
    when = datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds")
    about = ", ".join(x for x in (f"attempt {attempt}", worker, device, when) if x)
    words = ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())
    return f"=== {about}{': ' if words else ''}{words if len(words) <= SHOWN else words[:SHOWN] + '…'} ==="


class Output(Protocol):
    """Where the output of this process's trials goes, as the trainer sees it."""

    def begin(self, trial: str, attempt: int, values: Mapping[str, Any]) -> None:
        """From here on it is this trial's."""

    def end(self, outcome: str = "", message: str = "") -> None:
        """Here the trial ends, if one has begun."""


class Unkept:
    """It goes where it goes."""

    def begin(self, trial: str, attempt: int, values: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def end(self, outcome: str = "", message: str = "") -> None:
        """As before."""


class Told:
    """It is read by the supervisor, who is told which trial it is of.

    Args:
        asides: The way to the supervisor.
        project: The project directory.
        worker: The worker's name.
        device: What it runs on; may be empty.
        sent: The search, as its place in the program and its id, to whose chief the log is sent; None: it is there.
    """

    def __init__(
        self, asides: Asides, project: Path, worker: str, device: str, sent: tuple[int, str] | None = None
    ) -> None:
        self._asides = asides
        self._project = project
        self._sent = sent
        self._about = (worker, device)
        self._begun = False

    def begin(self, trial: str, attempt: int, values: Mapping[str, Any]) -> None:
        """From here on it is this trial's."""
        self._begun = True
        sent = {} if self._sent is None else {"search": self._sent, "trial": trial, "attempt": attempt}
        self._asides.tell(log=str(log_of(self._project, trial)), heading=heading(attempt, *self._about, values), **sent)

    def end(self, outcome: str = "", message: str = "") -> None:
        """Here the trial ends, if one has begun."""
        if self._begun:
            self._begun = False
            self._asides.tell(log=None, closing=closing(outcome, message))


def closing(outcome: str, message: str) -> str:
    """What is written below an attempt that has ended; it may have several lines."""
    return "\n".join(x for x in (message[-MESSAGE:].rstrip(), f"=== {outcome or 'not ended'} ===") if x)


class TrialLog:
    """One attempt in the log of a trial. Any thread may call any method; none raises.

    Attributes:
        kept: Whether what is written is kept.

    Args:
        path: The log.
        heading: The line above this attempt.
        limit: How many bytes the file may have, beyond which this attempt keeps but its end.
        tail: How many bytes of that end.
    """

    def __init__(self, path: Path, heading: str, limit: int = LIMIT, tail: int = TAIL) -> None:
        self._lock = threading.RLock()
        self._lines = Lines()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._left_out = 0
        self._limit = limit
        self._most_in_tail = tail
        self._file: int | None = None
        try:
            path.parent.mkdir(exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._size = os.fstat(self._file).st_size
            self._put(f"{heading}\n".encode(errors="replace"))
        except OSError as error:
            log.debug("no log is kept in %s: %s", path, error)
            self._give_up()

    @property
    def kept(self) -> bool:
        """Whether what is written is kept."""
        return self._file is not None

    @property
    def file(self) -> int | None:
        """The descriptor, for what a library writes past Python."""
        return self._file

    def write(self, text: str) -> None:
        """Adds what the trial has written, in whatever pieces."""
        with self._lock:
            for line in self._lines.feed(text):
                self._add(line)

    def close(self, last: str = "") -> None:
        """Ends the attempt, with these last lines."""
        with self._lock:
            if self._file is None:
                return
            rest = self._lines.rest()
            if rest:
                self._add(rest)
            left_out = self._left_out - len(self._tail)
            note = f"… {left_out} lines are left out: the log of a trial has {self._limit / 1e6:g} MB at most …\n"
            with contextlib.suppress(OSError):
                self._put(*([note.encode()] if left_out else []), *self._tail)
                self._put(f"{last}\n".encode(errors="replace") if last else b"")
            self._give_up()

    def _add(self, line: str) -> None:
        whole = f"{plain(line)}\n".encode(errors="replace")
        if self._file is None:
            return
        if not self._left_out and self._size + len(whole) <= self._limit:
            try:
                self._put(whole)
            except OSError:
                self._give_up()
            return
        self._left_out += 1
        self._tail.append(whole)
        self._tail_size += len(whole)
        while self._tail_size > self._most_in_tail and len(self._tail) > 1:
            self._tail_size -= len(self._tail.popleft())

    def _put(self, *lines: bytes) -> None:
        if self._file is not None:
            for line in lines:
                self._size += os.write(self._file, line)

    def _give_up(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = None
