"""Hyperband with trials that fail: rounds are filled all the same, and every trial bears its bracket's number.

KerasTuner promotes a trial when more have completed than will be thrown out. A failed trial never completes, so that
the next round stays short by one for each of them, and so does every round after it. A search without failures
proposes here what it proposes there; only `tuner/bracket` differs, where KerasTuner writes the newest bracket's number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

FINISHED = ("COMPLETED", "FAILED")


def populate_space(original: Callable[[Any, str], dict[str, Any]]) -> Callable[[Any, str], dict[str, Any]]:
    """`HyperbandOracle.populate_space`, which also fills a round when all of the round before have ended."""

    @functools.wraps(original)
    def wrapped(self: Any, trial_id: str) -> dict[str, Any]:
        self._remove_completed_brackets()
        response = _fill(self, trial_id) or original(self, trial_id)
        for bracket in self._brackets:
            if any(info["id"] == trial_id for entries in bracket["rounds"] for info in entries):
                response["values"]["tuner/bracket"] = bracket["bracket_num"]
        return response

    return wrapped


def remove_completed_brackets(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """`HyperbandOracle._remove_completed_brackets`, which also removes those that will never be full."""

    @functools.wraps(original)
    def wrapped(self: Any) -> None:
        original(self)
        self._brackets = [bracket for bracket in self._brackets if not _exhausted(self, bracket)]

    return wrapped


def _fill(self: Any, trial_id: str) -> dict[str, Any] | None:
    """Promotes the best trial of a round that has ended with too few completed ones for KerasTuner's own rule."""
    for bracket in self._brackets:
        number, rounds = bracket["bracket_num"], bracket["rounds"]
        for index in range(1, len(rounds)):
            waiting = _waiting(self, rounds, index)
            thrown_out = self._get_size(number, index - 1) - self._get_size(number, index)
            lacking = len(rounds[index]) < self._get_size(number, index)
            if lacking and 0 < len(waiting) <= thrown_out and _ended(self, bracket, index - 1):
                best = sorted(waiting, key=lambda t: t.score, reverse=self.objective.direction == "max")[0]
                rounds[index].append({"past_id": best.trial_id, "id": trial_id})
                values = {
                    **best.hyperparameters.values,
                    "tuner/trial_id": best.trial_id,
                    "tuner/epochs": self._get_epochs(number, index),
                    "tuner/initial_epoch": self._get_epochs(number, index - 1),
                    "tuner/bracket": number,
                    "tuner/round": index,
                }
                return {"status": "RUNNING", "values": values}
    return None


def _waiting(self: Any, rounds: list[list[dict[str, Any]]], index: int) -> list[Any]:
    """The completed trials of the round before that have not been promoted to this one."""
    promoted = {info["past_id"] for info in rounds[index]}
    before = [self.trials[info["id"]] for info in rounds[index - 1] if info["id"] not in promoted]
    return [trial for trial in before if trial.status == "COMPLETED"]


def _ended(self: Any, bracket: dict[str, Any], index: int) -> bool:
    """Whether a round has all the trials that it will ever have, and each has completed or failed."""
    rounds = bracket["rounds"]
    if any(self.trials[info["id"]].status not in FINISHED for info in rounds[index]):
        return False
    if len(rounds[index]) >= self._get_size(bracket["bracket_num"], index):
        return True
    return index > 0 and not _waiting(self, rounds, index) and _ended(self, bracket, index - 1)


def _exhausted(self: Any, bracket: dict[str, Any]) -> bool:
    """Whether the last round will get no further trial, though it is not full."""
    rounds, last = bracket["rounds"], len(bracket["rounds"]) - 1
    return last > 0 and not _waiting(self, rounds, last) and _ended(self, bracket, last - 1)
