"""Reads a project directory into a record, and goes on reading as the search does.

Owns how the files of a running search are read: only what is new, without a lock, and what is damaged as far as it is
whole. Needs neither a chief nor Keras, and writes nothing; a directory of stock KerasTuner's will do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import UsageError
from cluster.record import Facts, Record, parameters
from cluster.state import EPOCHS, EVENTS

log = logging.getLogger(__name__)

ORACLE = "oracle.json"


def read(directory: Path) -> Record:
    """Reads a project directory once.

    Raises:
        UsageError: it is none, or cannot be read; where projects are in it, the text names them.
    """
    follower = Follower(directory)
    follower.poll()
    return follower.record


def is_project(directory: Path) -> bool:
    """Whether a directory is a search's."""
    return (directory / EVENTS).exists() or (directory / ORACLE).exists() or any(directory.glob("trial_*/trial.json"))


def projects(directory: Path) -> list[Path]:
    """A project directory itself, or those in it, by name."""
    if is_project(directory):
        return [directory]
    if not directory.is_dir():
        return []
    below = [
        path for path in sorted(directory.iterdir()) if path.is_dir() and not path.name.startswith(("trial_", "."))
    ]
    found = [path for path in below if is_project(path)]
    return found + [deeper for path in below if path not in found for deeper in _below(path)]


def _below(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.is_dir() and is_project(path)]


class Follower:
    """A record of a project directory that grows with it.

    Attributes:
        record: What is known by the last `poll`. It is a new one when the directory was emptied and begun anew.

    Args:
        directory: The project directory.

    Raises:
        UsageError: it is none; where projects are in it, the text names them.
    """

    def __init__(self, directory: Path) -> None:
        _check(directory)
        self.directory = directory
        self._begin()

    def _begin(self) -> None:
        self.record = Record(str(self.directory), self.directory.resolve().name)
        self._events = _Tail(self.directory / EVENTS)
        self._epochs = _Tail(self.directory / EPOCHS)
        self._seen: dict[Path, tuple[int, int]] = {}  # when each file was changed last, and its size
        self._scan_until_told = True

    def poll(self) -> bool:
        """Reads what is new; returns whether anything was.

        Raises:
            UsageError: a file cannot be read.
        """
        try:
            return self._poll()
        except OSError as error:
            raise UsageError(f"{error.filename or self.directory} cannot be read: {error.strerror}") from error

    def _poll(self) -> bool:
        if self._events.was_replaced() or self._epochs.was_replaced():
            version = self.record.version
            self._begin()
            self.record.version = version + 1
        record = self.record
        version = record.version + 1
        touched: set[str] = set()
        to_read: set[str] = set()
        anything = begun = False
        for event in [*self._events.lines(), *self._epochs.lines()]:
            anything = True
            begun = begun or event["event"] == "search_begin"
            again = record.apply(event)
            name = event.get("trial")
            if isinstance(name, str) and name in record.trials:
                touched.add(name)
            if again is not None:
                to_read.add(again)
        if self._scan_until_told or not self._events.exists:
            # Trials of stock KerasTuner, or of before the log: nothing tells when they change.
            to_read |= {path.parent.name.removeprefix("trial_") for path in self.directory.glob("trial_*/trial.json")}
            self._scan_until_told = False
        for name in sorted(to_read):
            path = self.directory / f"trial_{name}" / "trial.json"
            if self._changed(path):
                record.keep(name, _json(path))
                touched.add(name)
        if self._changed(self.directory / ORACLE):
            anything = True
            record.space = parameters(_json(self.directory / ORACLE).get("hyperparameters"))
        if record.objective is None:
            record.infer_objective()
        if begun:  # it has taken back what ran before
            touched |= {x.id for x in record.trials.values() if x.version < 0}
        for name in touched:
            record.trials[name].version = version
        if touched or anything:
            record.version = version
        return bool(touched or anything)

    def _changed(self, path: Path) -> bool:
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        mark = (found.st_mtime_ns, found.st_size)
        changed = self._seen.get(path) != mark
        self._seen[path] = mark
        return changed


class _Tail:
    """The lines of a file of events, each once, as soon as it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = 0
        self._number = 0

    @property
    def exists(self) -> bool:
        """Whether there ever was such a file."""
        return self._inode != 0

    def was_replaced(self) -> bool:
        """Whether another file is there than the one that was read, or less of it."""
        if self._inode == 0:
            return False
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return True
        return found.st_ino != self._inode or found.st_size < self._offset

    def lines(self) -> Iterator[Facts]:
        """The events that are new; a line that is none is left out, with a warning."""
        try:
            with self._path.open("rb") as file:
                self._inode = os.fstat(file.fileno()).st_ino
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content.rfind(b"\n") + 1
        self._offset += whole
        for line in content[:whole].splitlines():
            self._number += 1
            try:
                event = json.loads(line)
                if not isinstance(event, dict) or "event" not in event:
                    raise ValueError("no event")
            except (ValueError, RecursionError):
                log.warning("%s line %d is damaged and is left out", self._path, self._number)
                continue
            yield event


def _json(path: Path) -> Facts:
    """A file's object; a damaged file is an empty one."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        log.warning("%s is damaged and is left out: %s", path, error)
        return {}
    return facts


def _check(directory: Path) -> None:
    try:
        if not directory.is_dir():
            raise UsageError(f"{directory} is {'no directory' if directory.exists() else 'not there'}")
        if is_project(directory):
            return
        below = projects(directory)
    except OSError as error:
        raise UsageError(f"{error.filename or directory} cannot be read: {error.strerror}") from error
    where = f"; there is {', '.join(str(path) for path in below)}" if below else ""
    raise UsageError(
        f"{directory} is no project directory: it has no {EVENTS}, no oracle.json and no trial_*/trial.json{where}"
    )
