"""`cluster run --workers N`: a chief and N workers as child processes of this one.

Owns the children and their output, each line of it with the child's name in front. They talk over a socket file that
only this user can open, so no port is taken.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO

from cluster.leash import Leash
from cluster.notices import is_notice
from cluster.program import Program

log = logging.getLogger(__name__)

SOCKET_PATH = 90  # the path of a socket file may have little more than a hundred characters
STOP_SECONDS = 30.0  # for the children to end in order, once they are told to
RESTARTS = 3  # of each child, when it was killed
OUTPUT_SECONDS = 2.0  # for the rest of a child's output, which a process that it has left behind may keep open
ALONE_SECONDS = 15.0  # how long a chief searches on when every worker has left for good
CHIEF_SECONDS = 10.0  # for the chief to say why, where all workers have failed and it is the cause
LEAVE_SECONDS = 5.0  # for the workers to end by themselves, once the chief has failed


def run(program: Program, workers: int, chief_options: Sequence[str], worker_options: Sequence[str]) -> int:
    """Runs the program on a chief and `workers` workers; returns the chief's exit code.

    Raises:
        KeyboardInterrupt: interrupted; every child has ended by then.
    """
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-"))
        if len(place) > SOCKET_PATH:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-", dir="/tmp"))
        address = f"unix:{place}/chief.sock"
        width = len(f"worker-{workers}")
        children = _Children(width)
        with children.all_ended():
            words = ["chief", "--listen", address, "--alone-seconds", str(ALONE_SECONDS), "--expected", str(workers)]
            children.start("chief", [*words, *chief_options, "--", *program.words])
            for number in range(1, workers + 1):
                name = f"worker-{number}"
                options = ["--chief", address, "--name", name, *worker_options]
                children.start(name, ["worker", *options, "--", *program.words])
            code = _watch(children)
            if code == 0:
                children.wait()  # what the program does after its searches, it does on the workers too
            return code


def _watch(children: _Children) -> int:
    """Waits for the children, and starts again those that were killed.

    The chief's end is the run's; so is the end of the last worker, when all have failed.
    """
    codes: dict[str, int] = {}
    restarts: Counter[str] = Counter()
    while True:
        name, code = children.ended.get()
        if code < 0 and restarts[name] < RESTARTS:
            restarts[name] += 1
            log.warning("%s was killed by %s and is started again", name, signal.Signals(-code).name)
            children.restart(name)
            continue
        codes[name] = code
        if name == "chief":
            return _plain(code)
        alive = [x for x in children.processes if x not in codes]
        if alive == ["chief"] and all(codes.values()):
            # Nobody is left to run trials, and those who left did so for a reason that a new one would meet too.
            with contextlib.suppress(queue.Empty):
                name, code = children.ended.get(timeout=CHIEF_SECONDS)
                return _plain(code)
            log.error("every worker has failed; the search is stopped (it can be resumed by the same command)")
            return _plain(code)


def _plain(code: int) -> int:
    """A return code as a shell shows it."""
    return code if code >= 0 else 128 - code


class _Children:
    """Child processes with names.

    Args:
        width: The width of the longest name.
    """

    def __init__(self, width: int) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._words: dict[str, list[str]] = {}
        self.ended: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self._width = width
        self._printing = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, words: list[str]) -> None:
        """Starts `python -m cluster <words>`."""
        self._words[name] = words
        leash = Leash()
        environment = {k: v for k, v in os.environ.items() if k != "CLUSTER_FRESH"} | {"PYTHONUNBUFFERED": "1"}
        process = leash.start(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        self.processes[name] = process

        copying = threading.Thread(target=self._copy, args=(name, process.stdout), daemon=True)
        copying.start()

        def wait() -> None:
            code = process.wait()
            leash.let_go()
            copying.join(OUTPUT_SECONDS)
            self.ended.put((name, code))

        thread = threading.Thread(target=wait, name=f"end of {name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def restart(self, name: str) -> None:
        """Starts a child again that has ended; it goes on, and nothing is started afresh."""
        self.start(name, [word for word in self._words[name] if word != "--fresh"])

    def wait(self) -> None:
        """Waits until every child has ended, however long that takes."""
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def all_ended(self) -> Iterator[None]:
        """On the way out: workers are asked to end, then the chief; what does not go is killed."""
        interrupted = False
        try:
            yield
        except KeyboardInterrupt:
            interrupted = True
            print("stopping; a second Ctrl-C stops at once", file=sys.stderr)
            raise
        finally:
            try:
                if interrupted:
                    self._signal(signal.SIGTERM, only="chief")  # it tells the workers
                self._wait(STOP_SECONDS if interrupted else LEAVE_SECONDS)
                self._signal(signal.SIGTERM)
                self._wait(STOP_SECONDS)
            finally:
                self._signal(signal.SIGKILL)
                for thread in self._threads:
                    thread.join(timeout=5.0)

    def _signal(self, number: int, only: str | None = None) -> None:
        for name, process in self.processes.items():
            if process.poll() is None and only in (None, name):
                process.send_signal(number)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _copy(self, name: str, stream: IO[bytes]) -> None:
        prefix = f"{name:<{self._width}} | "
        with stream:
            for line in stream:
                if is_notice(line):
                    continue
                # A progress bar draws over its own line; its last state is the one to keep.
                text = line.decode(errors="replace").rstrip("\r\n").rsplit("\r", 1)[-1]
                # Whoever read the output may have gone; the children go on, and must be read.
                with self._printing, contextlib.suppress(OSError, ValueError):
                    sys.stdout.write(f"{prefix}{text}\n")
                    sys.stdout.flush()
