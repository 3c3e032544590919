"""Where a worker keeps what it has of a chief's files: a directory of its own, gone when the worker has.

Owns removing what workers have left that were killed: each holds a lock on its own directory, which ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import UsageError

PREFIX = "keras-tuning-cluster-"
LOCK = "worker.lock"


@contextlib.contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """A directory of this process's own, until it ends.

    Args:
        parent: Where it is made; None: where the system makes such directories (TMPDIR, or /tmp).

    Raises:
        UsageError: nothing can be made there.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    except OSError as error:
        raise UsageError(
            f"--scratch: nothing can be kept in {place}: {error.strerror}. Give a directory that user {os.getuid()} "
            "can write"
        ) from None
    try:
        with (own / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Removes the directories of workers that have been killed. One that is just made has no lock yet, and is young."""
    for left in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (left / LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
