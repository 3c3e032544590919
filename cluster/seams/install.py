"""A role between a program and KerasTuner, put in place when the program imports it, and taken away at the end."""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib.metadata
import inspect
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from cluster import garbage, iterators, state
from cluster.afterimport import after_import
from cluster.seams import bayesian as suggestion
from cluster.seams import hyperband as promotion
from cluster.seams import quiet, reload, trial
from cluster.seams.check import check

TUNER_ID = "tuner0"  # KerasTuner's own name for a single process: its files can be reloaded by one


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
        """The program called `tuner.search()`; `loop` is KerasTuner's own loop over trials, a `functools.partial`."""


@contextlib.contextmanager
def installed(role: Role, *, verbose: bool = False) -> Iterator[None]:
    """While open, every KerasTuner tuner of this process acts under `role`, and epochs end at once (`iterators.py`).

    KerasTuner may be imported before or during: the seams go in as soon as it is there. Until then Python looks for
    garbage seldom, and then no longer through what was imported (`garbage.py`).

    Args:
        role: What this process is.
        verbose: Whether KerasTuner prints what it prints by itself.
    """
    with (
        contextlib.ExitStack() as undo,
        garbage.sparing() as imported,
        after_import(
            "tensorflow", lambda: undo.enter_context(iterators.untuned(sys.modules["tensorflow"].data.Dataset))
        ),
        after_import("keras_tuner", lambda: _install(role, undo, verbose, imported)),
    ):
        yield


def _install(role: Role, undo: contextlib.ExitStack, verbose: bool, imported: Callable[[], None]) -> None:
    import keras_tuner.src
    from keras_tuner.src import config, utils
    from keras_tuner.src.distribute import utils as distribute
    from keras_tuner.src.engine import base_tuner, oracle, tuner_utils
    from keras_tuner.src.engine import tuner as keras_tuner_module
    from keras_tuner.src.tuners import bayesian as bayesian_module
    from keras_tuner.src.tuners import gridsearch, hyperband

    imported()
    check(importlib.metadata.version("keras-tuner"), keras_tuner.src)

    def replace(owner: Any, name: str, new: Any) -> None:
        undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, new)

    def add(owner: Any, name: str, new: Any) -> None:
        undo.callback(delattr, owner, name)
        setattr(owner, name, new)

    replace(oracle.Display, "on_trial_end", quiet.end_of_what_began(oracle.Display.on_trial_end))
    if not verbose:
        # A name of the module's own goes before the builtin one.
        add(oracle, "print", quiet.nothing)
        add(base_tuner, "print", quiet.all_but_reloading(builtins.print))
    # The search shows a failed trial's traceback, once, wherever the trial ran.
    replace(config, "DEBUG", False)
    replace(utils, "save_json", _save_json(utils.save_json))
    # Roles are given by the launcher, not guessed from KERASTUNER_* variables.
    replace(distribute, "has_chief_oracle", lambda: False)
    replace(distribute, "is_chief_oracle", lambda: False)
    # KerasTuner's locks are leaked by any exception; `search.Search` has its own around every call.
    replace(oracle, "THREADS", _AlwaysHeld())
    replace(tuner_utils, "TunerCallback", trial.following_callback(tuner_utils.TunerCallback))
    replace(tuner_utils, "SaveBestEpoch", trial.whole_checkpoint(tuner_utils.SaveBestEpoch))
    replace(keras_tuner_module.Tuner, "run_trial", trial.run_trial(keras_tuner_module.Tuner.run_trial))
    replace(
        keras_tuner_module.Tuner,
        "_build_and_fit_model",
        trial.build_and_fit_model(keras_tuner_module.Tuner._build_and_fit_model),
    )
    replace(hyperband.Hyperband, "_build_hypermodel", trial.promoted_model(hyperband.Hyperband._build_hypermodel))
    replace(
        hyperband.HyperbandOracle,
        "populate_space",
        promotion.populate_space(hyperband.HyperbandOracle.populate_space),
    )
    replace(
        hyperband.HyperbandOracle,
        "_remove_completed_brackets",
        promotion.remove_completed_brackets(hyperband.HyperbandOracle._remove_completed_brackets),
    )
    bayesian = bayesian_module.BayesianOptimizationOracle
    replace(bayesian, "populate_space", suggestion.populate_space(bayesian.populate_space))
    add(bayesian, "cluster_ahead", suggestion.ahead(bayesian))
    tuner = base_tuner.BaseTuner
    replace(tuner, "_run_and_update_trial", trial.run_and_update_trial(tuner._run_and_update_trial))
    replace(tuner, "__init__", _init(role, tuner.__init__))
    replace(tuner, "search", _search(role, tuner.search))
    if role.owns_files:
        replace(oracle.Oracle, "reload", reload.reloading(oracle.Oracle.reload))
        grid = gridsearch.GridSearchOracle
        replace(bayesian, "get_state", reload.bayesian_get_state(bayesian.get_state))
        replace(bayesian, "set_state", reload.bayesian_set_state(bayesian.set_state))
        replace(grid, "get_state", reload.grid_get_state(grid.get_state))
        replace(grid, "set_state", reload.grid_set_state(grid.set_state, gridsearch.LinkedList))
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
            reload.make_reloadable(project, TUNER_ID)
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
        role.search(self, functools.partial(original, self, *args, **kwargs))

    return search
