"""Bayesian optimisation in milliseconds, beside the search, without proposing the same again.

The model and its acquisition are KerasTuner's (see `cluster.bayes`). What is not: a proposal is new, as those of its
random search are; the best of a step's or a choice's values is looked for among the values; and what runs elsewhere is
taken for one standard deviation worse than the model of now expects it, where KerasTuner asks the model before.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.bayes.cube import Array, Axis, Cube
    from cluster.bayes.propose import Question

# Who overrides one of these has a model or a space of their own, and KerasTuner's own search of it.
OWN = ("_vectorize_trials", "_vector_to_values", "_nonfixed_space", "_get_hp_bounds", "_make_gpr")
HUGE = 1e150  # what is greater has no square
MOST_VALUES = 1000  # an axis with more is one of numbers

_minds: weakref.WeakKeyDictionary[Any, Mind] = weakref.WeakKeyDictionary()


def populate_space(original: Callable[[Any, str], dict[str, Any]]) -> Callable[[Any, str], dict[str, Any]]:
    """`BayesianOptimizationOracle.populate_space`; while points are random, and for models of one's own, as it was."""

    @functools.wraps(original)
    def wrapped(self: Any, trial_id: str) -> dict[str, Any]:
        mind = _mind(self)
        question = None if mind is None else mind.question()
        if mind is None or question is None:
            return original(self, trial_id)
        for point in mind.answer(question):
            values = mind.values(point)
            if not self._duplicate(values):
                return {"status": "RUNNING", "values": values}
        response: dict[str, Any] = self._random_populate_space()  # which ends the search where nothing new is left
        return response

    return wrapped


def ahead(stock: type) -> property:
    """The attribute that `cluster.thinking` looks for, for KerasTuner's class `BayesianOptimizationOracle`."""
    own = stock.populate_space  # type: ignore[attr-defined]

    def cluster_ahead(self: Any) -> Mind | None:
        asked = self.__dict__.get("populate_space") is None and type(self).populate_space is own
        return _mind(self) if asked else None

    return property(cluster_ahead)


def _mind(oracle: Any) -> Mind | None:
    """What thinks for an oracle; None where its model or its space is not KerasTuner's."""
    from keras_tuner.src.tuners.bayesian import BayesianOptimizationOracle as Stock

    if any(getattr(type(oracle), name) is not getattr(Stock, name) for name in OWN):
        return None
    made = oracle._make_gpr()
    if type(oracle.gpr) is not type(made) or oracle.gpr.kernel != made.kernel:
        return None
    if oracle not in _minds:
        _minds[oracle] = Mind(oracle)
    return _minds[oracle]


class Mind:
    """Thinks for one oracle: a `cluster.thinking.Ahead`."""

    def __init__(self, oracle: Any) -> None:
        from cluster.bayes.propose import Model

        self._oracle = weakref.ref(oracle)
        self._model = Model()
        self._one = threading.Lock()  # who uses the model
        self._kept: tuple[str, Array] | None = None
        self._space: list[Any] = []  # the hyperparameters of `_cube`
        self._cube: Cube | None = None
        self._places: dict[str, tuple[Any, Array]] = {}  # where each trial lies, with the values it was found by

    def question(self) -> Question | None:
        """All that the next proposal depends on; None where it would be random, or none is left to be made."""
        import numpy as np

        from cluster.bayes.propose import Question

        oracle = self._oracle()
        if oracle is None or (oracle.max_trials and len(oracle.trials) >= oracle.max_trials):
            return None
        done = {x: trial for x, trial in oracle.trials.items() if trial.status == "COMPLETED"}
        space = oracle.hyperparameters.space
        # As KerasTuner counts them.
        if not space or len(done) < (oracle.num_initial_points or max(3 * len(space), 3)):
            return None
        cube = self._cube_of(space)
        places = {trial_id: self._place(trial_id, trial) for trial_id, trial in oracle.trials.items()}
        # In the order of their ends, as the model grows; a project of another's may lack some of them there.
        ended = dict.fromkeys([x for x in oracle.end_order if x in done] + list(done))
        running = [x for x, trial in oracle.trials.items() if trial.status not in ("COMPLETED", "FAILED")]
        sign = -1.0 if oracle.objective.direction == "max" else 1.0

        def points(trial_ids: Any) -> Array:
            return np.array([places[x] for x in trial_ids], dtype=float).reshape(-1, len(cube))

        return Question(
            cube=cube,
            points=points(ended),
            targets=_finite(sign * np.array([done[x].score for x in ended], dtype=float)),
            pending=points(running),
            known=points(places),
            alpha=float(oracle.alpha),
            beta=float(oracle.beta),
            seed=(abs(int(oracle.seed)), len(oracle.trials)),
        )

    def think(self, question: Question, check: Callable[[], None] = lambda: None) -> Array:
        """The points to try, the best first."""
        from cluster.bayes.propose import propose

        with self._one:
            return propose(question, self._model, check)

    def keep(self, question: Question, answer: Array) -> None:
        """The answer to the question that comes now."""
        self._kept = question.key, answer

    def answer(self, question: Question) -> Array:
        """What was kept for this question, or else a thought."""
        if self._kept is not None and self._kept[0] == question.key:
            return self._kept[1]
        return self.think(question)

    def values(self, point: Array) -> dict[str, Any]:
        """The hyperparameters' values at a point."""
        oracle = self._oracle()
        # A whole number's axis ends before 1, which KerasTuner takes for one number more.
        vector = [
            min(float(at), 1.0 - 1e-9) if type(hp).__name__ == "Int" else float(at)
            for hp, at in zip(self._space, point, strict=True)
            if type(hp).__name__ != "Fixed"
        ]
        values: dict[str, Any] = oracle._vector_to_values(vector)  # type: ignore[union-attr]
        return values

    def _cube_of(self, space: list[Any]) -> Cube:
        from cluster.bayes.cube import Cube

        if self._cube is None or len(space) != len(self._space) or any(map(_differ, space, self._space)):
            self._space = list(space)
            self._cube = Cube(axes(self._space))
            self._places.clear()
        return self._cube

    def _place(self, trial_id: str, trial: Any) -> Array:
        """Where a trial lies; it is found once for each set of values, which KerasTuner replaces when a trial ends."""
        import numpy as np

        kept = self._places.get(trial_id)
        if kept is None or kept[0] is not trial.hyperparameters:
            found = place(trial.hyperparameters, self._space, self._cube)
            kept = self._places[trial_id] = trial.hyperparameters, np.array(found)
        return kept[1]


def axes(space: list[Any]) -> tuple[Axis, ...]:
    """The axes of a space of KerasTuner's hyperparameters."""
    from cluster.bayes.cube import Axis, Condition

    named: dict[str, list[int]] = {}
    for index, hp in enumerate(space):
        named.setdefault(hp.name, []).append(index)
    made: list[Axis] = []
    listed: list[list[Any]] = []
    for index, hp in enumerate(space):
        values = _values(hp)
        conditions = tuple(
            Condition(
                tuple(
                    (parent, frozenset(i for i, value in enumerate(listed[parent]) if value in condition.values))
                    for parent in named.get(condition.name, [])
                    if parent < index
                )
            )
            for condition in hp.conditions
            if hasattr(condition, "name")  # not one of a program's own making
        )
        where = {_place_of(hp, value, values): value for value in values}  # equal choices lie at the first of them
        places = tuple(sorted(where))
        made.append(Axis(places, _place_of(hp, hp.default, values), conditions))
        listed.append([where[at] for at in places])
    return tuple(made)


def place(hyperparameters: Any, space: list[Any], cube: Any) -> list[float]:
    """Where a trial lies, by KerasTuner's rule: what it lacks, or is not active, lies where its default does."""
    values = hyperparameters.values
    return [
        _place_of(hp, values[hp.name], _values(hp) if axis.places else [])
        if hp.name in values and hyperparameters.is_active(hp)
        else axis.default
        for hp, axis in zip(space, cube.axes, strict=True)
    ]


def _values(hp: Any) -> list[Any]:
    """The values of a hyperparameter in the order of their places; empty where they are not counted."""
    kind = type(hp).__name__
    if kind == "Boolean":
        return [False, True]
    if kind in ("Choice", "Fixed"):
        return list(hp.values)
    if kind not in ("Int", "Float"):
        return []
    if hp.step is not None:
        return [hp._get_value_by_index(index) for index in range(hp._get_n_values())] if _few(hp) else []
    if kind == "Int" and hp.max_value - hp.min_value < MOST_VALUES:
        return list(range(hp.min_value, hp.max_value + 1))
    return []


def _few(hp: Any) -> bool:
    return bool(hp._get_n_values() <= MOST_VALUES)


def _place_of(hp: Any, value: Any, values: list[Any]) -> float:
    """KerasTuner's probability of a value.

    Of stepped numbers it counts the whole steps up to a value, and misses the last of them by a rounding error: 0.3 in
    steps of 0.1 is 0.2 to it. Here it is the nearest.
    """
    if values and getattr(hp, "step", None) is not None:
        index = min(range(len(values)), key=lambda i: abs(values[i] - value))
        return (index + 0.5) / len(values)
    if value not in values and type(hp).__name__ == "Choice":
        value = hp.default  # a value that the space no longer has
    return min(1.0, max(0.0, float(hp.value_to_prob(value))))


def _differ(one: Any, other: Any) -> bool:
    return one is not other


def _finite(targets: Array) -> Array:
    """Infinite targets become the worst, or best, of the others. KerasTuner takes them for 0, the best of losses."""
    import numpy as np

    finite = targets[np.isfinite(targets)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return np.clip(np.nan_to_num(targets, nan=high, posinf=high, neginf=low), -HUGE, HUGE)
