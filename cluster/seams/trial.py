"""The inside of a trial: epochs taken up from an earlier attempt, reports to the chief, checkpoints that are whole."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import memory, resume


@dataclass
class _Run:
    """The trial that this process runs, between KerasTuner's methods.

    Attributes:
        tuner: The tuner.
        attempt: Where this attempt is, and where the one before was.
        callbacks: What the program gave to `fit`, without KerasTuner's own.
        results: What the executions so far have come to.
    """

    tuner: Any
    attempt: resume.Attempt
    callbacks: list[Any]
    results: list[Any]


_run: _Run | None = None


def run_trial(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follows a trial from its first execution to its last."""

    @functools.wraps(original)
    def wrapped(self: Any, trial: Any, *args: Any, **kwargs: Any) -> Any:
        global _run
        outer, _run = _run, None
        attempt_of = getattr(self.oracle, "attempt_of", None)
        if attempt_of is not None:  # else it is a search within a trial, which is the program's own affair
            place = Path(self.get_trial_dir(trial.trial_id))
            _run = _Run(self, resume.Attempt(place, attempt_of(trial.trial_id)), [], [])
        run = _run
        try:
            results = original(self, trial, *args, **kwargs)
        finally:
            _run = outer
        # The score is of what was run; a tuner with a way of its own to build and fit runs all of it.
        if run is not None and run.attempt.pruned and run.results and isinstance(results, list):
            return results[: len(run.results)]
        return results

    return wrapped


def run_and_update_trial(original: Callable[..., None]) -> Callable[..., None]:
    """A trial for which the device has no memory left is not failed yet."""

    @functools.wraps(original)
    def wrapped(self: Any, trial: Any, *args: Any, **kwargs: Any) -> None:
        try:
            original(self, trial, *args, **kwargs)
        except Exception as error:
            ran_out_of_memory = getattr(self.oracle, "ran_out_of_memory", None)
            if ran_out_of_memory is not None and memory.has_run_out(error):
                ran_out_of_memory(trial.trial_id)
            raise

    return wrapped


def build_and_fit_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follows one execution, or skips one that an earlier attempt has finished."""

    @functools.wraps(original)
    def wrapped(self: Any, trial: Any, *args: Any, **kwargs: Any) -> Any:
        from keras.callbacks import History

        run = _run
        if run is None:
            return original(self, trial, *args, **kwargs)
        if run.attempt.pruned and run.results:
            return run.results[-1]  # KerasTuner asks for all executions; `run_trial` leaves this one out
        finished = run.attempt.begin_execution()
        if finished is None:
            run.callbacks = [x for x in kwargs.get("callbacks") or [] if not getattr(x, "is_of_the_cluster", False)]
            results = original(self, trial, *args, **kwargs)
            run.attempt.end_execution(results.history if isinstance(results, History) else None, results)
        elif "value" in finished:
            results = finished["value"]
        else:
            results = History()
            results.history = finished["history"]
        run.results.append(results)
        return results

    return wrapped


def following_callback(original: type) -> type:
    """KerasTuner's `TunerCallback`, which takes up epochs and reports."""

    class TunerCallback(original):  # type: ignore[misc]
        """KerasTuner's callback, which also takes up what an earlier attempt left and tells the chief of each epoch."""

        is_of_the_cluster = True

        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            if _run is not None:
                _run.attempt.begin_fit(self.model)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if _run is not None:
                _run.attempt.begin_epoch(self.model, _run.callbacks)
            super().on_epoch_begin(epoch, logs)

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            report = getattr(self.tuner.oracle, "report_epoch", None)
            if report is not None:
                of = (getattr(self, "params", None) or {}).get("epochs")
                execution = 0 if _run is None else _run.attempt.execution
                known = of if isinstance(of, int) else 0
                if report(self.trial.trial_id, epoch, resume.scalars(logs), known, execution):
                    self.model.stop_training = True  # at the end of this epoch, whose checkpoint is yet to be saved
                    if _run is not None:
                        _run.attempt.prune()

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_batch_end(batch, logs)
            self._progress()

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self._progress()

        def _progress(self) -> None:
            if _run is not None:
                _run.tuner.oracle.report_progress(self.trial.trial_id)

    return TunerCallback


def whole_checkpoint(original: type) -> type:
    """KerasTuner's `SaveBestEpoch`, whose file is whole at every instant."""

    class SaveBestEpoch(original):  # type: ignore[misc]
        """KerasTuner's checkpoint of the best epoch: whole at every instant, and true to what an earlier attempt saved.

        It is the last callback of the list, and the chief has accepted the epoch before it is called.
        """

        is_of_the_cluster = True

        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            if _run is not None and _run.attempt.best_value is not None:
                self.best_value = _run.attempt.best_value

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            if _run is None:
                return
            _run.attempt.end_epoch(epoch, logs or {}, self.model, _run.callbacks, self.best_value)
            _run.tuner.oracle.after_epoch()

        def _save_model(self) -> None:
            if "://" in str(self.filepath) or (_run is not None and _run.tuner.distribution_strategy is not None):
                super()._save_model()
            else:
                resume.save_weights(self.model, Path(self.filepath))

    return SaveBestEpoch


def promoted_model(original: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Hyperband's next round begins with the optimizer's state of the round before."""

    @functools.wraps(original)
    def build_hypermodel(self: Any, hp: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer", UserWarning)
            model = original(self, hp)
        parent = hp.values.get("tuner/trial_id")
        if parent is not None and model.optimizer is not None and not model.optimizer.built:
            # An optimizer that is not built yet is left out when weights are loaded; Adam would start cold.
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self._get_checkpoint_fname(parent))
        return model

    return build_hypermodel
