"""What one step changes in an oracle's saved state, and a saved state brought up to date by such changes.

Owns what must be known of KerasTuner's oracles for that, so that a long search need not write all of its oracle at each
step. Where a change is written down, and when the whole state is, is `search.py`'s.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

MARK = "journal"  # of a saved state: its changes bear the same
CHANGE = "change"  # what an event calls what its step has changed
MANY = 500  # more entries of a queue than this are written with the whole state only
OFTEN = 64  # steps between two whole saves, at least


class Journal:
    """What has changed since the oracle was saved whole.

    Args:
        oracle: The oracle. Of one that is not KerasTuner's own, nothing is known: `change` is always None.
    """

    def __init__(self, oracle: Any) -> None:
        self._oracle = oracle
        self._known = is_known(oracle)
        self._mark = ""  # nothing is saved yet
        self._steps = self._started = self._ended = self._space = 0
        self._random: tuple[Any, ...] = ()

    @property
    def is_due(self) -> bool:
        """Whether the state has changed so much that it is to be saved whole.

        Between two of these, steps are a fixed share of all there were, so that each bears a fixed part of the cost.
        """
        changed = len(self._oracle.hyperparameters.space) != self._space
        return changed or self._steps >= max(OFTEN, len(self._oracle.trials) // 2)

    @property
    def is_behind(self) -> bool:
        """Whether anything has changed since the whole state was saved."""
        return self._steps > 0

    def whole(self) -> dict[str, Any] | None:
        """The whole state, which is saved now; None where the oracle is to save itself. Changes count from here on."""
        oracle = self._oracle
        self._steps, self._space = 0, len(oracle.hyperparameters.space)
        if not self._known:
            return None
        self._mark = uuid.uuid4().hex[:8]
        self._started, self._ended = len(oracle.start_order), len(oracle.end_order)
        self._random = _random_state(oracle)
        return {**oracle.get_state(), MARK: self._mark}

    def change(self, trial_id: str) -> dict[str, Any] | None:
        """What a step that was about this trial has changed; None where that is not known, or much.

        Each change is asked for once, in the order of the steps.
        """
        self._steps += 1
        oracle = self._oracle
        following = getattr(oracle, "_populate_next", ())
        if not self._known or not self._mark or max(len(oracle._retry_queue), len(following)) > MANY:
            return None
        started, ended = len(oracle.start_order), len(oracle.end_order)
        change: dict[str, Any] = {"mark": self._mark, "seed_state": oracle._seed_state}
        if trial_id in oracle._id_to_hash:
            change["hash"] = oracle._id_to_hash[trial_id]
        if trial_id in oracle._run_times:
            change["runs"] = oracle._run_times[trial_id]
        if oracle._retry_queue:
            change["queue"] = list(oracle._retry_queue)
        if started > self._started:
            change["started"] = True
        if ended > self._ended:
            change["ended"] = True
        if len(oracle.hyperparameters.space) != self._space:
            change["space"] = oracle.hyperparameters.get_config()
        if hasattr(oracle, "_ordered_ids"):
            change["next"] = list(following)
            if started > self._started:
                change["before"] = oracle._ordered_ids.next(trial_id)
        if hasattr(oracle, "_brackets"):
            change |= _brackets(oracle, trial_id)
        random = _random_state(oracle)
        if not _same(random, self._random):
            name, keys, *rest = random
            change["random_state"] = [name, keys.tolist(), *rest]
        self._started, self._ended, self._random = started, ended, random
        return change


def is_known(oracle: Any) -> bool:
    """Whether all that a step can change in this oracle's saved state is known here."""
    from keras_tuner import oracles

    return type(oracle) in (
        oracles.RandomSearchOracle,
        oracles.GridSearchOracle,
        oracles.BayesianOptimizationOracle,
        oracles.HyperbandOracle,
    )


def bring_up_to_date(saved: dict[str, Any], events: Iterable[dict[str, Any]]) -> int:
    """Applies to a saved state, in place, the changes that came after it; returns how many there were.

    Args:
        saved: What `Journal.whole` gave, as it is read from JSON.
        events: The events of the search, the oldest first, with each change in its event as `CHANGE`.
    """
    mark = saved.pop(MARK, None)
    if not mark:
        return 0  # saved by KerasTuner itself, which has gone on from there
    changes = [(event, event[CHANGE]) for event in events if event.get(CHANGE, {}).get("mark") == mark]
    tried = set(saved["tried_so_far"])
    for event, change in changes:
        trial_id = event["trial"]
        ongoing = saved["ongoing_trials"]
        for tuner_id in [x for x, y in ongoing.items() if y == trial_id or x == event.get("worker")]:
            del ongoing[tuner_id]
        if event["event"] == "grant":
            ongoing[event["worker"]] = trial_id
        saved["seed_state"] = change["seed_state"]
        saved["retry_queue"] = change.get("queue", [])
        saved["hyperparameters"] = change.get("space", saved["hyperparameters"])
        if change.get("started"):
            saved["start_order"].append(trial_id)
        if change.get("ended"):
            saved["end_order"].append(trial_id)
        if "runs" in change:
            saved["run_times"][trial_id] = change["runs"]
        if "hash" in change:
            _record_hash(saved["id_to_hash"], tried, trial_id, change["hash"])
        if "next" in change:
            saved["populate_next"] = change["next"]
        if "before" in change:
            ids, before = saved["ordered_ids"], change["before"]
            ids.insert(ids.index(before) if before in ids else len(ids), trial_id)
        if "brackets" in change:
            _apply_brackets(saved, trial_id, change)
        saved.update({x: change[x] for x in ("random_state", "current_bracket", "current_iteration") if x in change})
    saved["tried_so_far"] = list(tried)
    return len(changes)


def _record_hash(hashes: dict[str, str], tried: set[str], trial_id: str, found: str) -> None:
    """`Oracle._record_values`, of a hash."""
    tried.add(found)
    old = hashes.get(trial_id)
    if old != found:
        hashes[trial_id] = found
        tried.discard(old or "")


# --- Bayesian optimisation


def _random_state(oracle: Any) -> tuple[Any, ...]:
    random = getattr(oracle, "_random_state", None)
    return () if random is None else tuple(random.get_state())


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if not one or not other:
        return len(one) == len(other)
    return one[2:] == other[2:] and bool((one[1] == other[1]).all())


# --- Hyperband


def _brackets(oracle: Any, trial_id: str) -> dict[str, Any]:
    """The open brackets by their numbers and first trials, and where this trial stands if it is the last of a round."""
    change: dict[str, Any] = {
        "brackets": [[x["bracket_num"], _first(x["rounds"])] for x in oracle._brackets],
        "current_bracket": oracle._current_bracket,
        "current_iteration": oracle._current_iteration,
    }
    for place, bracket in enumerate(oracle._brackets):
        for number, entries in enumerate(bracket["rounds"]):
            if entries and entries[-1]["id"] == trial_id:
                change["place"] = [place, number, entries[-1]["past_id"]]
    return change


def _first(rounds: list[list[dict[str, Any]]]) -> str | None:
    return rounds[0][0]["id"] if rounds[0] else None


def _apply_brackets(saved: dict[str, Any], trial_id: str, change: dict[str, Any]) -> None:
    """Removes the brackets that are gone, adds the one that is new, and puts the trial where it stands."""
    known = {(x["bracket_num"], _first(x["rounds"])): x for x in saved["brackets"]}
    saved["brackets"] = []
    for number, first in change["brackets"]:
        bracket = known.get((number, first)) or known.get((number, None))
        # Bracket 0 has one round, and each one more has one more.
        saved["brackets"].append(bracket or {"bracket_num": number, "rounds": [[] for _ in range(number + 1)]})
    if "place" in change:
        place, number, past = change["place"]
        entries = saved["brackets"][place]["rounds"][number]
        if not entries or entries[-1]["id"] != trial_id:
            entries.append({"past_id": past, "id": trial_id})
