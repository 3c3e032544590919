"""One of Ray's schedulers, told of epochs alone: it stops trials early."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler

from cluster.ray_backend.borrowed import EPOCHS


class Judge(FIFOScheduler):  # type: ignore[misc]
    """One of Ray's schedulers, which is asked of epochs alone, and of none that is the last anyway.

    Ray's own would take the end of a trial for one more epoch.

    Attributes:
        name: What the user calls it.
        stopped: The trials of Ray's that it has stopped.

    Args:
        name: What the user calls it.
        scheduler: Ray's scheduler.
        last: How many epochs a trial has; None where that is not known.
    """

    def __init__(self, name: str, scheduler: Any, last: int | None) -> None:
        super().__init__()
        self.name = name
        self.stopped: set[str] = set()
        self._scheduler = scheduler
        self._last = last

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial begins, or what is left of one that was lost."""
        self._scheduler.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on; one that could not end here does."""
        if EPOCHS not in result or "final" in result or result[EPOCHS] == self._last:
            return str(FIFOScheduler.CONTINUE)
        if self._scheduler.on_trial_result(tune_controller, trial, result) != FIFOScheduler.STOP:
            return str(FIFOScheduler.CONTINUE)
        self.stopped.add(trial.trial_id)
        return str(FIFOScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Judge:
        return self
