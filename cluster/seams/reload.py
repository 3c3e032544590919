"""What a project on disk becomes when it is opened again: whoever wrote it, and wherever a crash has cut it."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import state
from cluster.seams import journal

log = logging.getLogger(__name__)

FINISHED = ("COMPLETED", "FAILED")


def make_reloadable(project: Path, tuner_id: str) -> None:
    """Lets KerasTuner find a project whatever made it: it looks for `<tuner_id>.json` alone."""
    own = project / f"{tuner_id}.json"
    if (project / "oracle.json").exists() and not own.exists():
        chief = project / "chief.json"
        state.write_atomically(own, chief.read_text() if chief.exists() else "{}")
    elif own.exists() and not (project / "oracle.json").exists():
        own.unlink()


def reloading(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """`Oracle.reload`, which first mends the files, and then what the oracle makes of them."""

    @functools.wraps(original)
    def reload(self: Any) -> None:
        project = Path(self._project_dir)
        state.set_aside_damaged(project)
        _bring_up_to_date(project)
        _rebuild_missing(project)
        original(self)
        _reconcile(self)

    return reload


def _bring_up_to_date(project: Path) -> None:
    """Writes into the oracle's file what steps have changed since it was written: the event log has it."""
    path = project / "oracle.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    if journal.bring_up_to_date(saved, state.EventLog(project).read()):
        state.write_atomically(path, json.dumps(saved))


def _rebuild_missing(project: Path) -> None:
    """Writes again, from the event log, the file of each trial that the oracle knows and the disk has lost."""
    oracle = json.loads((project / "oracle.json").read_text(encoding="utf-8"))
    missing = [x for x in oracle["start_order"] if not (project / f"trial_{x}" / "trial.json").exists()]
    if not missing:
        return
    granted = {e["trial"]: e.get("values") for e in state.EventLog(project).read() if e["event"] == "grant"}
    for trial_id in missing:
        (project / f"trial_{trial_id}").mkdir(exist_ok=True)
        trial = {
            "trial_id": trial_id,
            "hyperparameters": {"space": oracle["hyperparameters"]["space"], "values": granted.get(trial_id) or {}},
            "metrics": {"metrics": {}},
            "score": None,
            "best_step": 0,
            "status": "INVALID",
            "message": None,
        }
        state.write_atomically(project / f"trial_{trial_id}" / "trial.json", json.dumps(trial))
        log.warning("trial %s had no readable file: it is made again and will run again", trial_id)


def _reconcile(oracle: Any) -> None:
    """Mends what a crash between two writes leaves: a trial's file is newer than what the oracle knows."""
    _take_up(oracle)
    ended, queue = set(oracle.end_order), oracle._retry_queue
    # Files come in any order; sums over trials, and so proposals, depend on it in their last digits.
    oracle.trials = {x: oracle.trials[x] for x in oracle.start_order if x in oracle.trials}
    finished = {x for x, trial in oracle.trials.items() if trial.status in FINISHED}
    again = ended - finished  # their files were damaged: they end once more
    oracle.end_order[:] = [x for x in oracle.end_order if x not in again]
    queue[:] = dict.fromkeys(x for x in queue if x not in finished)
    queued = set(queue)
    for trial_id, trial in oracle.trials.items():
        if trial_id not in finished:
            trial.status = "INVALID"
            if trial_id not in queued:
                queue.append(trial_id)
        elif trial_id not in ended:  # the rest of `Oracle.end_trial`, which has come as far as the trial's file
            oracle.update_space(trial.hyperparameters)
            oracle._record_values(trial)
            oracle.end_order.append(trial_id)
            oracle._run_times[trial_id] += 1
            if hasattr(oracle, "_populate_next"):
                oracle._populate_next.append(trial_id)


def _take_up(oracle: Any) -> None:
    """Takes up the trials on disk that the oracle does not know to have begun.

    Its file may be older than they are: KerasTuner itself has gone on from it, or the event of a grant was damaged.
    What has a result keeps it; and an id below another is kept too, for KerasTuner makes ids by counting trials.
    """
    started = set(oracle.start_order)
    unknown = sorted((x for x in oracle.trials if x not in started), key=_by_number)
    known = [x for x in oracle.trials if x in started or oracle.trials[x].status in FINISHED]
    last = max(known, key=_by_number, default="")
    for trial_id in unknown:
        if oracle.trials[trial_id].status in FINISHED or _by_number(trial_id) < _by_number(last):
            log.warning("trial %s is on disk and the oracle does not know it: it is taken up", trial_id)
            oracle.start_order.append(trial_id)
            oracle._record_values(oracle.trials[trial_id])
            if hasattr(oracle, "_ordered_ids"):
                _order_grid(oracle, type(oracle._ordered_ids))
        else:
            log.warning("trial %s was saved by a crash that the oracle did not survive: its id is used again", trial_id)
            del oracle.trials[trial_id]


def _by_number(trial_id: str) -> tuple[int, str]:
    return len(trial_id), trial_id


def grid_get_state(original: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """`GridSearchOracle.get_state` with where the search is, which KerasTuner leaves out."""

    def get_state(self: Any) -> dict[str, Any]:
        order = self._ordered_ids
        index, ids = order._next_index[None], []
        while index is not None:
            ids.append(order._memory[index])
            index = order._next_index[index]
        return {**original(self), "ordered_ids": ids, "populate_next": list(self._populate_next)}

    return get_state


def grid_set_state(original: Callable[[Any, dict[str, Any]], None], linked_list: type) -> Callable[..., None]:
    """`GridSearchOracle.set_state`, from what `grid_get_state` or stock KerasTuner saved."""

    def set_state(self: Any, saved: dict[str, Any]) -> None:
        original(self, saved)
        ids, following = saved.get("ordered_ids"), saved.get("populate_next")
        if ids is None or following is None:  # saved by stock KerasTuner, which forgets where it was
            _order_grid(self, linked_list)
            return
        self._ordered_ids = linked_list()
        for trial_id in ids:
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(following)

    return set_state


def _order_grid(oracle: Any, linked_list: type) -> None:
    """Puts the trials into the order of their values, and asks each for its next combination again."""

    def compare(a: str, b: str) -> int:
        left, right = (oracle.trials[x].hyperparameters.values for x in (a, b))
        return int(oracle._compare(left, right))

    ids = sorted(oracle.start_order, key=functools.cmp_to_key(compare))
    oracle._ordered_ids = linked_list()
    for trial_id in ids:
        oracle._ordered_ids.insert(trial_id)
    oracle._populate_next = list(ids)


def bayesian_get_state(original: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """`BayesianOptimizationOracle.get_state` with its random numbers: a restart proposes what would have come."""

    def get_state(self: Any) -> dict[str, Any]:
        name, keys, *rest = self._random_state.get_state()
        return {**original(self), "random_state": [name, keys.tolist(), *rest]}

    return get_state


def bayesian_set_state(original: Callable[[Any, dict[str, Any]], None]) -> Callable[[Any, dict[str, Any]], None]:
    """`BayesianOptimizationOracle.set_state`, from what `bayesian_get_state` or stock KerasTuner saved."""

    def set_state(self: Any, saved: dict[str, Any]) -> None:
        original(self, saved)
        if "random_state" in saved:
            self._random_state.set_state(tuple(saved["random_state"]))

    return set_state
