"""What this package's oracles have in common.

A proposal depends on the seed and on the trials that there are, and on nothing else that an oracle would have to save:
one that was killed and is made anew from KerasTuner's files proposes what would have come. Owns that rule, and that no
proposal comes twice; where an oracle's model is depends on the oracle.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterable, Mapping
from typing import Any

import keras_tuner

from cluster.errors import MissingDependency
from cluster.oracles.latent import coordinates, values_at
from cluster.seams import tried

ATTEMPTS = 10  # how often a model is asked for something that was not tried yet
OPTUNA = "'keras-tuning-cluster[optuna]'"


class ModelOracle(keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
    """An oracle that proposes points of the unit cube.

    Where all of its points were tried before, as in a small space, KerasTuner's random search takes over, which ends
    the search when it finds nothing new either.
    """

    def points(self) -> Iterable[Mapping[str, float]]:
        """What to try next, the best first: a coordinate in [0, 1] for each name of `latent.coordinates`."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drops what was made of the trials, which are other ones now."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of a new trial, as in KerasTuner: the first of the points that was not tried."""
        for point in self.points():
            values = values_at(self.hyperparameters, point)
            if not tried(self, values):
                return {"status": "RUNNING", "values": values}
        found: dict[str, Any] = super().populate_space(trial_id)
        return found

    def set_state(self, state: dict[str, Any]) -> None:
        """As in KerasTuner."""
        super().set_state(state)
        self.forget()

    def dice(self, *about: Any) -> random.Random:
        """Random numbers that are the same for the same seed and words."""
        return random.Random("/".join(map(str, (self.seed, *about))))

    def random_point(self, dice: random.Random) -> dict[str, float]:
        """A point anywhere in the cube."""
        return {name: dice.random() for name in coordinates(self.hyperparameters.space)}


def require(oracle: str, module: str, install: str) -> None:
    """Looks whether a package is there, without importing it: a worker's trainer makes the oracle, and never asks it.

    Raises:
        MissingDependency: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingDependency(f"{oracle} needs the package {module}: pip install {install}")
