"""What stands in for `tuner.oracle` while a search runs in a trainer, or in a local run.

Owns the translation of KerasTuner's calls on its oracle into calls on a session with attempts (fencing numbers). Does
not know where the search is: `Session` is either the search itself, in this process, or the chief behind `rpc`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.errors import DirectoryError, LeaseLost, UsageError
from cluster.logs import Output, Unkept
from cluster.program import without_own_frames
from cluster.search import Answer, Grant, Search
from cluster.transfer.mirror import Files, Shared

log = logging.getLogger(__name__)

WAIT_SECONDS = 20.0  # how long one call waits on the chief before it asks again
# Exit codes of a trainer, none of which a program is likely to end with: sysexits.h has 64 to 78.
DRAINED = 240  # it was told to leave
RECYCLED = 241  # it is to be replaced between two trials
OUT_OF_MEMORY = 242  # its device had no memory left for its trial
WANTS_ALONE = 243  # it is to come again when it has its device alone
PROGRESS_SECONDS = 5.0  # how often the chief is told that a trial gets somewhere within an epoch


class Leave(BaseException):
    """The trainer ends here, by its own will, with its trial saved; program code cannot take it for an error.

    Attributes:
        code: The exit code, by which the supervisor knows why.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Device:
    """What a trainer runs on.

    Attributes:
        name: In words.
        gpu: Whether it is a GPU.
        packed: Whether others may be on it.
        alone: Whether the trainer has it alone for one trial, where others would be on it too.
    """

    name: str = ""
    gpu: bool = False
    packed: bool = False
    alone: bool = False


ANYTHING = Device()


class Session(Protocol):
    """A trainer's way to one search. `trial` is a `keras_tuner` trial, `hyperparameters` a `HyperParameters`."""

    def next_trial(self, timeout: float) -> Grant | Answer: ...
    def update_trial(self, trial_id: str, attempt: int, metrics: dict[str, float], step: int) -> Any: ...
    def report_epoch(
        self, trial_id: str, attempt: int, epoch: int, logs: dict[str, float], of: int = 0, execution: int = 0
    ) -> bool: ...
    def report_progress(self, trial_id: str, attempt: int) -> None: ...
    def end_trial(self, trial: Any, attempt: int) -> None: ...
    def trial(self, trial_id: str) -> Any: ...
    def best_trials(self, number: int) -> list[Any]: ...
    def space(self) -> Any: ...
    def update_space(self, hyperparameters: Any) -> None: ...


class LocalSession:
    """The session of a local run: the search is in this process.

    Args:
        search: The search.
        worker: The name under which it is written down.
    """

    def __init__(self, search: Search, worker: str = "local") -> None:
        self._worker = worker
        self._search = search
        self.update_trial = search.update_trial
        self.report_epoch = search.report_epoch
        self.report_progress = search.report_progress
        self.end_trial = search.end_trial
        self.trial = search.trial
        self.best_trials = search.best_trials
        self.space = search.space
        self.update_space = search.update_space

    def next_trial(self, timeout: float) -> Grant | Answer:
        return self._search.next_trial(self._worker, self._worker, timeout, lease_seconds=float("inf"))


class OracleProxy:
    """Stands where `tuner.oracle` stood; what it does not know, it reads from the tuner's own oracle.

    Args:
        oracle: The tuner's own oracle.
        session: The way to the search.
        trial_class: `keras_tuner.engine.trial.Trial`.
        between_trials: Called before each trial; may raise `Leave`.
        between_epochs: Called when an epoch is over and saved; may raise `Leave`.
        device: What this process runs on.
        output: Where the output of trials goes.
        files: What becomes of their files.
    """

    def __init__(
        self,
        oracle: Any,
        session: Session,
        trial_class: Callable[..., Any],
        between_trials: Callable[[], None] = lambda: None,
        between_epochs: Callable[[], None] = lambda: None,
        device: Device = ANYTHING,
        output: Output | None = None,
        files: Files | None = None,
    ) -> None:
        own = {
            "_between_trials": between_trials,
            "_between_epochs": between_epochs,
            "_files": files or Shared(),
            "_output": output or Unkept(),
            "busy": False,  # whether a trial is in hand
            "granted": 0,  # trials so far
            "_oracle": oracle,
            "_session": session,
            "_trial_class": trial_class,
            "_attempts": {},
            "_device": device,
            "_stopped": set(),  # trials that are stopped early
            "_last_chance": set(),  # trials that ran out of memory in an attempt before
            "_progress_at": time.monotonic(),
            "verbose": 0,
        }
        self.__dict__.update(own)

    def __setattr__(self, name: str, value: Any) -> None:
        """What a program sets on its oracle, it sets on its oracle."""
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            setattr(self._oracle, name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> OracleProxy:
        """Callbacks are copied for each trial, and may hold the tuner."""
        return self

    _between_trials: Callable[[], None]
    _between_epochs: Callable[[], None]
    _files: Files
    busy: bool
    granted: int
    _output: Output
    _oracle: Any
    _session: Session
    _trial_class: Callable[..., Any]
    _attempts: dict[str, int]
    _device: Device
    _stopped: set[str]
    _last_chance: set[str]
    _progress_at: float
    verbose: int

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_oracle"], name)

    def create_trial(self, tuner_id: str) -> Any:
        """The next trial, however long it takes; one with the status STOPPED when the search is over."""
        while True:
            self._between_trials()
            answer = self._session.next_trial(0.0 if self._device.alone else WAIT_SECONDS)
            if isinstance(answer, Grant):
                self.busy = True
                self.granted += 1
                self._attempts[answer.trial.trial_id] = answer.attempt
                if answer.ran_out:
                    self._last_chance.add(answer.trial.trial_id)
                self._files.begin(answer.trial.trial_id, answer.attempt)
                self._output.begin(answer.trial.trial_id, answer.attempt, answer.trial.hyperparameters.values)
                return answer.trial
            if answer is Answer.ALONE:
                raise Leave(WANTS_ALONE)
            if answer is Answer.WAIT and self._device.alone:
                raise Leave(RECYCLED)  # another has taken it, and others wait for this device
            if answer is Answer.OVER:
                return self._trial_class(self._oracle.get_space(), trial_id="none", status="STOPPED")

    def after_epoch(self) -> None:
        """An epoch is over and saved; may raise `Leave`."""
        self._files.offer()
        self._between_epochs()

    def keep_files(self) -> None:
        """Returns when what the trial in hand has written is the chief's, or cannot be."""
        with contextlib.suppress(LeaseLost, DirectoryError, UsageError):
            self._files.flush()

    def attempt_of(self, trial_id: str) -> int:
        """The number of this attempt at a trial."""
        return self._attempts.get(trial_id, 0)

    def ran_out_of_memory(self, trial_id: str) -> None:
        """The device had no memory left for a trial, which runs once again where it has the device alone.

        Raises:
            Leave: it has not done so yet; what this process still holds of the device goes with it.
        """
        if self._device.gpu and trial_id not in self._last_chance:
            raise Leave(OUT_OF_MEMORY)

    def update_trial(self, trial_id: str, metrics: dict[str, Any], step: int = 0) -> Any:
        """Reports metrics; returns the oracle's copy of the trial."""
        plain = {name: float(value) for name, value in metrics.items()}
        return self._session.update_trial(trial_id, self.attempt_of(trial_id), plain, step)

    def report_epoch(self, trial_id: str, epoch: int, logs: dict[str, float], of: int = 0, execution: int = 0) -> bool:
        """Tells the chief of one epoch, of so many; returns whether the trial is stopped early.

        Raises:
            LeaseLost: the trial was given to another worker; training ends here.
        """
        stop = self._session.report_epoch(trial_id, self.attempt_of(trial_id), epoch, logs, of, execution)
        if stop:
            self._stopped.add(trial_id)
        return stop

    def report_progress(self, trial_id: str) -> None:
        """Tells the chief that the trial gets somewhere; may be called often.

        Raises:
            LeaseLost: the trial was given to another worker; training ends here.
        """
        now = time.monotonic()
        if now - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = now
            self._session.report_progress(trial_id, self.attempt_of(trial_id))

    def end_trial(self, trial: Any) -> None:
        """Ends the trial, unless it was given to another worker meanwhile: then this result is dropped."""
        attempt = self._attempts.pop(trial.trial_id, 0)
        self._keep_files_of(trial)
        if trial.message:
            trial.message = without_own_frames(trial.message)
        outcome = "failed" if trial.status == "INVALID" else str(trial.status).lower()  # whether it runs again or not
        if outcome == "completed" and trial.trial_id in self._stopped:
            outcome = "pruned"
        self._output.end(outcome, trial.message or "")
        try:
            self._session.end_trial(trial, attempt)
        except LeaseLost as lost:
            log.warning("the result of trial %s is dropped: %s", trial.trial_id, lost)
        self._files.end()
        self.busy = False

    def _keep_files_of(self, trial: Any) -> None:
        """A trial whose files cannot be kept has not completed; one that has failed may leave some."""
        try:
            self._files.flush()
        except LeaseLost:
            pass  # which the end of the trial will find, too
        except (DirectoryError, UsageError) as error:
            if trial.status == "COMPLETED":
                trial.status, trial.message = "INVALID", f"its files cannot be kept: {error}"

    def get_trial(self, trial_id: str) -> Any:
        """The oracle's copy of a trial."""
        return self._session.trial(trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """The best trials so far, the best first."""
        return self._session.best_trials(num_trials)

    def get_space(self) -> Any:
        """A copy of the search space."""
        return self._session.space()

    def update_space(self, hyperparameters: Any) -> None:
        """Adds hyperparameters that are not in the space yet."""
        self._session.update_space(hyperparameters)

    def save(self, *_: Any) -> None:
        """The search saves the oracle."""

    def reload(self, *_: Any) -> None:
        """The search has the newest state."""
