"""Which fault comes when: drawn from a seed before anything starts, so that a run can be had again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What can happen to a cluster."""

    WORKER = "SIGKILL worker"
    TRAINER = "SIGKILL trainer"
    CHIEF = "SIGKILL chief"
    STOP = "SIGSTOP worker and trainer"
    CUT = "connection closed"
    SILENCE = "connection silent"
    DISK = "disk full"


# How often each comes in a deck; every deck is dealt to its end before the next.
DECK = {Kind.WORKER: 3, Kind.TRAINER: 2, Kind.CHIEF: 2, Kind.STOP: 1, Kind.CUT: 1, Kind.SILENCE: 1, Kind.DISK: 1}
# The last trials are left alone: what comes after the last end finds nobody to hit.
SPREAD = 0.85


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: What happens.
        slot: To which worker, from 0, where it is one worker's.
        after: It waits until so many trials have ended.
        delay: Then it waits so long, in seconds.
        length: How long it lasts, in seconds, where it is not for good.
    """

    kind: Kind
    slot: int
    after: int
    delay: float
    length: float


def draw(seed: int, number: int, *, trials: int, workers: int, lease: float, disk: bool) -> list[Fault]:
    """Draws the faults of a run, in order.

    Args:
        seed: The same gives the same faults.
        number: How many.
        trials: How many trials there will be, over which they are spread.
        workers: How many workers there are; some faults are for those behind a proxy.
        lease: How long a lease lives without a heartbeat, in seconds.
        disk: Whether the disk can be filled.
    """
    chance = random.Random(seed)
    deck: list[Kind] = []
    faults = []
    for index in range(number):
        if not deck:
            deck = [kind for kind, times in DECK.items() for _ in range(times) if disk or kind is not Kind.DISK]
            chance.shuffle(deck)
        kind = deck.pop()
        slots = [x for x in range(workers) if kind not in (Kind.CUT, Kind.SILENCE) or behind_proxy(x, workers)]
        # Some come at the very moment of a trial's end, when the chief is writing and another trial is granted.
        delay = 0.0 if chance.random() < 0.3 else chance.uniform(0.0, 2.0)
        length = chance.uniform(1.2, 3.0) * lease if kind in (Kind.STOP, Kind.SILENCE) else chance.uniform(0.0, 3.0)
        faults.append(Fault(kind, chance.choice(slots), int(SPREAD * trials * index / number), delay, length))
    return faults


def behind_proxy(slot: int, workers: int) -> bool:
    """Whether a worker reaches the chief through a proxy: every other one does."""
    return slot % 2 == 0 or workers == 1
