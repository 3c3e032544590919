"""What each kind of fault does, and how it is healed."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e.chaos.disk import Disk
from tests.e2e.chaos.journal import Journal
from tests.e2e.chaos.plan import Fault, Kind
from tests.e2e.chaos.processes import Process
from tests.e2e.chaos.proxy import Proxy

UNNOTICED_SECONDS = 30.0  # a chief that writes finds a full disk sooner, one that is loading Keras included


@dataclass(frozen=True)
class Kill:
    """A worker was killed while it ran a trial, at this time (Unix seconds)."""

    time: float
    worker: str
    trial: str


@dataclass
class Faults:
    """Deals faults to the processes of a run, which are replaced as they end.

    Attributes:
        chief: The chief.
        workers: The workers, by slot.
        proxies: The proxies, by slot.
        disk: The disk, where there is one to fill.
        journal: The event log.
        later: Calls an action after so many seconds.
        dealt: How many of each kind were dealt.
        kills: The workers that were killed while they ran a trial.
        chief_down: When the chief was killed or its disk was filled (Unix seconds).
    """

    chief: Process
    workers: list[Process]
    proxies: dict[int, Proxy]
    disk: Disk | None
    journal: Journal
    later: Callable[[float, Callable[[], None]], None]
    dealt: Counter[Kind] = field(default_factory=Counter)
    kills: list[Kill] = field(default_factory=list)
    chief_down: list[float] = field(default_factory=list)
    unnoticed: bool = False  # the disk was full for long, and the chief did not end
    _fills: int = 0
    _free_after: float = 0.0
    _stopped: set[int] = field(default_factory=set)

    def deal(self, fault: Fault) -> bool:
        """Makes it happen; returns False where it cannot just now."""
        match fault.kind:
            case Kind.WORKER:
                done = self._kill_worker(self.workers[fault.slot])
            case Kind.TRAINER:
                done = self._kill_trainer(fault.slot)
            case Kind.CHIEF:
                done = self._kill_chief()
            case Kind.STOP:
                done = self._stop(self.workers[fault.slot], fault.length)
            case Kind.CUT:
                self.proxies[fault.slot].cut()
                self.later(fault.length, self.proxies[fault.slot].heal)
                done = True
            case Kind.SILENCE:
                self.proxies[fault.slot].silence()
                self.later(fault.length, self.proxies[fault.slot].heal)
                done = True
            case Kind.DISK:
                done = self._fill(fault.length)
        self.dealt[fault.kind] += int(done)
        return done

    def chief_found_full_disk(self) -> None:
        """The chief has ended for it: space will be freed, perhaps after it was started in vain."""
        if self.disk is not None and self.disk.full and self._free_after >= 0:
            self.later(self._free_after, self.disk.free)
            self._free_after = -1.0

    def heal(self) -> None:
        """Ends whatever lasts."""
        for proxy in self.proxies.values():
            proxy.heal()
        for pid in list(self._stopped):
            self._go_on(pid)
        if self.disk is not None:
            self.disk.free()

    def _kill_worker(self, worker: Process) -> bool:
        if worker.ended or worker.was_killed:
            return False
        self.journal.look()
        held = self.journal.held_by(worker.name)
        worker.kill()
        if held is not None:
            self.kills.append(Kill(time.time(), worker.name, held))
        return True

    def _kill_trainer(self, slot: int) -> bool:
        trainer = self.workers[slot].trainer()
        return trainer is not None and self.chief.family.send(trainer, signal.SIGKILL)

    def _kill_chief(self) -> bool:
        if self.chief.ended or self.chief.was_killed:
            return False
        self.chief_down.append(time.time())
        self.chief.kill()
        return True

    def _stop(self, worker: Process, seconds: float) -> bool:
        pids = [pid for pid in (worker.pid, worker.trainer()) if pid is not None]
        stopped = [pid for pid in pids if worker.family.send(pid, signal.SIGSTOP)]
        self._stopped |= set(stopped)
        for pid in stopped:
            self.later(seconds, lambda pid=pid: self._go_on(pid))  # type: ignore[misc]
        return bool(stopped)

    def _go_on(self, pid: int) -> None:
        self._stopped.discard(pid)
        self.chief.family.send(pid, signal.SIGCONT)

    def _fill(self, seconds: float) -> bool:
        if self.disk is None or self.disk.full or self.chief.ended:
            return False
        self._fills += 1
        self._free_after = seconds
        self.chief_down.append(time.time())
        self.disk.fill(files=self._fills % 2 == 0)
        fill = self._fills

        def free() -> None:
            if self.disk is not None and self.disk.full and self._fills == fill:
                self.unnoticed |= self._free_after >= 0
                self.disk.free()

        self.later(UNNOTICED_SECONDS, free)
        return True
