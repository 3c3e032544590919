"""The supervisor: joins the chief, starts the trainer, says how it ended, and starts it again.

Owns the worker's presence (the heartbeat stream) and the trainer process. Imports neither Keras nor the program, so
that nothing the trainer does can starve a heartbeat.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.errors import ChiefUnreachable, ClusterError
from cluster.program import Program
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.client import ChiefClient
from cluster.trainer import RECYCLED
from cluster.trainer_process import TrainerProcess

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
OWN_CODES = range(128)  # a trainer that ends with one of these ended by itself; starting it again would end the same


@dataclass(frozen=True)
class TrainerExit:
    """The trainer has ended with this return code (negative: the signal that killed it)."""

    code: int


@dataclass(frozen=True)
class Leave:
    """The worker should go, with this exit code."""

    reason: str
    code: int


@dataclass(frozen=True)
class Stop:
    """The worker was told by a signal to leave."""

    signum: int


@dataclass(frozen=True)
class Dismissed:
    """The chief took the trial back from this trainer, which may be stuck in it."""

    trainer: str
    reason: str


@dataclass(frozen=True)
class Options:
    """What the user decides about a worker.

    Attributes:
        connect_timeout: How long to wait for the chief at first, in seconds.
        patience: How long to wait for one that has gone, in seconds.
        drain_seconds: How long a worker that is told to leave lets its trainer come to the end of an epoch, in seconds.
        recycle_after: After how many trials the trainer is replaced; None: never.
        recycle_gb: At how many gigabytes of memory it is replaced; None: never.
    """

    connect_timeout: float = 60.0
    patience: float = 300.0
    drain_seconds: float = 30.0
    recycle_after: int | None = None
    recycle_gb: float | None = None


class Worker:
    """A worker of one chief.

    Args:
        program: The program.
        client: The connection to the chief.
        name: The worker's name; unique among the chief's workers.
        options: What the user decides.
    """

    def __init__(self, program: Program, client: ChiefClient, name: str, options: Options) -> None:
        self.happenings: queue.SimpleQueue[TrainerExit | Leave | Stop | Dismissed | ClusterError] = queue.SimpleQueue()
        self._program = program
        self._client = client
        self._name = name
        self._options = options
        self._session = uuid.uuid4().hex
        self._joined = threading.Event()
        self._goodbye: str | None = None
        self._leave = threading.Event()
        self._trainer: TrainerProcess | None = None
        self._trainer_id = ""
        self._draining_until: float | None = None
        self._identity = program.identity  # once: the file may be edited while it runs
        self._ended = False  # the chief's program has ended, and the chief will be gone

    def run(self) -> int:
        """Works until the chief has no more for it; returns the exit code.

        Raises:
            ChiefUnreachable: there is no chief, or it has been gone for too long.
            Refused: the chief does not take this worker.
        """
        if not self._find_chief():
            return 0
        attendance = threading.Thread(target=self._attend, name="attendance", daemon=True)
        attendance.start()
        try:
            code = None
            while code is None:
                if self._trainer is None and self._joined.is_set():
                    self._start_trainer()
                code = self._handle(self._next_happening())
            return code
        finally:
            if self._trainer is not None:
                self._trainer.end()
            self._leave.set()
            attendance.join(timeout=5)

    def _find_chief(self) -> bool:
        """Waits for the chief; returns False when the worker was told to leave before there was one."""
        timeout = self._options.connect_timeout
        deadline = time.monotonic() + timeout
        if self._client.wait_until_there(min(1.0, timeout)):
            return True
        log.info("waiting for the chief at %s (%.0f s at most)", self._client.address, timeout)
        while not self._client.wait_until_there(0.25):
            if not self.happenings.empty():
                return False
            if time.monotonic() >= deadline:
                raise ChiefUnreachable(
                    f"no chief answers at {self._client.address} within {timeout:.0f} s. Is it running, "
                    "and is the address right? See --chief and --connect-timeout"
                )
        return True

    def _next_happening(self) -> TrainerExit | Leave | Stop | Dismissed | ClusterError | None:
        timeout = None if self._joined.is_set() else 0.05
        if self._draining_until is not None:
            timeout = max(0.0, self._draining_until - time.monotonic())
        try:
            return self.happenings.get(timeout=timeout)
        except queue.Empty:
            return None

    def _handle(self, happening: TrainerExit | Leave | Stop | Dismissed | ClusterError | None) -> int | None:
        """Acts on what has happened; returns the worker's exit code when that is the end."""
        if isinstance(happening, ClusterError):
            raise happening
        if isinstance(happening, Leave):
            log.info("leaving: %s", happening.reason)
            return happening.code
        if isinstance(happening, Stop):
            return self._drain(happening)
        if isinstance(happening, Dismissed) and happening.trainer == self._trainer_id and self._trainer is not None:
            log.warning("the trainer is stopped: %s", happening.reason)
            self._trainer.kill()
        if isinstance(happening, TrainerExit):
            return self._trainer_has_ended(happening.code)
        if self._draining_until is not None and time.monotonic() >= self._draining_until:
            return self._leave_in_order()
        return None

    # --- the trainer

    def _start_trainer(self) -> None:
        self._trainer_id = uuid.uuid4().hex[:12]
        options = ["--chief", self._client.address, "--worker", self._name, "--trainer", self._trainer_id]
        options += ["--patience", str(self._options.patience)]
        if self._options.recycle_after is not None:
            options += ["--recycle-after", str(self._options.recycle_after)]
        if self._options.recycle_gb is not None:
            options += ["--recycle-gb", str(self._options.recycle_gb)]
        command = [sys.executable, "trainer", *options, "--", *self._program.words]
        self._trainer = TrainerProcess(command, lambda code: self.happenings.put(TrainerExit(code)))

    def _trainer_has_ended(self, code: int) -> int | None:
        trainer, self._trainer = self._trainer, None
        assert trainer is not None
        if self._draining_until is not None:
            return self._leave_in_order()
        if code == 0:
            self._say_goodbye("its program has ended")
            return 0
        if code == RECYCLED:
            log.info("the trainer is replaced, as it should be between trials")
            return None
        reason = f"the trainer of {self._name} {trainer.reason(code)}"
        self._report_end(reason, counted=True)
        if code in OWN_CODES:
            return code
        log.warning("%s", reason)
        return None

    def _drain(self, stop: Stop) -> int | None:
        """Told to leave: the trainer may come to the end of its epoch; told twice, it may not."""
        if self._trainer is None or self._draining_until is not None:
            return self._leave_in_order()
        name = signal.Signals(stop.signum).name
        log.info("%s: leaving at the end of the epoch, within %.0f s", name, self._options.drain_seconds)
        self._draining_until = time.monotonic() + self._options.drain_seconds
        self._trainer.ask_to_leave()
        return None

    def _leave_in_order(self) -> int:
        self._draining_until = time.monotonic()
        if self._trainer is not None:
            self._trainer.kill()
        if self._trainer_id:
            self._report_end(f"{self._name} was told to leave", counted=False)
        self._say_goodbye(f"{self._name} was told to leave")
        return 0

    def _report_end(self, reason: str, *, counted: bool) -> None:
        try:
            patience = 2.0 if self._ended or self._draining_until is not None else None
            self._client.trainer_ended(self._trainer_id, reason, counted=counted, patience=patience)
        except ClusterError as error:
            log.warning("the chief could not be told that %s: %s", reason, error)

    # --- presence

    def _say_goodbye(self, reason: str) -> None:
        self._goodbye = reason
        self._leave.set()

    def _attend(self) -> None:
        """Keeps the stream to the chief open, and opens it again when it breaks."""
        gone_since: float | None = None
        while not self._leave.is_set():
            try:
                for ack in self._client.attend(self._beats()):
                    gone_since = None
                    self._joined.set()
                    self._ended = self._ended or ack.ended
                    if ack.dismissed:
                        self.happenings.put(Dismissed(self._trainer_id, ack.dismissed))
                    if ack.leaving:
                        self.happenings.put(Leave(ack.reason, ack.exit_code))
                        self._leave.set()
            except ChiefUnreachable as error:
                if self._ended:
                    return  # the trainer finishes alone
                now = time.monotonic()
                gone_since = gone_since or now
                if now - gone_since > self._options.patience:
                    self.happenings.put(
                        ChiefUnreachable(f"{error} and it has not come back for {self._options.patience:.0f} s")
                    )
                    return
            except ClusterError as error:
                self.happenings.put(error)
                return
            self._leave.wait(0.2)

    def _beats(self) -> Iterator[pb.Beat]:
        identity = self._identity
        hello = pb.Hello(
            host=socket.gethostname(), program=identity.name, arguments=identity.arguments, digest=identity.digest
        )
        yield pb.Beat(worker=self._name, session=self._session, hello=hello)
        while not self._leave.wait(BEAT_SECONDS):
            yield pb.Beat(worker=self._name, session=self._session, trainer=self._trainer_id)
        if self._goodbye is not None:
            yield pb.Beat(worker=self._name, session=self._session, goodbye=self._goodbye)


def default_name() -> str:
    """A name that no other worker has: the host's, and four random digits."""
    return f"{socket.gethostname()}-{os.urandom(2).hex()}"
