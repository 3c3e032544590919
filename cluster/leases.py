"""Who may end which trial: grant, renew, expire, fence.

Pure: the clock is passed in, nothing is read or written. Safe to call from any thread, with a lock of its own, so that
heartbeats never wait for an oracle that thinks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from cluster.errors import LeaseLost


@dataclass(frozen=True)
class Lease:
    """A worker's right to one attempt at one trial.

    Attributes:
        trial_id: The trial.
        attempt: The fencing number: 1 at the first grant of the trial, +1 at every further one.
        worker: The worker's name.
        trainer: The id of the trainer process that runs it.
        expires: When it ends unless renewed, on the table's clock, in seconds.
    """

    trial_id: str
    attempt: int
    worker: str
    trainer: str
    expires: float


class LeaseTable:
    """All leases of one search.

    Args:
        clock: A monotonic clock, in seconds.
        ttl: How long a lease lives without a heartbeat, in seconds.
        attempts: The attempts granted so far by an earlier process, by trial.
    """

    def __init__(self, clock: Callable[[], float], ttl: float, attempts: dict[str, int] | None = None) -> None:
        self._clock = clock
        self._ttl = ttl
        self._attempts = dict(attempts or {})
        self._open: dict[str, Lease] = {}
        self._ended: dict[str, int] = {}
        self._lock = threading.Lock()

    def next_attempt(self, trial_id: str) -> int:
        """The number that the next grant of this trial will carry."""
        with self._lock:
            return self._attempts.get(trial_id, 0) + 1

    def grant(self, trial_id: str, worker: str, trainer: str, ttl: float | None = None) -> Lease:
        """Grants the next attempt at a trial that nobody holds.

        Args:
            trial_id: The trial.
            worker: The worker's name.
            trainer: The id of its trainer process.
            ttl: Seconds without a heartbeat, where it differs from the table's.

        Raises:
            ValueError: the trial is already held.
        """
        with self._lock:
            if trial_id in self._open:
                raise ValueError(f"trial {trial_id} is held by {self._open[trial_id].worker}")
            attempt = self._attempts.get(trial_id, 0) + 1
            self._attempts[trial_id] = attempt
            self._ended.pop(trial_id, None)
            lease = Lease(trial_id, attempt, worker, trainer, self._clock() + (self._ttl if ttl is None else ttl))
            self._open[trial_id] = lease
            return lease

    def restore(self, trial_id: str, worker: str, trainer: str) -> None:
        """The last lease that an earlier process granted is open still; it lives for one `ttl` unless renewed."""
        with self._lock:
            attempt = self._attempts[trial_id]
            self._open[trial_id] = Lease(trial_id, attempt, worker, trainer, self._clock() + self._ttl)

    def renew(self, worker: str) -> None:
        """A heartbeat of `worker`: each of its leases lives for another `ttl`."""
        with self._lock:
            expires = self._clock() + self._ttl
            for lease in list(self._open.values()):
                if lease.worker == worker:
                    self._open[lease.trial_id] = replace(lease, expires=max(lease.expires, expires))

    def check(self, trial_id: str, attempt: int) -> Lease:
        """The open lease for this attempt.

        Raises:
            LeaseLost: the attempt is over, whoever asks.
        """
        with self._lock:
            lease = self._open.get(trial_id)
            if lease is None or lease.attempt != attempt:
                raise LeaseLost(f"attempt {attempt} at trial {trial_id} is over")
            return lease

    def was_ended(self, trial_id: str, attempt: int) -> bool:
        """Whether this very attempt has already been ended by its worker (a repeated call after a lost answer)."""
        with self._lock:
            return self._ended.get(trial_id) == attempt

    def was_last(self, trial_id: str, attempt: int) -> bool:
        """Whether no later attempt at the trial was granted, be this one over or not."""
        with self._lock:
            return self._attempts.get(trial_id) == attempt

    def end(self, trial_id: str, attempt: int) -> None:
        """The worker ended its attempt: the lease is gone, and a repeat of the call is known as such.

        Raises:
            LeaseLost: the attempt was over before.
        """
        self.check(trial_id, attempt)
        with self._lock:
            del self._open[trial_id]
            self._ended[trial_id] = attempt

    def remember_end(self, trial_id: str) -> None:
        """The last attempt granted by an earlier process is known to have ended; a repeat of its end is no news."""
        with self._lock:
            if trial_id in self._attempts:
                self._ended[trial_id] = self._attempts[trial_id]

    def drop(self, trial_id: str) -> None:
        """Takes the lease away; whatever its holder still sends is refused."""
        with self._lock:
            self._open.pop(trial_id, None)

    def held_by(self, *, worker: str | None = None, trainer: str | None = None) -> list[Lease]:
        """The open leases of a worker or of one trainer process."""
        with self._lock:
            return [x for x in self._open.values() if worker in (None, x.worker) and trainer in (None, x.trainer)]

    def expired(self) -> list[Lease]:
        """The open leases whose time has run out. They stay open until dropped."""
        with self._lock:
            now = self._clock()
            return [lease for lease in self._open.values() if lease.expires <= now]

    @property
    def open(self) -> list[Lease]:
        """Every open lease."""
        with self._lock:
            return list(self._open.values())
