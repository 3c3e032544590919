"""The only module that touches KerasTuner's private names.

Owns how a role gets between a program and KerasTuner (`installed`), and what the chief needs of an oracle beyond its
public methods (`OwnedOracle`). Everything is put in place by attribute, at the moment the program imports KerasTuner,
so that whatever the program decides before that (its Keras backend, its environment) holds; and is taken away again.

The names below were read in KerasTuner 1.4.8. `check` stops with a clear message where a release differs.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import inspect
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from cluster import resume, state
from cluster.errors import MissingDependency

log = logging.getLogger(__name__)

KERAS_TUNER = ("1.4.8", "1.5")
TUNER_ID = "tuner0"  # KerasTuner's own name for a single process: its files can be reloaded by one
FINISHED = ("COMPLETED", "FAILED")


class Role(Protocol):
    """What a process is, seen from KerasTuner.

    Attributes:
        tuner_id: The name of this process's tuners.
        owns_files: Whether this process saves and reloads the project (a chief or a local run, not a worker).
    """

    tuner_id: str
    owns_files: bool

    def prepare(self, project: Path, overwrite: bool) -> None:
        """A tuner is being made over this project directory."""

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """The program called `tuner.search()`; `loop` is KerasTuner's own loop over trials."""


# What is used, and the parameters each must have.
EXPECTED = {
    "utils.save_json": ["path", "obj"],
    "engine.base_tuner.BaseTuner.__init__": [
        "self",
        "oracle",
        "hypermodel",
        "directory",
        "project_name",
        "overwrite",
        "kwargs",
    ],
    "engine.base_tuner.BaseTuner.search": ["self", "fit_args", "fit_kwargs"],
    "engine.base_tuner.BaseTuner.save": ["self"],
    "engine.base_tuner.BaseTuner.reload": ["self"],
    "engine.oracle.Oracle.reload": ["self"],
    "engine.oracle.Oracle._save_trial": ["self", "trial"],
    "engine.oracle.Oracle._set_project_dir": ["self", "directory", "project_name"],
    "engine.tuner.Tuner.run_trial": ["self", "trial", "args", "kwargs"],
    "engine.tuner.Tuner._build_and_fit_model": ["self", "trial", "args", "kwargs"],
    "engine.tuner_utils.TunerCallback.__init__": ["self", "tuner", "trial"],
    "engine.tuner_utils.TunerCallback.on_epoch_begin": ["self", "epoch", "logs"],
    "engine.tuner_utils.TunerCallback.on_epoch_end": ["self", "epoch", "logs"],
    "engine.tuner_utils.SaveBestEpoch.__init__": ["self", "objective", "filepath"],
    "engine.tuner_utils.SaveBestEpoch.on_epoch_end": ["self", "epoch", "logs"],
    "engine.tuner_utils.SaveBestEpoch._save_model": ["self"],
    "tuners.hyperband.Hyperband._build_hypermodel": ["self", "hp"],
    "distribute.utils.has_chief_oracle": [],
    "distribute.utils.is_chief_oracle": [],
    "tuners.gridsearch.GridSearchOracle.populate_space": ["self", "trial_id"],
    "tuners.gridsearch.LinkedList.insert": ["self", "data", "data_pre"],
}


def check(version: str, source: ModuleType) -> None:
    """Stops when this KerasTuner is not the one that the seams know.

    Args:
        version: Its version.
        source: The module `keras_tuner.src`.

    Raises:
        MissingDependency: another version, or a private name that changed; the text says which.
    """
    low, high = KERAS_TUNER
    if not _number(low) <= _number(version) < _number(high):
        raise MissingDependency(
            f"KerasTuner {version} is installed; this release was checked against >={low},<{high}. "
            f"Mend it with: pip install 'keras-tuner>={low},<{high}'"
        )
    for name, parameters in EXPECTED.items():
        *path, last = name.split(".")
        owner: Any = source
        for part in path:
            owner = getattr(owner, part, None)
        found = getattr(owner, last, None)
        if found is None or list(inspect.signature(found).parameters) != parameters:
            raise MissingDependency(
                f"KerasTuner {version} has no {name}({', '.join(parameters)}): it cannot be used here"
            )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


@contextlib.contextmanager
def installed(role: Role) -> Iterator[None]:
    """While open, every KerasTuner tuner of this process acts under `role`.

    KerasTuner may be imported before or during: the seams go in as soon as it is there.
    """
    with contextlib.ExitStack() as undo:
        if "keras_tuner" in sys.modules:
            _install(role, undo)
        else:
            finder = _AfterImport("keras_tuner", lambda: _install(role, undo))
            sys.meta_path.insert(0, finder)
            undo.callback(lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None)
        yield


class _AfterImport(MetaPathFinder, Loader):
    """Calls `then` once the module `name` has been imported, by whatever loader."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name = name
        self._then = then
        self._loader: Loader | None = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        assert self._loader is not None
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert self._loader is not None
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then()


def _install(role: Role, undo: contextlib.ExitStack) -> None:
    import keras_tuner.src
    from keras_tuner.src import config, utils
    from keras_tuner.src.distribute import utils as distribute
    from keras_tuner.src.engine import base_tuner, oracle, tuner_utils
    from keras_tuner.src.engine import tuner as keras_tuner_module
    from keras_tuner.src.tuners import gridsearch, hyperband

    check(importlib.metadata.version("keras-tuner"), keras_tuner.src)

    def replace(owner: Any, name: str, new: Any) -> None:
        undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, new)

    # The search shows a failed trial's traceback, once, wherever the trial ran.
    replace(config, "DEBUG", False)
    replace(utils, "save_json", _save_json(utils.save_json))
    # Roles are given by the launcher, not guessed from KERASTUNER_* variables.
    replace(distribute, "has_chief_oracle", lambda: False)
    replace(distribute, "is_chief_oracle", lambda: False)
    # KerasTuner's locks are leaked by any exception; `search.Search` has its own around every call.
    replace(oracle, "THREADS", _AlwaysHeld())
    replace(tuner_utils, "TunerCallback", _following_callback(tuner_utils.TunerCallback))
    replace(tuner_utils, "SaveBestEpoch", _whole_checkpoint(tuner_utils.SaveBestEpoch))
    replace(keras_tuner_module.Tuner, "run_trial", _run_trial(keras_tuner_module.Tuner.run_trial))
    replace(
        keras_tuner_module.Tuner,
        "_build_and_fit_model",
        _build_and_fit_model(keras_tuner_module.Tuner._build_and_fit_model),
    )
    replace(hyperband.Hyperband, "_build_hypermodel", _promoted_model(hyperband.Hyperband._build_hypermodel))
    tuner = base_tuner.BaseTuner
    replace(tuner, "__init__", _init(role, tuner.__init__))
    replace(tuner, "search", _search(role, tuner.search))
    if role.owns_files:
        replace(oracle.Oracle, "reload", _reload(oracle.Oracle.reload))
        grid = gridsearch.GridSearchOracle
        replace(grid, "get_state", _grid_get_state(grid.get_state))
        replace(grid, "set_state", _grid_set_state(grid.set_state, gridsearch.LinkedList))
    else:
        replace(tuner, "save", lambda self: None)
        replace(tuner, "reload", lambda self: None)


class _AlwaysHeld(dict[Any, str]):
    """Stands in for KerasTuner's table of lock holders: every thread finds that it holds the lock already."""

    def __missing__(self, oracle: Any) -> str:
        return threading.current_thread().name


def _save_json(original: Callable[..., str]) -> Callable[[str, Any], str]:
    def save_json(path: str, obj: Any) -> str:
        if "://" in str(path):
            return original(path, obj)
        text = json.dumps(obj)
        state.write_atomically(path, text)
        return text

    return save_json


def _init(role: Role, original: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        directory = bound.arguments.get("directory") or "."
        project = Path(directory) / (bound.arguments.get("project_name") or "untitled_project")
        role.prepare(project, bool(bound.arguments.get("overwrite")))
        bound.arguments["overwrite"] = False  # honoured by the role, once
        if role.owns_files:
            _make_reloadable(project)
        previous = os.environ.get("KERASTUNER_TUNER_ID")
        os.environ["KERASTUNER_TUNER_ID"] = role.tuner_id
        try:
            original(*bound.args, **bound.kwargs)
        finally:
            if previous is None:
                del os.environ["KERASTUNER_TUNER_ID"]
            else:
                os.environ["KERASTUNER_TUNER_ID"] = previous

    return __init__


def _search(role: Role, original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def search(self: Any, *args: Any, **kwargs: Any) -> None:
        role.search(self, lambda: original(self, *args, **kwargs))

    return search


# --- the inside of a trial -----------------------------------------------------------------------------------------


@dataclass
class _Run:
    """The trial that this process runs, between KerasTuner's methods.

    Attributes:
        tuner: The tuner.
        attempt: Where this attempt is, and where the one before was.
        callbacks: What the program gave to `fit`, without KerasTuner's own.
    """

    tuner: Any
    attempt: resume.Attempt
    callbacks: list[Any]


_run: _Run | None = None


def _run_trial(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run_trial(self: Any, trial: Any, *args: Any, **kwargs: Any) -> Any:
        global _run
        attempt_of = getattr(self.oracle, "attempt_of", None)
        if attempt_of is None:
            return original(self, trial, *args, **kwargs)
        place = Path(self.get_trial_dir(trial.trial_id))
        _run = _Run(self, resume.Attempt(place, attempt_of(trial.trial_id)), [])
        try:
            return original(self, trial, *args, **kwargs)
        finally:
            _run = None

    return run_trial


def _build_and_fit_model(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def build_and_fit_model(self: Any, trial: Any, *args: Any, **kwargs: Any) -> Any:
        from keras.callbacks import History

        run = _run
        if run is None:
            return original(self, trial, *args, **kwargs)
        finished = run.attempt.begin_execution()
        if finished is not None:
            if "value" in finished:
                return finished["value"]
            history = History()
            history.history = finished["history"]
            return history
        run.callbacks = [x for x in kwargs.get("callbacks") or [] if not getattr(x, "is_of_the_cluster", False)]
        results = original(self, trial, *args, **kwargs)
        run.attempt.end_execution(results.history if isinstance(results, History) else None, results)
        return results

    return build_and_fit_model


def _following_callback(original: type) -> type:
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
                report(self.trial.trial_id, epoch, {key: float(value) for key, value in (logs or {}).items()})

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_batch_end(batch, logs)
            self._progress()

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self._progress()

        def _progress(self) -> None:
            if _run is not None:
                _run.tuner.oracle.report_progress(self.trial.trial_id)

    return TunerCallback


def _whole_checkpoint(original: type) -> type:
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


def _promoted_model(original: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
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


# --- reloading -----------------------------------------------------------------------------------------------------


def _make_reloadable(project: Path) -> None:
    """Lets KerasTuner find a project whatever made it: it looks for `<tuner_id>.json` alone."""
    own = project / f"{TUNER_ID}.json"
    if (project / "oracle.json").exists() and not own.exists():
        chief = project / "chief.json"
        state.write_atomically(own, chief.read_text() if chief.exists() else "{}")
    elif own.exists() and not (project / "oracle.json").exists():
        own.unlink()


def _reload(original: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(original)
    def reload(self: Any) -> None:
        project = Path(self._project_dir)
        state.set_aside_damaged(project)
        _rebuild_missing(project)
        original(self)
        _reconcile(self)

    return reload


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
    """Mends what a crash between two saves leaves: the trials' files are newer than the oracle's."""
    for trial_id in [x for x in oracle.trials if x not in oracle.start_order]:
        log.warning("trial %s was saved by a crash that the oracle did not survive: its id is used again", trial_id)
        del oracle.trials[trial_id]
    queue = oracle._retry_queue
    for trial_id, trial in oracle.trials.items():
        if trial.status in FINISHED:
            queue[:] = [x for x in queue if x != trial_id]
            if trial_id not in oracle.end_order:
                oracle.end_order.append(trial_id)
                oracle._run_times[trial_id] += 1
                if hasattr(oracle, "_populate_next"):
                    oracle._populate_next.append(trial_id)
        else:
            if trial_id not in queue:
                queue.append(trial_id)
            trial.status = "INVALID"


def _clear(trial: Any) -> None:
    """Forgets what an attempt that was lost had reported; a later one would be ignored otherwise."""
    trial.metrics = type(trial.metrics)()
    trial.score = None
    trial.best_step = 0
    trial.status = "INVALID"


def _grid_get_state(original: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    def get_state(self: Any) -> dict[str, Any]:
        order = self._ordered_ids
        index, ids = order._next_index[None], []
        while index is not None:
            ids.append(order._memory[index])
            index = order._next_index[index]
        return {**original(self), "ordered_ids": ids, "populate_next": list(self._populate_next)}

    return get_state


def _grid_set_state(original: Callable[[Any, dict[str, Any]], None], linked_list: type) -> Callable[..., None]:
    def set_state(self: Any, saved: dict[str, Any]) -> None:
        original(self, saved)
        ids, following = saved.get("ordered_ids"), saved.get("populate_next")
        if ids is None or following is None:  # saved by stock KerasTuner, which forgets where it was

            def compare(a: str, b: str) -> int:
                left, right = (self.trials[x].hyperparameters.values for x in (a, b))
                return int(self._compare(left, right))

            ids = sorted(self.start_order, key=functools.cmp_to_key(compare))
            following = list(ids)
        self._ordered_ids = linked_list()
        for trial_id in ids:
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(following)

    return set_state


# --- what the chief needs of an oracle -----------------------------------------------------------------------------


class OwnedOracle:
    """An oracle in the hands of its only owner, which holds a lock around every call.

    KerasTuner saves the oracle in the middle of its own steps; here it is saved once, after the whole step, by `save`.

    Args:
        oracle: The `keras_tuner.Oracle` of a tuner.
    """

    def __init__(self, oracle: Any) -> None:
        self.oracle = oracle
        self.max_consecutive_failures: int = oracle.max_consecutive_failed_trials
        oracle.max_consecutive_failed_trials = sys.maxsize  # applied by the search, which ends in order
        self._verbose = oracle.verbose
        oracle.verbose = 0
        oracle.save = lambda: None

    def release(self) -> None:
        """Gives the oracle back as it was."""
        self.oracle.max_consecutive_failed_trials = self.max_consecutive_failures
        self.oracle.verbose = self._verbose
        self.oracle.__dict__.pop("save", None)

    def create(self, tuner_id: str) -> Any:
        """The next trial, which may be one to run again, from nothing; its status may be RUNNING, IDLE or STOPPED."""
        again = bool(self.oracle._retry_queue)
        self.oracle.ongoing_trials.pop(tuner_id, None)
        trial = self.oracle.create_trial(tuner_id)
        self.oracle.tuner_ids.discard(tuner_id)
        if again and trial.status == "RUNNING":
            _clear(trial)
            trial.status = "RUNNING"
            self.oracle._save_trial(trial)
        return trial

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
        return kept

    def requeue(self, trial_id: str) -> None:
        """The trial's holder is gone: it runs again, from nothing that was reported."""
        ongoing = self.oracle.ongoing_trials
        for tuner_id in [key for key, value in ongoing.items() if value.trial_id == trial_id]:
            del ongoing[tuner_id]
        trial = self.oracle.trials[trial_id]
        _clear(trial)
        self.oracle._retry_queue.append(trial_id)
        self.oracle._save_trial(trial)

    def needed_checkpoints(self) -> set[str]:
        """The trials whose checkpoint the oracle may still give to another: those in Hyperband's open brackets."""
        brackets = getattr(self.oracle, "_brackets", [])
        return {info["id"] for bracket in brackets for round_info in bracket["rounds"] for info in round_info}

    def save(self) -> None:
        """Saves the oracle's own file."""
        type(self.oracle).save(self.oracle)


def adopt_directory(tuner: Any, directory: str, project_name: str) -> None:
    """Points a worker's tuner at the chief's project, which may have been named by a clock or a random number."""
    own = Path(tuner.project_dir)
    tuner.directory, tuner.project_name = directory, project_name
    oracle = tuner.oracle
    oracle._set_project_dir(directory, project_name)
    if own.resolve() != Path(tuner.project_dir).resolve():
        with contextlib.suppress(OSError):
            own.rmdir()  # made by this tuner a moment ago, and empty


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


# --- stock clients -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StockProtos:
    """KerasTuner's generated modules: messages of the service, and of its objects."""

    service: Any
    objects: Any


def stock_protos() -> StockProtos:
    """KerasTuner's protos, in the version that this environment's protobuf takes."""
    from keras_tuner.src import protos

    return StockProtos(protos.get_service(), protos.get_proto())


def trial_from_proto(proto: Any) -> Any:
    """The trial in a stock client's message."""
    from keras_tuner.engine import trial as trial_module

    trial = trial_module.Trial.from_proto(proto)
    trial.hyperparameters = _parents_first(trial.hyperparameters)
    return trial


def space_from_proto(proto: Any) -> Any:
    """The space in a stock client's message."""
    import keras_tuner

    return _parents_first(keras_tuner.HyperParameters.from_proto(proto))


def empty_trial(space: Any, status: str) -> Any:
    """A trial that says only that there is none."""
    from keras_tuner.engine import trial as trial_module

    return trial_module.Trial(space, trial_id="none", status=status)


def _parents_first(hyperparameters: Any) -> Any:
    """Puts each hyperparameter after those it depends on: stock messages group them by type and lose the order."""
    import keras_tuner

    ordered = keras_tuner.HyperParameters()
    waiting = list(hyperparameters.space)
    while waiting:
        known = {hp.name for hp in ordered.space}
        ready = [hp for hp in waiting if all(condition.name in known for condition in hp.conditions)]
        ordered.merge(ready or waiting)
        waiting = [hp for hp in waiting if hp not in ready] if ready else []
    ordered.values = hyperparameters.values
    return ordered
