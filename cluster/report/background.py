"""Draws a search's report in a process of its own, while the program goes on with its next line.

Owns that process, from its beginning to its end. It is none of the program's threads: Matplotlib's settings are shared
by a whole process, and the program may draw plots itself; and nothing of its time is taken.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import cluster
from cluster.record import SCORED, Record

log = logging.getLogger(__name__)

DRAW = b"draw\n"
LOADED = ("matplotlib.backends.backend_agg", "matplotlib.figure", "sklearn.ensemble", "sklearn.inspection")
SECONDS = 60.0  # how long the end of the program waits for all drawings together
READY_SECONDS = 60.0  # how long before a search's end what draws it should be ready
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def should_prepare(record: Record) -> bool:
    """Whether what draws a search's report should be loaded now, about two seconds of a core.

    Not before a trial has a score; not while a trainer is starting that still gets a trial, for it needs the core
    more; and not long before the end, as far as that is known: it holds some 150 MB.
    """
    counts = record.counts
    if not any(counts.get(x) for x in SCORED):
        return False
    running = counts.get("running", 0)
    to_begin = None if record.max_trials is None else record.max_trials - len(record.trials) + counts.get("waiting", 0)
    if to_begin is not None and to_begin <= 0:
        return True
    had_one = {x.worker for trial in record.trials.values() for x in trial.attempts}
    if any(worker.here and name not in had_one for name, worker in record.workers.items()):
        return False
    took = [x.seconds for trial in record.done if (x := trial.ran) is not None and x.seconds is not None]
    if to_begin is None or to_begin <= running or not took:
        return True
    return to_begin / max(1, running) * sum(took) / len(took) <= READY_SECONDS


class Drawings:
    """The drawings of a program's searches.

    Args:
        words: What is run, without the project directory; None for this module.
    """

    def __init__(self, words: Sequence[str] | None = None) -> None:
        self._words = list(words or [sys.executable, "-P", "-m", __name__])
        self._lock = threading.RLock()
        self._running: dict[Path, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def prepare(self, directory: Path) -> None:
        """Loads what draws, since the search is about to end; does nothing where that was done."""
        with self._lock:
            if directory not in self._running:
                self._start(directory)
                self._give_way(directory, 10)  # trials still run, and need the cores more

    def begin(self, directory: Path) -> None:
        """Draws the report of a search that has ended, and returns at once."""
        with self._lock:
            if directory in self._running:
                self._give_way(directory, 0)
            else:
                self._start(directory)
            process, _ = self._running.get(directory, (None, None))
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):  # it has ended already, and its end says why
                    process.stdin.write(DRAW)
                    process.stdin.close()

    def _start(self, directory: Path) -> None:
        # From where this package is, and not from where the program is or has gone.
        root = str(Path(cluster.__file__).parents[1])
        path = os.pathsep.join(x for x in (root, os.environ.get("PYTHONPATH")) if x)
        # A file, which nobody has to empty.
        said = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            process = subprocess.Popen(
                [*self._words, str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
            )
        except OSError as error:
            said.close()
            log.warning("the report's pictures are not drawn: %s; its tables are whole", error)
            return
        self._running[directory] = (process, said)

    def _give_way(self, directory: Path, by: int) -> None:
        """Lets a drawing have the cores so much after this process; only root may take that back."""
        process, _ = self._running.get(directory, (None, None))
        with contextlib.suppress(OSError):
            if process is not None:
                os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + by)

    def drop(self, directory: Path) -> None:
        """Stops drawing in a directory that is about to be another search's."""
        with self._lock:
            process, said = self._running.pop(directory, (None, None))
        if process is not None and said is not None:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
            said.close()

    def wait(self, seconds: float = SECONDS) -> None:
        """Waits until all is drawn, and says where it is or why it is not.

        Args:
            seconds: After so long, what is not drawn yet is given up.
        """
        until = time.monotonic() + seconds
        for directory, (process, said) in list(self._running.items()):
            if process.stdin is not None and not process.stdin.closed:  # the search did not come to its end
                self.drop(directory)
                continue
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            code = process.poll()
            if code == 0:
                log.info("the report is %s", directory / "report.html")
            else:
                why = "it took too long" if code is None else _last_line(said) or f"it ended with {code}"
                log.warning("not all of the report in %s was drawn: %s; its tables are whole", directory, why)
            self.drop(directory)


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode(errors="replace").strip().rpartition("\n")[2]


def _listen() -> None:
    """Waits for the word to draw; ends this process at once where whoever began it has gone before."""
    if sys.stdin.buffer.readline() != DRAW:
        os._exit(0)


def main(directory: Path) -> int:
    """Draws one report, once it is told to; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cluster import report
    from cluster.errors import ClusterError

    listener = threading.Thread(target=_listen, name="listen", daemon=True)
    listener.start()
    for name in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    listener.join()  # and to draw it forks: no other thread is to be there
    try:
        report.draw(directory, beside=True)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stderr.flush()
    # All is written, and the program's end waits for this one's: taking down what was loaded would be half a second.
    os._exit(code)
