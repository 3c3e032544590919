"""The axis of a hyperparameter: where each value stands, and what its ticks say.

Owns scales, for the plots of the page and of the report and for the importance alike. Draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.record import Parameter, Record, Trial, number

ABSENT = "none"  # shown where a trial does not have the hyperparameter
OWN = "tuner/"  # what Hyperband keeps beside the hyperparameters


@dataclass(frozen=True)
class Axis:
    """The axis of one hyperparameter. Positions are the values themselves, their log10, or the index of a category.

    Attributes:
        name: The hyperparameter's name.
        log: Whether positions are log10 of the values.
        categories: The values of a categorical one, in order; empty for numbers.
        low: The least position.
        high: The greatest.
        absent: Whether some trials do not have it.
        whole: Whether all its values are whole numbers.
    """

    name: str
    log: bool
    categories: tuple[Any, ...]
    low: float
    high: float
    absent: bool
    whole: bool = False

    @property
    def span(self) -> float:
        """The length of the axis; 1 where all values are the same."""
        return (self.high - self.low) or 1.0

    @property
    def nowhere(self) -> float:
        """The position of trials without it: below all the others."""
        return -1.0 if self.categories else self.low - 0.2 * self.span

    @property
    def bounds(self) -> tuple[float, float]:
        """From where to where to draw it, with some room at both ends."""
        margin = 0.5 if self.categories else (0.08 if self.absent else 0.04) * self.span
        return (self.nowhere if self.absent else self.low) - margin, self.high + margin

    def place(self, trial: Trial) -> float | None:
        """Where a trial's value stands; None where it has none that is on this axis."""
        if self.name not in trial.values:
            return None
        value = trial.values[self.name]
        if self.categories:
            return next((float(n) for n, x in enumerate(self.categories) if _same(x, value)), None)
        found = _number(value)
        if found is None or (self.log and found <= 0):
            return None
        return math.log10(found) if self.log else found

    def stand(self, trial: Trial) -> float:
        """The same, and for a trial that has none the place of those."""
        place = self.place(trial)
        return self.nowhere if place is None else place

    def beside(self, trials: Sequence[Trial]) -> list[float]:
        """Where trials stand; those at one place that has no width are a little beside each other."""
        found = []
        for n, trial in enumerate(trials):
            place = self.place(trial)
            width = 0.3 if self.categories else 0.1 * self.span if place is None else 0.0
            found.append((self.nowhere if place is None else place) + width * ((n * 0.618) % 1 - 0.5))
        return found

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Positions and texts of about `most` ticks; more of them where there are more categories to tell apart."""
        if self.categories:
            found = [(float(n), short(x)) for n, x in enumerate(self.categories)]
        elif self.log:
            found = _log_ticks(self.low, self.high, most)
        else:
            found = linear_ticks(self.low, self.high, most, whole=self.whole)
        return ([(self.nowhere, ABSENT)] if self.absent else []) + found


def axes(record: Record) -> list[Axis]:
    """The axes of a record's hyperparameters, in the order of its space; one that has no choice is left out."""
    trials = list(record.trials.values())
    known = [x for x in record.space if x.kind != "fixed"]
    names = {x.name for x in record.space}
    # What a program names only within a trial may not be in the space.
    more = dict.fromkeys(x for trial in trials for x in trial.values if x not in names and not x.startswith(OWN))
    found = [_axis(x, trials) for x in [*known, *(Parameter(name, "") for name in more)]]
    return [x for x in found if x is not None]


def _axis(parameter: Parameter, trials: list[Trial]) -> Axis | None:
    held = [trial.values[parameter.name] for trial in trials if parameter.name in trial.values]
    absent = len(held) < sum(bool(trial.values) for trial in trials)
    if not held:
        return None
    numbers = [_number(value) for value in held]
    if parameter.kind not in ("choice", "boolean") and None not in numbers:
        bounds = [x for x in (parameter.low, parameter.high) if x is not None]
        within = [x for x in [*numbers, *bounds] if x is not None]
        log = parameter.log and min(within) > 0
        places = [math.log10(x) for x in within] if log else within
        whole = not log and all(isinstance(value, int) for value in held)
        return Axis(parameter.name, log, (), min(places), max(places), absent, whole)
    categories: list[Any] = []
    for value in [*parameter.values, *held]:
        if not any(_same(value, x) for x in categories):
            categories.append(value)
    return Axis(parameter.name, False, tuple(categories), 0.0, len(categories) - 1.0, absent)


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) else number(value)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same category: True is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def linear_ticks(low: float, high: float, most: int = 6, *, whole: bool = False) -> list[tuple[float, str]]:
    """Round numbers within bounds: steps of 1, 2 or 5 times a power of ten; of whole numbers none between two."""
    if high <= low:
        return [(low, short(low))]
    least = max((high - low) / most, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(x * power for x in (1, 2, 5, 10) if x * power >= least * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    found = [n * step for n in range(first, last + 1)]
    return [(x, short(x)) for x in found]


def _log_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Powers of ten; with 2 and 5 times them where there are few."""
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        all_of_them = [math.log10(x) + power for power in powers for x in factors]
        found = [x for x in all_of_them if low - 1e-9 <= x <= high + 1e-9]
        if len(found) >= 3:
            every = math.ceil(len(found) / most)
            return [(x, short(10.0**x)) for x in found[::every]]
    return [(x, short(10.0**x)) for x, _ in linear_ticks(low, high, 3)]


def short(value: Any, most: int = 24) -> str:
    """A value in few characters, such as `0.001`, `1e-5` or `relu`."""
    if isinstance(value, float):
        if value == 0:
            return "0"
        text = f"{value:.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.3g}"
        return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return clipped(str(value), most)


def clipped(text: str, most: int) -> str:
    """The beginning and the end of a text, in at most so many characters, on one line."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    return text[: most - most // 3 - 1] + "…" + text[-(most // 3) :]


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """The same to six significant digits, which is what a plot can show."""
    return [None if x is None else float(f"{x:.6g}") for x in values]
