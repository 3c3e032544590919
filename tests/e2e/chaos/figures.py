"""The table at the end of a run."""

from __future__ import annotations

import statistics
from collections import Counter

from tests.e2e.chaos.drive import Outcome
from tests.e2e.chaos.faults import Kill
from tests.e2e.chaos.journal import Event


def table(outcome: Outcome) -> str:
    """What was done and what came of it, a line each."""
    kinds = Counter(event["event"] for event in outcome.events)
    lost = sum("is lost" in text or "has 0 ends" in text for text in outcome.violations)
    twice = sum("twice" in text or "more than once" in text for text in outcome.violations)
    rows = [(kind.value, str(number)) for kind, number in sorted(outcome.dealt.items(), key=lambda x: x[0].value)]
    rows += [
        ("faults", str(outcome.dealt.total())),
        ("trials ended", str(kinds["end"])),
        ("attempts", str(kinds["grant"])),
        ("lost", str(lost)),
        ("counted twice", str(twice)),
        ("time", f"{outcome.seconds:.1f} s"),
        ("ends of processes", ", ".join(f"{key}: {number}" for key, number in sorted(outcome.exits.items()))),
    ]
    noticed, again = times(outcome)
    rows += [
        ("from a worker's SIGKILL until it is noticed", _spread(noticed)),
        ("… and until its trial runs elsewhere", _spread(again)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def times(outcome: Outcome) -> tuple[list[float], list[float]]:
    """Seconds from each worker's SIGKILL to the loss and to the next grant of its trial, where the chief was there."""
    noticed, again = [], []
    for kill in outcome.kills:
        lost = _next(outcome.events, kill, "lost")
        grant = _next(outcome.events, kill, "grant")
        if lost is None or grant is None or lost["worker"] != kill.worker:
            continue  # its end had arrived
        began = [x["time"] for x in outcome.events if x["event"] == "search_begin" and x["time"] < kill.time]
        if any(began[-1] < down < grant["time"] for down in outcome.chief_down):
            continue
        noticed.append(lost["time"] - kill.time)
        again.append(grant["time"] - kill.time)
    return noticed, again


def _next(events: list[Event], kill: Kill, kind: str) -> Event | None:
    return next((x for x in events if x["event"] == kind and x["trial"] == kill.trial and x["time"] >= kill.time), None)


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "no such kill"
    return f"median {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s (of {len(seconds)})"
