"""What a trial needs to go on at its next epoch, when the attempt before was lost.

Owns `trial_<id>/resume/`: after each epoch the model's weights with the optimizer's state, and `state.json` with the
epoch, the history so far and the callbacks' counters. Each attempt writes in a folder of its own, so that one that was
lost but still runs cannot disturb its successor. Knows Keras's objects by their methods only; when it is called is
`seams/`'s.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.state import write_atomically

log = logging.getLogger(__name__)

FOLDER = "resume"
STATE = "state.json"
WEIGHTS = ".weights.h5"


@dataclass
class Progress:
    """Where an attempt is.

    Attributes:
        done: The results of the executions that are finished: `{"history": …}` or `{"value": …}`.
        epoch: The next epoch of the execution in hand; None before its first epoch has ended.
        history: The metrics of its epochs so far, as in `History.history`.
        best_value: The best objective so far, over all executions; None before there is one.
        callbacks: The counters of each callback, in the order of the list.
        stopped: Whether a callback such as EarlyStopping has ended the execution.
        weights: The file beside `state.json` that belongs to `epoch`.
        pruned: Whether the trial was stopped early: the execution in hand is its last.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    epoch: int | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    best_value: float | None = None
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False
    weights: str | None = None
    pruned: bool = False


class Attempt:
    """One attempt at a trial, from its first execution to its last.

    Args:
        trial_dir: The trial's directory.
        number: The attempt's number; what a smaller one left is taken up.
    """

    def __init__(self, trial_dir: Path, number: int) -> None:
        self._folder = trial_dir / FOLDER / f"attempt-{number}"
        self._earlier = _latest(trial_dir / FOLDER, number)
        self._progress = Progress()
        self._taken_up = Progress()
        self._execution = -1
        self._fits = 0
        self.resumed_at: int | None = None  # the epoch at which the execution in hand went on, counted from 0
        if self._earlier is not None:
            self._taken_up = _read(self._earlier)
            self._progress.done = list(self._taken_up.done)
            self._progress.best_value = self._taken_up.best_value
            self._progress.pruned = self._taken_up.pruned

    # --- executions

    def begin_execution(self) -> dict[str, Any] | None:
        """The next execution begins; returns its result where an earlier attempt has finished it."""
        self._execution += 1
        self._fits = 0
        self.resumed_at = None
        if self._execution < len(self._taken_up.done):
            return self._taken_up.done[self._execution]
        return None

    def end_execution(self, history: dict[str, list[float]] | None, value: Any) -> None:
        """An execution has ended with a `History` or with another result."""
        result = {"history": _plain(history)} if history is not None else {"value": value}
        try:
            json.dumps(result)
        except (TypeError, ValueError):
            return  # cannot be kept: it would run again, and so would those after it
        if len(self._progress.done) == self._execution:
            self._progress.done.append(result)
            self._forget_epochs()
            self._write()

    # --- stopped early

    @property
    def execution(self) -> int:
        """The execution in hand, from 0."""
        return max(0, self._execution)

    @property
    def pruned(self) -> bool:
        """Whether the trial was stopped early, in this attempt or in one before."""
        return self._progress.pruned

    def prune(self) -> None:
        """The trial is stopped early: it is kept with the epoch, or with the execution, that ends next."""
        self._progress.pruned = True

    # --- epochs

    @property
    def best_value(self) -> float | None:
        """The best objective so far, of this attempt and of the one it takes up; None before there is one."""
        return self._progress.best_value

    def begin_fit(self, model: Any) -> None:
        """`model.fit()` begins: takes the model to where the earlier attempt was, if it was in this execution.

        Only an execution of one `fit` can be taken up in its middle; what a second one needs from the first is unknown.
        """
        self._fits += 1
        if self._fits > 1:
            self._forget_epochs()
            self._write()
        earlier = self._taken_up
        here = self._fits == 1 and self._execution == len(earlier.done) and earlier.epoch is not None
        if not here or self._earlier is None or earlier.weights is None:
            return
        path = self._earlier / earlier.weights
        try:
            if model.optimizer is not None and not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            model.load_weights(str(path))
        except Exception as error:  # another model than the one saved, or a damaged file: the trial starts over
            log.warning("what an earlier attempt left in %s cannot be used (%s): the trial starts over", path, error)
            return
        model._initial_epoch = sys.maxsize if earlier.stopped else earlier.epoch
        model.history.history = {name: list(values) for name, values in earlier.history.items()}
        self._progress.epoch = earlier.epoch
        self._progress.history = {name: list(values) for name, values in earlier.history.items()}
        self.resumed_at = earlier.epoch
        log.info("the trial goes on at epoch %d", (earlier.epoch or 0) + 1)

    def begin_epoch(self, model: Any, callbacks: list[Any]) -> None:
        """Before the first epoch that is run again: the callbacks' counters, which `on_train_begin` has reset."""
        model._initial_epoch = None
        if self.resumed_at is not None and self._taken_up.callbacks:
            for callback, counters in zip(callbacks, self._taken_up.callbacks, strict=False):
                if counters.get("class") == type(callback).__qualname__:
                    vars(callback).update(counters["values"])
            self._taken_up.callbacks = []

    def end_epoch(self, epoch: int, logs: dict[str, Any], model: Any, callbacks: list[Any], best: float) -> None:
        """After an epoch: everything is on disk when this returns.

        Args:
            epoch: The epoch that has ended, counted from 0.
            logs: Its metrics.
            model: The model.
            callbacks: The list that `fit` was given.
            best: The best objective so far.
        """
        if self._fits != 1 or self._execution < 0:
            return
        progress = self._progress
        for name, value in scalars(logs).items():
            progress.history.setdefault(name, []).append(value)
        progress.epoch = epoch + 1
        progress.best_value = best if math.isfinite(best) else None
        progress.callbacks = [_counters(callback) for callback in callbacks]
        progress.stopped = bool(model.stop_training)
        self._folder.mkdir(parents=True, exist_ok=True)
        previous, progress.weights = progress.weights, f"epoch-{epoch + 1}{WEIGHTS}"
        save_weights(model, self._folder / progress.weights)
        self._write()
        if previous is not None and previous != progress.weights:
            (self._folder / previous).unlink(missing_ok=True)
        if self._earlier is not None:
            shutil.rmtree(self._earlier, ignore_errors=True)
            self._earlier = None

    def _forget_epochs(self) -> None:
        progress = self._progress
        weights, progress.weights = progress.weights, None
        progress.epoch, progress.history, progress.callbacks, progress.stopped = None, {}, [], False
        if weights is not None:
            (self._folder / weights).unlink(missing_ok=True)

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / STATE, json.dumps(asdict(self._progress)))


def save_weights(model: Any, path: Path) -> None:
    """Saves a model's weights, and its optimizer's, so that `path` is whole at every instant."""
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
    try:
        model.save_weights(str(unfinished))
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def forget(trial_dir: Path) -> None:
    """The trial has ended: nothing of it will be taken up."""
    shutil.rmtree(trial_dir / FOLDER, ignore_errors=True)


def _latest(folder: Path, before: int) -> Path | None:
    """The folder of the last attempt before this one that has left something."""
    found = []
    for path in folder.glob("attempt-*"):
        with contextlib.suppress(ValueError):
            number = int(path.name.removeprefix("attempt-"))
            if number < before and (path / STATE).exists():
                found.append((number, path))
    return max(found)[1] if found else None


def _read(folder: Path) -> Progress:
    try:
        return Progress(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s cannot be read (%s): the trial starts over", folder / STATE, error)
        return Progress()


def _counters(callback: Any) -> dict[str, Any]:
    """What a callback such as EarlyStopping counts: its numbers."""
    values = {}
    for name, value in vars(callback).items():
        plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
        if not name.startswith("_") and isinstance(plain, bool | int | float):
            values[name] = plain
    return {"class": type(callback).__qualname__, "values": values}


def scalars(logs: dict[str, Any] | None) -> dict[str, float]:
    """The metrics that are one number; others (an F1 score for each class) are the program's own."""
    found = {}
    for name, value in (logs or {}).items():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = float(value)
    return found


def _plain(history: dict[str, list[Any]] | None) -> dict[str, list[float]]:
    return {name: [float(value) for value in values] for name, values in (history or {}).items()}
