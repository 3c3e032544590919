"""A tuner over each of the oracles, as KerasTuner has for its own."""

from __future__ import annotations

from typing import Any

import keras_tuner

from cluster.oracles.cmaes import CmaEsOracle
from cluster.oracles.gp import GPOracle
from cluster.oracles.oracle import ModelOracle
from cluster.oracles.qmc import QMCOracle
from cluster.oracles.tpe import TPEOracle


class _Tuner(keras_tuner.Tuner):  # type: ignore[misc]
    """A `keras_tuner.Tuner` that makes its own oracle.

    Args:
        hypermodel: As for every tuner of KerasTuner's.
        objective: This and what follows are the oracle's, as in `keras_tuner.RandomSearch`.
        max_trials: How many trials there are at most.
        seed: The seed.
        hyperparameters: The space, or a part of it.
        tune_new_entries: Whether hyperparameters that only the hypermodel names are tuned.
        allow_new_entries: Whether it may name such.
        max_retries_per_trial: How often a trial that has failed is tried again.
        max_consecutive_failed_trials: How many trials in a row may fail.
        **kwargs: What every tuner of KerasTuner's takes, such as `directory`.
    """

    _oracle: type[ModelOracle]
    _own: tuple[str, ...] = ()  # further arguments of the oracle's

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = 10,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        oracle = self._oracle(
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **{name: kwargs.pop(name) for name in self._own if name in kwargs},
        )
        super().__init__(oracle, hypermodel, **kwargs)


class TPE(_Tuner):
    """`TPEOracle` in a tuner; takes its `num_initial_points` too."""

    _oracle = TPEOracle
    _own = ("num_initial_points",)


class GP(_Tuner):
    """`GPOracle` in a tuner; takes its `num_initial_points` too."""

    _oracle = GPOracle
    _own = ("num_initial_points",)


class CmaEs(_Tuner):
    """`CmaEsOracle` in a tuner."""

    _oracle = CmaEsOracle


class QMC(_Tuner):
    """`QMCOracle` in a tuner."""

    _oracle = QMCOracle
