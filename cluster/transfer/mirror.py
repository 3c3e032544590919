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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.errors import ChiefUnreachable, ClusterError, DirectoryError, LeaseLost
from cluster.transfer.entry import CHUNK, Digests, Entry, digest_of, files_in, is_name, trial_directory

log = logging.getLogger(__name__)

TRIES = 3  # where a file changes while it travels


class Remote(Protocol):
    """The chief, as files see it; any thread may call any method. Each is what `store.Store` does."""

    def put(self, trial_id: str, attempt: int, digest: str, size: int, offset: int, data: bytes) -> int: ...
    def commit(self, trial_id: str, attempt: int, entries: list[Entry]) -> list[str]: ...
    def entries(self, trial_id: str) -> list[Entry]: ...
    def read(self, trial_id: str, name: str, offset: int) -> bytes: ...


class Files(Protocol):
    """What becomes of the files of trials, as the trainer sees it."""

    def begin(self, trial_id: str, attempt: int) -> None:
        """This trial is in hand: what an earlier attempt has left of it is there."""

    def offer(self) -> None:
        """The trial's files are as they should be kept, at the end of an epoch."""

    def flush(self) -> None:
        """Returns when they are kept."""

    def end(self) -> None:
        """The trial has ended."""


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
        project: The directory; made where it is missing.
        remote: The chief.
    """

    def __init__(self, project: Path, remote: Remote) -> None:
        self.project = project
        self._remote = remote
        self._trial: tuple[str, int] | None = None
        self._count = 0
        self._digests = Digests()  # of what goes up …
        self._fetched = Digests()  # … and of what has come down
        self._changed = threading.Condition()
        self._offered: _Snapshot | None = None
        self._sending = False
        self._thread: threading.Thread | None = None
        project.mkdir(parents=True, exist_ok=True)

    # --- the trial in hand

    def begin(self, trial_id: str, attempt: int) -> None:
        """This trial is in hand; of others nothing is kept here."""
        for folder in self.project.glob("trial_*"):
            shutil.rmtree(folder, ignore_errors=True)
        self._trial = (trial_id, attempt)
        if attempt > 1:
            try:
                self._fetch(trial_id)
            except (DirectoryError, KeyError, OSError) as error:
                log.warning("what an earlier attempt left of trial %s is not to be had (%s)", trial_id, error)
                shutil.rmtree(trial_directory(self.project, trial_id), ignore_errors=True)

    def offer(self) -> None:
        """The trial's files, as they are now, go to the chief; what was offered before and did not go yet does not."""
        snapshot = self._snapshot()
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
            DirectoryError: the chief does not take them, or they change all the time.
            LeaseLost: the trial was given to another worker.
            ChiefUnreachable: it is away for too long.
        """
        with self._changed:
            before, self._offered = self._offered, None
            self._changed.wait_for(lambda: not self._sending)
        if before is not None:
            shutil.rmtree(before.directory, ignore_errors=True)
        for _ in range(TRIES):
            snapshot = self._snapshot()
            if snapshot is None:
                return
            with contextlib.suppress(Changed):
                self._send(snapshot)
                return
        raise DirectoryError("the trial's files change all the time, and cannot be sent to the chief")

    def end(self) -> None:
        """The trial has ended, and what it wrote is the chief's."""
        if self._trial is not None:
            shutil.rmtree(trial_directory(self.project, self._trial[0]), ignore_errors=True)
        self._trial = None

    # --- other trials

    def need(self, trial_id: str) -> None:
        """The program asks for a trial's directory: what the chief has of it is there when this returns.

        Raises:
            DirectoryError: it is not to be had.
        """
        if self._trial is not None and trial_id == self._trial[0]:
            return
        try:
            self._fetch(trial_id)
        except KeyError:
            return  # no trial of the search's; KerasTuner makes a directory, and the program will see that it is empty
        except ChiefUnreachable as error:
            if not trial_directory(self.project, trial_id).exists():
                raise DirectoryError(
                    f"the files of trial {trial_id} are the chief's, and it is away: {error}. A chief waits for its "
                    "workers for as long as --linger-seconds says"
                ) from None

    # --- up

    def _snapshot(self) -> _Snapshot | None:
        """Links to the files of the trial in hand. What replaces a file, as whole files do, leaves them be."""
        if self._trial is None:
            return None
        trial_id, attempt = self._trial
        self._count += 1
        directory = self.project / "snapshots" / str(self._count)
        directory.mkdir(parents=True)
        for name, path in files_in(trial_directory(self.project, trial_id)):
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
                log.warning(
                    "the files of trial %s were not sent, an attempt after this one would begin anew: %s",
                    snapshot.trial_id,
                    error,
                )
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()

    def _send(self, snapshot: _Snapshot) -> None:
        try:
            paths = dict(files_in(snapshot.directory))
            entries = [self._digests.entry(name, path) for name, path in paths.items()]
            by_digest = {entry.digest: entry for entry in entries}
            for _ in range(TRIES):
                missing = self._remote.commit(snapshot.trial_id, snapshot.attempt, entries)
                if not missing:
                    return
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
        for _ in range(TRIES):
            entries = [entry for entry in self._remote.entries(trial_id) if is_name(entry.name)]
            names = {entry.name for entry in entries}
            for name, path in list(files_in(directory)):
                if name not in names:
                    path.unlink()
            with contextlib.suppress(Changed, KeyError):
                for entry in entries:
                    self._download(trial_id, entry, directory / entry.name)
                return
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
        if part.stat().st_size != entry.size or digest_of(part) != entry.digest:
            part.unlink()
            raise Changed
        os.replace(part, path)


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
