"""When a trial is not worth going on with: two rules over what trials have reached after so many epochs.

Owns the rules, and nothing of where the numbers come from: `pruning.py` feeds one of them with a search's epochs. Pure:
the same reports in the same order give the same answers. What is compared is a trial's best value so far, which is the
score that it would have if it ended here.
"""

from __future__ import annotations

import abc
import math
from bisect import bisect_left, insort

RULES = ("median", "asha")
WARM_UP = 5  # how many others must have come to an epoch before `median` compares with them


class Pruner(abc.ABC):
    """A rule, and all that it was told. Values that are no finite number are worse than every other.

    An epoch of a trial counts once, and epochs go up: one that was reported before, or an earlier one, says nothing
    new (an attempt that takes up where a lost one was may repeat some). A trial that is to stop once, is for good.

    Args:
        direction: `min` or `max`: which values are better.
        min_epochs: After how many epochs a trial is judged for the first time.
    """

    def __init__(self, direction: str, min_epochs: int) -> None:
        self._sign = -1.0 if direction == "max" else 1.0
        self._min_epochs = min_epochs
        self._seen: dict[str, int] = {}  # the last epoch of each trial
        self._best: dict[str, float] = {}  # its cost at best so far: less is better
        self._stopped: dict[str, str] = {}

    def report(self, trial: str, epochs: int, value: float | None, of: int = 0) -> str | None:
        """Takes the objective of a trial after one more epoch.

        Args:
            trial: Its id.
            epochs: How many epochs it has behind it, from 1.
            value: The objective after the last of them.
            of: How many it will have; 0 where that is not known. Its last epoch stops none: it has ended.

        Returns:
            Why it is to stop, in words that go on after "it was"; None where it goes on.
        """
        if epochs > self._seen.get(trial, 0):
            self._seen[trial] = epochs
            cost = math.inf if value is None or not math.isfinite(value) else self._sign * value
            self._best[trial] = min(cost, self._best.get(trial, math.inf))
            if trial not in self._stopped:
                why = self._judge(trial, epochs, self._best[trial])
                if why is not None and epochs != of:
                    self._stopped[trial] = why
        return self._stopped.get(trial)

    def forget(self, trial: str) -> None:
        """A trial begins again from nothing: what it came to does not count for it any more."""
        self._seen.pop(trial, None)
        self._best.pop(trial, None)
        self._stopped.pop(trial, None)

    @abc.abstractmethod
    def _judge(self, trial: str, epochs: int, cost: float) -> str | None:
        """Notes what a trial has reached after so many epochs; returns why that is not enough, or None."""


class Median(Pruner):
    """A trial stops when its best so far is worse than the median of what others had after as many epochs.

    Every other trial that came so far counts, whatever became of it.
    """

    def __init__(self, direction: str, min_epochs: int) -> None:
        super().__init__(direction, min_epochs)
        self._reached: dict[int, list[float]] = {}  # the costs of all trials after so many epochs, the best first

    def _judge(self, trial: str, epochs: int, cost: float) -> str | None:
        others = self._reached.setdefault(epochs, [])
        number = len(others)
        judged = epochs >= self._min_epochs and number >= WARM_UP
        worse = judged and cost > (others[(number - 1) // 2] + others[number // 2]) / 2
        insort(others, cost)
        return f"worse than the median of {number} others after {_count(epochs)}" if worse else None


class Halving(Pruner):
    """Asynchronous successive halving, where trials stop and none waits.

    There are rungs after `min_epochs`, `min_epochs * factor`, `min_epochs * factor²` … epochs. A trial that comes to
    one goes on when it is among the best 1/factor of all that have come there so far, itself included; the best always
    does, so the first goes on whatever it has. Where an epoch of a rung is not reported (a metric that is not measured
    after each), the next one is.

    Args:
        direction: `min` or `max`: which values are better.
        min_epochs: Where the first rung is.
        factor: By how much each rung is higher than the one before, and how many come to it for each that goes on.
    """

    def __init__(self, direction: str, min_epochs: int, factor: int) -> None:
        super().__init__(direction, min_epochs)
        self._factor = factor
        self._rungs: dict[int, list[float]] = {}  # the costs of those who have come there, the best first
        self._passed: dict[str, int] = {}  # the highest rung that each trial has come to

    def forget(self, trial: str) -> None:
        super().forget(trial)
        self._passed.pop(trial, None)

    def _judge(self, trial: str, epochs: int, cost: float) -> str | None:
        rung = self._rung(epochs)
        if rung <= self._passed.get(trial, 0):
            return None
        self._passed[trial] = rung
        reached = self._rungs.setdefault(rung, [])
        insort(reached, cost)
        places = max(1, len(reached) // self._factor)
        if bisect_left(reached, cost) < places:  # fewer are better than there are places
            return None
        return f"not among the best {places} of {len(reached)} after {_count(epochs)}"

    def _rung(self, epochs: int) -> int:
        """The highest rung that is not above so many epochs; 0 below the first."""
        found, rung = 0, self._min_epochs
        while rung <= epochs:
            found, rung = rung, rung * self._factor
        return found


def make(rule: str, direction: str, min_epochs: int, factor: int) -> Pruner:
    """The rule of a name, one of `RULES`."""
    return Halving(direction, min_epochs, factor) if rule == "asha" else Median(direction, min_epochs)


def _count(epochs: int) -> str:
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"
