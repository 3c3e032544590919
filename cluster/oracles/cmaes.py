"""An evolution strategy (CMA-ES), of cmaes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from cluster.oracles.latent import coordinates, count, is_ordered, place_of
from cluster.oracles.oracle import OPTUNA, ModelOracle, require

CANDIDATES = 128  # of one generation; more than that cannot be running and done before its end
SIGMA = 0.3  # the first spread, in a cube of edge 1


class CmaEsOracle(ModelOracle):
    """Proposes from a normal distribution that moves and turns towards better trials (CMA-ES).

    For budgets of hundreds of trials over numbers. What is always active and has an order is modelled: `Int`, `Float`,
    and `Choice` among numbers. The rest is random. A generation is told of once as many trials as it needs have
    ended, in the order of their ends and wherever they come from; so none is wasted, and nobody waits.

    Takes what every oracle of KerasTuner's takes.

    Raises:
        MissingDependency: cmaes is not installed.
    """

    def __init__(self, objective: Any = None, max_trials: int | None = 10, seed: int | None = None, **kwargs: Any):
        require("CmaEsOracle", "cmaes", OPTUNA)
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        self._evolution: Evolution | None = None
        self._names: list[str] = []
        self._ended = 0
        self._learnt: set[str] = set()

    def points(self) -> Iterator[dict[str, float]]:
        """The generation's candidates."""
        hps = coordinates(self.hyperparameters.space)
        names = [name for name, hp in hps.items() if not hp.conditions and is_ordered(hp) and count(hp) != 1]
        if not names:
            return
        if self._evolution is None or names != self._names:
            self._evolution, self._names = Evolution(len(names), self.dice()), names
            self._ended, self._learnt = 0, set()
        for trial_id in self.end_order[self._ended :]:
            if trial_id in self._learnt:
                continue  # KerasTuner alone, once killed, may run one again that had ended
            self._learnt.add(trial_id)
            trial = self.trials[trial_id]
            values = trial.hyperparameters.values
            place = [place_of(hps[name], values.get(hps[name].name, hps[name].default)) for name in names]
            self._evolution.learn(place, self._loss(trial))
        self._ended = len(self.end_order)
        for number, place in enumerate(self._evolution.candidates):
            others = self.random_point(self.dice(self._evolution.generation, number))
            yield {**others, **dict(zip(names, place, strict=True))}

    def forget(self) -> None:
        """Drops the generations."""
        self._evolution = None

    def _loss(self, trial: Any) -> float:
        if trial.status != "COMPLETED" or trial.score is None or math.isnan(trial.score):
            return math.inf
        return float(trial.score) * (1 if self.objective.direction == "min" else -1)


class Evolution:
    """Generations of candidates in the unit cube, each from what the ones before were worth.

    Attributes:
        generation: How many there were before.
        candidates: What the generation would try, in this order; more than it needs.

    Args:
        dimensions: Of the cube.
        dice: Random numbers.
    """

    def __init__(self, dimensions: int, dice: random.Random) -> None:
        self.generation = 0
        self._dice = dice
        self._told: list[tuple[Any, float]] = []
        self._begin([0.5] * dimensions)

    def learn(self, place: Sequence[float], loss: float) -> None:
        """A trial has ended.

        Args:
            place: Where it was. One that is far from where the generation is, as one of another generation may be,
                counts as at the generation's edge; its distance, in steps, would be without bound.
            loss: The smaller the better; infinite where it has failed, which counts as the worst of its generation.
        """
        import numpy

        self._told.append((numpy.clip(place, self._low, self._high), loss))
        if len(self._told) < self._cma.population_size:
            return
        worst = max((x for _, x in self._told if math.isfinite(x)), default=0.0)
        self._cma.tell([(x, loss if math.isfinite(loss) else worst) for x, loss in self._told])
        self._told = []
        self.generation += 1
        if self._cma.should_stop():
            self._begin([self._dice.random() for _ in place])
        else:
            self._draw()

    def _begin(self, mean: list[float]) -> None:
        import cmaes
        import numpy

        bounds = numpy.array([[0.0, 1.0]] * len(mean))
        seed = self._dice.getrandbits(31)
        self._cma = cmaes.CMA(mean=numpy.array(mean), sigma=SIGMA, bounds=bounds, seed=seed)
        self._draw()

    def _draw(self) -> None:
        import numpy

        drawn = numpy.array([self._cma.ask() for _ in range(CANDIDATES)])
        self._low, self._high = drawn.min(axis=0), drawn.max(axis=0)
        self.candidates = drawn.tolist()
