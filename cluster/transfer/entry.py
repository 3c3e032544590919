"""A file of a trial: its name, which is a path within the trial's directory and never leads out of it, and its hash."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import UsageError

LONGEST_NAME = 500  # characters of a name …
LONGEST_PART = 200  # … and bytes of each part: 255 is what file systems take
MOST_FILES = 1000  # of one trial
CHUNK = 1024 * 1024  # bytes that travel at a time: on a slow line, within a call's deadline
OWN = ("trial.json", "trial.json.damaged")  # the chief's own
TICK_SECONDS = 0.1  # a file system's clock is not finer, at worst
IN_THE_MAKING = (".unfinished-", ".new-", ".part-", ".trial.json.", ".state.json.")  # of files that are written whole
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A file of a trial.

    Attributes:
        name: Its path within the trial's directory, with `/` between the parts.
        size: In bytes.
        digest: The SHA-256 of its content, in hexadecimal.
    """

    name: str
    size: int
    digest: str


def trial_directory(project: Path, trial_id: str) -> Path:
    """Where KerasTuner keeps what belongs to a trial."""
    return project / f"trial_{trial_id}"


def is_name(name: str) -> bool:
    """Whether this is the name of a file that may travel: plain, within the directory, and nobody's own."""
    parts = name.split("/")
    return (
        len(name) <= LONGEST_NAME
        and name.isprintable()
        and "\\" not in name
        and name not in OWN
        and all(part not in ("", ".", "..") and len(part.encode()) <= LONGEST_PART for part in parts)
        and not parts[-1].startswith(IN_THE_MAKING)
    )


def check(entry: Entry) -> None:
    """Checks what came from the network.

    Raises:
        UsageError: the name leads elsewhere, or size or hash are none.
    """
    if not is_name(entry.name):
        raise UsageError(f"{entry.name[:100]!r} cannot be the name of a trial's file")
    if entry.size < 0 or not DIGEST.fullmatch(entry.digest):
        raise UsageError(f"{entry.name[:100]!r} has no size or no SHA-256")


def files_in(directory: Path, *, follow: bool = False) -> Iterator[tuple[str, Path]]:
    """The files of a trial that may travel, in order.

    Args:
        directory: The trial's directory.
        follow: Whether a link to another file of the directory counts as that file; else links are left out.
    """
    inside = directory.resolve()
    for name, path in _all_in(directory):
        if path.is_symlink():
            path = path.resolve()
            if not (follow and path.is_relative_to(inside)):
                continue
        if is_name(name) and path.is_file():
            yield name, path


def left_out(directory: Path) -> list[str]:
    """The names of the files of a trial that do not travel, though they are whole and nobody's own."""
    travel = {name for name, _ in files_in(directory, follow=True)}
    return [
        name
        for name, path in _all_in(directory)
        if name not in travel and name not in OWN and not path.name.startswith(IN_THE_MAKING)
    ]


def _all_in(directory: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(directory):
        folders.sort()
        for file in sorted(files):
            path = Path(root, file)
            yield path.relative_to(directory).as_posix(), path


def remove(names: Iterable[str], directory: Path) -> None:
    """Removes files of a trial, and the directories that are empty without them."""
    for name in names:
        path = directory / name
        path.unlink(missing_ok=True)
        for folder in path.relative_to(directory).parents:
            if folder.name:
                with contextlib.suppress(OSError):  # others are in it
                    (directory / folder).rmdir()


def in_each_others_way(name: str, other: str) -> bool:
    """Whether one is a directory of the other: both cannot be."""
    return name.startswith(f"{other}/") or other.startswith(f"{name}/")


class Digests:
    """The hashes of files, each found once for as long as the file stays the same. For one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[tuple[int, int], str]] = {}

    def entry(self, name: str, path: Path) -> Entry:
        """The entry of a file.

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise OSError(f"{path} is no file")
            which, state = (about.st_dev, about.st_ino), (about.st_size, about.st_mtime_ns)
            known = self._known.get(which)
            if known is None or known[0] != state:
                known = state, hashlib.file_digest(file, "sha256").hexdigest()
                if time.time() - about.st_mtime > TICK_SECONDS:  # else it may change, and look as if it had not
                    self._known[which] = known
        return Entry(name, state[0], known[1])

    def learn(self, path: Path, digest: str) -> None:
        """The hash of a file is known: it is found under whatever name the file gets."""
        about = path.stat()
        self._known[about.st_dev, about.st_ino] = (about.st_size, about.st_mtime_ns), digest


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
