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
    with contextlib.ExitStack() as held:
        try:
            place.mkdir(parents=True, exist_ok=True)
            _sweep(place)
            own = None
            while own is None:
                own = _make(place, held)
        except OSError as error:
            raise UsageError(
                f"--scratch: nothing can be kept in {place}: {error.strerror}. Give a directory that user "
                f"{os.getuid()} can write"
            ) from None
        held.callback(shutil.rmtree, own, ignore_errors=True)
        yield own


def _make(place: Path, held: contextlib.ExitStack) -> Path | None:
    """A directory, and the lock on it; None where another worker that sweeps was between the two."""
    own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        file = held.enter_context((own / LOCK).open("w"))
        fcntl.flock(file, fcntl.LOCK_EX)
        there = os.path.samestat(os.fstat(file.fileno()), os.stat(own / LOCK))
    except FileNotFoundError:
        there = False
    return own if there else None


def _sweep(place: Path) -> None:
    """Removes the directories of workers that have been killed. One that is just made has no lock yet, and is young."""
    for left in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (left / LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
