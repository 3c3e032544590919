"""What a search borrows from Ray Tune: a searcher that proposes for the oracle, a scheduler that stops trials early.

Owns the names that the user may give, what does not go together, and the translation between Ray's searcher, which
knows a unit cube, and the oracle, which knows KerasTuner's space. Imports Ray only when something is borrowed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

from cluster.errors import MissingDependency, UsageError
from cluster.oracles.latent import coordinates, point_at, values_at
from cluster.seams import FINISHED

log = logging.getLogger(__name__)

METRIC = "objective"  # the objective's value, in what a trial reports to Ray
EPOCHS = "epochs"  # how many epochs it has behind it, over all attempts
RAYS_OWN_MAX_T = 100  # ASHA's highest rung where the program does not say how many epochs there are

SCHEDULERS = ("asha", "median")
# The module that each needs, and what pip calls it.
SEARCHERS = {
    "ax": ("ax", "ax-platform"),
    "bayesopt": ("bayes_opt", "bayesian-optimization==1.4.3"),
    "hebo": ("hebo", "HEBO"),
    "hyperopt": ("hyperopt", "hyperopt"),
    "optuna": ("optuna", "'keras-tuning-cluster[optuna]'"),
}
PERTURBS = (
    "it goes on from another trial's weights with other hyperparameters, and nothing says which of a program's leave "
    "the weights' shapes as they are; the learning rate would come back with the optimizer's state"
)
NOT_OFFERED = {
    "pbt": PERTURBS,
    "pb2": PERTURBS,
    "bohb": "it needs a scheduler of its own",
    "nevergrad": "it needs to be told which of its optimizers, which a name cannot",
    "zoopt": "it needs a budget of its own",
    "random": "that is KerasTuner's own RandomSearch: leave --ray-search out",
    "variant_generator": "that is KerasTuner's own RandomSearch: leave --ray-search out",
}


# --- what does not go together


def check_names(scheduler: str, search: str) -> None:
    """Looks at the names alone, before the program is run.

    Raises:
        UsageError: there is no such scheduler or searcher, or it is not offered.
        MissingDependency: the searcher's package is not installed.
    """
    _check_name("--ray-scheduler", scheduler, SCHEDULERS)
    _check_name("--ray-search", search, tuple(SEARCHERS))
    if search and importlib.util.find_spec(SEARCHERS[search][0]) is None:
        raise MissingDependency(f"--ray-search {search} needs a package: pip install {SEARCHERS[search][1]}")


def _check_name(option: str, name: str, known: tuple[str, ...]) -> None:
    if name and name not in known:
        reason = f" ({NOT_OFFERED[name]})" if name in NOT_OFFERED else ""
        raise UsageError(f"{option} {name!r} is none of {', '.join(known)}{reason}")


def check_program(tuner: Any, scheduler: str, search: str) -> None:
    """Looks whether the program's search can be run so.

    Raises:
        UsageError: it cannot; the text says why.
    """
    import keras_tuner

    oracle, kind = tuner.oracle, type(tuner.oracle).__name__
    if (scheduler or search) and hasattr(oracle.objective, "objectives"):
        raise UsageError(
            "--ray-scheduler and --ray-search compare trials by one objective, and this search has several"
        )
    if scheduler and isinstance(oracle, keras_tuner.oracles.HyperbandOracle):
        raise UsageError(
            f"--ray-scheduler {scheduler} does not go with {kind}: Hyperband stops trials by its own rules"
        )
    if scheduler and getattr(tuner, "executions_per_trial", 1) > 1:
        raise UsageError(
            f"--ray-scheduler {scheduler} does not go with executions_per_trial={tuner.executions_per_trial}: "
            "the score is the mean of them all, and a trial that is stopped has not run all"
        )
    if search and isinstance(oracle, keras_tuner.oracles.HyperbandOracle | keras_tuner.oracles.GridSearchOracle):
        raise UsageError(f"--ray-search {search} does not go with {kind}, whose trials depend on the ones before")
    if search and type(oracle).create_trial is not keras_tuner.Oracle.create_trial:
        raise UsageError(f"--ray-search {search} does not go with {kind}, which makes its trials in its own way")
    if search and not oracle.get_space().space:
        raise UsageError(
            f"--ray-search {search} needs the space before the first trial; give the oracle its hyperparameters"
        )


# --- schedulers


def make_scheduler(name: str, direction: str, epochs: int | None) -> Any:
    """Ray's scheduler, which compares trials after so many epochs of each.

    Args:
        name: One of `SCHEDULERS`.
        direction: The objective's, `min` or `max`.
        epochs: How many a trial has; None where that is not known.
    """
    from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

    about = {"time_attr": EPOCHS, "metric": METRIC, "mode": direction}
    if name == "asha":
        return ASHAScheduler(max_t=epochs or RAYS_OWN_MAX_T, stop_last_trials=False, **about)
    # A trial that gives way to others would come back as another process: here it never has waited long enough.
    return MedianStoppingRule(grace_period=1, min_time_slice=float("inf"), **about)


# --- searchers


def borrow(name: str, oracle: Any) -> Loan:
    """Ray's searcher over the space of the program's oracle.

    Raises:
        UsageError: this Ray knows no such searcher.
        MissingDependency: its package is there, and does not work.
    """
    from ray import tune
    from ray.tune.search import create_searcher

    def make(names: list[str]) -> Any:
        seed = oracle.seed + len(oracle.trials)  # one that goes on must not begin with the same points
        try:
            searcher = create_searcher(name, seed=seed, random_state=seed, random_state_seed=seed)
        except ValueError as error:
            raise UsageError(f"--ray-search {name}: {error}") from error
        except (AssertionError, ImportError) as error:
            raise MissingDependency(f"--ray-search {name} cannot be used here: {error}") from error
        logging.getLogger(name).setLevel(logging.WARNING)  # it would tell of its studies
        cube = {x: tune.uniform(0.0, 1.0) for x in names}
        searcher.set_search_properties(METRIC, oracle.objective.direction, cube)
        return searcher

    log.info("Ray's %s proposes the trials; %s keeps them", name, type(oracle).__name__)
    return Loan(name, make, oracle)


class Loan:
    """One of Ray's searchers in the place of the oracle's own proposals.

    It knows trials by the oracle's ids: one that is lost and runs again is the same to it. Its space is fixed: where
    the oracle's grows, as trials come upon further hyperparameters, another takes over, which is told of what has
    ended. One that cannot be told stays, and what is not in its space is drawn at random.

    Args:
        name: The searcher's name.
        make: Makes one of Ray's over a unit cube with these names.
        oracle: The program's.
    """

    def __init__(self, name: str, make: Callable[[list[str]], Any], oracle: Any) -> None:
        self._name = name
        self._make = make
        self._oracle = oracle
        self._random = random.Random(oracle.seed)
        self._cube = list(coordinates(oracle.get_space().space))
        self._searcher = make(self._cube)
        self._epochs: dict[str, int] = {}  # how many it was told of, for each trial that it has proposed
        self._told: set[str] = set()  # trials whose end it knows
        self._can_be_told = True

    @contextlib.contextmanager
    def proposing(self) -> Iterator[None]:
        """While open, the oracle asks Ray's searcher, which knows what has ended before."""
        done = self._finished()
        self._told = {trial.trial_id for trial in done}
        self._can_be_told = all(self._add(self._searcher, self._cube, trial) for trial in done)
        if not self._can_be_told:
            log.info("Ray's %s begins anew: it cannot be told of the %d trials before", self._name, len(done))
        self._oracle.populate_space = self.populate_space
        try:
            yield
        finally:
            del self._oracle.populate_space

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """What the oracle's own method would answer: a trial's values, or why there is none."""
        space = self._oracle.get_space()
        names = list(coordinates(space.space))
        if set(names) - set(self._cube) and self._can_be_told:
            self._grow(names)
        point = self._searcher.suggest(trial_id)
        if point is None and self._oracle.ongoing_trials:
            return {"status": "IDLE", "values": None}  # it waits for results
        if point is None:
            log.warning("Ray's %s waits for results that will not come: trial %s is random", self._name, trial_id)
        elif isinstance(point, dict):
            self._epochs[trial_id] = 0
        else:
            log.info("Ray's %s proposes no further trial", self._name)
            return {"status": "STOPPED", "values": None}
        drawn = {x: self._random.random() for x in names if x not in (point or {})}
        return {"status": "RUNNING", "values": values_at(space, {**drawn, **(point or {})})}

    def epoch(self, trial_id: str, epochs: int, value: float) -> None:
        """A trial has so many epochs behind it; those that run again after a loss are not told twice."""
        if self._epochs.get(trial_id, epochs) < epochs:
            self._epochs[trial_id] = epochs
            self._searcher.on_trial_result(trial_id, {METRIC: value, "training_iteration": epochs})

    def ended(self, trial: Any) -> None:
        """An attempt at a trial is over, which may have been its last."""
        if trial.status not in FINISHED or trial.trial_id in self._told:
            return
        self._told.add(trial.trial_id)
        if trial.trial_id not in self._epochs:
            self._add(self._searcher, self._cube, trial)
        elif trial.status == "COMPLETED":
            result = {METRIC: float(trial.score), "training_iteration": max(1, self._epochs[trial.trial_id])}
            self._searcher.on_trial_complete(trial.trial_id, result=result)
        else:
            self._searcher.on_trial_complete(trial.trial_id, error=True)

    def _grow(self, names: list[str]) -> None:
        searcher, done = self._make(names), self._finished()
        self._can_be_told = all(self._add(searcher, names, trial) for trial in done)
        if self._can_be_told:
            log.info("the space has grown: Ray's %s has %d hyperparameters from here", self._name, len(names))
            self._searcher, self._cube = searcher, names
            self._epochs.clear()  # what the first one has proposed, and runs, is told to this one when it ends
            self._told = {trial.trial_id for trial in done}

    def _finished(self) -> list[Any]:
        return [trial for trial in self._oracle.trials.values() if trial.status in FINISHED]

    def _add(self, searcher: Any, cube: list[str], trial: Any) -> bool:
        """Tells of a trial that the searcher has not proposed; returns whether it can be told of any."""
        if trial.status != "COMPLETED":
            return True
        try:
            point = point_at(self._oracle.get_space(), trial.hyperparameters.values)
        except ValueError:
            return True  # a value that the space no longer has
        try:
            searcher.add_evaluated_point({x: point[x] for x in cube}, float(trial.score))
        except NotImplementedError:
            return False
        return True
