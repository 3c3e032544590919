"""What the user decides about a search, and whether a limit is reached. Pure: times and scores are passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Policy:
    """What the user decides about a search. None: no such limit.

    Attributes:
        lease_seconds: How long a worker's lease lives without a heartbeat.
        stock_lease_seconds: The same for a stock KerasTuner client, which has no heartbeat.
        max_attempts: How often a trial may lose its worker before it counts as failed.
        trial_timeout: How long one attempt may take, in seconds.
        stall_seconds: How long an attempt may go without an epoch, a batch or a metric, in seconds.
        max_minutes: How long the search may take, over all its runs; then no trial is begun.
        stop_at: The objective's value at which no further trial is begun.
        max_failures: How many failed trials in a row end the search, where it differs from the oracle's own limit.
        keep_checkpoints: How many trials, the best, keep their checkpoint.
        upload_gb: How many gigabytes a worker without the chief's disk may send of a trial's files.
        free_gb: How many gigabytes of the chief's disk stay free of them.
        losses_in_a_row: How many trials in a row a worker may lose before it is set aside.
        prune: By which rule trials are stopped early, one of `prune.RULES`.
        prune_min_epochs: After how many epochs a trial is judged for the first time.
        prune_factor: One of so many goes on at each rung of `asha`, and the next rung is so many times higher.
    """

    lease_seconds: float = 15.0
    stock_lease_seconds: float = 3600.0
    max_attempts: int = 3
    trial_timeout: float | None = None
    stall_seconds: float | None = None
    max_minutes: float | None = None
    stop_at: float | None = None
    max_failures: int | None = None
    keep_checkpoints: int | None = None
    upload_gb: float = 10.0
    free_gb: float = 1.0
    losses_in_a_row: int | None = 3
    prune: str | None = None
    prune_min_epochs: int = 2
    prune_factor: int = 2

    def overdue(self, running: float, silent: float) -> str | None:
        """Why an attempt has to end, or None.

        Args:
            running: Seconds since it was granted.
            silent: Seconds since it was last heard to have got anywhere.
        """
        if self.trial_timeout is not None and running > self.trial_timeout:
            return f"it took longer than {self.trial_timeout:g} s (--trial-timeout)"
        if self.stall_seconds is not None and silent > self.stall_seconds:
            return f"it got nowhere for {self.stall_seconds:g} s (--stall-seconds)"
        return None

    def budget_spent(self, seconds: float, best: float | None, direction: Literal["min", "max"]) -> str | None:
        """Why no further trial is begun, or None.

        Args:
            seconds: How long the search has taken, over all its runs.
            best: The best score so far.
            direction: Whether a lower or a higher score is better.
        """
        if self.max_minutes is not None and seconds >= 60 * self.max_minutes:
            return f"{self.max_minutes:g} minutes are spent (--max-minutes)"
        if self.stop_at is not None and best is not None:
            reached = best >= self.stop_at if direction == "max" else best <= self.stop_at
            if reached:
                return f"the objective has reached {self.stop_at:g} (--stop-at)"
        return None
