"""What must hold after a run, read from the files alone. Each check returns what is wrong, in words."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.chaos.journal import Event


def files(project: Path) -> list[str]:
    """The oracle's own file: every trial has ended, once, and nothing is left to do."""
    oracle = json.loads((project / "oracle.json").read_text())
    wrong = []
    started, ended = oracle["start_order"], oracle["end_order"]
    if len(set(started)) != len(started):
        wrong.append(f"trials were started twice: {started}")
    if sorted(ended) != sorted(started):
        wrong.append(f"the oracle started {sorted(started)} and ended {sorted(ended)}")
    if oracle["ongoing_trials"] or oracle["retry_queue"]:
        wrong.append(f"the oracle still has {oracle['ongoing_trials']} and {oracle['retry_queue']} to do")
    if set(oracle["run_times"].values()) != {1}:
        wrong.append(f"trials were counted more than once: {oracle['run_times']}")
    return wrong


def trials(project: Path, undisturbed: list[Any]) -> list[str]:
    """The trials' files: those of the undisturbed run, completed, with its proposals and scores."""
    expected = {trial_id: (score, values) for trial_id, score, values in undisturbed}
    found = {path.parent.name.removeprefix("trial_"): path for path in project.glob("trial_*/trial.json")}
    wrong = [f"trial {x} is lost" for x in sorted(expected.keys() - found)]
    wrong += [f"there is a trial {x} that should not be" for x in sorted(found.keys() - expected)]
    for trial_id in sorted(expected.keys() & found):
        trial = json.loads(found[trial_id].read_text())
        if trial["status"] != "COMPLETED":
            wrong.append(f"trial {trial_id} is {trial['status']}: {trial['message']}")
            continue
        score, values = expected[trial_id]
        if trial["hyperparameters"]["values"] != values:
            wrong.append(f"trial {trial_id} has {trial['hyperparameters']['values']}, undisturbed {values}")
        if trial["score"] != score:
            wrong.append(f"trial {trial_id} scores {trial['score']}, undisturbed {score}")
        reports = trial["metrics"]["metrics"]["score"]["observations"]
        steps = values["steps"]
        if [(x["step"], set(x["value"])) for x in reports] != [(x, {score * (steps - x)}) for x in range(steps)]:
            wrong.append(f"trial {trial_id} reports what no attempt alone did: {reports}")
    return wrong


def read(reader: str, known: list[Any], undisturbed: list[Any]) -> list[str]:
    """What a process knows after the search: every trial with its score and values, the best first."""
    wrong = []
    scores = [score for _, score, _ in known]
    if scores != sorted(scores):
        wrong.append(f"{reader} has the trials in another order than that of their scores")
    # Which of two equal scores is the better is not said.
    ours, theirs = ({trial_id: [score, values] for trial_id, score, values in x} for x in (known, undisturbed))
    wrong += [
        f"{reader} knows trial {x} as {ours.get(x)}, and not {theirs.get(x)}"
        for x in sorted(ours | theirs)
        if ours.get(x) != theirs.get(x)
    ]
    return wrong


def events(log: list[Event], undisturbed: list[Any], *, in_order: bool) -> list[str]:
    """The event log: grants, losses and ends of each trial follow on each other.

    Args:
        log: Every event.
        undisturbed: The undisturbed run's trials.
        in_order: Whether the trials were proposed in the order of their ids, as to a single worker.
    """
    wrong = [f"the event log has a damaged line: {e['line']!r}" for e in log if e["event"] == "damaged"]
    held: dict[str, Event] = {}
    attempts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for event in log:
        kind, trial = event["event"], event.get("trial", "")
        if kind == "grant":
            if trial in held:
                # A chief that was stopped in order, or ended for a full disk, may not have been able to write it.
                wrong.append(f"trial {trial} was granted to {event['worker']} while {held[trial]['worker']} held it")
            if ends[trial]:
                wrong.append(f"trial {trial} was granted again after its end")
            attempts[trial] += 1
            if event["attempt"] != attempts[trial]:
                wrong.append(f"trial {trial} was granted as attempt {event['attempt']}, not {attempts[trial]}")
            others = [x for x, lease in held.items() if lease["trainer"] == event["trainer"]]
            if others:
                wrong.append(f"trainer {event['trainer']} was granted {trial} while it held {others}")
            held[trial] = event
        elif kind in ("lost", "end"):
            lease = held.pop(trial, None)
            if lease is None or lease["attempt"] != event["attempt"]:
                wrong.append(f"{kind} of attempt {event['attempt']} at trial {trial}, which was not the open one")
            ends[trial] += int(kind == "end")
    expected = {trial_id: (score, values) for trial_id, score, values in undisturbed}
    wrong += [f"trial {x} has {ends[x]} ends" for x in expected if ends[x] != 1]
    for event in log:
        if event["event"] == "grant" and event["values"] != expected[event["trial"]][1]:
            wrong.append(f"trial {event['trial']} was proposed as {event['values']}")
        if event["event"] == "end" and event["score"] != expected[event["trial"]][0]:
            wrong.append(f"trial {event['trial']} ended with {event['score']}")
    proposed = [e["trial"] for e in log if e["event"] == "grant" and e["attempt"] == 1]
    if in_order and proposed != sorted(proposed):
        wrong.append(f"the trials were proposed in another order: {proposed}")
    return wrong
