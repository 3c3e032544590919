"""Which trials of a search are stopped early: a rule of `prune.py` over the epochs that the search is told of.

Owns what is judged (the first execution of a trial, by the objective, where epochs have it) and what is not, and says
so. Writes no file: `search.py` keeps each verdict before anybody is told of it, and the epochs are in a file anyway,
from which the next chief begins.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cluster import prune
from cluster.policy import Policy
from cluster.seams import OwnedOracle

log = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """That a trial is to stop.

    Attributes:
        epoch: After which epoch of its first execution, counted from 0.
        reason: Why, in words that go on after "it was".
    """

    epoch: int
    reason: str


class Pruning:
    """The verdicts on the trials of one search; to be used under the search's lock.

    Args:
        owned: The search's oracle.
        policy: What the user decides.
        told: The verdicts by trial, as far as earlier processes have kept them: they hold still.
        epochs: The events of all epochs so far, the oldest first; without those of attempts that count no more.
    """

    def __init__(
        self, owned: OwnedOracle, policy: Policy, told: Mapping[str, Verdict], epochs: Iterable[Mapping[str, Any]]
    ) -> None:
        self.told = dict(told)
        self._objective = owned.oracle.objective
        self._rule: prune.Pruner | None = None
        self._rule_name = policy.prune or ""
        self._judged = False  # whether any epoch had the objective
        if policy.prune is None:
            return
        if owned.halves:
            log.info("--prune %s has no effect here: Hyperband stops trials by its own rounds", policy.prune)
            return
        self._rule = prune.make(policy.prune, self._objective.direction, policy.prune_min_epochs, policy.prune_factor)
        for event in epochs:
            logs = {name: math.nan if value is None else value for name, value in event["logs"].items()}
            self.verdict(event["trial"], event.get("execution", 0), event["epoch"], logs, event.get("of", 0))

    def verdict(self, trial_id: str, execution: int, epoch: int, logs: Mapping[str, float], of: int = 0) -> str | None:
        """Takes one epoch; returns why its trial is to stop, or None.

        Only the first execution of a trial is judged: its score is the mean of all, and one that was cut short would
        count against a trial that was not. A verdict holds from its epoch on: an attempt that starts over comes as far
        as the one before.

        Args:
            trial_id: The trial.
            execution: Which execution of the trial, from 0.
            epoch: The epoch, counted from 0.
            logs: Its metrics.
            of: How many epochs there are; 0 where that is not known.
        """
        why = None
        if self._rule is not None and execution == 0 and self._objective.has_value(logs):
            self._judged = True
            why = self._rule.report(trial_id, epoch + 1, self._objective.get_value(logs), of)
        kept = self.told.get(trial_id)
        if kept is not None:
            return kept.reason if execution == 0 and epoch >= kept.epoch else None
        return None if why is None else f"{why} (--prune {self._rule_name})"

    def forget(self, trial_id: str) -> None:
        """A trial has failed, and runs again from nothing: no verdict holds for it."""
        self.told.pop(trial_id, None)
        if self._rule is not None:
            self._rule.forget(trial_id)

    def end(self, trial: Any) -> None:
        """A trial ends: writes in it that it was stopped early, or says, once, that none can be."""
        if trial.status != "COMPLETED":
            return
        if trial.trial_id in self.told:
            trial.message = f"The trial was stopped early: it was {self.told[trial.trial_id].reason}."
        if self._rule is None or self._judged:
            return
        self._judged = True
        log.warning(
            "--prune %s has no effect here: trials report no %s after their epochs",
            self._rule_name,
            self._objective.name,
        )
