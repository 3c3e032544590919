"""The files of searches that never ran: as many trials as a test wants, some lost, failed or running, in an instant."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGAN = 1_790_000_000.0

SPACE = [
    {"class_name": "Float", "config": {"name": "rate", "min_value": 1e-4, "max_value": 1e-1, "sampling": "log"}},
    {"class_name": "Int", "config": {"name": "units", "min_value": 32, "max_value": 512, "step": 32}},
    {"class_name": "Choice", "config": {"name": "optimizer", "values": ["adam", "sgd", "rmsprop"], "ordered": False}},
    {"class_name": "Boolean", "config": {"name": "dropout"}},
    {
        "class_name": "Float",
        "config": {
            "name": "dropout_rate",
            "min_value": 0.1,
            "max_value": 0.5,
            "conditions": [{"class_name": "Parent", "config": {"name": "dropout", "values": [True]}}],
        },
    },
]


@dataclass
class MadeUp:
    """What a made-up search is like.

    Attributes:
        trials: How many trials have begun.
        max_trials: How many there will be.
        workers: How many workers run them.
        epochs: How many epochs each has.
        running: How many of the last trials still run.
        lost: How many trials lost their first worker.
        failed: How many failed.
        pruned: How many of the last that have ended were stopped early, after their first epoch.
        over: Whether the search has ended.
        seed: Of what is drawn.
        objective: The metric's name.
        program: The program's name and arguments.
    """

    trials: int = 12
    max_trials: int = 12
    workers: int = 3
    epochs: int = 4
    running: int = 0
    lost: int = 2
    failed: int = 1
    pruned: int = 0
    over: bool = True
    seed: int = 1
    objective: str = "val_accuracy"
    program: tuple[str, ...] = ("-m fashion", "tune")


def write(project: Path, like: MadeUp | None = None) -> Path:
    """Writes a made-up search's files; returns the project directory."""
    like = like or MadeUp()
    draw = random.Random(like.seed)
    project.mkdir(parents=True, exist_ok=True)
    events: list[dict[str, Any]] = [
        {
            "time": BEGAN,
            "event": "search_begin",
            "search": f"search-{like.seed}",
            "objective": like.objective,
            "direction": "max",
            "max_trials": like.max_trials,
            "role": "chief",
            "program": {"name": like.program[0], "arguments": list(like.program[1:]), "digest": "d"},
            "oracle": "BayesianOptimizationOracle",
            "tuner": 1,
        }
    ]
    epochs: list[dict[str, Any]] = []
    free = {f"worker-{n}": BEGAN + 1.0 for n in range(1, like.workers + 1)}
    events += [{"time": BEGAN, "event": "joined", "worker": name, "host": "box"} for name in free]
    for number in range(like.trials):
        name = f"{number:04d}"
        values = _values(draw)
        running = number >= like.trials - like.running
        failed = not running and number % max(2, like.trials // max(1, like.failed)) == 1 and like.failed > 0
        pruned = not failed and like.trials - like.running - like.pruned <= number < like.trials - like.running
        lost = number < like.lost
        attempt = 1 + lost
        worker = min(free, key=lambda x: free[x])
        if lost:
            about = {"trial": name, "attempt": 1, "worker": worker}
            events.append(_grant(free, worker, name, 1, values))
            free[worker] += 1.0 + draw.random()
            why = "the trainer was killed by SIGKILL"
            events.append({"time": free[worker], "event": "lost", **about, "reason": why, "counted": True})
        began = free[worker]
        events.append(_grant(free, worker, name, attempt, values))
        top = 0.95 - 0.1 * abs(math.log10(values["rate"]) + 2.5) - 0.02 * (values["optimizer"] == "sgd")
        seen = [top - 0.3 / (n + 2) + draw.gauss(0, 0.004) for n in range(like.epochs)]
        seen = seen[:1] if pruned else seen
        shown = seen[: max(1, like.epochs // 2)] if running else seen
        for epoch, value in enumerate(shown):
            logs = {"loss": 1 - value, "accuracy": value + 0.01, "val_loss": 1.1 - value, like.objective: value}
            about = {"event": "epoch", "trial": name, "attempt": attempt, "epoch": epoch, "of": like.epochs}
            epochs.append({"time": began + 2.0 * (epoch + 1), **about, "logs": logs})
        place = project / f"trial_{name}"
        place.mkdir(exist_ok=True)
        status = "RUNNING" if running else "FAILED" if failed else "COMPLETED"
        score = max(seen) if status == "COMPLETED" else None
        message = "Traceback (most recent call last):\n  …\nValueError: no such layer\n" if failed else None
        history = [{"value": [x], "step": n} for n, x in enumerate(seen)] if score is not None else []
        facts = {
            "trial_id": name,
            "hyperparameters": {"space": SPACE, "values": values},
            "metrics": {"metrics": {like.objective: {"direction": "max", "observations": history}}},
            "score": score,
            "best_step": seen.index(max(seen)) if score is not None else 0,
            "status": status,
            "message": message,
        }
        (place / "trial.json").write_text(json.dumps(facts))
        if not running:
            end = free[worker] = began + 2.0 * len(seen) + draw.random()
            if pruned:
                verdict = {"epoch": 0, "reason": "not among the best 1 of 3 after 1 epoch (--prune asha)"}
                events.append({"time": began + 2.0, "event": "pruned", "trial": name, "attempt": attempt, **verdict})
            about = {"event": "end", "trial": name, "attempt": attempt, "worker": worker, "status": status}
            events.append({"time": end, **about, "score": score, "seconds": round(end - began, 3)})
    events.sort(key=lambda x: x["time"])
    if like.over:
        events.append({"time": max(free.values()), "event": "over"})
        events.append({"time": max(free.values()), "event": "search_end", "trials": {}})
        events.append({"time": max(free.values()), "event": "run_end", "outcome": "ended"})
    _write_lines(project / "events.jsonl", events)
    _write_lines(project / "epochs.jsonl", sorted(epochs, key=lambda x: x["time"]))
    (project / "oracle.json").write_text(json.dumps({"hyperparameters": {"space": SPACE, "values": {}}}))
    return project


def _values(draw: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {
        "rate": 10 ** draw.uniform(-4, -1),
        "units": draw.randrange(32, 513, 32),
        "optimizer": draw.choice(["adam", "sgd", "rmsprop"]),
        "dropout": draw.random() < 0.5,
    }
    return values | ({"dropout_rate": draw.uniform(0.1, 0.5)} if values["dropout"] else {})


def _grant(free: dict[str, float], worker: str, trial: str, attempt: int, values: dict[str, Any]) -> dict[str, Any]:
    device = f"gpu {int(worker.rpartition('-')[2]) - 1} GPU-8932f937"
    about = {"trial": trial, "attempt": attempt, "worker": worker, "trainer": "t", "device": device}
    return {"time": free[worker], "event": "grant", **about, "values": values, "suggest_seconds": 0.01}


def _write_lines(path: Path, events: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
