"""What the plots of a search show, before anything is drawn: the same for the page and for the pictures.

Owns which trials, epochs and attempts are shown and in which order. Knows no library that draws.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.record import Epoch, Record, Trial

CURVES = 100  # how many trials' curves are drawn at most
POINTS = 200  # how many epochs of each
OUTCOMES = ("completed", "pruned", "failed", "lost", "again", "running")


@dataclass(frozen=True)
class History:
    """The trials that have ended, in the order of their end, numbered from 1.

    Attributes:
        trials: The trials with a score, each with its number.
        best: The best score so far, each with the number from which on it is; empty where nothing tells the direction.
        failed: The failed trials, each with its number.
        count: How many have ended.
    """

    trials: list[tuple[int, Trial]]
    best: list[tuple[int, float]]
    failed: list[tuple[int, Trial]]
    count: int


@dataclass(frozen=True)
class Bar:
    """An attempt in time.

    Attributes:
        row: The worker and its device.
        trial: The trial's id.
        attempt: The attempt's number.
        begin: When it began, in seconds after the search did.
        length: How long it took, or has taken so far, in seconds.
        outcome: How it ended; `running` where it has not.
        reason: Why it was lost, or why the trial failed or was stopped early; empty otherwise.
    """

    row: str
    trial: str
    attempt: int
    begin: float
    length: float
    outcome: str
    reason: str


@dataclass(frozen=True)
class Bounds:
    """From where to where an objective is drawn, so that a few wild values do not hide the others.

    Attributes:
        low: The least value shown.
        high: The greatest.
        beyond: How many values are worse than shown.
    """

    low: float
    high: float
    beyond: int


def ended(record: Record) -> list[Trial]:
    """The trials that have ended, in the order in which they did; by id where nothing tells when."""
    done = [x for x in record.ordered if x.scored or x.status == "failed"]
    return sorted(done, key=_end)


def _end(trial: Trial) -> float:
    ran = trial.ran
    return math.inf if ran is None or ran.ended is None else ran.ended


def history(record: Record) -> History:
    """The objective of each trial, in the order of their ends, and the best so far."""
    trials: list[tuple[int, Trial]] = []
    failed: list[tuple[int, Trial]] = []
    best: list[tuple[int, float]] = []
    order = ended(record)
    for place, trial in enumerate(order, 1):
        if trial.status == "failed" or trial.score is None:
            failed.append((place, trial))
            continue
        trials.append((place, trial))
        if record.metric is not None and (not best or record.sign * trial.score < record.sign * best[-1][1]):
            best.append((place, trial.score))
    return History(trials, best, failed, len(order))


def bounds(record: Record, scores: Sequence[float]) -> Bounds:
    """The bounds of some values of the objective; those far worse than most are beyond them."""
    low, high = min(scores), max(scores)
    beyond = 0
    if len(scores) >= 8 and record.metric is not None:
        lower, _, upper = statistics.quantiles(scores, n=4)
        reach = 4 * (upper - lower) or math.inf
        if record.sign > 0 and high > upper + reach:
            high = max(x for x in scores if x <= upper + reach)
            beyond = sum(x > high for x in scores)
        elif record.sign < 0 and low < lower - reach:
            low = min(x for x in scores if x >= lower - reach)
            beyond = sum(x < low for x in scores)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return Bounds(low - margin, high + margin, beyond)


def selected(record: Record, trials: Sequence[Trial], most: int) -> list[Trial]:
    """At most so many trials: the best and the newest, in the order in which they were given."""
    if len(trials) <= most:
        return list(trials)
    among = {x.id for x in trials}
    best = [x.id for x in record.done if x.id in among] if record.metric is not None else []
    keep = set(best[: most // 2])
    for trial in reversed(trials):
        if len(keep) >= most:
            break
        keep.add(trial.id)
    return [x for x in trials if x.id in keep]


def runs(trial: Trial) -> list[list[Epoch]]:
    """A trial's epochs, its attempts joined; a list for each execution of the model.

    An attempt that was taken up at an epoch replaces what the one before it had done from there on.
    """
    found: list[list[Epoch]] = []
    for epoch in trial.epochs:
        before = found[-1][-1] if found and found[-1] else None
        if before is None:
            found.append([epoch])
            continue
        if epoch.attempt != before.attempt:
            while found and found[-1][-1].number >= epoch.number:
                found[-1].pop()
                if not found[-1]:
                    found.pop()
            if not found:
                found.append([])
        elif epoch.number <= before.number:
            found.append([])
        found[-1].append(epoch)
    return [x for x in found if x]


def curve(trial: Trial, metric: str, most: int = POINTS) -> list[tuple[int, float] | None]:
    """A metric after each epoch, of all executions; None between two of them, or where a value is no number."""
    found: list[tuple[int, float] | None] = []
    for run in runs(trial):
        every = math.ceil(len(run) / most)
        for epoch in run[:1] + run[every - 1 :: every] if every > 1 else run:
            value = epoch.logs.get(metric)
            found.append(None if value is None else (epoch.number, value))
        found.append(None)
    return found[:-1]


def drawn_curves(record: Record) -> tuple[list[Trial], int]:
    """The trials whose curves are drawn, and how many there are."""
    metric = record.metric
    having = [x for x in record.ordered if metric is not None and any(y.logs.get(metric) is not None for y in x.epochs)]
    return selected(record, having, CURVES), len(having)


def bars(record: Record) -> list[Bar]:
    """Every attempt, by worker and device; attempts of one worker that overlap are in rows of their own."""
    begun = [(trial, x) for trial in record.ordered for x in trial.attempts]
    if not begun:
        return []
    began = min([x.began for _, x in begun] + ([] if record.began is None else [record.began]))
    now = max([record.last_event or began] + [x.ended for _, x in begun if x.ended is not None])
    found: list[Bar] = []
    lanes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for trial, attempt in sorted(begun, key=lambda x: (_natural(x[1].worker), x[1].began)):
        end = max(attempt.began, now if attempt.ended is None else attempt.ended)
        busy = lanes[attempt.worker, attempt.device or ""]
        # An end and the next beginning may be written in the same instant, by two clocks.
        lane = next((n for n, until in enumerate(busy) if until <= attempt.began + 0.05), len(busy))
        busy[lane : lane + 1] = [end]
        row = " · ".join(x for x in (attempt.worker, attempt.device) if x) + ("" if lane == 0 else f" ({lane + 1})")
        told = {"failed": trial.message.strip().rpartition("\n")[2], "pruned": trial.pruned}
        reason = attempt.reason or told.get(attempt.outcome, "")
        found.append(
            Bar(row, trial.id, attempt.number, attempt.began - began, end - attempt.began, attempt.outcome, reason)
        )
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which worker-2 comes before worker-10."""
    return [(int(x), "") if x.isdecimal() else (-1, x) for x in re.split(r"(\d+)", name)]


def unit(seconds: float) -> tuple[float, str]:
    """The unit in which to show so long a time: its length in seconds, and its name."""
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 3 * size:
            return size, name
    return 1.0, "seconds"


def best_so_far(record: Record) -> list[tuple[int, float, float]]:
    """The best score so far: after how many trials, after how many seconds of the search, and the score.

    Ends with the search's last trial. Empty where nothing tells the direction, or no trial has a score. The time is NaN
    where nothing tells it.
    """
    shown = history(record)
    if not shown.best:
        return []
    order = ended(record)
    zero = record.began if record.began is not None else math.nan
    points = [(place, score) for place, score in shown.best]
    if points[-1][0] != shown.count:
        points.append((shown.count, points[-1][1]))
    times = [_end(order[place - 1]) - zero for place, _ in points]
    return [
        (place, time if math.isfinite(time) else math.nan, score)
        for (place, score), time in zip(points, times, strict=True)
    ]
