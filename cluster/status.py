"""`cluster status`: a search as its files tell it, while it runs or afterwards.

Owns reading a project directory without a chief and without Keras: the event log, and KerasTuner's file of each trial.
It writes nothing, takes no lock, and shows what is damaged as far as it is whole.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.errors import UsageError
from cluster.state import EVENTS, EventLog

log = logging.getLogger(__name__)

Facts = dict[str, Any]

STYLES = {"completed": "green", "running": "cyan", "waiting": "yellow", "failed": "red"}
IN_HEADLINE = {name: name for name in STYLES} | {"waiting": "waiting to run again"}
# What KerasTuner calls a trial that is to be tried again; in its files it is also what one is that was lost.
AGAIN = "INVALID"
ENDED = ("COMPLETED", "FAILED")


@dataclass(frozen=True)
class Trial:
    """A trial as it stands.

    Attributes:
        trial: Its id.
        status: `completed`, `running`, `waiting` (to run again), `failed`; `damaged` where nothing tells; else
            KerasTuner's word.
        score: The objective's value; None without one that is a number.
        attempts: How often it was granted; None where no event tells.
        worker: Who runs it, or ran it last.
        device: What that worker runs it on.
        seconds: How long the attempt took that ended.
        hyperparameters: Their values.
        reason: Why it waits or has failed; empty otherwise.
    """

    trial: str
    status: str
    score: float | None
    attempts: int | None
    worker: str | None
    device: str | None
    seconds: float | None
    hyperparameters: Facts
    reason: str


@dataclass(frozen=True)
class Best:
    """The best trial so far: its id, its score, and what the score is of."""

    trial: str
    score: float
    objective: str
    direction: str


@dataclass(frozen=True)
class Standing:
    """A search as it stands.

    Attributes:
        directory: The project directory.
        counts: How many trials have each status.
        best: The best trial; None where none has a score, or no metric of the trials is seen to be the objective.
        last_event: When the last event was written, in Unix seconds; None without one.
        trials: The trials, by id.
    """

    directory: str
    counts: dict[str, int]
    best: Best | None
    last_event: float | None
    trials: list[Trial]

    def as_json(self) -> Facts:
        """The same for machines; what is no number is null."""
        plain: Facts = _plain(asdict(self))
        return plain

    def tell(self, console: Console, now: float) -> None:
        """Prints a headline, the table of the trials, and why some wait or have failed.

        Args:
            console: Where to.
            now: The time in Unix seconds.
        """
        console.print(self._headline(now))
        if self.trials:
            console.print()
            console.print(_table(self.trials))
        told = [trial for trial in self.trials if trial.reason]
        if told:
            console.print()
        for trial in told:
            console.print(f"trial {trial.trial} {trial.status}: {trial.reason}")

    def _headline(self, now: float) -> str:
        names = {name: IN_HEADLINE.get(name, name) for name in ("completed", *self.counts)}
        text = ", ".join(f"{self.counts.get(name, 0)} {words}" for name, words in names.items())
        total = len(self.trials)
        text = f"{total} trial{'' if total == 1 else 's'}: {text}"
        if self.best is not None:
            text += f"; best {self.best.objective}={self.best.score:.5g} (trial {self.best.trial})"
        if self.last_event is not None:
            text += f"; last event {_ago(now - self.last_event)} ago"
        return text


def read(directory: Path) -> Standing:
    """Reads a project directory.

    Raises:
        UsageError: it is none, or cannot be read; where projects are in it, the text names them.
    """
    try:
        _check_is_project(directory)
        kept = dict(_kept(path) for path in sorted(directory.glob("trial_*/trial.json")))
        events = EventLog(directory).read()
    except OSError as error:
        raise UsageError(f"{error.filename or directory} cannot be read: {error.strerror}") from error
    grants, last = _follow(events)
    ids = sorted(kept.keys() | last.keys(), key=lambda x: (len(x), x) if x.isdigit() else (math.inf, x))
    trials = [_trial(x, kept.get(x, {}), grants.get(x, {}), last.get(x, {})) for x in ids]
    times = [time for event in events if (time := _number(event.get("time"))) is not None]
    counts = Counter(trial.status for trial in trials)
    ordered = [name for name in (*STYLES, *sorted(counts)) if counts[name]]
    return Standing(
        directory=str(directory),
        counts={name: counts[name] for name in ordered},
        best=_best(trials, kept),
        last_event=times[-1] if times else None,
        trials=trials,
    )


def _check_is_project(directory: Path) -> None:
    if not directory.is_dir():
        raise UsageError(f"{directory} is {'no directory' if directory.exists() else 'not there'}")
    if _is_project(directory):
        return
    below = [str(path) for path in sorted(directory.iterdir()) if path.is_dir() and _is_project(path)]
    where = f"; there is {', '.join(below)}" if below else ""
    raise UsageError(
        f"{directory} is no project directory: it has no {EVENTS}, no oracle.json and no trial_*/trial.json{where}"
    )


def _is_project(directory: Path) -> bool:
    return (
        (directory / EVENTS).exists()
        or (directory / "oracle.json").exists()
        or any(directory.glob("trial_*/trial.json"))
    )


def _kept(path: Path) -> tuple[str, Facts]:
    """The id and the file of a trial; a damaged file is an empty one."""
    name = path.parent.name.removeprefix("trial_")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s is damaged and is left out: %s", path, error)
        return name, {}
    return name, facts


def _follow(events: Iterable[Facts]) -> tuple[dict[str, Facts], dict[str, Facts]]:
    """The last grant of each trial, and the last event of each."""
    grants: dict[str, Facts] = {}
    last: dict[str, Facts] = {}
    search = None
    for event in events:
        trial = event.get("trial")
        if event["event"] == "search_begin":
            if event.get("search") != search:  # it goes on without its workers: all that was granted runs again
                stopped = {"event": "lost", "reason": "the run before was stopped"}
                last |= {name: stopped for name, old in last.items() if old["event"] == "grant"}
            search = event.get("search")
        elif isinstance(trial, str) and event["event"] in ("grant", "end", "lost"):
            last[trial] = event
            if event["event"] == "grant":
                grants[trial] = event
    return grants, last


def _trial(name: str, kept: Facts, grant: Facts, last: Facts) -> Trial:
    """A trial by its file, its last grant and its last event."""
    status = _status(kept, last)
    attempts = grant.get("attempt")
    hyperparameters = kept.get("hyperparameters")
    values = hyperparameters.get("values") if isinstance(hyperparameters, dict) else None
    values = values or grant.get("values")
    score = _number(kept.get("score"))
    return Trial(
        trial=name,
        status=status,
        score=_number(last.get("score")) if score is None else score,
        attempts=attempts if isinstance(attempts, int) else None,
        worker=_text(grant.get("worker")),
        device=_text(grant.get("device")),
        seconds=_number(last.get("seconds")),
        hyperparameters=values if isinstance(values, dict) else {},
        reason=_reason(status, kept, last),
    )


def _status(kept: Facts, last: Facts) -> str:
    """What has ended stays so, whatever a crash has kept out of the log; else the log knows best."""
    word = kept.get("status")
    if word not in ENDED:
        word = {"grant": "RUNNING", "lost": AGAIN, "end": last.get("status")}.get(last.get("event", "")) or word
    return "waiting" if word == AGAIN else str(word or "damaged").lower()


def _reason(status: str, kept: Facts, last: Facts) -> str:
    if status not in ("waiting", "failed"):
        return ""
    message = _text(last.get("reason")) or _text(kept.get("message")) or ""
    return message.strip().rpartition("\n")[2]


def _best(trials: Iterable[Trial], kept: dict[str, Facts]) -> Best | None:
    done = [trial for trial in trials if trial.status == "completed" and trial.score is not None]
    objective = _objective((trial.score or 0.0, kept.get(trial.trial, {})) for trial in done)
    if objective is None:
        return None
    name, direction = objective
    sign = -1 if direction == "max" else 1
    score, trial = min((sign * (trial.score or 0.0), trial.trial) for trial in done)
    return Best(trial, sign * score, name, direction)


def _objective(done: Iterable[tuple[float, Facts]]) -> tuple[str, str] | None:
    """The metric that the scores are of, with its direction.

    No file names it; it is the one whose best value is the score of every trial.
    """
    common: set[tuple[str, str]] | None = None
    for score, facts in done:
        fitting = {metric for metric, best in _best_values(facts).items() if math.isclose(best, score)}
        common = fitting if common is None else common & fitting
    # Of two that are the same in every trial, the one that is measured on the validation data.
    return min(common, key=lambda x: (not x[0].startswith("val_"), x)) if common else None


def _best_values(facts: Facts) -> dict[tuple[str, str], float]:
    """The best value of each metric, by name and direction; what cannot be read is left out."""
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


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _plain(value: Any) -> Any:
    """The same without the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


COLUMNS: dict[str, Callable[[Trial], str]] = {
    "trial": lambda trial: trial.trial,
    "status": lambda trial: trial.status,
    "score": lambda trial: "" if trial.score is None else f"{trial.score:.5g}",
    "attempts": lambda trial: "" if trial.attempts is None else str(trial.attempts),
    "worker": lambda trial: trial.worker or "",
    "device": lambda trial: trial.device or "",
    "seconds": lambda trial: "" if trial.seconds is None else f"{trial.seconds:.1f}",
    "hyperparameters": lambda trial: ", ".join(f"{k}={_short(v)}" for k, v in trial.hyperparameters.items()),
}
NUMBERS = ("score", "attempts", "seconds")
LONG = ("worker", "device", "hyperparameters")


def _table(trials: list[Trial]) -> Table:
    """The trials; a column that would be empty is left out."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns = {name: [cell(trial) for trial in trials] for name, cell in COLUMNS.items()}
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    for name in columns:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=name not in LONG)
    for number, trial in enumerate(trials):
        table.add_row(
            *(
                Text(cells[number], STYLES.get(trial.status, "") if name == "status" else "")
                for name, cells in columns.items()
            )
        )
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _ago(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"
