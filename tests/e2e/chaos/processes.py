"""A `cluster` process of the test: its name, its output as happenings, its trainer. Owns every signal that is sent."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

MARK = "CHAOS_RUN"
# Programs of one thread each: what is measured is the cluster.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Line:
    """A process has written a line."""

    process: Process
    text: str


@dataclass(frozen=True)
class Ended:
    """A process has ended with this return code (negative: the signal that killed it)."""

    process: Process
    code: int


@dataclass
class Family:
    """All processes of one run: they carry its mark in their environment, and so do their children.

    Attributes:
        place: Where they run; their output is kept there.
        happenings: What they do, as it happens.
    """

    place: Path
    happenings: queue.SimpleQueue[Line | Ended] = field(default_factory=queue.SimpleQueue)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def environment(self) -> dict[str, str]:
        """What every process gets."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("CLUSTER_", "KERASTUNER_"))}
        return {**own, **QUIET, MARK: self.mark}

    def is_member(self, pid: int) -> bool:
        """Whether a process is of this run; process ids are used again."""
        try:
            return f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def members(self) -> list[int]:
        """The ids of every process of this run that still is."""
        return [int(x.name) for x in Path("/proc").iterdir() if x.name.isdigit() and self.is_member(int(x.name))]

    def send(self, pid: int, number: int) -> bool:
        """Sends a signal to a process, if it is of this run; returns whether it was."""
        if not self.is_member(pid):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def kill_all(self) -> None:
        """Ends whatever is left."""
        for pid in self.members():
            self.send(pid, signal.SIGKILL)


class Process:
    """`python -m cluster <words>`, started.

    Args:
        family: The run that it belongs to.
        name: Its name, also of the file that keeps its output.
        words: The command line.
    """

    def __init__(self, family: Family, name: str, words: list[str]) -> None:
        self.name = name
        self.family = family
        self.log = family.place / f"{name}.log"
        self.was_killed = False  # by the test
        self.ended = False
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "cluster", *words],
            cwd=family.place,
            env=family.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C at the terminal is the driver's
        )
        self.pid = self._popen.pid
        self._thread = threading.Thread(target=self._follow, name=f"output of {name}", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as output, self.log.open("a") as log:
            for line in output:
                log.write(line)
                log.flush()
                self.family.happenings.put(Line(self, line.rstrip()))
        self.family.happenings.put(Ended(self, self._popen.wait()))

    def kill(self) -> None:
        """SIGKILL."""
        self.was_killed = True
        self.family.send(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Returns when it has ended and its output has been read."""
        self._thread.join()

    def trainer(self) -> int | None:
        """The id of its trainer, or None where there is none at this moment."""
        try:
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return None
        return int(found[0]) if found else None
