"""`cluster run --workers N`: a chief and N workers as child processes of this one.

Owns the children and their output, each line of it with the child's name in front, and that the chief's search is shown
where the terminal shows one. They talk over a socket file that only this user can open, so no port is taken.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from cluster import asides, credentials, jsonlog
from cluster.errors import UsageError
from cluster.leash import Leash
from cluster.lines import as_shown
from cluster.notices import is_notice
from cluster.observer import Looker, Observer
from cluster.program import Program

log = logging.getLogger(__name__)

SOCKET_PATH = 90  # the path of a socket file may have little more than a hundred characters
STOP_SECONDS = 30.0  # for the children to end in order, once they are told to
RESTARTS = 3  # of each child, when it was killed
OUTPUT_SECONDS = 2.0  # for the rest of a child's output, which a process that it has left behind may keep open
ALONE_SECONDS = 15.0  # how long a chief searches on when every worker has left for good
CHIEF_SECONDS = 10.0  # for the chief to say why, where all workers have failed and it is the cause
LEAVE_SECONDS = 5.0  # for the workers to end by themselves, once the chief has failed


def run(
    program: Program,
    workers: int,
    chief_options: Sequence[str],
    worker_options: Sequence[str],
    *,
    token_file: Path | None = None,
    looker: Callable[[Path], Looker] | None = None,
    log_json: bool = False,
) -> int:
    """Runs the program on a chief and workers.

    Args:
        program: The program.
        workers: How many workers.
        chief_options: Options of the chief's command.
        worker_options: Options of each worker's.
        token_file: A file with the token that they call each other with; None: what `credentials.find_or_make` says.
        looker: Makes, for a project directory, who is told how its search goes; None: nobody is.
        log_json: Whether each line of output is to be a JSON object.

    Returns:
        The chief's exit code.

    Raises:
        UsageError: the token cannot be read.
        KeyboardInterrupt: interrupted; every child has ended by then.
    """
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-"))
        if len(place) > SOCKET_PATH:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-", dir="/tmp"))
        address = f"unix:{place}/chief.sock"
        width = len(f"worker-{workers}")
        heard = None if looker is None else stack.enter_context(_Shown(looker)).hear
        children = _Children(width, heard, log_json)
        token = _token_words(token_file, Path(place))
        with children.all_ended():
            words = ["chief", "--listen", address, "--alone-seconds", str(ALONE_SECONDS), "--expected", str(workers)]
            children.start("chief", [*words, *token, *chief_options, "--", *program.words])
            for number in range(1, workers + 1):
                name = f"worker-{number}"
                options = ["--chief", address, "--name", name, *token, *worker_options]
                children.start(name, ["worker", *options, "--", *program.words])
            code = _watch(children)
            if code == 0:
                children.wait()  # what the program does after its searches, it does on the workers too
            return code


def _token_words(file: Path | None, place: Path) -> list[str]:
    """What the children are told of the token: the user's file; one for this run where there is no home.

    Else they find what this process has: the variable, or the user's own file, which is here from now on.
    """
    if credentials.find(os.environ, file) is None:
        try:
            credentials.find_or_make(os.environ)
        except UsageError:
            file = place / "token"
            credentials.make(file)
    return [] if file is None else ["--token-file", str(file)]


class _Shown:
    """The chief's searches, one after another, as the chief tells of them.

    Args:
        looker: Makes, for a project directory, who is told how its search goes.
    """

    def __init__(self, looker: Callable[[Path], Looker]) -> None:
        self._looker = looker
        self._observer: Observer | None = None
        self._directory: Path | None = None

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def hear(self, told: Mapping[str, Any]) -> None:
        """What the chief tells: `search`, the project directory of one that begins or goes on, or `over`."""
        if "search" in told:
            directory = Path(str(told["search"]))
            if self._observer is None or directory != self._directory:  # else the chief was killed, and is back
                self._end()
                self._directory = directory
                self._observer = Observer(directory, [self._looker(directory)])
        elif "over" in told:
            self._end()

    def _end(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.close()


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
        heard: What to do with what the chief tells in its output; None: it tells nothing.
        log_json: Whether each line of output is to be a JSON object.
    """

    def __init__(self, width: int, heard: Callable[[Mapping[str, Any]], None] | None, log_json: bool) -> None:
        self._heard = heard
        self._log_json = log_json
        self._word = asides.new_word()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._words: dict[str, list[str]] = {}
        self.ended: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self._width = width
        self._printing = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, words: list[str]) -> None:
        """Starts `python -m cluster <words>`."""
        self._words[name] = words
        if self._heard is not None and words[0] == "chief":
            words = [words[0], "--asides", self._word, *words[1:]]
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
            jsonlog.tell("stopping; a second Ctrl-C stops at once")
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
                written, told = asides.split(line, self._word)
                if written:
                    text = as_shown(written.decode(errors="replace"))
                    text = jsonlog.from_child(name, text, time.time()) if self._log_json else f"{prefix}{text}"
                    # Whoever read the output may have gone; the children go on, and must be read.
                    with self._printing, contextlib.suppress(OSError, ValueError):
                        sys.stdout.write(f"{text}\n")
                        sys.stdout.flush()
                if told is not None and self._heard is not None:
                    self._heard(told)
