"""A search as a study of Optuna's: for its importances, its plots and its dashboard.

Owns the translation: which trials go, and for each hyperparameter one distribution that all of its values lie in, be
they of a space that has changed since. Needs Optuna, of the extra of that name.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from cluster.errors import MissingDependency, UsageError
from cluster.record import FINISHED, Parameter, Record, Trial
from cluster.report.axes import OWN

EXAMPLE = "sqlite:///study.db"
MESSAGE = 4000  # characters of a trial's message, from its end
ON_GRID = 1e-8  # how far from a multiple of its step a value may be: Optuna's own bound


@dataclass(frozen=True)
class Exported:
    """What was written: the study's name, how many trials of each state, how many had not ended, and the best value."""

    study: str
    states: Counter[str]
    left_out: int
    best: float | None


def export(
    record: Record,
    url: str,
    name: str | None = None,
    *,
    overwrite: bool = False,
    each: Callable[[Sequence[FrozenTrial]], Iterable[FrozenTrial]] = iter,
) -> Exported:
    """Writes a search into a storage of Optuna's, as a new study.

    Trials that have ended are written. Those that run or wait are left out: to Optuna they would run for ever.

    Args:
        record: The search.
        url: The storage, as SQLAlchemy names it.
        name: The study's name; None: the project's.
        overwrite: Whether a study of that name is replaced.
        each: Goes through the trials, and may show how far it is.

    Raises:
        UsageError: no trial has ended; the study is there already; the storage cannot be used.
        MissingDependency: the database's driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = name or record.name
    trials = frozen(record)  # before anything is overwritten
    storage = _open(url)
    try:
        study = _create(record, storage, name, url, overwrite=overwrite)
        try:
            for trial in each(trials):
                study.add_trial(trial)
        except BaseException:
            with contextlib.suppress(Exception):
                optuna.delete_study(study_name=name, storage=storage)
            raise
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UsageError(f"the storage {shown(url)} cannot be written: {_first_line(error)}") from error
    states = Counter(x.state.name for x in trials)
    best = study.best_value if states[TrialState.COMPLETE.name] else None
    return Exported(name, states, len(record.trials) - len(trials), best)


def frozen(record: Record) -> list[FrozenTrial]:
    """The trials of a record that have ended, by id.

    Raises:
        UsageError: there is none, or nothing tells what the scores are of.
    """
    ended = [x for x in record.ordered if x.status in FINISHED]
    if not ended or record.metric is None:
        raise UsageError(f"no trial in {record.directory} has ended with a score, so there is nothing to export")
    own = distributions(record.space, ended)
    return [_frozen(trial, record.metric, own) for trial in ended]


def distributions(space: Sequence[Parameter], trials: Sequence[Trial]) -> dict[str, BaseDistribution]:
    """A distribution for each hyperparameter that trials have values of, by name."""
    known = {x.name: x for x in space}
    held: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.values.items():
            if not name.startswith(OWN):
                held.setdefault(name, []).append(value)
    names = dict.fromkeys([*(x for x in known if x in held), *held])
    return {name: _distribution(known.get(name), held[name]) for name in names}


def shown(url: str) -> str:
    """A storage's URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return repr(url)


# --- trials


def _frozen(trial: Trial, metric: str, own: dict[str, BaseDistribution]) -> FrozenTrial:
    score = trial.score if trial.scored else None
    pruned = TrialState.PRUNED if trial.status == "pruned" else TrialState.COMPLETE
    params = {name: _param(x, trial.values[name]) for name, x in own.items() if name in trial.values}
    found = optuna.trial.create_trial(
        state=TrialState.FAIL if score is None else pruned,
        value=score,
        params=params,
        distributions={name: own[name] for name in params},
        user_attrs=_attributes(trial),
        # Of several attempts or executions, the last that came to an epoch.
        intermediate_values={x.number: y for x in trial.epochs if (y := x.logs.get(metric)) is not None},
    )
    began = trial.attempts[0].began if trial.attempts else None
    ran = trial.ran
    ended = None if ran is None else ran.ended
    if began is not None:
        found.datetime_start = datetime.fromtimestamp(began)  # Optuna's times are local ones, without a zone
        found.datetime_complete = datetime.fromtimestamp(max(began, ended or began))
    return found


def _attributes(trial: Trial) -> dict[str, Any]:
    """What Optuna has no place for."""
    ran = trial.ran
    found = {
        "trial": trial.id,
        "worker": None if ran is None else ran.worker,
        "device": None if ran is None else ran.device,
        "attempts": None if ran is None else ran.number,
        "seconds": None if ran is None else ran.seconds,
        "best_epoch": trial.best_epoch,
        "pruned": trial.pruned or None,
        "message": trial.message[-MESSAGE:] or None,
        **{name: value for name, value in trial.values.items() if name.startswith(OWN)},
    }
    return {name: value for name, value in found.items() if value is not None}


def _param(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, IntDistribution):
        return int(value)
    if isinstance(distribution, FloatDistribution):
        return float(value)
    assert isinstance(distribution, CategoricalDistribution)
    return value if value in distribution.choices else str(value)


# --- distributions


def _distribution(parameter: Parameter | None, held: Sequence[Any]) -> BaseDistribution:
    numbers = [x for x in held if isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)]
    kind = "" if parameter is None else parameter.kind
    if len(numbers) < len(held) or kind in ("choice", "boolean", "fixed"):
        return _categorical(() if parameter is None else parameter.values, held)
    return _numeric(parameter or Parameter("", ""), numbers)


def _categorical(values: Sequence[Any], held: Sequence[Any]) -> CategoricalDistribution:
    choices: list[Any] = []
    for value in [*values, *held]:
        if value not in choices:
            choices.append(value)
    plain = all(x is None or isinstance(x, bool | int | float | str) for x in choices)
    # To Python, and so to Optuna, True is 1.
    mixed = any(isinstance(x, bool) for x in [*values, *held]) and any(
        isinstance(x, int | float) and not isinstance(x, bool) for x in [*values, *held]
    )
    if not plain or mixed:
        choices = list(dict.fromkeys(str(x) for x in [*values, *held]))
    return CategoricalDistribution(choices)


def _numeric(parameter: Parameter, held: Sequence[float]) -> BaseDistribution:
    whole = parameter.kind != "float" and all(float(x).is_integer() for x in held)
    bounds = [x for x in (parameter.low, parameter.high) if x is not None]
    low, high = min([*bounds, *held]), max([*bounds, *held])
    # Optuna has no scale that counts down from the greatest value.
    log = parameter.log and not parameter.reverse and low > 0
    step = None if log or not parameter.step else parameter.step
    if step is not None and any(abs(n - round(n)) > ON_GRID for n in ((x - low) / step for x in held)):
        step = None  # values of another space are between the steps
    if step is not None:
        high = low + math.floor((high - low) / step + ON_GRID) * step
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    # A sum of floats may end a bit below the greatest value.
    return FloatDistribution(float(low), float(max([high, *held])), log=log, step=step)


# --- the storage


def _open(url: str) -> RDBStorage:
    try:
        return RDBStorage(url)
    except ImportError as error:
        raise MissingDependency(
            f"the storage {shown(url)} needs a driver that is not installed: {_first_line(error)}"
        ) from error
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"the storage {shown(url)} cannot be opened: {_first_line(error)}. Give --optuna as SQLAlchemy names "
            f"it, such as {EXAMPLE}"
        ) from error


def _create(record: Record, storage: RDBStorage, name: str, url: str, *, overwrite: bool) -> optuna.Study:
    if overwrite:
        with contextlib.suppress(KeyError):
            optuna.delete_study(study_name=name, storage=storage)
    direction = StudyDirection.MAXIMIZE if record.direction == "max" else StudyDirection.MINIMIZE
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    except DuplicatedStudyError:
        raise UsageError(
            f"{shown(url)} has a study {name!r} already. Give this one another --name, or --overwrite to replace it"
        ) from None
    about = {
        "directory": record.directory,
        "oracle": record.oracle,
        "program": record.program,
        "max_trials": record.max_trials,
    }
    for key, value in about.items():
        if value:
            study.set_user_attr(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([record.metric or "score"])
    return study


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ is not None else error
    return (str(cause) or type(cause).__name__).strip().partition("\n")[0].rstrip(".")
