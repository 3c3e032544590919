"""A search's trials as a study of Optuna's in memory, for samplers that propose from it.

A hyperparameter is there as KerasTuner sees it: steps, and choices that have an order, as whole numbers; choices
without one as categories; all else as its coordinate in the unit cube, where KerasTuner's scales are even. What is not
active in a trial is not in the study's. Owns what Optuna is told and when; knows no sampler.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from cluster.oracles.latent import coordinates, count, is_ordered, place_of

Ask = Callable[[Iterable[str]], dict[str, float]]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While open, Optuna tells nothing of its studies, and warns of nothing that it calls experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


class Study:
    """The trials of an oracle, over the space that it has now.

    A trial is the study's from its start, in the order of the starts, so that one that is made from a project's files
    is the same. A trial that does not know a hyperparameter yet has its default, as in KerasTuner's own models.

    Args:
        oracle: The oracle.
        conditional: Whether hyperparameters are told of that are active under a condition only.
    """

    def __init__(self, oracle: Any, *, conditional: bool) -> None:
        self._space = oracle.get_space()
        self._hps = coordinates(self._space.space)
        self._distributions = {
            name: _distribution(hp)
            for name, hp in self._hps.items()
            if count(hp) != 1 and (conditional or not hp.conditions)
        }
        self._groups: dict[str, list[str]] = {}
        for name in self._distributions:
            self._groups.setdefault(_conditions(self._hps[name]), []).append(name)
        with quiet():
            least = oracle.objective.direction == "min"
            direction = StudyDirection.MINIMIZE if least else StudyDirection.MAXIMIZE
            self._study = optuna.create_study(direction=direction, sampler=RandomSampler(0))
        self._size = 0  # of the study, with what is no trial of the oracle's
        self._numbers: dict[str, int] = {}  # of trials that have not ended, by the oracle's id
        self._started = self._ended = 0

    @property
    def names(self) -> list[str]:
        """All coordinates that can be asked for: those with a choice."""
        return list(self._distributions)

    def beside(self, name: str) -> list[str]:
        """The names that can be asked for and are active whenever this one is, and no others."""
        return self._groups.get(_conditions(self._hps[name]), [])

    def fits(self, oracle: Any) -> bool:
        """Whether the oracle's space is the study's still; it only grows."""
        return len(oracle.hyperparameters.space) == len(self._hps)

    def follow(self, oracle: Any) -> None:
        """Takes up what has started and ended since the last time."""
        for trial_id in oracle.start_order[self._started :]:
            params = self._params(oracle.trials[trial_id].hyperparameters.values)
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.RUNNING,
                    params=params,
                    distributions={name: self._distributions[name] for name in params},
                )
            )
            self._numbers[trial_id] = self._size
            self._size += 1
        for trial_id in oracle.end_order[self._ended :]:
            number = self._numbers.pop(trial_id, None)
            if number is None:
                continue  # KerasTuner alone, once killed, may run one again that had ended
            trial = oracle.trials[trial_id]
            score = trial.score if trial.status == "COMPLETED" else None
            if score is None or math.isnan(score):
                self._study.tell(number, state=TrialState.FAIL)
            else:
                self._study.tell(number, float(score))
        self._started, self._ended = len(oracle.start_order), len(oracle.end_order)

    @contextlib.contextmanager
    def asking(self, sampler: BaseSampler) -> Iterator[Ask]:
        """Lets a sampler propose one trial, by parts.

        Yields:
            A function from names to their coordinates; without those of which the sampler does not know enough yet.
        """
        # Samplers write into the trial that they propose for. This one is never the oracle's, who may not take it.
        number = self._study.ask().number
        self._size += 1
        trial = self._study.get_trials(deepcopy=False)[number]

        def ask(names: Iterable[str]) -> dict[str, float]:
            wanted = {name: self._distributions[name] for name in names}
            found = sampler.sample_relative(self._study, trial, wanted)
            return {name: self._coordinate(name, value) for name, value in found.items()}

        try:
            yield ask
        finally:
            self._study.tell(number, state=TrialState.FAIL)

    def _params(self, values: dict[str, Any]) -> dict[str, Any]:
        """What is active in a trial, as the study has it."""
        self._space.values = dict(values)
        found = {}
        for name, hp in self._hps.items():
            if not self._space.is_active(hp):
                continue
            value = self._space.values.setdefault(hp.name, hp.default)
            if name in self._distributions:
                with contextlib.suppress(ValueError):  # the space has no such value
                    found[name] = self._param(name, place_of(hp, value))
        return found

    def _param(self, name: str, at: float) -> Any:
        number = count(self._hps[name])
        return at if number is None else min(int(at * number), number - 1)

    def _coordinate(self, name: str, param: Any) -> float:
        number = count(self._hps[name])
        return float(param if number is None else (param + 0.5) / number)


def _distribution(hp: Any) -> BaseDistribution:
    number = count(hp)
    if number is None:
        return FloatDistribution(0.0, 1.0)
    if is_ordered(hp):
        return IntDistribution(0, number - 1)
    return CategoricalDistribution(range(number))


def _conditions(hp: Any) -> str:
    return repr([x.get_config() for x in hp.conditions])
