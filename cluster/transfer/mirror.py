"""A worker's side: a project directory of its own, whose trials are as the chief's.

What the trial in hand writes goes to the chief after each epoch, beside the training, and whole before the trial ends;
what other trials have left is fetched when the program asks for it. Owns that directory and the thread that sends.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.errors import ChiefUnreachable, ClusterError, DirectoryError, LeaseLost, UsageError
from cluster.transfer.entry import (
    CHUNK,
    Digests,
    Entry,
    digest_of,
    files_in,
    is_name,
    left_out,
    remove,
    trial_directory,
)

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 1.0  # how often the chief is told that a trial fetches what it needs
TRIES = 3  # where a file changes while it travels


class Remote(Protocol):
    """The chief, as files see it; any thread may call any method. Each is what `store.Store` does, but for one."""

    def put(self, trial_id: str, attempt: int, digest: str, size: int, offset: int, data: bytes) -> int: ...
    def commit(self, trial_id: str, attempt: int, entries: list[Entry], *, more: bool = False) -> list[str]: ...
    def entries(self, trial_id: str) -> list[Entry]: ...
    def read(self, trial_id: str, name: str, offset: int) -> bytes: ...

    def progress(self, trial_id: str, attempt: int) -> None:
        """The trial gets somewhere: it fetches what it needs."""


class Files(Protocol):
    """What becomes of the files of trials, as the trainer sees it."""

    def begin(self, trial_id: str, attempt: int) -> None:
        """This trial is in hand: what an earlier attempt has left of it is there."""

    def offer(self) -> None:
        """The trial's files are as they should be kept, at the end of an epoch."""

    def flush(self) -> None:
        """Returns when they are kept."""

    def end(self) -> None:
        """The trial has ended; what is written from here on is kept, too, when the next one begins."""


class Shared:
    """They are where the chief's are."""

    def begin(self, trial_id: str, attempt: int) -> None:
        """They are there."""

    def offer(self) -> None:
        """They are kept."""

    def flush(self) -> None:
        """They are kept."""

    def end(self) -> None:
        """They stay."""


class Changed(Exception):
    """A file is not any more what it was when it was looked at."""


@dataclass(frozen=True)
class _Snapshot:
    """A trial's files at an instant: links to them, in a directory of its own."""

    trial_id: str
    attempt: int
    directory: Path


class Mirror:
    """A worker's copies of trials, in a directory that is this process's alone.

    Args:
        project: The directory. What a process before has left in it is gone.
        remote: The chief.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, project: Path, remote: Remote, clock: Callable[[], float] = time.monotonic) -> None:
        self.project = project
        self._remote = remote
        self._clock = clock
        self._trial: tuple[str, int] | None = None
        self._ended = False  # the trial in hand has
        self._over = False  # the search is
        self._kept: set[Entry] = set()  # files of the trial in hand that are the chief's
        self._whole: set[str] = set()  # trials that were fetched, and are here whole
        self._told: set[str] = set()  # names of which it was said that they do not travel
        self._progress_at = clock()
        self._count = 0
        self._digests = Digests()  # of what goes up …
        self._fetched = Digests()  # … and of what has come down
        self._changed = threading.Condition()
        self._offered: _Snapshot | None = None
        self._sending = False
        self._thread: threading.Thread | None = None
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir(parents=True)

    # --- the trial in hand

    def begin(self, trial_id: str, attempt: int) -> None:
        """This trial is in hand; of others nothing is kept here."""
        self._send_late_files()
        for folder in self.project.glob("trial_*"):
            shutil.rmtree(folder, ignore_errors=True)
        self._whole.clear()
        self._trial, self._ended, self._kept = (trial_id, attempt), False, set()
        if attempt == 1:
            return
        try:
            self._fetch(trial_id)
        except LeaseLost:
            pass  # which the trial's first report will find, too
        except (DirectoryError, UsageError, KeyError) as error:
            log.warning("what an earlier attempt left of trial %s is not to be had (%s)", trial_id, error)
            shutil.rmtree(trial_directory(self.project, trial_id), ignore_errors=True)

    def offer(self) -> None:
        """The trial's files, as they are now, go to the chief; what was offered before and did not go yet does not."""
        try:
            snapshot = self._snapshot()
        except OSError as error:
            self._tell_unsent(error)
            return
        if snapshot is None:
            return
        with self._changed:
            before, self._offered = self._offered, snapshot
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_offered, name="files", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if before is not None:
            shutil.rmtree(before.directory, ignore_errors=True)

    def flush(self) -> None:
        """The trial's files, as they are now, are the chief's when this returns.

        Raises:
            DirectoryError: the chief does not take them, this host has no room for them, or they change all the time.
            LeaseLost: the trial was given to another worker.
            ChiefUnreachable: it is away for too long.
        """
        with self._changed:
            before, self._offered = self._offered, None
            self._changed.wait_for(lambda: not self._sending)
        if before is not None:
            shutil.rmtree(before.directory, ignore_errors=True)
        try:
            for _ in range(TRIES):
                snapshot = self._snapshot()
                if snapshot is None:
                    return
                with contextlib.suppress(Changed):
                    self._kept = self._send(snapshot)
                    return
        except OSError as error:
            where = error.filename or self.project
            raise DirectoryError(f"{where} cannot be kept on the worker's host: {error.strerror}") from error
        raise DirectoryError("the trial's files change all the time, and cannot be sent to the chief")

    def end(self) -> None:
        """The trial has ended, and what it wrote is the chief's. It stays here until the next begins."""
        self._ended = True

    def _send_late_files(self) -> None:
        """Some programs write files of a trial when KerasTuner has ended it."""
        if self._trial is None or not self._ended:
            return
        try:
            snapshot = self._snapshot()
            if snapshot is not None:
                self._send(snapshot, known=self._kept)
        except (Changed, ClusterError, OSError) as error:
            log.warning("what trial %s wrote after its end was not sent: %s", self._trial[0], error)

    # --- other trials

    def need(self, trial_id: str) -> None:
        """The program asks for a trial's directory: what the chief has of it is there when this returns.

        Raises:
            DirectoryError: it is not to be had.
            LeaseLost: the trial in hand was given to another worker.
        """
        if self._trial is not None and trial_id == self._trial[0]:
            return
        if self._over and trial_id in self._whole:
            return  # no trial changes any more
        try:
            self._fetch(trial_id)
        except KeyError:
            return  # no trial of the search's; KerasTuner makes a directory, and the program will see that it is empty
        except ChiefUnreachable as error:
            if trial_id not in self._whole:
                raise DirectoryError(
                    f"the files of trial {trial_id} are the chief's, and it is away: {error}. A chief waits for its "
                    "workers for as long as --linger-seconds says"
                ) from None

    def finish(self, remote: Remote, best: str | None) -> None:
        """The search is over.

        Args:
            remote: The chief, which may soon be gone: with less patience.
            best: The best trial, whose files programs ask for.
        """
        self._send_late_files()
        if self._trial is not None and self._ended:
            self._trial = None
        self._remote, self._over = remote, True
        if best is not None:
            try:
                self._fetch(best)
            except (ClusterError, KeyError) as error:
                log.warning("the files of trial %s, the best, were not fetched: %s", best, error)

    # --- up

    def _snapshot(self) -> _Snapshot | None:
        """Links to the files of the trial in hand. What replaces a file, as whole files do, leaves them be."""
        if self._trial is None:
            return None
        trial_id, attempt = self._trial
        self._count += 1
        directory = self.project / "snapshots" / str(self._count)
        directory.mkdir(parents=True)
        trial = trial_directory(self.project, trial_id)
        odd = set(left_out(trial)) - self._told
        if odd:
            self._told |= odd
            log.warning("what trial %s has in %s stays here: it is no plain file with a plain name", trial_id, min(odd))
        for name, path in files_in(trial, follow=True):
            link = directory / name
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # gone since
                _link(path, link)
        return _Snapshot(trial_id, attempt, directory)

    def _send_offered(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._offered is not None)
                snapshot, self._offered = self._offered, None
                assert snapshot is not None
                self._sending = True
            try:
                self._send(snapshot)
            except (Changed, LeaseLost, ChiefUnreachable) as error:
                log.debug("the files of trial %s were not sent: %s", snapshot.trial_id, error)  # later ones will be
            except (ClusterError, OSError) as error:
                self._tell_unsent(error)
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()

    def _tell_unsent(self, error: Exception) -> None:
        log.warning("what the trial has saved is not on the chief: %s", error)

    def _send(self, snapshot: _Snapshot, known: set[Entry] | None = None) -> set[Entry]:
        """Sends a trial's files; returns what they are.

        Args:
            snapshot: The files.
            known: What is the chief's: then those that are not come on top of what is there.
        """
        try:
            paths = dict(files_in(snapshot.directory))
            entries = [self._digests.entry(name, path) for name, path in paths.items()]
            if known is not None:
                entries = [entry for entry in entries if entry not in known]
                if not entries:
                    return known
            by_digest = {entry.digest: entry for entry in entries}
            for _ in range(TRIES):
                missing = self._remote.commit(snapshot.trial_id, snapshot.attempt, entries, more=known is not None)
                if not missing:
                    return set(entries)
                for digest in missing:
                    entry = by_digest[digest]
                    self._upload(snapshot, entry, paths[entry.name])
            raise Changed
        finally:
            shutil.rmtree(snapshot.directory, ignore_errors=True)

    def _upload(self, snapshot: _Snapshot, entry: Entry, path: Path) -> None:
        put = functools.partial(self._remote.put, snapshot.trial_id, snapshot.attempt, entry.digest, entry.size)
        begun = 0
        with path.open("rb") as file:
            here = put(0, b"")
            while here < entry.size:
                data = os.pread(file.fileno(), min(CHUNK, entry.size - here), here)
                begun += here == 0
                if not data or begun > TRIES:
                    raise Changed
                here = put(here, data)

    # --- down

    def _fetch(self, trial_id: str) -> None:
        directory = trial_directory(self.project, trial_id)
        try:
            for _ in range(TRIES):
                entries = [entry for entry in self._remote.entries(trial_id) if is_name(entry.name)]
                names = {entry.name for entry in entries}
                self._whole.discard(trial_id)
                remove([name for name, _ in files_in(directory) if name not in names], directory)
                with contextlib.suppress(Changed, KeyError):
                    for entry in entries:
                        self._download(trial_id, entry, directory / entry.name)
                    self._whole.add(trial_id)
                    return
        except OSError as error:
            where = error.filename or directory
            raise DirectoryError(f"{where} cannot be kept on the worker's host: {error.strerror}") from error
        raise DirectoryError(f"the files of trial {trial_id} change while they are fetched")

    def _download(self, trial_id: str, entry: Entry, path: Path) -> None:
        if path.exists() and self._fetched.entry(entry.name, path) == entry:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{path.name}")
        with part.open("wb") as file:
            while data := self._remote.read(trial_id, entry.name, file.tell()):
                file.write(data)
                if file.tell() > entry.size:
                    break
                self._tell_progress()
        if part.stat().st_size != entry.size or digest_of(part) != entry.digest:
            part.unlink()
            raise Changed
        os.replace(part, path)

    def _tell_progress(self) -> None:
        """A trial that waits for its files has not stalled."""
        if self._trial is not None and not self._ended and self._clock() - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = self._clock()
            self._remote.progress(*self._trial)


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(path, link)


def sees(chief: Path, mark: str, writable: Callable[[Path, int], bool] = os.access) -> bool:
    """Whether a directory is the chief's own: its mark is there, and what is written there is written to it.

    Args:
        chief: The chief's project directory, as it names it.
        mark: The name of a file that no other project has.
        writable: Whether this process may write there.
    """
    return (chief / mark).exists() and writable(chief, os.W_OK | os.X_OK)
