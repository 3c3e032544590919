"""A Gaussian process, of Optuna."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cluster.oracles.oracle import OPTUNA, ModelOracle, require

if TYPE_CHECKING:
    from cluster.oracles.study import Study

ATTEMPTS = 2  # each fits the model, for half a second, while the search waits


class GPOracle(ModelOracle):
    """Proposes where a Gaussian process expects the most, by Optuna's `GPSampler`.

    What is always active is modelled, what is active under a condition only is random. Trials that run are taken into
    account by what the model expects of them. Needs PyTorch, for its gradients; that of the CPU will do.

    Args:
        objective: As for every oracle of KerasTuner's.
        max_trials: As for every oracle of KerasTuner's.
        num_initial_points: How many trials have to be completed before the first that is not random.
        seed: As for every oracle of KerasTuner's.
        **kwargs: What every oracle of KerasTuner's takes: `hyperparameters`, `allow_new_entries`, `tune_new_entries`,
            `max_retries_per_trial`, `max_consecutive_failed_trials`.

    Raises:
        MissingDependency: Optuna or PyTorch is not installed.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        num_initial_points: int = 10,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        require("GPOracle", "optuna", OPTUNA)
        require("GPOracle", "torch", "torch (its build for CPUs will do)")
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        self.num_initial_points = num_initial_points
        self._study: Study | None = None

    def points(self) -> Iterator[dict[str, float]]:
        """A proposal of the model's at each attempt, with other random numbers."""
        from optuna.samplers import GPSampler

        from cluster.oracles.study import Study, quiet

        if self._study is None or not self._study.fits(self):
            self._study = Study(self, conditional=False)
        self._study.follow(self)
        for attempt in range(ATTEMPTS):
            dice = self.dice(len(self.start_order), attempt)
            point = self.random_point(dice)
            with quiet(), _one_thread():
                sampler = GPSampler(seed=dice.getrandbits(31), n_startup_trials=self.num_initial_points)
                with self._study.asking(sampler) as ask:
                    point.update(ask(self._study.names))
            yield point

    def forget(self) -> None:
        """Drops the study."""
        self._study = None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The last digits of a sum depend on how many threads add it up, and with them the proposals."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
