"""What the chief needs of an oracle beyond its public methods, and what a worker needs of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from cluster.seams.journal import Journal


def _clear(trial: Any) -> None:
    """Forgets what an attempt that was lost had reported; a later one would be ignored otherwise."""
    trial.metrics = type(trial.metrics)()
    trial.score = None
    trial.best_step = 0
    trial.status = "INVALID"


def _by_number(trial_id: str) -> tuple[int, str]:
    return len(trial_id), trial_id


class OwnedOracle:
    """An oracle in the hands of its only owner, which holds a lock around every call.

    KerasTuner saves the oracle in the middle of its own steps, and all of it each time. Here a step is written down
    once, after the whole of it, by its `change`; and all of the oracle now and then, by `save`.

    Attributes:
        best: The best trial that has completed; None before there is one.

    Args:
        oracle: The `keras_tuner.Oracle` of a tuner.
        verbose: Whether it prints its tables of trials, where the program lets it.
    """

    def __init__(self, oracle: Any, *, verbose: bool = False) -> None:
        self.oracle = oracle
        self.max_consecutive_failures: int = oracle.max_consecutive_failed_trials
        oracle.max_consecutive_failed_trials = sys.maxsize  # applied by the search, which ends in order
        self._verbose = oracle.verbose
        oracle.verbose = oracle.verbose if verbose else 0
        oracle.save = lambda: None
        oracle._check_consecutive_failures = lambda: None  # walks over all ends, for a limit that is the search's
        self._journal = Journal(oracle)
        found = [x for x in oracle.get_best_trials(1) if x.status == "COMPLETED"]
        self.best = found[0] if found else None

    def expected_trials(self) -> int | None:
        """How many trials there will be; None where only the oracle's end will tell."""
        oracle = self.oracle
        if oracle.max_trials is not None:
            return int(oracle.max_trials)
        if not hasattr(oracle, "_get_num_brackets"):
            return None
        rounds = [
            oracle._get_size(bracket, number)
            for bracket in range(oracle._get_num_brackets())
            for number in range(oracle._get_num_rounds(bracket))
        ]
        return int(sum(rounds) * oracle.hyperband_iterations)

    @property
    def halves(self) -> bool:
        """Whether it stops trials by rounds of its own, in which the best go on from where they were."""
        return hasattr(self.oracle, "_get_num_brackets")

    def release(self) -> None:
        """Gives the oracle back as it was."""
        self.oracle.max_consecutive_failed_trials = self.max_consecutive_failures
        self.oracle.verbose = self._verbose
        for name in ("save", "_check_consecutive_failures"):
            self.oracle.__dict__.pop(name, None)

    @property
    def ahead(self) -> Any:
        """Its thoughts apart from it, a `cluster.thinking.Ahead`; None where it has none."""
        return getattr(self.oracle, "cluster_ahead", None)

    @property
    def waiting(self) -> set[str]:
        """The trials that are to run again."""
        return set(self.oracle._retry_queue)

    def create(self, tuner_id: str, leave: Collection[str] = ()) -> Any:
        """The next trial, which may be one to run again, from nothing; its status may be RUNNING, IDLE or STOPPED.

        Args:
            tuner_id: Whose it is.
            leave: The trials that are left for another, where they are to run again.
        """
        queue = self.oracle._retry_queue
        left = [trial_id for trial_id in queue if trial_id in leave]
        queue[:] = [trial_id for trial_id in queue if trial_id not in leave]
        again = bool(queue)
        self.oracle.ongoing_trials.pop(tuner_id, None)
        try:
            trial = self.oracle.create_trial(tuner_id)
        finally:
            self.oracle._retry_queue.extend(left)
        self.oracle.tuner_ids.discard(tuner_id)
        if again and trial.status == "RUNNING":
            _clear(trial)
            trial.status = "RUNNING"
            self.oracle._save_trial(trial)
        return trial

    def has_run(self, trial_id: str, times: int) -> None:
        """A trial has ended at least so often, whatever the oracle's file says: it is written after the trial's end."""
        self.oracle._run_times[trial_id] = max(self.oracle._run_times[trial_id], times)

    def resume(self, trial_id: str, tuner_id: str) -> None:
        """A trial that a reload put into the queue is running still."""
        trial = self.oracle.trials[trial_id]
        self.oracle._retry_queue[:] = [x for x in self.oracle._retry_queue if x != trial_id]
        self.oracle.ongoing_trials[tuner_id] = trial
        trial.status = "RUNNING"

    def end(self, trial: Any) -> Any:
        """The oracle takes the end of a trial; returns its own copy, whose status may now be INVALID (to run again)."""
        ongoing = self.oracle.ongoing_trials
        for tuner_id in [key for key, value in ongoing.items() if value.trial_id == trial.trial_id]:
            del ongoing[tuner_id]
        self.oracle.end_trial(trial)
        kept = self.oracle.trials[trial.trial_id]
        if kept.status == "INVALID":
            _clear(kept)
        elif kept.status == "COMPLETED":
            self.best = kept if self.best is None else self.best_first([self.best, kept])[0]
        return kept

    def best_first(self, trials: Collection[Any]) -> list[Any]:
        """Completed trials in KerasTuner's order: of two that score the same, the one that began first is better."""
        sign = -1 if self.oracle.objective.direction == "max" else 1
        return sorted(trials, key=lambda x: (sign * x.score, _by_number(x.trial_id)))

    def requeue(self, trial_id: str) -> None:
        """The trial's holder is gone: it runs again, from nothing that was reported; `save_trial` is to follow."""
        ongoing = self.oracle.ongoing_trials
        for tuner_id in [key for key, value in ongoing.items() if value.trial_id == trial_id]:
            del ongoing[tuner_id]
        trial = self.oracle.trials[trial_id]
        _clear(trial)
        if trial_id not in self.oracle._retry_queue:  # interrupted in the middle of this, and asked again
            self.oracle._retry_queue.append(trial_id)

    def save_trial(self, trial_id: str) -> None:
        """Saves a trial's file."""
        self.oracle._save_trial(self.oracle.trials[trial_id])

    def needed_checkpoints(self) -> set[str]:
        """The trials from whose checkpoint another may begin: those of open brackets, and the parents of what runs."""
        brackets = getattr(self.oracle, "_brackets", [])
        needed = {info["id"] for bracket in brackets for round_info in bracket["rounds"] for info in round_info}
        running = [*self.oracle.ongoing_trials.values(), *(self.oracle.trials[x] for x in self.oracle._retry_queue)]
        return needed | {x.hyperparameters.values.get("tuner/trial_id", "") for x in running}

    def change(self, trial_id: str) -> dict[str, Any] | None:
        """What the step that was about this trial has changed in the oracle's saved state, for its event.

        None where that is not known, or too much to be written with each step: then `save` says it.
        """
        return self._journal.change(trial_id)

    @property
    def is_due(self) -> bool:
        """Whether there are so many changes that the oracle is to be saved whole."""
        return self._journal.is_due

    @property
    def is_behind(self) -> bool:
        """Whether anything has changed since the oracle was saved whole."""
        return self._journal.is_behind

    def save(self) -> None:
        """Saves the oracle's own file, whole."""
        whole = self._journal.whole()
        if whole is None:
            type(self.oracle).save(self.oracle)
        else:
            from keras_tuner.src import utils

            utils.save_json(self.oracle._get_oracle_fname(), whole)

    def update_space(self, hyperparameters: Any) -> bool:
        """Adds hyperparameters that are not in the space yet; returns whether there were any."""
        before = len(self.oracle.hyperparameters.space)
        self.oracle.update_space(hyperparameters)
        return len(self.oracle.hyperparameters.space) > before


def tried(oracle: Any, values: dict[str, Any]) -> bool:
    """Whether a trial of an oracle has these values."""
    return bool(oracle._duplicate(values))


def adopt_directory(tuner: Any, directory: str, project_name: str, need: Callable[[str], None] | None = None) -> None:
    """Points a worker's tuner at the chief's project, which may have been named by a clock or a random number.

    Args:
        tuner: The tuner.
        directory: The chief's directory, or where this worker keeps what it has of it.
        project_name: The project's name in it.
        need: Called with a trial's id before the tuner gives that trial's directory to whoever asks for it.
    """
    own = Path(tuner.project_dir)
    tuner.directory, tuner.project_name = directory, project_name
    oracle = tuner.oracle
    oracle._set_project_dir(directory, project_name)
    if own.resolve() != Path(tuner.project_dir).resolve():
        with contextlib.suppress(OSError):
            own.rmdir()  # made by this tuner a moment ago, and empty
    if need is not None:
        own_way = type(tuner).get_trial_dir.__get__(tuner)  # not that of a search before

        def get_trial_dir(trial_id: str) -> Any:
            need(str(trial_id))
            return own_way(trial_id)

        tuner.get_trial_dir = get_trial_dir


def restore(oracle: Any, saved: dict[str, Any], trials: list[dict[str, Any]]) -> None:
    """Fills an oracle with what the chief's holds, so that everything a program reads after a search is there.

    Args:
        oracle: The worker's own oracle.
        saved: `get_state()` of the chief's oracle.
        trials: `get_state()` of each of its trials.
    """
    from keras_tuner.engine import trial as trial_module

    oracle.trials = {state["trial_id"]: trial_module.Trial.from_state(state) for state in trials}
    oracle.set_state(saved)


def trial_class() -> type:
    """KerasTuner's `Trial`."""
    from keras_tuner.engine import trial as trial_module

    kind: type = trial_module.Trial
    return kind
