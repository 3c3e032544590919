"""The trainer as its supervisor sees it: a child process, its output, and why it ended.

Owns starting it, passing its output on and keeping that of its trials, and telling an exit code, a signal and a lack of
memory apart.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster import asides
from cluster.leash import Leash
from cluster.logs import TrialLog
from cluster.notices import is_notice
from cluster.transfer.logsend import LogSender

log = logging.getLogger(__name__)

LAST_LINES = 10
KILL_AFTER_SECONDS = 10.0
OWN_LINE = b"cluster: "  # how a line of our own log begins
OUTPUT_SECONDS = 2.0  # for the rest of its output, which a process that it has left behind may keep open


class TrainerProcess:
    """A trainer that was started.

    Args:
        command: The interpreter, then the words of the `cluster` command.
        ended: Called with the return code, from another thread, when it has ended and its output has been passed on.
        environment: Variables of its own, beside those of this process.
        files: Descriptors that it inherits.
        hide: Whether what its trials write is in their logs alone.
        send: Sends a log to the chief, given what the trainer has told of it; for trainers that do not see its disk.
    """

    def __init__(
        self,
        command: Sequence[str],
        ended: Callable[[int], None],
        environment: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
        *,
        hide: bool = False,
        send: Callable[[Mapping[str, Any]], LogSender] | None = None,
    ) -> None:
        self._hide = hide
        self._send = send
        self._log: TrialLog | None = None  # of the trial that runs
        self._sender: LogSender | None = None
        self._word = asides.new_word()
        command = [*command[:2], "--asides", self._word, *command[2:]]
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._kills_before = oom_kills()
        self._leash = Leash()
        self._process = self._leash.start(
            command, files, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | (environment or {})
        )
        self._ended = ended
        self._copying = threading.Thread(target=self._copy, name="trainer's output", daemon=True)
        self._waiting = threading.Thread(target=self._wait, name="trainer's end", daemon=True)
        self._copying.start()
        self._waiting.start()

    def _copy(self) -> None:
        assert self._process.stdout is not None
        # Lines as they come: a chief of logs (docker, the launcher) reads lines.
        with self._process.stdout as output:
            for line in output:
                if is_notice(line):
                    continue
                written, told = asides.split(line, self._word)
                if written:
                    self._pass_on(written)
                if told is not None:
                    self._turn(told)

    def _pass_on(self, line: bytes) -> None:
        self._last.append(line)
        log = self._log
        if log is not None:
            log.write(line.decode(errors="replace"))
            if self._hide and log.kept and not line.startswith(OWN_LINE):
                return
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    def _turn(self, told: Mapping[str, Any]) -> None:
        """From here on the output is another trial's, or none's."""
        self._close_log(str(told.get("closing", "")))
        if told.get("log"):
            self._log = TrialLog(Path(str(told["log"])), str(told.get("heading", "")))
            if "search" in told and self._send is not None:
                self._sender = self._send(told)

    def _close_log(self, last: str) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close(last)
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    def _wait(self) -> None:
        code = self._process.wait()
        self._leash.let_go()
        self._copying.join(OUTPUT_SECONDS)
        if self._log is not None:
            self._close_log(f"=== the trainer {_how(code, self._kills_before)} ===")
        self._ended(code)

    def tell(self, line: str) -> None:
        """Tells it something: see `roles.WorkerRole.hear`."""
        self._leash.tell(line)

    def ask_to_leave(self) -> None:
        """Sends SIGTERM: the trainer saves what it has and goes."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def end(self) -> None:
        """Ends it: it is asked, and killed when it does not go; returns when it has gone."""
        if self._process.poll() is None:
            self.ask_to_leave()
            try:
                self._process.wait(KILL_AFTER_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._waiting.join()

    def reason(self, code: int) -> str:
        """Why it ended with this return code, in words, with the last lines that it wrote."""
        text = _how(code, self._kills_before)
        last = b"".join(self._last).decode(errors="replace").rstrip()
        return f"{text}; its last lines:\n{last}" if last and code < 0 else text


def _how(code: int, kills_before: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    if -code == signal.SIGKILL and oom_kills() > kills_before:
        return "was killed by the kernel: out of memory"
    return f"was killed by {signal.Signals(-code).name}"


def oom_kills(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processes the kernel has killed in this process's control group for want of memory; 0 where unknown."""
    try:
        lines = [line.split(":", 2) for line in proc.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        return 0
    for _, controllers, path in lines:
        if controllers == "":  # version 2
            places = [root / path.strip("/") / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            places = [root / "memory" / path.strip("/") / "memory.oom_control", root / "memory" / "memory.oom_control"]
        else:
            continue
        for place in places:
            with contextlib.suppress(OSError, ValueError):
                counts = dict(line.split() for line in place.read_text().splitlines())
                if "oom_kill" in counts:
                    return int(counts["oom_kill"])
    return 0
