"""Searches that are looked at from outside: each is read while somebody looks, at most once a second however many do.

Owns what the chief answers to `Watch`, and what the page shows of a directory. Knows no gRPC and no HTTP.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.changes import changes, snapshot
from cluster.follow import Follower
from cluster.logs import log_of
from cluster.record import Facts, Record

SECONDS = 1.0  # between two looks at the files
LONGEST_WAIT = 30.0  # of a call, whatever it asks for
LOG_BYTES = 64 * 1024  # of a trial's log, from its end


@dataclass(frozen=True)
class Reading:
    """A search as it was found.

    Attributes:
        record: The search. Nobody changes it any more.
        mark: Names the reading that the record's versions are of: another one counts anew.
    """

    record: Record
    mark: str


class Watched:
    """A project directory that several look at. Any thread may call any method.

    Args:
        directory: The project directory.
        seconds: How long a look is good for.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, directory: Path, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._follower: Follower | None = None
        self._looked: float | None = None
        self._followed: Record | None = None  # what the follower fills
        self._reading: Reading | None = None

    def look(self) -> Reading:
        """The search as it stands, a second ago at most.

        Raises:
            UsageError: there is no search in the directory, or a file cannot be read.
        """
        with self._lock:
            now = self._clock()
            if self._reading is not None and self._looked is not None and now - self._looked < self._seconds:
                return self._reading
            self._follower = self._follower or Follower(self.directory)
            changed = self._follower.poll()
            self._looked = self._clock()
            record = self._follower.record
            if self._reading is None or record is not self._followed:  # the directory was emptied and begun anew
                self._reading = Reading(snapshot(record), uuid.uuid4().hex[:12])
            elif changed:
                self._reading = Reading(snapshot(record, self._reading.record), self._reading.mark)
            self._followed = record
            return self._reading


@dataclass
class WatchedSearches:
    """The searches of a program, for whoever asks its chief. Any thread may call any method.

    Args:
        directories: Gives the project directories that the program has come to, the newest last.
        seconds: How long a look is good for.
    """

    directories: Callable[[], Iterable[Path]]
    seconds: float = SECONDS
    _watched: dict[Path, Watched] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def changes(
        self, search: str, mark: str, version: int, wait: float, active: Callable[[], bool] = lambda: True
    ) -> Facts:
        """What has changed in a search; waits until something has.

        Args:
            search: Its project directory, as an answer named it; empty: the newest.
            mark: The reading that `version` is of, as the last answer named it.
            version: What the caller knows; 0 for nothing.
            wait: How long to wait, in seconds.
            active: Whether the caller still waits; looked at about once a second.

        Returns:
            `projects` (the directories so far), and where there is one, `project`, `mark`, `whole` (whether the trials
            are all of them) and what `changes.changes` gives.

        Raises:
            KeyError: there is no such search.
            UsageError: its files cannot be read.
        """
        deadline = time.monotonic() + min(max(0.0, wait), LONGEST_WAIT)
        pause = threading.Event()  # nobody sets it
        while True:
            directories = list(dict.fromkeys(self.directories()))
            left = deadline - time.monotonic()
            answer: Facts = {"projects": [str(path) for path in directories]}
            if search and search not in answer["projects"]:
                raise KeyError(f"there is no search in {search}")
            if directories:
                directory = Path(search) if search else directories[-1]
                reading = self._of(directory).look()
                whole = mark != reading.mark
                if whole or reading.record.version > version or left <= 0:
                    about = {"project": str(directory), "mark": reading.mark, "whole": whole}
                    return {**answer, **about, **changes(reading.record, 0 if whole else version)}
            if left <= 0 or not active():
                return answer
            pause.wait(min(self.seconds, left))

    def log(self, search: str, trial: str) -> str:
        """The end of what a trial has printed; empty where nothing is kept of it.

        Raises:
            KeyError: there is no such search, or no such trial in it.
            UsageError: its files cannot be read.
        """
        directory = Path(search)
        if directory not in set(self.directories()):
            raise KeyError(f"there is no search in {search}")
        return end_of_log(self._of(directory).look().record, trial)

    def _of(self, directory: Path) -> Watched:
        with self._lock:
            if directory not in self._watched:
                self._watched[directory] = Watched(directory, self.seconds)
            return self._watched[directory]


def end_of_log(record: Record, trial: str) -> str:
    """The end of what a trial has printed; empty where nothing is kept of it.

    Raises:
        KeyError: there is no such trial.
    """
    if trial not in record.trials:
        raise KeyError(f"there is no trial {trial}")
    try:
        with log_of(Path(record.directory), trial).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            end = file.read(LOG_BYTES)
    except OSError:
        return ""
    whole = end if size <= LOG_BYTES else end.partition(b"\n")[2]
    return whole.decode("utf-8", errors="replace")
