"""What is on disk beside KerasTuner's own files: atomic saves, the event log, the lock on a project.

Owns how bytes reach the disk. Does not know what an oracle is: `search.py` says what to write and when.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from cluster.errors import CannotSave, DirectoryError

log = logging.getLogger(__name__)

EVENTS = "events.jsonl"
EPOCHS = "epochs.jsonl"
LOCK = "chief.lock"
MODE = 0o644
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` to `path` so that a reader, or a crash, sees the old file or the new one and nothing between.

    Raises:
        CannotSave: the disk is full or the directory cannot be written; the old file is untouched.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, MODE)
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise cannot_save(target, error) from error


def cannot_save(path: str | os.PathLike[str], error: OSError) -> CannotSave:
    """The error for the user that a file could not be written."""
    return CannotSave(
        f"{os.fspath(path)} cannot be written: {error.strerror}. What was saved before is whole, and the same command "
        "goes on from there"
    )


def is_of_the_disk(error: Exception) -> bool:
    """Whether it is the disk that has failed, or is full."""
    return isinstance(error, CannotSave) or (isinstance(error, OSError) and error.errno in DISK_ERRORS)


def ensure_writable(directory: Path) -> None:
    """Makes `directory` and checks that files can be made in it.

    Raises:
        DirectoryError: it cannot be made or written; the text says who tried.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        if is_of_the_disk(error):
            raise cannot_save(directory, error) from error
        raise DirectoryError(
            f"the results directory {directory} cannot be written by user {os.getuid()}: {error.strerror}. "
            "Give it to that user (in compose: set CLUSTER_UID to its owner's id), or choose another directory."
        ) from error


class EventLog:
    """An append-only log of a search: one JSON object a line, with `time` in Unix seconds.

    An event is on disk when `append` returns (where it is durable), and not there at all when it raises. A line that a
    crash cut short is dropped when the log is opened again.

    Args:
        directory: The project directory.
        clock: Gives the time in Unix seconds.
        name: The file's name.
        durable: Whether `append` waits for the disk; else a power cut may take the last events.
    """

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], float] = time.time,
        *,
        name: str = EVENTS,
        durable: bool = True,
    ) -> None:
        self._path = directory / name
        self._durable = durable
        self._clock = clock
        self._file: FileIO | None = None

    def read(self) -> list[dict[str, Any]]:
        """Every whole event on disk, oldest first; a line that is no JSON object is skipped with a warning."""
        if not self._path.exists():
            return []
        events = []
        # What follows the last end of a line was cut short, also where it happens to be whole: `append` will drop it.
        whole, _, _ = self._path.read_bytes().rpartition(b"\n")
        for number, line in enumerate(whole.decode(errors="replace").split("\n") if whole else (), 1):
            try:
                event = json.loads(line)
                if not isinstance(event, dict) or "event" not in event:
                    raise ValueError("no event")
                events.append(event)
            except ValueError:
                log.warning("%s line %d is damaged and is left out", self._path, number)
        return events

    def append(self, event: str, **fields: Any) -> None:
        """Adds one event and waits until it is on disk.

        Raises:
            CannotSave: the disk is full, or the file cannot be written.
        """
        record = {"time": self._clock(), "event": event, **fields}
        try:
            if self._file is None:
                self._cut_unfinished_line()
                self._file = self._path.open("ab", buffering=0)
            _append_whole(self._file, (json.dumps(record) + "\n").encode(), durable=self._durable)
        except OSError as error:
            raise cannot_save(self._path, error) from error

    def close(self) -> None:
        """Closes the file; a later `append` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _cut_unfinished_line(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("the last event of %s was cut short by a crash and is dropped", self._path)
            os.truncate(self._path, whole)


def _append_whole(file: FileIO, line: bytes, *, durable: bool) -> None:
    """Writes all of a line, or, where an error is raised, nothing of it."""
    size = os.fstat(file.fileno()).st_size
    try:
        while line:
            line = line[file.write(line) or 0 :]
        if durable:
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(file.fileno(), size)
        raise


@contextlib.contextmanager
def hold_project(directory: Path) -> Iterator[None]:
    """Holds the project directory: one chief or local run at a time, on this host.

    Raises:
        DirectoryError: another process holds it.
    """
    try:
        opened = (directory / LOCK).open("a")
    except OSError as error:
        raise cannot_save(directory / LOCK, error) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryError(
                f"the project directory {directory} is in use by another run. Wait for it, or choose another "
                "project_name."
            ) from None
        yield


def mark_of(search: str) -> str:
    """The name of the file by which a worker knows that it sees the directory of this very search."""
    return f".search-{search}"


def mark(directory: Path, search: str) -> None:
    """Marks a project directory as that of a search, and of no search before.

    Raises:
        CannotSave: the directory cannot be written.
    """
    new = directory / mark_of(search)
    try:
        new.touch()
        for path in directory.glob(mark_of("*")):
            if path != new:
                path.unlink()
    except OSError as error:
        raise cannot_save(new, error) from error


def set_aside_damaged(directory: Path) -> list[Path]:
    """Moves trial files that are no JSON out of the search's way, to `trial.json.damaged`, and says so.

    Returns:
        The new paths. KerasTuner would refuse the whole project for one of them.
    """
    moved = []
    for path in sorted(directory.glob("trial_*/trial.json")):
        try:
            if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                raise ValueError("not an object")
        except ValueError as error:
            aside = path.with_name("trial.json.damaged")
            os.replace(path, aside)
            log.error("%s is damaged (%s) and was set aside as %s; its trial runs again", path, error, aside.name)
            moved.append(aside)
    return moved
