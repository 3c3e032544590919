"""What the event log tells a search of the processes before it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from cluster.state import EventLog


@dataclass
class Past:
    """The end of the log, for whoever goes on from it.

    Attributes:
        attempts: The last attempt granted, by trial.
        ended: The attempt that its worker was the last to end, by trial.
        ends: How often each trial has ended, to be run again or not.
        losses: How often each trial has lost its worker.
        held: The worker and trainer of each trial that was running at the last event, and when it was granted.
        search: The id of the last search; empty, if it had none.
        ran_out: The trials that ran out of their device's memory.
        pruned: After which epoch trials were to stop early, and why, by trial.
        undone: The last attempt that ended without a result and had its trial run again, by trial.
        over: Whether the oracle had no more trials, and none was running.
        seconds: How long the search has taken so far, over all its runs.
    """

    attempts: dict[str, int]
    ended: dict[str, int]
    ends: Counter[str]
    losses: Counter[str]
    held: dict[str, tuple[str, str, float]]
    ran_out: set[str]
    pruned: dict[str, tuple[int, str]]
    undone: dict[str, int]
    over: bool = False
    seconds: float = 0.0
    search: str = ""

    @classmethod
    def read(cls, events: EventLog) -> Past:
        """Reads the log from its beginning."""
        past = cls({}, {}, Counter(), Counter(), {}, set(), {}, {})
        before = 0.0
        for event in events.read():
            kind, trial = event["event"], event.get("trial", "")
            if kind != "search_begin":
                past.seconds += max(0.0, event["time"] - before)
            else:
                if event.get("search", "") != past.search:
                    past.held.clear()  # it has begun anew, and given all of it back
                past.search = event.get("search", "")
            before = event["time"]
            if kind == "grant":
                past.attempts[trial] = int(event["attempt"])
                past.held[trial] = (event["worker"], event["trainer"], event["time"])
            elif kind == "pruned":
                past.pruned[trial] = int(event["epoch"]), event["reason"]
            elif kind in ("end", "lost"):
                past.held.pop(trial, None)
                past.attempts[trial] = max(
                    past.attempts.get(trial, 0), int(event.get("attempt", 0))
                )  # its grant is damaged
                past.losses[trial] += bool(event.get("counted"))
                if event.get("out_of_memory"):
                    past.ran_out.add(trial)
                if kind == "end":
                    if event.get("status") == "INVALID":
                        past.pruned.pop(trial, None)
                        past.undone[trial] = int(event["attempt"])
                    if not event.get("by_chief"):
                        past.ended[trial] = int(event["attempt"])
                    past.ends[trial] += 1
            past.over = kind == "over" or (past.over and kind not in ("grant", "end", "lost"))
        return past

    def is_undone(self, epoch: dict[str, Any]) -> bool:
        """Whether an event of an epoch is of an attempt that counts no more."""
        return int(epoch.get("attempt", 0)) <= self.undone.get(epoch["trial"], 0)
