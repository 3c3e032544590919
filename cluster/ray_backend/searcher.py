"""Ray Tune's way to a search: a trial for each question, its end, its loss.

The search, with its leases and its event log, is the one that every backend has. Each trial of Ray's is one attempt at
a trial of the oracle's; one whose process is lost comes again as another of Ray's, which takes up what the first saved.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray.tune import Callback, Checkpoint, Stopper
from ray.tune.search import Searcher

from cluster.errors import CannotSave, ChiefUnreachable, ClusterError, LeaseLost
from cluster.ray_backend.borrowed import EPOCHS, METRIC, Loan
from cluster.ray_backend.judge import Judge
from cluster.search import Answer, Grant, Search

log = logging.getLogger(__name__)

FOREVER = float("inf")  # Ray knows which of its processes live
CHECKPOINT = "checkpoint.weights.h5"
BUILD_CONFIG = "build_config.json"
# What Ray says of a process whose host was stopped by SIGTERM, drained or scaled away.
TOLD_TO_LEAVE = ("the actor's node was terminated expectedly", "the actor's node was preempted")
SAVED = "ray.json"  # beside a trial's file: where Ray keeps what the last attempt saved


class OracleSearcher(Searcher):  # type: ignore[misc]  # Ray has no type hints that mypy reads
    """Asks the program's oracle, through its search.

    Args:
        search: The search.
        to_json: Turns a trial into JSON.
        from_json: Turns it back.
        device: What trials run on, in words.
        places: How many trials may run at once, just now.
        judge: Who stops trials early; None: nobody.
        loan: Who proposes trials in the oracle's place; None: nobody.
    """

    def __init__(
        self,
        search: Search,
        to_json: Callable[[Any], str],
        from_json: Callable[[str], Any],
        device: str,
        places: Callable[[], int],
        judge: Judge | None = None,
        loan: Loan | None = None,
    ) -> None:
        super().__init__()
        self._search = search
        self._to_json = to_json
        self._from_json = from_json
        self._device = device
        self._places = places
        self._judge = judge
        self._loan = loan
        self._granted: dict[str, Grant] = {}
        self._saved: dict[str, str] = {}  # where Ray keeps what a trial saved last, by the oracle's id
        self.failure: ClusterError | None = None

    # --- what Ray asks

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        """The objective and the space are the oracle's."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial; None where there is none just now, `FINISHED` where there will be none."""
        try:
            # Ray asks ahead, and an oracle knows more when it is asked later.
            if len(self._granted) >= self._places():
                return None
        except ChiefUnreachable as gone:
            self.failure = gone
            return str(Searcher.FINISHED)
        answer = self._search.next_trial(trial_id, trial_id, lease_seconds=FOREVER, device=self._device)
        if isinstance(answer, Grant):
            self._granted[trial_id] = answer
            return self._config(answer)
        return Searcher.FINISHED if answer is Answer.OVER else None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An epoch of a trial, or its end."""
        grant = self._granted.get(trial_id)
        if grant is None or "epoch" not in result:
            return
        if self._loan is not None and EPOCHS in result:
            self._loan.epoch(grant.trial.trial_id, int(result[EPOCHS]), float(result[METRIC]))
        try:
            self._search.report_epoch(
                grant.trial.trial_id, grant.attempt, int(result["epoch"]), json.loads(result["logs"]), result["of"]
            )
        except LeaseLost as lost:
            log.warning("%s", lost)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial of Ray's has ended; why its process was lost, where it was, is told to `lost` right after this."""
        grant = None if error else self._granted.pop(trial_id, None)
        if grant is None:
            return
        with self._over(grant):
            if result is not None and "final" in result:
                self._end(grant, json.loads(result["final"]))
            elif result is not None and self._judge is not None and trial_id in self._judge.stopped:
                self._end(grant, json.loads(result["so_far"]), f"{self._judge.name} after epoch {result[EPOCHS]}")
            else:
                why = self._search.dismissed(trial_id) or "it was stopped"
                self._search.lose_trainer(trial_id, why, counted=False)

    def save(self, checkpoint_path: str) -> None:
        """All that there is to save is in the project's files."""
        Path(checkpoint_path).write_text("{}")

    def restore(self, checkpoint_path: str) -> None:
        """As above."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles what it is given; the search stays here."""
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> OracleSearcher:
        return self

    # --- what a trial needs and leaves

    def saved(self, trial_id: str, checkpoint: Checkpoint) -> None:
        """A trial of Ray's has saved what it needs to go on."""
        grant = self._granted.get(trial_id)
        if grant is not None:
            self._saved[grant.trial.trial_id] = checkpoint.path
            folder = self._folder(grant.trial.trial_id)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SAVED).write_text(json.dumps({"path": checkpoint.path}))

    def lost(self, trial_id: str, error: str) -> None:
        """The process of a trial of Ray's is gone.

        Args:
            trial_id: The trial of Ray's.
            error: What Ray says of it.
        """
        grant = self._granted.pop(trial_id, None)
        if grant is None:
            return
        told = any(words in error for words in TOLD_TO_LEAVE)
        why = "its host on Ray was told to leave" if told else "its process on Ray was lost"
        with self._over(grant):
            self._search.lose_trainer(trial_id, self._search.dismissed(trial_id) or why, counted=not told)

    @contextlib.contextmanager
    def _over(self, grant: Grant) -> Iterator[None]:
        """Inside, an attempt comes to its end."""
        try:
            yield
        except LeaseLost as lost:
            log.warning("the result of trial %s is dropped: %s", grant.trial.trial_id, lost)
        except CannotSave as unsaved:
            self.failure = unsaved
        if self._loan is not None and self.failure is None:
            self._loan.ended(self._search.trial(grant.trial.trial_id))

    def _config(self, grant: Grant) -> dict[str, Any]:
        trial = grant.trial
        parent = trial.hyperparameters.values.get("tuner/trial_id")
        of_parent = [self._folder(parent) / name for name in (CHECKPOINT, BUILD_CONFIG)] if parent else []
        return {
            "trial": self._to_json(trial),
            "attempt": grant.attempt,
            "ran_out": grant.ran_out,
            "saved": self._last_saved(trial.trial_id),
            "parent": self._to_json(self._search.trial(parent)) if parent else None,
            "files": {path.name: path.read_bytes() for path in of_parent if path.exists()},
        }

    def _end(self, grant: Grant, final: dict[str, Any], stopped_by: str = "") -> None:
        trial = self._from_json(final["trial"])
        if stopped_by:
            trial.status = "COMPLETED"
            trial.message = f"The trial was stopped early by Ray Tune's {stopped_by}; this is its best epoch."
            log.info("trial %s is stopped early by Ray Tune's %s", trial.trial_id, stopped_by)
        for metrics, step in final["updates"]:
            self._search.update_trial(trial.trial_id, grant.attempt, metrics, step)
        self._bring_home(trial.trial_id)
        self._search.end_trial(trial, grant.attempt)
        (self._folder(trial.trial_id) / SAVED).unlink(missing_ok=True)

    def _bring_home(self, trial_id: str) -> None:
        """Copies the best weights, and what a model without them is built from, to where KerasTuner looks for them."""
        path = self._last_saved(trial_id)
        if path is None:
            return
        with Checkpoint(path).as_directory() as place:
            for found in (Path(place) / CHECKPOINT, Path(place) / BUILD_CONFIG):
                if found.exists():
                    target = self._folder(trial_id) / found.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    unfinished = target.with_name(f".unfinished-{target.name}")
                    shutil.copyfile(found, unfinished)
                    unfinished.replace(target)

    def _last_saved(self, trial_id: str) -> str | None:
        if trial_id not in self._saved:
            try:
                self._saved[trial_id] = json.loads((self._folder(trial_id) / SAVED).read_text())["path"]
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._saved[trial_id]

    def _folder(self, trial_id: str) -> Path:
        return self._search.directory / f"trial_{trial_id}"


class Follower(Callback):  # type: ignore[misc]
    """Tells the searcher what trials save and why they are lost, and the search that time goes by."""

    def __init__(self, searcher: OracleSearcher, search: Search) -> None:
        self._searcher = searcher
        self._search = search

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        """A trial has saved something."""
        self._searcher.saved(trial.trial_id, checkpoint)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is gone."""
        try:
            error = Path(trial.error_file).read_text(encoding="utf-8")
        except (OSError, TypeError):
            error = ""
        self._searcher.lost(trial.trial_id, error)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ray Tune looks at its trials."""
        if self._searcher.failure is None:
            self._search.watch()

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Overseer(Stopper):  # type: ignore[misc]
    """Stops a trial that was taken back, and all of them where the search has failed."""

    def __init__(self, searcher: OracleSearcher, search: Search) -> None:
        self._searcher = searcher
        self._search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._search.dismissed(trial_id) is not None

    def stop_all(self) -> bool:
        return self._searcher.failure is not None or self._search.failure is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}
