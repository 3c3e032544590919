"""TensorBoard's files of a search, on every backend of Keras: `<project>/tensorboard/<trial>/`, and its HParams table.

Owns what is written of each trial, and that it is there once: a file holds what the record tells, in an order that
stays the same, so what is missing at its end is appended, be it after a look or after a crash. TensorFlow is not
needed. The package `tensorboard` is imported by the first look, in the observer's thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.record import FINISHED, SCORED, Epoch, Parameter, Record, Trial
from cluster.tfrecord import framed

log = logging.getLogger(__name__)

FOLDER = "tensorboard"
FILE = "events.out.tfevents.0000000000.cluster"  # TensorBoard looks for the second part of it
SCORE = "score"
VALIDATION = "val_"


@dataclass
class _Written:
    """How far a trial's file is: its size, its hyperparameters, how many epochs are in it, and whether its end is."""

    size: int
    values: dict[str, Any]
    epochs: int
    ended: bool


class TensorBoard:
    """Writes what is new in a search, for TensorBoard; a looker of the observer's.

    Args:
        directory: The project directory.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory / FOLDER
        self._version = -1  # of the record, at the last look
        self._written: dict[str, _Written] = {}
        self._experiment = b""
        self._shown: dict[str, Any] = {}  # of each hyperparameter that a trial has, a value
        self._about: tuple[Any, ...] = ()  # what the experiment was made of
        self._failed = False

    def __str__(self) -> str:
        return "TensorBoard's files"

    def __call__(self, record: Record) -> None:
        """Writes what the record has and the files have not."""
        for _ in self.gently(record):
            pass

    def gently(self, record: Record) -> Iterator[None]:
        """The same, a trial at a time."""
        try:
            self._write_experiment(record)
            for trial in record.trials.values():
                if trial.version > self._version and _is_name(trial.id) and (trial.attempts or trial.values):
                    self._write(record, trial)
                    yield
        except OSError as error:
            self._written.clear()  # what is on disk is looked at again
            self._version = -1
            self._about = ()
            if not self._failed:
                self._failed = True
                log.warning(
                    "%s cannot be written: %s; the search goes on", error.filename or self._root, error.strerror
                )
            return
        self._version = record.version

    def _write_experiment(self, record: Record) -> None:
        if not record.trials or not (record.space or record.metric):
            return
        for trial in record.trials.values():
            if trial.version > self._version:
                self._shown.update(trial.values)
        about = (record.name, record.space, record.metric, record.began, list(self._shown))
        if about == self._about:
            return
        content = _records([_first(record.began), _event(_experiment(record, self._shown), record.began)])
        if content != self._experiment:
            # TensorBoard reads an experiment once: a new file, so that at least its next start sees it.
            _replace(self._root / FILE, content)
            self._experiment = content
        self._about = about

    def _write(self, record: Record, trial: Trial) -> None:
        path = self._root / trial.id / FILE
        written = self._written.get(trial.id)
        ended = trial.status in FINISHED
        size = _size(path)
        if written is not None and written.size == size and written.values == trial.values and not written.ended:
            before = trial.epochs[written.epochs - 1] if written.epochs else None
            more = _records([*_epochs(trial.epochs[written.epochs :], before), *(_end(trial) if ended else ())])
            size += _append(path, more)
        elif written is None or written.size != size or written.values != trial.values:
            began = _began(record, trial)
            whole = _records(
                [_first(began), _start(trial, began), *_epochs(trial.epochs, None), *(_end(trial) if ended else ())]
            )
            there = path.read_bytes() if size else b""
            if whole.startswith(there):
                _append(path, whole[len(there) :])
            else:
                _replace(path, whole)
            size = len(whole)
        self._written[trial.id] = _Written(size, dict(trial.values), len(trial.epochs), ended)


# --- what is written


def _first(time: float | None) -> Any:
    from tensorboard.compat.proto import event_pb2

    return event_pb2.Event(wall_time=time or 0.0, file_version="brain.Event:2")


def _event(summary: Any, time: float | None, step: int = 0) -> Any:
    from tensorboard.compat.proto import event_pb2

    return event_pb2.Event(wall_time=time or 0.0, step=step, summary=summary)


def _start(trial: Trial, began: float) -> Any:
    """A trial's hyperparameters."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    info = plugin_data_pb2.SessionStartInfo(group_name=trial.id, start_time_secs=began)
    for name, value in trial.values.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = str(value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=info)
    return _event(_summary(metadata.SESSION_START_INFO_TAG, data), began)


def _epochs(epochs: Iterable[Epoch], before: Epoch | None) -> Iterator[Any]:
    """What each epoch has reported."""
    from tensorboard.compat.proto import event_pb2, summary_pb2

    for epoch in epochs:
        if before is not None and epoch.number <= before.number:
            # Another attempt, or another execution: what is there from this epoch on counts no more.
            again = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            yield event_pb2.Event(wall_time=epoch.time, step=epoch.number, session_log=again)
        before = epoch
        values = [
            summary_pb2.Summary.Value(tag=name, simple_value=value)
            for name, value in epoch.logs.items()
            if value is not None
        ]
        if values:
            yield _event(summary_pb2.Summary(value=values), epoch.time, epoch.number)


def _end(trial: Trial) -> Iterator[Any]:
    """A trial's score, and how it ended."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    ran = trial.ran
    time = (None if ran is None else ran.ended) or (trial.epochs[-1].time if trial.epochs else 0.0)
    completed = trial.status in SCORED
    if completed and trial.score is not None:
        value = summary_pb2.Summary.Value(tag=SCORE, simple_value=trial.score)
        yield _event(summary_pb2.Summary(value=[value]), time, trial.best_epoch or 0)
    status = api_pb2.STATUS_SUCCESS if completed else api_pb2.STATUS_FAILURE
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    yield _event(_summary(metadata.SESSION_END_INFO_TAG, data), time)


def _experiment(record: Record, shown: dict[str, Any]) -> Any:
    """What hyperparameters there are, and what is measured."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    facts = api_pb2.Experiment(name=record.name, time_created_secs=record.began or 0.0)
    known = {x.name: x for x in record.space}
    for name in dict.fromkeys([*known, *shown]):
        facts.hparam_infos.append(_hyperparameter(name, known.get(name), shown.get(name)))
    metric = record.metric or "the objective"
    facts.metric_infos.add(name={"tag": SCORE}, display_name=f"best {metric}")
    if record.metric is not None:
        kind = api_pb2.DATASET_VALIDATION if metric.startswith(VALIDATION) else api_pb2.DATASET_TRAINING
        about = {"display_name": f"{metric}, last epoch", "dataset_type": kind}
        facts.metric_infos.add(name={"tag": record.metric}, **about)
    return _summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=facts))


def _hyperparameter(name: str, parameter: Parameter | None, value: Any) -> Any:
    """One hyperparameter's type and domain; one that is not in the space has the type of a value that was seen."""
    from tensorboard.plugins.hparams import api_pb2

    values = () if parameter is None else parameter.values
    sample = values[0] if values else value if parameter is None or parameter.low is None else parameter.low
    kind = (
        api_pb2.DATA_TYPE_BOOL
        if isinstance(sample, bool)
        else api_pb2.DATA_TYPE_FLOAT64
        if isinstance(sample, int | float)
        else api_pb2.DATA_TYPE_STRING
    )
    info = api_pb2.HParamInfo(name=name, type=kind)
    if parameter is not None and parameter.low is not None and parameter.high is not None:
        info.domain_interval.min_value, info.domain_interval.max_value = parameter.low, parameter.high
    elif values:
        info.domain_discrete.extend(values)
    return info


def _summary(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import metadata

    # The same bytes each time, however a map is ordered in memory.
    plugin = summary_pb2.SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString(deterministic=True)
    )
    about = summary_pb2.SummaryMetadata(plugin_data=plugin)
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _records(events: Iterable[Any]) -> bytes:
    """Events as they stand in a file."""
    return framed(event.SerializeToString(deterministic=True) for event in events)


def _began(record: Record, trial: Trial) -> float:
    return trial.attempts[0].began if trial.attempts else record.began or 0.0


# --- where it is written


def _is_name(trial: str) -> bool:
    return trial not in ("", ".", "..") and Path(trial).name == trial


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _append(path: Path, content: bytes) -> int:
    """Adds to a file; returns how many bytes."""
    if not content:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            left = memoryview(content)
            while left:
                left = left[file.write(left) or 0 :]
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(file.fileno(), size)
            raise
    return len(content)


def _replace(path: Path, content: bytes) -> None:
    """Puts another file in a file's place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part.{path.suffix[1:]}")
    part.write_bytes(content)
    os.replace(part, path)
