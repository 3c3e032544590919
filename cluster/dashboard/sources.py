"""Where the page's searches come from: the directories of their owner, or a directory with projects.

Owns finding them and reading them, one call at a time; what has not changed is not read again. Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cluster.errors import ClusterError, UsageError
from cluster.follow import Follower, projects
from cluster.record import Record
from cluster.watched import Reading, Watched, end_of_log

SCAN_SECONDS = 5.0  # between two looks for new projects


class Away(ClusterError):
    """The source cannot be reached at the moment; the text says why. What was known of it stays known."""


class Source(Protocol):
    """Where searches come from. Any thread may call any method, but `poll` one at a time."""

    @property
    def name(self) -> str:
        """What it is, in words."""

    def poll(self) -> dict[str, Reading]:
        """The searches as they stand, by an id that is part of an address; the newest last.

        Raises:
            Away: they cannot be read at the moment.
        """

    def log(self, search: str, trial: str) -> str:
        """The end of what a trial has printed; empty where nothing is kept of it.

        Raises:
            KeyError: there is no such search, or no such trial in it.
            Away: it cannot be read at the moment.
        """

    def close(self) -> None:
        """Ends a call that is waiting."""


class Projects:
    """Project directories that are named one by one, such as those of the process that runs the searches."""

    name = "this run"

    def __init__(self) -> None:
        self._watched: dict[str, Watched] = {}
        self._lock = threading.Lock()

    def add(self, directory: Path) -> None:
        """From now on this one is shown, as the newest."""
        with self._lock:
            known = self._watched.pop(id_of(directory), None)
            self._watched[id_of(directory)] = known or Watched(directory)

    def looker(self, directory: Path) -> Callable[[Record], None]:
        """As `add`, for an owner of searches, who tells of each change too: the page looks for itself."""
        self.add(directory)
        return lambda record: None

    def poll(self) -> dict[str, Reading]:
        """The searches as they stand; one that cannot be read is left out."""
        return _read(self._all())

    def log(self, search: str, trial: str) -> str:
        """The end of what a trial has printed."""
        return end_of_log(self._all()[search].look().record, trial)

    def close(self) -> None:
        """Nothing waits."""

    def _all(self) -> dict[str, Watched]:
        with self._lock:
            return dict(self._watched)


class Directory:
    """A project directory, or a directory with several; new ones appear as they begin.

    Args:
        directory: The directory.
        empty: Whether it may be without a search as yet.
        clock: A monotonic clock, in seconds.

    Raises:
        UsageError: it is not there, or there is no search in it.
    """

    def __init__(self, directory: Path, *, empty: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = directory
        self._clock = clock
        self._scanned: float | None = None
        self._projects = Projects()
        self._known: set[Path] = set()
        if not directory.is_dir() or not (empty or projects(directory)):
            Follower(directory)  # raises, and says what is wrong

    @property
    def name(self) -> str:
        """The directory."""
        return str(self._root)

    def poll(self) -> dict[str, Reading]:
        """The searches as they stand."""
        now = self._clock()
        if not self._known or self._scanned is None or now - self._scanned >= SCAN_SECONDS:
            self._scanned = now
            if not self._root.is_dir():
                raise Away(f"{self._root} is not there")
            try:
                found = projects(self._root)
            except OSError as error:
                raise Away(f"{error.filename or self._root} cannot be read: {error.strerror}") from error
            for directory in sorted(set(found) - self._known, key=_age):
                self._projects.add(directory)
            self._known |= set(found)
        return self._projects.poll()

    def log(self, search: str, trial: str) -> str:
        """The end of what a trial has printed."""
        return self._projects.log(search, trial)

    def close(self) -> None:
        """Nothing waits."""


def id_of(directory: Path) -> str:
    """A short name for a project, fit for an address."""
    return hashlib.sha256(str(directory).encode()).hexdigest()[:10]


def _read(watched: dict[str, Watched]) -> dict[str, Reading]:
    found = {}
    for name, one in watched.items():
        with contextlib.suppress(UsageError):  # it is just being begun anew
            if one.directory.is_dir():
                found[name] = one.look()
    return found


def _age(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except OSError:
        return 0.0
