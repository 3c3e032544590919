"""The supervisor: joins the chief, takes a device, starts the trainer, says how it ended, and starts it again.

Owns the worker's presence (the heartbeat stream), its slot on a device and the trainer process. Imports neither Keras
nor the program, so that nothing the trainer does can starve a heartbeat.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import cores
from cluster.chief import Share
from cluster.errors import ChiefUnreachable, ClusterError
from cluster.placement import Place, Placement
from cluster.program import Program
from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.client import ChiefClient
from cluster.rpc.files import RemoteFiles
from cluster.slots import Wish
from cluster.trainer import OUT_OF_MEMORY, RECYCLED, WANTS_ALONE
from cluster.trainer_process import TrainerProcess
from cluster.transfer.logsend import LogSender
from cluster.transfer.scratch import scratch_directory

log = logging.getLogger(__name__)

BEATS = 5  # heartbeats in the time of a lease …
BEAT_SECONDS = 3.0  # … and how long it is between two of them at most
SHOWN = 4  # how many holders of slots are named to one who waits
SLOT_SECONDS = 0.2  # how often a worker that waits for a device looks for one
ROOM_SECONDS = 1.0  # how often a worker that shares a GPU looks whether another needs it alone
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
        hide: Whether what trials write is in their logs alone, and not passed on.
        scratch: Where trainers keep files of trials where the chief's directory is not here; None: the system's place.
        apart: Whether they keep them there in any case.
        words: Options of every trainer, as on its command line.
    """

    connect_timeout: float = 60.0
    patience: float = 300.0
    drain_seconds: float = 30.0
    recycle_after: int | None = None
    recycle_gb: float | None = None
    hide: bool = False
    scratch: Path | None = None
    apart: bool = False
    words: tuple[str, ...] = ()


class Worker:
    """A worker of one chief.

    Args:
        program: The program.
        client: The connection to the chief.
        name: The worker's name; unique among the chief's workers.
        options: What the user decides.
        placement: The devices of this host; without one, trainers run on what there is.
    """

    def __init__(
        self, program: Program, client: ChiefClient, name: str, options: Options, placement: Placement | None = None
    ) -> None:
        self.happenings: queue.SimpleQueue[TrainerExit | Leave | Stop | Dismissed | ClusterError] = queue.SimpleQueue()
        self._program = program
        self._client = client
        self._name = name
        self._options = options
        self._session = uuid.uuid4().hex
        self._placement = placement or Placement()
        self._place: Place | None = None
        self._wanted_alone: Place | None = None  # the place whose GPU a trial needs alone
        self._wish: Wish | None = None
        self._cores = cores.allowed_cores()
        self._quota = cores.quota()
        self._share = Share(0, 1, 1)
        self._counted_on = threading.Event()  # the chief knows that this worker runs trials
        self._beat_now = threading.Event()
        self._due: queue.SimpleQueue[None] = queue.SimpleQueue()  # one for each beat that is to be sent
        self._goodbye: str | None = None
        self._leave = threading.Event()
        self._scratch = Path()
        self._is_waiting = False
        self._said: object = None  # what was last said about the device
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
        with scratch_directory(self._options.scratch) as self._scratch:
            return self._work()

    def _work(self) -> int:
        self._look_for_place()
        attendance = threading.Thread(target=self._attend, name="attendance", daemon=True)
        attendance.start()
        try:
            code = None
            while code is None:
                if self._trainer is None:
                    code = self._go_on()
                    if code is not None:
                        break
                code = self._handle(self._next_happening())
            return code
        finally:
            if self._trainer is not None:
                self._trainer.end()
            self._leave.set()
            self._beat_now.set()
            attendance.join(timeout=5)
            if self._place is not None:
                self._place.release()

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
                hint = ". Is it running, and is the address right? See --chief and --connect-timeout"
                raise ChiefUnreachable(
                    f"no chief answers at {self._client.address} within {timeout:.0f} s"
                    f"{self._client.why_not_there() or hint}"
                )
        return True

    def _next_happening(self) -> TrainerExit | Leave | Stop | Dismissed | ClusterError | None:
        timeout: float | None = None
        if self._trainer is None:
            timeout = SLOT_SECONDS if self._place is None else 0.05
        elif self._place is not None and self._place.packed:
            timeout = ROOM_SECONDS
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
        if self._trainer is not None and self._place is not None and self._placement.should_make_room(self._place):
            self._trainer.tell("make room")
        return None

    # --- the device

    def _go_on(self) -> int | None:
        """Without a trainer: starts one, as soon as there is a place for it and the chief counts on this worker."""
        if self._place is None:
            self._look_for_place()
        if self._ended and (self._place is None or not self._trainer_id):
            log.info("leaving: the search was over before there was a device for this worker")
            self._say_goodbye(f"{self._name} was not needed")
            return 0
        if self._place is not None and self._counted_on.is_set() and self._draining_until is None:
            self._start_trainer()
        return None

    def _look_for_place(self) -> None:
        """Takes a place if there is one, and tells the chief of it; else says who is in the way, once."""
        if self._wanted_alone is not None:
            if self._wish is None:
                self._wish = self._placement.wish_alone(self._wanted_alone)
            if self._wish is not None:
                self._place = self._placement.take_alone(self._wanted_alone, self._wish, self._name)
        else:
            self._place = self._placement.take(self._name)
        if self._place is not None:
            self._is_waiting = False
            if self._wish is not None:
                self._wish.end()
            self._wish = None
            self._counted_on.clear()
            self._beat_now.set()
        elif not self._is_waiting:
            self._is_waiting = True
            self._counted_on.clear()
            self._beat_now.set()
            if self._wanted_alone is not None:
                log.info("waiting until %s is free of other trainers", self._wanted_alone.device)
            else:
                held = [holder for holders in self._placement.holders().values() for holder in holders]
                more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
                log.info("waiting for a free GPU; held by %s%s", ", ".join(held[:SHOWN]) or "others", more)

    def _give_up_place(self, *, alone: bool) -> None:
        """The slot is free for others, and another place is looked for: the same GPU, alone, or any."""
        place, self._place = self._place, None
        assert place is not None
        place.release()
        self._wanted_alone = place if alone else None

    def _own_cores(self) -> tuple[int, ...]:
        """This worker's share of the host's cores, as the chief has dealt them."""
        share = self._share
        quota = self._quota / max(1, share.together) if self._quota is not None else None
        return cores.deal(self._cores, share.place, share.places, quota)

    # --- the trainer

    def _start_trainer(self) -> None:
        assert self._place is not None
        place = self._place
        self._trainer_id = uuid.uuid4().hex[:12]
        options = ["--chief", self._client.address, "--worker", self._name, "--trainer", self._trainer_id]
        options += ["--patience", str(self._options.patience), *self._options.words]
        options += ["--scratch", str(self._scratch), *(["--apart"] if self._options.apart else [])]
        if self._options.recycle_after is not None:
            options += ["--recycle-after", str(self._options.recycle_after)]
        if self._options.recycle_gb is not None:
            options += ["--recycle-gb", str(self._options.recycle_gb)]
        own = self._own_cores()
        options += ["--device", place.device, "--cores", cores.to_text(own)]
        if place.gpu is not None:
            options += ["--memory-share", str(place.memory_share), "--memory-total", str(place.gpu.memory)]
            options += ["--slot-files", ",".join(str(file) for file in place.files)]
            options += ["--packed"] if place.packed else []
            options += ["--alone"] if self._wanted_alone is not None else []
        command = [sys.executable, "trainer", *options, "--", *self._program.words]
        about = (place.name, place.environment)
        if about != self._said:
            self._said = about
            log.info("on %s, with %d of %d cores", place.name, len(own), len(self._cores))
        self._trainer = TrainerProcess(
            command,
            lambda code: self.happenings.put(TrainerExit(code)),
            place.environment,
            place.files,
            hide=self._options.hide,
            send=self._send_log,
        )
        if self._own_cores() != own:  # dealt again in this very moment
            self._trainer.tell(f"cores {cores.to_text(self._own_cores())}")

    def _send_log(self, told: Mapping[str, Any]) -> LogSender:
        """A trial's log is in the trainer's own directory: it is sent to the chief."""
        index, search_id = told["search"]
        append = RemoteFiles(self._client, index, search_id, patience=0.0).append_log
        return LogSender(Path(told["log"]), functools.partial(append, told["trial"], told["attempt"]))

    def _trainer_has_ended(self, code: int) -> int | None:
        trainer, self._trainer = self._trainer, None
        assert trainer is not None
        if self._draining_until is not None:
            return self._leave_in_order()
        if code == 0:
            self._say_goodbye("its program has ended")
            return 0
        if code == RECYCLED:
            assert self._place is not None
            if self._wanted_alone is not None or self._placement.should_make_room(self._place):
                self._give_up_place(alone=False)
            else:
                log.info("the trainer is replaced, as it should be between trials")
            return None
        if code == WANTS_ALONE:
            self._give_up_place(alone=True)
            return None
        if code == OUT_OF_MEMORY:
            assert self._place is not None
            reason = f"{self._place.device} had no memory left for it; it runs once more, with the GPU to itself"
            self._report_end(reason, counted=False, out_of_memory=True)
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

    def _report_end(self, reason: str, *, counted: bool, out_of_memory: bool = False) -> None:
        try:
            patience = 2.0 if self._ended or self._draining_until is not None else None
            self._client.trainer_ended(
                self._trainer_id, reason, counted=counted, out_of_memory=out_of_memory, patience=patience
            )
        except ClusterError as error:
            log.warning("the chief could not be told that %s: %s", reason, error)
        self._beat_now.set()  # the answer may be that this worker is to go

    # --- presence

    def _say_goodbye(self, reason: str) -> None:
        self._goodbye = reason
        self._leave.set()
        self._beat_now.set()

    def _attend(self) -> None:
        """Keeps the stream to the chief open, and opens it again when it breaks."""
        gone_since: float | None = None
        while not self._leave.is_set():
            try:
                self._due = queue.SimpleQueue()
                for ack in self._client.attend(self._beats(self._due), self._beat_now.set):
                    gone_since = None
                    self._ended = self._ended or ack.ended
                    if not ack.waiting:
                        self._counted_on.set()
                    self._take_share(Share(ack.place, ack.places, ack.together))
                    if ack.dismissed:
                        self.happenings.put(Dismissed(self._trainer_id, ack.dismissed))
                    if ack.leaving:
                        self.happenings.put(Leave(ack.reason, ack.exit_code))
                        self._leave.set()
                    self._await_beat(ack.lease_seconds)
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
            finally:
                self._due.put(None)  # nothing is sent any more, and who waits to send it ends
            self._leave.wait(0.2)

    def _await_beat(self, lease_seconds: float) -> None:
        """Waits until it is time for the next beat, and has it sent.

        Here, and not in gRPC, whose streams look ten times a second whether there is an answer.
        """
        if not self._leave.is_set():
            self._beat_now.wait(min(BEAT_SECONDS, lease_seconds / BEATS))
        self._beat_now.clear()
        self._due.put(None)

    def _take_share(self, share: Share) -> None:
        """The chief has dealt the cores of this host; a trainer that runs takes them up in its own time."""
        if share == self._share:
            return
        self._share = share
        trainer = self._trainer
        if trainer is not None:
            trainer.tell(f"cores {cores.to_text(self._own_cores())}")

    def _beats(self, due: queue.SimpleQueue[None]) -> Iterator[pb.Beat]:
        identity = self._identity
        hello = pb.Hello(
            host=socket.gethostname(),
            program=identity.name,
            arguments=identity.arguments,
            digest=identity.digest,
            host_id=cores.host_id(),
            cores=cores.to_text(self._cores),
            group=cores.group_id(),
        )
        yield pb.Beat(worker=self._name, session=self._session, hello=hello, waiting=self._is_waiting)
        while True:
            due.get()
            if self._leave.is_set():
                break
            waiting = self._is_waiting
            yield pb.Beat(worker=self._name, session=self._session, trainer=self._trainer_id, waiting=waiting)
        if self._goodbye is not None:
            yield pb.Beat(worker=self._name, session=self._session, goodbye=self._goodbye)


def default_name() -> str:
    """A name that no other worker has: the host's, and four random digits."""
    return f"{socket.gethostname()}-{os.urandom(2).hex()}"
