"""`cluster status`: a search as its files tell it, while it runs or afterwards.

Owns the table and the JSON object; what is known of the search is `record.py`'s, and reading it `follow.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster import follow
from cluster.record import Facts, Record
from cluster.record import Trial as Of

STYLES = {"completed": "green", "pruned": "blue", "running": "cyan", "waiting": "yellow", "failed": "red"}
IN_HEADLINE = {name: name for name in STYLES} | {"waiting": "waiting to run again", "pruned": "stopped early"}


@dataclass(frozen=True)
class Trial:
    """A trial as it stands.

    Attributes:
        trial: Its id.
        status: `completed`, `pruned` (stopped early, with a score), `running`, `waiting` (to run again), `failed`;
            `damaged` where nothing tells; else KerasTuner's word.
        score: The objective's value; None without one that is a number.
        attempts: How often it was granted; None where no event tells.
        worker: Who runs it, or ran it last.
        device: What that worker runs it on.
        seconds: How long the attempt took that ended.
        epoch: How many epochs the attempt in hand has behind it; None where nothing tells.
        epochs: How many it has; None where nothing tells.
        so_far: The best value of the objective after one of them; None where nothing tells.
        hyperparameters: Their values.
        reason: Why it waits, has failed or was stopped early; empty otherwise.
    """

    trial: str
    status: str
    score: float | None
    attempts: int | None
    worker: str | None
    device: str | None
    seconds: float | None
    epoch: int | None
    epochs: int | None
    so_far: float | None
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
        state: `running`, `closing` (no further trial is begun), `ended`, `failed` or `stopped`; empty where nothing
            tells.
        max_trials: How many trials there will be; None where that is not known.
        counts: How many trials have each status.
        best: The best trial; None where none has a score, or no metric of the trials is seen to be the objective.
        last_event: When the last event was written, in Unix seconds; None without one.
        trials: The trials, by id.
    """

    directory: str
    state: str
    max_trials: int | None
    counts: dict[str, int]
    best: Best | None
    last_event: float | None
    trials: list[Trial]

    @classmethod
    def of(cls, record: Record) -> Standing:
        """A record as it stands."""
        best = record.best
        return cls(
            directory=record.directory,
            state=record.state,
            max_trials=record.max_trials,
            counts=record.counts,
            best=None
            if best is None or best.score is None
            else Best(best.id, best.score, record.metric or "", record.direction),
            last_event=record.last_event,
            trials=[_trial(record, trial) for trial in record.ordered],
        )

    def as_json(self) -> Facts:
        """The same for machines; what is no number is null."""
        found: Facts = plain(asdict(self))
        return found

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
        told = [trial for trial in self.trials if trial.reason and trial.status != "pruned"]
        if told:
            console.print()
        for trial in told:
            console.print(f"trial {trial.trial} {trial.status}: {trial.reason}")

    def _headline(self, now: float) -> str:
        names = {name: IN_HEADLINE.get(name, name) for name in ("completed", *self.counts)}
        text = ", ".join(f"{self.counts.get(name, 0)} {words}" for name, words in names.items())
        total = len(self.trials)
        of = f" of {self.max_trials}" if self.max_trials is not None and self.max_trials > total else ""
        text = f"{total}{of} trial{'' if total == 1 and not of else 's'}: {text}"
        if self.best is not None:
            text += f"; best {self.best.objective}={self.best.score:.5g} (trial {self.best.trial})"
        if self.last_event is not None:
            text += f"; last event {ago(now - self.last_event)} ago"
        return text


def read(directory: Path) -> Standing:
    """Reads a project directory.

    Raises:
        UsageError: it is none, or cannot be read; where projects are in it, the text names them.
    """
    return Standing.of(follow.read(directory))


def _trial(record: Record, trial: Of) -> Trial:
    last = trial.last
    running = trial.status == "running" and last is not None
    return Trial(
        trial=trial.id,
        status=trial.status,
        score=trial.score,
        attempts=None if last is None else last.number,
        worker=trial.worker,
        device=trial.device,
        seconds=trial.seconds,
        epoch=trial.epochs[-1].number if running and trial.epochs else None,
        epochs=trial.of if running else None,
        so_far=record.score_so_far(trial) if running else None,
        hyperparameters=trial.values,
        reason=trial.reason,
    )


def plain(value: Any) -> Any:
    """The same without the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _progress(trial: Trial) -> str:
    if trial.epoch is None:
        return ""
    so_far = "" if trial.so_far is None else f" {trial.so_far:.5g}"
    return f"{trial.epoch}{'' if trial.epochs is None else f'/{trial.epochs}'}{so_far}"


COLUMNS: dict[str, Callable[[Trial], str]] = {
    "trial": lambda trial: trial.trial,
    "status": lambda trial: trial.status,
    "score": lambda trial: "" if trial.score is None else f"{trial.score:.5g}",
    "attempts": lambda trial: "" if trial.attempts is None else str(trial.attempts),
    "worker": lambda trial: trial.worker or "",
    "device": lambda trial: trial.device or "",
    "epoch": _progress,
    "seconds": lambda trial: "" if trial.seconds is None else f"{trial.seconds:.1f}",
    "hyperparameters": lambda trial: ", ".join(f"{k}={short(v)}" for k, v in trial.hyperparameters.items()),
}
NUMBERS = ("score", "attempts", "epoch", "seconds")
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


def short(value: Any) -> str:
    """A value of a hyperparameter, in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ago(seconds: float) -> str:
    """A span of time in one unit, such as `2 h`."""
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"
