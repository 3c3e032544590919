"""Tree-structured Parzen estimators, of Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cluster.oracles.latent import coordinates, value_of
from cluster.oracles.oracle import ATTEMPTS, OPTUNA, ModelOracle, require

if TYPE_CHECKING:
    from cluster.oracles.study import Ask, Study


class TPEOracle(ModelOracle):
    """Proposes where good trials are dense and bad ones are not, by Optuna's `TPESampler`.

    Hyperparameters that are active under the same conditions are modelled together, from the trials in which they were
    active. Trials that run are kept away from (Optuna's constant liar). Costs little: a few milliseconds a proposal.

    Args:
        objective: As for every oracle of KerasTuner's.
        max_trials: As for every oracle of KerasTuner's.
        num_initial_points: How many trials have to be completed before the first that is not random.
        seed: As for every oracle of KerasTuner's.
        **kwargs: What every oracle of KerasTuner's takes: `hyperparameters`, `allow_new_entries`, `tune_new_entries`,
            `max_retries_per_trial`, `max_consecutive_failed_trials`.

    Raises:
        MissingDependency: Optuna is not installed.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        num_initial_points: int = 10,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        require("TPEOracle", "optuna", OPTUNA)
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        self.num_initial_points = num_initial_points
        self._study: Study | None = None

    def points(self) -> Iterator[dict[str, float]]:
        """A proposal of the model's at each attempt, with other random numbers."""
        from optuna.samplers import TPESampler

        from cluster.oracles.study import Study, quiet

        if self._study is None or not self._study.fits(self):
            self._study = Study(self, conditional=True)
        self._study.follow(self)
        for attempt in range(ATTEMPTS):
            dice = self.dice(len(self.start_order), attempt)
            point = self.random_point(dice)
            with quiet():
                sampler = TPESampler(
                    seed=dice.getrandbits(31),
                    n_startup_trials=self.num_initial_points,
                    multivariate=True,
                    constant_liar=True,
                )
                with self._study.asking(sampler) as ask:
                    self._descend(self._study, point, ask)
            yield point

    def forget(self) -> None:
        """Drops the study."""
        self._study = None

    def _descend(self, study: Study, point: dict[str, float], ask: Ask) -> None:
        """Asks for what is active, from the hyperparameters without a condition to those whose conditions they meet."""
        space = self.get_space()
        space.values = {}
        asked: set[str] = set()
        for name, hp in coordinates(space.space).items():
            if space.is_active(hp):
                group = study.beside(name)
                if name in group and name not in asked:  # one with a single value is in none
                    asked.update(group)
                    point.update(ask(group))
                space.values[hp.name] = value_of(hp, point[name])
