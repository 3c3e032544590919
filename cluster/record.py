"""What is known of a search: its trials, their attempts and epochs, its workers. Filled by `follow.py` from files.

Owns turning events and KerasTuner's files into facts that the terminal, the page, the report and the metrics show.
Opens no file, and knows neither Keras nor a chief.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Facts = dict[str, Any]

STATUSES = ("completed", "pruned", "running", "waiting", "failed")
# To KerasTuner one that was stopped early is completed: it has a score, and may be the best.
SCORED = ("completed", "pruned")
FINISHED = (*SCORED, "failed")  # how an attempt ends that ends its trial
# What KerasTuner calls a trial that is to be tried again; in its files it is also what one is that was lost.
AGAIN = "INVALID"
ENDED = ("COMPLETED", "FAILED")


@dataclass
class Attempt:
    """One attempt at a trial.

    Attributes:
        number: The fencing number, from 1.
        worker: Who ran it.
        device: On what; None where nothing tells.
        began: When it was granted, in Unix seconds.
        ended: When it ended or was lost; None while it runs.
        outcome: `running`, `completed`, `pruned` (stopped early), `failed`, `again` (KerasTuner runs the trial once
            more) or `lost`.
        reason: Why it was lost; empty otherwise.
        counted: Whether the loss counts towards the limit of attempts.
        seconds: How long it took, by the chief's own clock; None where nothing tells.
        suggest_seconds: How long the oracle took to propose the trial; None where nothing tells.
        out_of_memory: Whether it was lost for want of its device's memory.
    """

    number: int
    worker: str
    device: str | None
    began: float
    ended: float | None = None
    outcome: str = "running"
    reason: str = ""
    counted: bool = False
    seconds: float | None = None
    suggest_seconds: float | None = None
    out_of_memory: bool = False


@dataclass
class Epoch:
    """An epoch that has ended: of which attempt, its number from 1, when (Unix seconds), and its metrics."""

    attempt: int
    number: int
    time: float
    logs: dict[str, float | None]


@dataclass
class Trial:
    """A trial as it stands.

    Attributes:
        id: KerasTuner's.
        status: `completed`, `pruned` (stopped early, with a score), `running`, `waiting` (to run again), `failed`;
            `damaged` where nothing tells; else KerasTuner's word.
        score: The objective's value; None without one that is a number.
        best_epoch: The epoch of that value, from 1.
        values: The hyperparameters.
        message: KerasTuner's, such as a traceback.
        attempts: Every attempt, the first first.
        epochs: What was reported after each epoch, of every attempt.
        of: How many epochs the attempt in hand has; None where nothing tells.
        pruned: Why it was to be stopped early; empty where it was not.
        version: The record's version at the last change of this trial.
    """

    id: str
    status: str = "damaged"
    score: float | None = None
    best_epoch: int | None = None
    values: Facts = field(default_factory=dict)
    message: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    of: int | None = None
    pruned: str = ""
    version: int = 0

    @property
    def scored(self) -> bool:
        """Whether it has ended with a score."""
        return self.status in SCORED and self.score is not None

    @property
    def last(self) -> Attempt | None:
        """The attempt in hand, or the last one."""
        return self.attempts[-1] if self.attempts else None

    @property
    def ran(self) -> Attempt | None:
        """The attempt that gave the trial its end, or the last one."""
        ended = [x for x in self.attempts if x.outcome in FINISHED]
        return ended[-1] if ended else self.last

    @property
    def worker(self) -> str | None:
        """Who runs it, or ran it last."""
        return None if self.last is None else self.last.worker

    @property
    def device(self) -> str | None:
        """On what."""
        return None if self.last is None else self.last.device

    @property
    def seconds(self) -> float | None:
        """How long the attempt took that ended."""
        return None if self.last is None else self.last.seconds

    @property
    def losses(self) -> list[Attempt]:
        """The attempts that were lost."""
        return [x for x in self.attempts if x.outcome == "lost"]

    @property
    def reason(self) -> str:
        """Why it waits, has failed or was stopped early, in a line; empty otherwise."""
        if self.status == "pruned":
            return self.pruned
        if self.status not in ("waiting", "failed"):
            return ""
        waits = self.status == "waiting" and self.last is not None and self.last.outcome == "lost"
        lost = self.last.reason if waits and self.last is not None else ""
        return (lost or self.message).strip().rpartition("\n")[2]


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter of the space.

    Attributes:
        name: Its name.
        kind: `float`, `int`, `choice`, `boolean` or `fixed`.
        log: Whether it is sampled on a logarithmic scale.
        low: The least value; None for those without an order.
        high: The greatest.
        values: What can be chosen; empty for numbers within bounds.
        conditions: What must be so for it to count, in words; empty where it always does.
        step: The distance between two values, on a logarithmic scale their ratio; None where all are allowed.
        reverse: Whether the logarithmic scale counts down from the greatest value.
    """

    name: str
    kind: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    values: tuple[Any, ...] = ()
    conditions: str = ""
    step: float | None = None
    reverse: bool = False


@dataclass
class Worker:
    """A worker that was here.

    Attributes:
        name: Its name.
        host: Where it is; empty where nothing tells.
        here: Whether it is here, as far as events tell; None where none does.
        device: What its last attempt ran on.
        joined: When it came, in Unix seconds; None while it is not here.
        stayed: How long it was here before that, in seconds.
    """

    name: str
    host: str = ""
    here: bool | None = None
    device: str | None = None
    joined: float | None = None
    stayed: float = 0.0

    def come(self, at: float) -> None:
        """It joined."""
        self.here = True
        self.joined = at if self.joined is None else self.joined

    def go(self, at: float) -> None:
        """It left, or the search is over."""
        self.here = False
        if self.joined is not None:
            self.stayed += max(0.0, at - self.joined)
            self.joined = None

    def seconds_here(self, now: float) -> float | None:
        """How long it was here, in seconds; None where nothing tells."""
        if self.here is None:
            return None
        return self.stayed + (0.0 if self.joined is None else max(0.0, now - self.joined))


@dataclass
class Record:
    """A search as its files tell it.

    Attributes:
        directory: The project directory.
        name: The project's name.
        oracle: The oracle's class; empty where nothing tells.
        program: What runs, as on a command line; empty where nothing tells.
        role: `local`, `chief` or `ray`; empty where nothing tells.
        objective: The metric's name; None where nothing tells.
        direction: `min` or `max`.
        max_trials: How many trials there will be; None where that is not known.
        space: The hyperparameters.
        trials: By id.
        workers: By name.
        began: When the first run began, in Unix seconds.
        resumed: When the newest run began.
        last_event: When anything was last written.
        state: `running`, `closing` (no further trial is begun), `ended`, `failed`, `stopped`, or empty where nothing
            tells.
        why: Why it is so, in words.
        version: Grows with each change.
    """

    directory: str
    name: str
    oracle: str = ""
    program: str = ""
    role: str = ""
    objective: str | None = None
    direction: str = "min"
    max_trials: int | None = None
    space: list[Parameter] = field(default_factory=list)
    trials: dict[str, Trial] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    began: float | None = None
    resumed: float | None = None
    last_event: float | None = None
    state: str = ""
    why: str = ""
    version: int = 0
    search: str = ""

    def __post_init__(self) -> None:
        self._kept: dict[str, tuple[float, dict[tuple[str, str], float]]] = {}
        self._inferred: str | None = None

    # --- filling it

    def apply(self, event: Facts) -> str | None:
        """Takes one event; returns the id of the trial whose file has to be read again, if one has."""
        kind = event.get("event")
        time = number(event.get("time"))
        if time is not None:
            self.last_event = max(self.last_event or 0.0, time)
            self.began = time if self.began is None else min(time, self.began)
        at = time or 0.0
        name = event.get("trial")
        if kind in ("grant", "end", "lost", "epoch", "pruned"):
            if not isinstance(name, str):
                return None
            trial = self.trial(name)
            if kind == "epoch":
                _epoch(trial, event, at)
                return None
            if kind == "pruned":
                trial.pruned = text(event.get("reason")) or "stopped early"
                return None
            if kind == "grant":
                self._granted(trial, event, at)
                return None
            _ended(trial, event, at) if kind == "end" else _lost(trial, event, at)
            return name
        if kind == "search_begin":
            self._begun(event, at)
        elif kind in ("joined", "left"):
            worker = self._worker(text(event.get("worker")) or "?")
            worker.come(at) if kind == "joined" else worker.go(at)
            worker.host = text(event.get("host")) or worker.host
        elif kind == "closing":
            self.state, self.why = "closing", text(event.get("reason")) or ""
        elif kind in ("search_failed", "stopped"):
            if self.state != "stopped":  # a chief that is stopped fails the search for those who wait for it
                self.state = "failed" if kind == "search_failed" else "stopped"
                self.why = text(event.get("error") or event.get("reason")) or ""
        elif kind == "search_end":
            self.state, self.why = "ended", self.why if self.state == "closing" else ""
        if kind in ("search_end", "search_failed", "stopped", "run_end"):
            for worker in self.workers.values():
                if worker.here is not None:
                    worker.go(at)
        return None

    def keep(self, name: str, facts: Facts) -> None:
        """Takes KerasTuner's file of a trial; an empty one is damaged, and leaves what is known."""
        trial = self.trial(name)
        word = facts.get("status")
        last = trial.last
        told = last is not None and last.outcome != "again"
        if word in ENDED or not told:
            # What has ended stays so, whatever a crash has kept out of the log; else the log knows best.
            trial.status = "waiting" if word == AGAIN else _word(trial, word or trial.status)
            if word in ENDED and last is not None and last.outcome == "running":
                last.outcome, last.ended = trial.status, last.ended or self.last_event
        hyperparameters = facts.get("hyperparameters")
        values = hyperparameters.get("values") if isinstance(hyperparameters, dict) else None
        if isinstance(values, dict) and values:
            trial.values = values
        score = number(facts.get("score"))
        trial.score = trial.score if score is None else score
        step = facts.get("best_step")
        trial.best_epoch = step + 1 if trial.score is not None and isinstance(step, int) else None
        trial.message = text(facts.get("message")) or ""
        if self.objective is None and trial.status == "completed" and trial.score is not None:
            self._kept[name] = (trial.score, best_values(facts))

    def infer_objective(self) -> None:
        """Finds the metric that the scores are of, where no event names it."""
        if self.objective is None and self._kept:
            found = _objective(self._kept.values())
            if found is not None:
                self._inferred, self.direction = found

    # --- reading it

    @property
    def metric(self) -> str | None:
        """The objective's name, as told or as inferred."""
        return self.objective or self._inferred

    @property
    def ordered(self) -> list[Trial]:
        """The trials by id, as numbers where they are."""
        return [self.trials[x] for x in sorted(self.trials, key=_by_number)]

    @property
    def counts(self) -> dict[str, int]:
        """How many trials have each status, in a fixed order; those that none has are left out."""
        counts = Counter(trial.status for trial in self.trials.values())
        return {name: counts[name] for name in (*STATUSES, *sorted(set(counts) - set(STATUSES))) if counts[name]}

    @property
    def sign(self) -> int:
        """-1 where more is better, else 1."""
        return -1 if self.direction == "max" else 1

    @property
    def done(self) -> list[Trial]:
        """The completed trials with a score, and those that were stopped early, the best first."""
        done = [x for x in self.trials.values() if x.scored]
        return sorted(done, key=lambda x: (self.sign * (x.score or 0.0), _by_number(x.id)))

    @property
    def best(self) -> Trial | None:
        """The best trial; None where none has a score, or nothing tells whether more is better."""
        if self.metric is None:
            return None
        return next(iter(self.done), None)

    def score_so_far(self, trial: Trial) -> float | None:
        """The best value of the objective that a trial has reported after an epoch of its last attempt."""
        if self.metric is None or trial.last is None:
            return None
        seen = [x.logs.get(self.metric) for x in trial.epochs if x.attempt <= trial.last.number]
        numbers = [x for x in seen if x is not None]
        return (max if self.direction == "max" else min)(numbers) if numbers else None

    def seconds_left(self, now: float) -> float | None:
        """About how long the search will still take, in seconds; None where that cannot be told.

        By the time that trials took which have a score, over as many at once as run now.
        """
        took = [x.seconds for x in self.trials.values() if x.status in SCORED and x.seconds is not None]
        if self.max_trials is None or not took or self.state not in ("running", "closing"):
            return None
        mean = sum(took) / len(took)
        running = [x for x in self.trials.values() if x.status == "running" and x.last is not None]
        to_begin = self.max_trials - sum(x.status in (*FINISHED, "running") for x in self.trials.values())
        if self.state == "closing":
            to_begin = 0
        elapsed = [min(mean, max(0.0, now - x.last.began)) for x in running if x.last is not None]
        work = mean * (max(0, to_begin) + len(running)) - sum(elapsed)
        return max(0.0, work / max(1, len(running)))

    def trial(self, name: str) -> Trial:
        """A trial, made where it is new."""
        if name not in self.trials:
            self.trials[name] = Trial(name)
        return self.trials[name]

    # --- events

    def _begun(self, event: Facts, at: float) -> None:
        if event.get("search") != self.search:  # it goes on without its workers: all that was granted runs again
            for trial in self.trials.values():
                if trial.last is not None and trial.last.outcome == "running":
                    _lost(trial, {"reason": "the run before was stopped"}, self._before(at))
                    trial.version = -1
        for worker in self.workers.values():  # those that are still here say so again
            if worker.here:
                worker.go(self._before(at))
        self.search = text(event.get("search")) or ""
        self.resumed = at
        self.state, self.why = "running", ""
        self.oracle = text(event.get("oracle")) or self.oracle
        self.role = text(event.get("role")) or self.role
        self.objective = text(event.get("objective")) or self.objective
        self.direction = event["direction"] if event.get("direction") in ("min", "max") else self.direction
        limit = event.get("max_trials")
        self.max_trials = limit if isinstance(limit, int) else self.max_trials
        program = event.get("program")
        if isinstance(program, dict):
            arguments = program.get("arguments")
            words = arguments if isinstance(arguments, list) else []
            self.program = " ".join([text(program.get("name")) or "", *map(str, words)]).strip()

    def _before(self, at: float) -> float:
        times = [y for x in self.trials.values() if x.last is not None for y in (x.last.began, x.last.ended) if y]
        return min(at, max(times, default=at))

    def _granted(self, trial: Trial, event: Facts, at: float) -> None:
        if trial.last is not None and trial.last.outcome == "running":
            _lost(trial, {}, at)
        attempt = event.get("attempt")
        known = attempt if isinstance(attempt, int) else len(trial.attempts) + 1
        worker = text(event.get("worker")) or "?"
        asked = number(event.get("suggest_seconds"))
        trial.attempts.append(Attempt(known, worker, text(event.get("device")), at, suggest_seconds=asked))
        trial.status = "running"
        trial.of = None
        values = event.get("values")
        trial.values = values if isinstance(values, dict) else trial.values
        self._worker(worker).device = text(event.get("device"))

    def _worker(self, name: str) -> Worker:
        return self.workers.setdefault(name, Worker(name))


def _ended(trial: Trial, event: Facts, at: float) -> None:
    status = event.get("status")
    word = "again" if status == AGAIN else _word(trial, status)
    last = trial.last
    if last is None:
        last = Attempt(1, text(event.get("worker")) or "?", None, at)
        trial.attempts.append(last)
    by_chief = bool(event.get("by_chief"))  # it was lost already, and this is what the search makes of it
    if not by_chief:
        last.ended, last.outcome, last.seconds = at, word, number(event.get("seconds"))
    trial.status = "waiting" if word == "again" else word
    trial.score = number(event.get("score"))


def _word(trial: Trial, status: Any) -> str:
    """The word for KerasTuner's status of a trial, which knows none for one that was stopped early."""
    return "pruned" if status == "COMPLETED" and trial.pruned else str(status).lower()


def _lost(trial: Trial, event: Facts, at: float) -> None:
    last = trial.last
    if last is None or last.outcome not in ("running",):
        return
    last.ended, last.outcome = at, "lost"
    last.reason = text(event.get("reason")) or ""
    last.counted = bool(event.get("counted"))
    last.out_of_memory = bool(event.get("out_of_memory"))
    trial.status = "waiting"
    trial.score = None


def _epoch(trial: Trial, event: Facts, at: float) -> None:
    logs = event.get("logs")
    attempt, epoch, of = event.get("attempt"), event.get("epoch"), event.get("of")
    if not isinstance(logs, dict) or not isinstance(attempt, int) or not isinstance(epoch, int):
        return
    trial.epochs.append(Epoch(attempt, epoch + 1, at, {str(k): number(v) for k, v in logs.items()}))
    trial.of = of if isinstance(of, int) and of > 0 else trial.of


def parameters(config: Any) -> list[Parameter]:
    """The space, from what KerasTuner writes of its `HyperParameters`; what cannot be read is left out."""
    found: dict[str, Parameter] = {}
    space = config.get("space") if isinstance(config, dict) else None
    for entry in space if isinstance(space, list) else []:
        try:
            kind, facts = str(entry["class_name"]).lower(), entry["config"]
            name = str(facts["name"])
            parameter = Parameter(
                name,
                kind,
                "log" in str(facts.get("sampling") or ""),
                number(facts.get("min_value")),
                number(facts.get("max_value")),
                tuple(facts.get("values") or ()) if kind == "choice" else (False, True) if kind == "boolean" else (),
                _conditions(facts.get("conditions")),
                number(facts.get("step")),
                facts.get("sampling") == "reverse_log",
            )
        except (KeyError, TypeError):
            continue
        found.setdefault(name, parameter)  # the same name under other conditions is the same column
    return list(found.values())


def _conditions(conditions: Any) -> str:
    words = []
    for entry in conditions if isinstance(conditions, list) else []:
        facts = entry.get("config", {}) if isinstance(entry, dict) else {}
        values = facts.get("values") or []
        words.append(f"{facts.get('name')} is {' or '.join(str(x) for x in values)}")
    return " and ".join(words)


def best_values(facts: Facts) -> dict[tuple[str, str], float]:
    """The best value of each metric in a trial's file, by name and direction; what cannot be read is left out."""
    found = {}
    try:
        for name, history in facts["metrics"]["metrics"].items():
            means = [sum(seen["value"]) / len(seen["value"]) for seen in history["observations"]]
            numbers = [mean for mean in means if math.isfinite(mean)]
            best = {"max": max, "min": min}.get(history["direction"])
            if numbers and best is not None:
                found[name, history["direction"]] = best(numbers)
    except (ArithmeticError, AttributeError, KeyError, TypeError):
        return {}
    return found


def _objective(done: Iterable[tuple[float, dict[tuple[str, str], float]]]) -> tuple[str, str] | None:
    """The metric whose best value is the score of every trial, with its direction."""
    common: set[tuple[str, str]] | None = None
    for score, values in done:
        fitting = {metric for metric, best in values.items() if math.isclose(best, score)}
        common = fitting if common is None else common & fitting
    # Of two that are the same in every trial, the one that is measured on the validation data.
    return min(common, key=lambda x: (not x[0].startswith("val_"), x)) if common else None


def _by_number(name: str) -> tuple[float, str]:
    return (len(name), name) if name.isdigit() else (math.inf, name)


def number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None


def text(value: Any) -> str | None:
    """The same as text; None stays None."""
    return None if value is None else str(value)
