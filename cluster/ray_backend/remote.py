"""Runs one trial in a process of Ray's: KerasTuner's own loop over a search of one trial.

Owns the trial's files, in a directory of this process, and what is reported: each epoch with what the trial needs to go
on, and at the end what the oracle has to know.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster import cores, resume, streams
from cluster.logs import Output, Unkept
from cluster.ray_backend.borrowed import EPOCHS, METRIC
from cluster.ray_backend.searcher import BUILD_CONFIG
from cluster.ray_backend.ship import Shipment
from cluster.search import Answer, Grant
from cluster.state import LOCK

PROJECT = "project"


def run_trial(config: dict[str, Any], shipment: Shipment | None = None) -> None:
    """What Ray Tune calls for each trial, in a process that may run several.

    Args:
        config: What `OracleSearcher.suggest` gave.
        shipment: What all trials need.
    """
    assert shipment is not None
    logging.getLogger("ray.train._internal.storage").setLevel(logging.WARNING)  # a line for each checkpoint
    _limit_threads(config["cpus"])
    with tempfile.TemporaryDirectory(prefix="cluster-trial-") as scratch:
        _run(config, shipment, Path(scratch))


def _limit_threads(cpus: float) -> None:
    """As many threads as Ray gives cores; what the user has set wins, and what was set for an earlier trial stays."""
    for name, value in cores.thread_variables(max(1, int(cpus))).items():
        # Ray itself sets this one, from the same figure.
        if name == "OMP_NUM_THREADS" or name not in os.environ:
            os.environ[name] = value


def _run(config: dict[str, Any], shipment: Shipment, scratch: Path) -> None:
    import cloudpickle
    from ray import tune

    import cluster
    from cluster import seams
    from cluster.rpc import codec
    from cluster.trainer import OracleProxy

    trial = codec.trial_from_json(config["trial"])
    folder = scratch / PROJECT / f"trial_{trial.trial_id}"
    _take_up(config, trial, scratch, folder)

    def report(metrics: dict[str, Any]) -> None:
        # Ray copies the directory before this returns.
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(str(folder)))

    role = RemoteRole()
    cluster._role = role
    try:
        with seams.installed(role), _kept(Path(shipment.project), config["on"].name) as output:
            tuner = cloudpickle.loads(shipment.tuner)
            fit = cloudpickle.loads(shipment.fit)
            oracle = _oracle(shipment, trial, config, scratch)
            tuner.oracle = oracle
            tuner.directory, tuner.project_name = str(scratch), PROJECT
            _keep_build_config(tuner, folder)
            grant = Grant(trial, config["attempt"], config["ran_out"])
            session = TrialSession(oracle, grant, folder, codec.trial_to_json)
            proxy = OracleProxy(
                oracle,
                session,
                seams.trial_class(),
                between_epochs=lambda: session.report(report),
                device=config["on"],
                output=output,
            )
            tuner.oracle = proxy
            tuner.search(*fit.args, **fit.kwargs)
    finally:
        cluster._role = None
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / resume.FOLDER, ignore_errors=True)
    final = {"trial": codec.trial_to_json(session.ended), "updates": session.updates}
    report({"final": json.dumps(final), **session.last_value()})


@contextlib.contextmanager
def _kept(project: Path, device: str) -> Iterator[Output]:
    """What becomes of the trial's output: it is Ray's, and in the trial's log too where the project directory is."""
    from ray import tune

    if not (project / LOCK).exists():
        yield Unkept()
        return
    with streams.led() as led:
        output = streams.Led(led, project, str(tune.get_context().get_trial_id()), device)
        try:
            yield output
        finally:
            output.end()


def _take_up(config: dict[str, Any], trial: Any, scratch: Path, folder: Path) -> None:
    """What an earlier attempt saved, and the weights that Hyperband goes on from."""
    from ray import tune

    folder.mkdir(parents=True)
    if config["saved"] is not None:
        with tune.Checkpoint(config["saved"]).as_directory() as place:
            shutil.copytree(place, folder, dirs_exist_ok=True)
    for name, content in config["files"].items():
        parent = scratch / PROJECT / f"trial_{trial.hyperparameters.values['tuner/trial_id']}"
        parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_bytes(content)


def _keep_build_config(tuner: Any, folder: Path) -> None:
    """Saves what the model is built from at its first epoch; KerasTuner does at its end, to which it may not come."""
    told = getattr(tuner, "on_epoch_end", None)
    if told is None:
        return

    def on_epoch_end(trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
        place = folder / BUILD_CONFIG
        if not place.exists():
            with contextlib.suppress(TypeError, ValueError, NotImplementedError):
                place.write_text(json.dumps(model.get_build_config()))
        told(trial, model, epoch, logs=logs)

    tuner.on_epoch_end = on_epoch_end


def _oracle(shipment: Shipment, trial: Any, config: dict[str, Any], scratch: Path) -> Any:
    """What stands for the oracle: it knows this trial, and the one that it goes on from."""
    import cloudpickle
    import keras_tuner

    from cluster.rpc import codec

    oracle = keras_tuner.Oracle(
        objective=cloudpickle.loads(shipment.objective),
        max_trials=shipment.max_trials,
        hyperparameters=keras_tuner.HyperParameters.from_config(shipment.space),
        seed=shipment.seed,
    )
    oracle._set_project_dir(str(scratch), PROJECT)
    oracle.trials[trial.trial_id] = trial
    if config["parent"] is not None:
        parent = codec.trial_from_json(config["parent"])
        oracle.trials[parent.trial_id] = parent
    return oracle


class RemoteRole:
    """A process of Ray's: `tuner.search()` is KerasTuner's loop."""

    is_chief = False
    owns_files = False
    tuner_id = "ray"

    def prepare(self, project: Path, overwrite: bool) -> None:
        """A tuner made within a trial is the program's own affair."""

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """Runs the loop."""
        loop()


class TrialSession:
    """A search of one trial, in this process; the twin of `rpc.client.RemoteSession`.

    Attributes:
        updates: What was reported of it: metrics, and the step that each belongs to.
        ended: The trial as KerasTuner's loop has ended it; None before.

    Args:
        oracle: What stands for the oracle here.
        grant: The trial.
        folder: The trial's directory, where each epoch is saved.
        to_json: Turns a trial into JSON.
    """

    def __init__(self, oracle: Any, grant: Grant, folder: Path, to_json: Callable[[Any], str]) -> None:
        self.updates: list[tuple[dict[str, float], int]] = []
        self.ended: Any = None
        self._oracle = oracle
        self._trial = grant.trial
        self._state = folder / resume.FOLDER / f"attempt-{grant.attempt}" / resume.STATE
        self._to_json = to_json
        self._grant: Grant | None = grant
        self._epoch: dict[str, Any] = {}

    def report(self, send: Callable[[dict[str, Any]], None]) -> None:
        """Sends the epoch that is over and saved."""
        if self._epoch:
            send({**self._epoch, **self._so_far(self._epoch["epoch"])})
            self._epoch = {}

    def last_value(self) -> dict[str, float]:
        """The objective as the trial has reported it at its end, where it has."""
        value = self.updates[-1][0].get(self._oracle.objective.name) if self.updates else None
        return {} if value is None else {METRIC: value}

    def _so_far(self, epoch: int) -> dict[str, Any]:
        """What the trial would be, were it stopped after this epoch; nothing where it could not be.

        It is compared with others by the epochs that are saved with it. A second `fit` has none, nor has a trial whose
        objective is known at its end only: such trials run to their end.
        """
        history = _history(self._state)
        objective = self._oracle.objective
        values = history.get(objective.name, [])
        if len(values) != epoch + 1 or not math.isfinite(values[-1]):
            return {}
        best = 0
        for number, value in enumerate(values):
            if objective.better_than(value, values[best]):
                best = number
        metrics = {name: of_epochs[best] for name, of_epochs in history.items() if best < len(of_epochs)}
        trial = {"trial": self._to_json(self._trial), "updates": [(metrics, best)]}
        return {METRIC: values[-1], EPOCHS: epoch + 1, "so_far": json.dumps(trial)}

    def next_trial(self, timeout: float) -> Grant | Answer:
        grant, self._grant = self._grant, None
        return grant or Answer.OVER

    def update_trial(self, trial_id: str, attempt: int, metrics: dict[str, float], step: int) -> Any:
        self.updates.append((metrics, step))
        return self._oracle.update_trial(trial_id, metrics, step=step)

    def report_epoch(
        self, trial_id: str, attempt: int, epoch: int, logs: dict[str, float], of: int = 0, execution: int = 0
    ) -> bool:
        self._epoch = {"epoch": epoch, "of": of, "logs": json.dumps(logs)}
        return False  # it is Ray's scheduler that stops trials early

    def report_progress(self, trial_id: str, attempt: int) -> None:
        """Within an epoch there is nothing to tell."""

    def end_trial(self, trial: Any, attempt: int) -> None:
        self.ended = trial

    def trial(self, trial_id: str) -> Any:
        return self._oracle.trials[trial_id]

    def best_trials(self, number: int) -> list[Any]:
        return list(self._oracle.get_best_trials(number))

    def space(self) -> Any:
        return self._oracle.get_space()

    def update_space(self, hyperparameters: Any) -> None:
        self._oracle.update_space(hyperparameters)


def _history(state: Path) -> dict[str, list[float]]:
    """The metrics of every epoch that is saved, of earlier attempts too."""
    try:
        found: dict[str, list[float]] = json.loads(state.read_text(encoding="utf-8"))["history"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found
