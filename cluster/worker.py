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
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.errors import ChiefUnreachable, ClusterError
from cluster.leash import Leash
from cluster.program import Program
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.client import ChiefClient

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
LOSSES_IN_A_ROW = 3
OWN_CODES = range(128)  # a trainer that ends with one of these ended by itself; starting it again would end the same
STOP_SECONDS = 10.0


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


class Worker:
    """A worker of one chief.

    Args:
        program: The program.
        client: The connection to the chief.
        name: The worker's name; unique among the chief's workers.
        connect_timeout: How long to wait for the chief at first, in seconds.
        patience: How long to wait for one that has gone, in seconds.
    """

    def __init__(
        self, program: Program, client: ChiefClient, name: str, connect_timeout: float, patience: float
    ) -> None:
        self.happenings: queue.SimpleQueue[TrainerExit | Leave | Stop | ClusterError] = queue.SimpleQueue()
        self._program = program
        self._client = client
        self._name = name
        self._connect_timeout = connect_timeout
        self._patience = patience
        self._session = uuid.uuid4().hex
        self._joined = threading.Event()
        self._goodbye: str | None = None
        self._leave = threading.Event()
        self._trainer_id = ""

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
            return self._supervise()
        finally:
            self._leave.set()
            attendance.join(timeout=5)

    def _find_chief(self) -> bool:
        """Waits for the chief; returns False when the worker was told to leave before there was one."""
        deadline = time.monotonic() + self._connect_timeout
        if self._client.wait_until_there(min(1.0, self._connect_timeout)):
            return True
        log.info("waiting for the chief at %s (%.0f s at most)", self._client.address, self._connect_timeout)
        while not self._client.wait_until_there(0.25):
            if not self.happenings.empty():
                return False
            if time.monotonic() >= deadline:
                raise ChiefUnreachable(
                    f"no chief answers at {self._client.address} within {self._connect_timeout:.0f} s. Is it running, "
                    "and is the address right? See --chief and --connect-timeout"
                )
        return True

    # --- the trainer

    def _supervise(self) -> int:
        trainer: subprocess.Popen[bytes] | None = None
        losses = 0
        try:
            while True:
                if trainer is None and self._joined.is_set():
                    trainer = self._start_trainer()
                happening = self._next_happening()
                if isinstance(happening, ClusterError):
                    raise happening
                if isinstance(happening, Leave):
                    log.info("leaving: %s", happening.reason)
                    return happening.code
                if isinstance(happening, Stop):
                    self._say_goodbye(f"{self._name} was told to leave ({signal.Signals(happening.signum).name})")
                    return 0
                if isinstance(happening, TrainerExit):
                    trainer = None
                    if happening.code == 0:
                        self._say_goodbye("its program has ended")
                        return 0
                    self._report_loss(happening.code)
                    if happening.code in OWN_CODES:
                        return happening.code
                    losses += 1
                    if losses >= LOSSES_IN_A_ROW:
                        log.error("%d trainers in a row were lost here; this worker leaves", losses)
                        return 1
        finally:
            if trainer is not None:
                _end(trainer)

    def _next_happening(self) -> TrainerExit | Leave | Stop | ClusterError | None:
        try:
            return self.happenings.get(timeout=None if self._joined.is_set() else 0.05)
        except queue.Empty:
            return None

    def _start_trainer(self) -> subprocess.Popen[bytes]:
        self._trainer_id = uuid.uuid4().hex[:12]
        command = [sys.executable, "trainer", "--chief", self._client.address, "--worker", self._name]
        command += ["--trainer", self._trainer_id, "--patience", str(self._patience), "--", *self._program.words]
        leash = Leash()
        process = leash.start(command)

        def wait() -> None:
            code = process.wait()
            leash.let_go()
            self.happenings.put(TrainerExit(code))

        threading.Thread(target=wait, name="trainer", daemon=True).start()
        return process

    def _report_loss(self, code: int) -> None:
        reason = f"the trainer of {self._name} ended with exit code {code}"
        if code < 0:
            reason = f"the trainer of {self._name} was killed by {signal.Signals(-code).name}"
        if code not in OWN_CODES:
            log.warning("%s", reason)
        try:
            self._client.trainer_ended(self._trainer_id, reason, counted=True)
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
                    if ack.leaving:
                        self.happenings.put(Leave(ack.reason, ack.exit_code))
                        self._leave.set()
            except ChiefUnreachable as error:
                now = time.monotonic()
                gone_since = gone_since or now
                if now - gone_since > self._patience:
                    self.happenings.put(
                        ChiefUnreachable(f"{error} and it has not come back for {self._patience:.0f} s")
                    )
                    return
            except ClusterError as error:
                self.happenings.put(error)
                return
            self._leave.wait(0.2)

    def _beats(self) -> Iterator[pb.Beat]:
        identity = self._program.identity
        hello = pb.Hello(
            host=socket.gethostname(), program=identity.name, arguments=identity.arguments, digest=identity.digest
        )
        yield pb.Beat(worker=self._name, session=self._session, hello=hello)
        while not self._leave.wait(BEAT_SECONDS):
            yield pb.Beat(worker=self._name, session=self._session)
        if self._goodbye is not None:
            yield pb.Beat(worker=self._name, session=self._session, goodbye=self._goodbye)


def default_name() -> str:
    """A name that no other worker has: the host's, and four random digits."""
    return f"{socket.gethostname()}-{os.urandom(2).hex()}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a trainer: it is asked, and killed when it does not go."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
