"""A small file system for the results, which can be filled up; only where this user may mount one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

MEGABYTES = 16
FILES = 2000


class Disk:
    """A mounted file system.

    Args:
        place: Where it is mounted.
    """

    def __init__(self, place: Path) -> None:
        self.full = False
        self._ballast = place / "ballast"
        self._files = place / "files"

    def fill(self, *, files: bool) -> None:
        """Leaves not one free block; with `files`, no room for one more file either."""
        self.full = True
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 12))
        if files:
            with contextlib.suppress(OSError):
                self._files.mkdir()
                for number in range(FILES):
                    (self._files / str(number)).touch()

    def free(self) -> None:
        """Gives the space back."""
        shutil.rmtree(self._files, ignore_errors=True)
        self._ballast.unlink(missing_ok=True)
        self.full = False


@contextlib.contextmanager
def own_disk(place: Path) -> Iterator[Disk | None]:
    """A file system at `place`, for as long as the block lasts; None where it cannot be mounted.

    What is on it at the end is in a plain directory of the same name afterwards.
    """
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,nr_inodes={FILES}", "tmpfs", str(place)]
    try:
        mounted = os.getuid() == 0 and subprocess.run(command, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        mounted = False
    if not mounted:
        yield None
        return
    disk = Disk(place)
    try:
        yield disk
    finally:
        disk.free()
        kept = place.with_name(f"{place.name}-kept")
        shutil.copytree(place, kept)
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, timeout=10, check=True)
        place.rmdir()
        kept.rename(place)
