"""The chief's side: what workers send of a trial's files, and what they fetch.

Owns `uploads/` in the project directory, where pieces are put together, and the change of a trial's directory to what
its worker says. Every method is safe to repeat. What comes is checked: names stay inside the trial's directory, sizes
inside the policy's bounds, contents are what their hash says, and only the attempt that holds a trial may send.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from cluster.errors import DirectoryError, UsageError
from cluster.logs import LIMIT, TAIL, log_of
from cluster.resume import STATE
from cluster.transfer.entry import (
    CHUNK,
    DIGEST,
    MOST_FILES,
    Digests,
    Entry,
    check,
    digest_of,
    files_in,
    in_each_others_way,
    is_name,
    remove,
    trial_directory,
)

log = logging.getLogger(__name__)

FOLDER = "uploads"
PART = ".part"  # of a content that is not whole
MOST_LOG = LIMIT + 10 * TAIL  # bytes of a log, which several attempts have written to


class Holding(Protocol):
    """Whether an attempt holds its trial, seen from here; raises `LeaseLost` where it does not."""

    def check(self, trial_id: str, attempt: int) -> object:
        """At this instant."""

    def was_ended(self, trial_id: str, attempt: int) -> bool:
        """Whether it was ended by its worker, and no later one was granted."""

    def was_last(self, trial_id: str, attempt: int) -> bool:
        """Whether no later attempt was granted, be this one over or not."""


class Store:
    """The files of one search. Any thread may call any method.

    Args:
        project: The project directory.
        holding: Who holds which trial.
        step: The search's lock: while it is held, no trial changes hands.
        limit: How many bytes the files of a trial may have.
        reserve: How many bytes of the disk are left free.
        free: How many are, of the disk of a directory.
    """

    def __init__(
        self,
        project: Path,
        holding: Holding,
        step: Callable[[], AbstractContextManager[object]],
        limit: int,
        reserve: int,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._project = project
        self._holding = holding
        self._step = step
        self._limit = limit
        self._reserve = reserve
        self._free = free
        self._digests = Digests()
        self._digesting = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    # --- from a worker

    def put(self, trial_id: str, attempt: int, digest: str, size: int, offset: int, data: bytes) -> int:
        """Takes a piece of a content.

        Args:
            trial_id: The trial.
            attempt: The attempt that sends.
            digest: The SHA-256 of the whole.
            size: The whole's size, in bytes.
            offset: Where the piece begins. One that does not go on where the last ended is not taken.
            data: The piece; may be empty, to ask.

        Returns:
            How many bytes of the whole are here: the next piece begins there. 0 also where all had come, and were not
            what the hash says: the content begins again.

        Raises:
            LeaseLost: the attempt is over.
            UsageError: the numbers make no sense.
            DirectoryError: it would be more than a trial may have, or than the disk has room for.
        """
        if not DIGEST.fullmatch(digest) or not 0 <= offset <= offset + len(data) <= size or len(data) > CHUNK:
            raise UsageError(f"a piece of {len(data)} bytes at {offset} of {size} of {digest[:70]!r} is none")
        self._check(trial_id, attempt, late=True)
        folder = self._uploads(trial_id, attempt)
        with self._locks[trial_id], self._disk(trial_id, attempt):
            self._check(trial_id, attempt, late=True)  # it may have ended while this call waited for another
            whole, part = folder / digest, folder / f"{digest}{PART}"
            if whole.exists():
                return size
            have = part.stat().st_size if part.exists() else 0
            if offset != have and have < size:
                return have
            if have < size or not part.exists():
                self._make_sure_of_room(trial_id, folder, len(data))
                folder.mkdir(parents=True, exist_ok=True)
                with part.open("ab") as file:
                    file.write(data)
                have += len(data)
            return have if have < size else self._finish(trial_id, part, whole, digest, size)

    def _finish(self, trial_id: str, part: Path, whole: Path, digest: str, size: int) -> int:
        """All of a content has come: it is on disk, and what it should be, or begins again."""
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if part.stat().st_size != size or digest_of(part) != digest:
            log.warning("what came for trial %s is not what its hash says; it is sent again", trial_id)
            part.unlink()
            return 0
        os.replace(part, whole)
        with self._digesting:
            self._digests.learn(whole, digest)
        return size

    def commit(self, trial_id: str, attempt: int, entries: list[Entry], *, more: bool = False) -> list[str]:
        """Makes a trial's directory what its worker says it is: these files, and no others.

        Args:
            trial_id: The trial.
            attempt: The attempt that sends.
            entries: The files.
            more: Whether they come on top of what is there: what an attempt has written after the trial's end.

        Returns:
            The hashes of contents that have yet to come; while there are any, nothing is changed.

        Raises:
            LeaseLost: the attempt is over.
            UsageError: a name leads elsewhere, comes twice, or is a directory of another.
            DirectoryError: it would be more than a trial may have, or cannot be written.
        """
        for entry in entries:
            check(entry)
        names = {entry.name for entry in entries}
        if len(names) < len(entries):
            raise UsageError(f"a file of trial {trial_id} comes twice")
        if len(entries) > MOST_FILES:
            raise DirectoryError(
                f"trial {trial_id} has {len(entries)} files, and the chief takes {MOST_FILES} of a trial"
            )
        if any(itertools.starmap(in_each_others_way, itertools.pairwise(sorted(names, key=lambda x: x.split("/"))))):
            raise UsageError(f"a file of trial {trial_id} is a directory of another")
        self._check_size(trial_id, sum(entry.size for entry in entries))
        self._check(trial_id, attempt, more)
        directory, folder = trial_directory(self._project, trial_id), self._uploads(trial_id, attempt)
        with self._locks[trial_id], self._disk(trial_id, attempt):
            there = {entry.name: entry for entry in self._entries(directory)}
            new = [entry for entry in entries if there.get(entry.name) != entry]
            missing = {entry.digest for entry in new if not _is_whole(folder / entry.digest, entry.size)}
            if missing:
                self._drop_all_but({entry.digest for entry in entries}, folder)
                return sorted(missing)
            contents = _one_for_each(new, folder)
            first = {name for name in there if any(in_each_others_way(name, entry.name) for entry in new)}
            old = set() if more else there.keys() - names - first
            with self._step():
                self._check(trial_id, attempt, more)
                remove(first, directory)
                # What tells of other files comes when they are there, and what nobody tells of any more goes last.
                for entry in sorted(new, key=lambda x: (x.name.rpartition("/")[2] == STATE, x.name)):
                    _put_in_place(contents[entry.name], directory / entry.name, directory)
                remove(old, directory)
            shutil.rmtree(folder, ignore_errors=True)
            return []

    def forget(self, trial_id: str) -> None:
        """The attempt at a trial is over: what it has sent in pieces is of no use."""
        for folder in (self._project / FOLDER).glob(f"{trial_id}.*"):
            shutil.rmtree(folder, ignore_errors=True)

    def keep_only(self, held: Iterable[tuple[str, int]]) -> None:
        """Of what was left in pieces, only that of these trials and attempts may yet be made whole."""
        kept = {self._uploads(trial_id, attempt).name for trial_id, attempt in held}
        with contextlib.suppress(OSError):
            for folder in (self._project / FOLDER).iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)
            (self._project / FOLDER).rmdir()

    def append_log(self, trial_id: str, attempt: int, at: int, data: bytes) -> int:
        """Takes what a trial has printed.

        Args:
            trial_id: The trial.
            attempt: The attempt, which need not hold the trial any more, if no later one does.
            at: Where in the log it belongs; negative to ask where the log ends.
            data: What was printed. Beyond the log's bound it is dropped.

        Returns:
            Where the log goes on.
        """
        if len(data) > CHUNK:
            raise UsageError(f"a piece of {len(data)} bytes is more than {CHUNK}")
        if not self._holding.was_last(trial_id, attempt):
            self._holding.check(trial_id, attempt)
        path = log_of(self._project, trial_id)
        with self._locks[trial_id]:
            size = path.stat().st_size if path.exists() else 0
            if not 0 <= at <= size:
                return size
            if data and at + len(data) <= MOST_LOG:
                path.parent.mkdir(exist_ok=True)
                with path.open("r+b" if path.exists() else "wb") as file:
                    file.seek(at)
                    file.write(data)
            return at + len(data)

    # --- to a worker

    def entries(self, trial_id: str) -> list[Entry]:
        """What a trial's directory holds. The trial is one of the search's."""
        return self._entries(trial_directory(self._project, trial_id))

    def read(self, trial_id: str, name: str, offset: int) -> bytes:
        """A piece of a file of a trial, which is one of the search's; empty at its end.

        Raises:
            UsageError: the name leads elsewhere.
            KeyError: there is no such file.
        """
        if not is_name(name) or offset < 0:
            raise UsageError(f"{name[:100]!r} is no file of a trial's, or {offset} no place in it")
        directory = trial_directory(self._project, trial_id)
        path = directory / name
        try:
            _check_inside(path, directory)
            with path.open("rb") as file:
                return os.pread(file.fileno(), CHUNK, offset)
        except OSError as error:
            raise KeyError(f"trial {trial_id} has no file {name!r}: {error.strerror}") from None

    # ---

    def _check(self, trial_id: str, attempt: int, late: bool) -> None:
        """Raises LeaseLost where an attempt may not change the trial's files."""
        if not (late and self._holding.was_ended(trial_id, attempt)):
            self._holding.check(trial_id, attempt)

    @contextlib.contextmanager
    def _disk(self, trial_id: str, attempt: int) -> Iterator[None]:
        """What the disk refuses is said in words; what was removed meanwhile is the attempt's end.

        Raises:
            LeaseLost: the attempt is over.
            DirectoryError: the disk is full, or something is in the way.
        """
        try:
            yield
        except OSError as error:
            self._check(trial_id, attempt, late=True)
            where = error.filename or self._project
            raise DirectoryError(
                f"the chief cannot keep the files of trial {trial_id}: {where}: {error.strerror}"
            ) from error

    def _drop_all_but(self, digests: set[str], folder: Path) -> None:
        """What was sent and is not wanted any more makes room."""
        if folder.exists():
            for path in folder.iterdir():
                if path.name.removesuffix(PART) not in digests:
                    path.unlink()

    def _uploads(self, trial_id: str, attempt: int) -> Path:
        return self._project / FOLDER / f"{trial_id}.{attempt}"

    def _entries(self, directory: Path) -> list[Entry]:
        found = []
        with self._digesting:
            for name, path in files_in(directory):
                with contextlib.suppress(OSError):  # it goes while it is looked at
                    found.append(self._digests.entry(name, path))
        return found

    def _make_sure_of_room(self, trial_id: str, folder: Path, more: int) -> None:
        staged = list(folder.iterdir()) if folder.exists() else []
        if len(staged) > MOST_FILES:
            raise DirectoryError(f"trial {trial_id} has sent more than {MOST_FILES} files")
        self._check_size(trial_id, sum(path.stat().st_size for path in staged) + more)
        free = self._free(self._project)
        if free - more < self._reserve:
            raise DirectoryError(
                f"the chief takes no files: its disk has {free / 1e9:.1f} GB left, and {self._reserve / 1e9:g} GB stay "
                "free (--free-gb). Make room, or keep fewer checkpoints (--keep-checkpoints)"
            )

    def _check_size(self, trial_id: str, size: int) -> None:
        if size > self._limit:
            raise DirectoryError(
                f"the files of trial {trial_id} have {size / 1e9:.2f} GB, and the chief takes {self._limit / 1e9:g} GB "
                "of a trial (--upload-gb)"
            )


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _check_inside(path: Path, directory: Path) -> None:
    """Raises UsageError where a link in the directory leads out of it."""
    if not path.parent.resolve().is_relative_to(directory.resolve()) or path.is_symlink():
        raise UsageError(f"{path.name!r} is not in its trial's directory")


def _one_for_each(entries: list[Entry], folder: Path) -> dict[str, Path]:
    """A content for each file, by name: a copy where two have the same, so that what changes one leaves the other."""
    found: dict[str, Path] = {}
    taken: set[str] = set()
    for number, entry in enumerate(entries):
        content = folder / entry.digest
        if entry.digest in taken:
            content = folder / f"{entry.digest}.{number}"
            shutil.copyfile(folder / entry.digest, content)
        taken.add(entry.digest)
        found[entry.name] = content
    return found


def _put_in_place(content: Path, target: Path, directory: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_inside(target, directory)
    os.replace(content, target)
