"""What a terminal shows of a search while it runs: how far it is, the best so far, what runs, what was lost.

Owns the picture: it fits into the terminal, however small that is and however many trials run. Drawing it again and
again is `terminal.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cluster.record import FINISHED, Record, Trial
from cluster.status import STYLES, short

MOST_ROWS = 16
ROOM_FOR_RULE = 12  # lines that a terminal has, where there is a line between what is shown and what stands above
ALONE = "local"  # the only worker of a run in one process
BAR = 30  # columns, where there is room
DROPPED = ("seconds", "device", "worker")  # columns of the table, in the order in which a narrow terminal loses them
STATES = {"ended": "green", "failed": "red", "running": "cyan"}
OVER = ("ended", "failed", "stopped")


@dataclass(frozen=True)
class Running:
    """A trial that runs.

    Attributes:
        trial: Its id.
        attempt: Which attempt at it.
        worker: Who runs it.
        device: On what; empty where nothing tells.
        epoch: How many epochs are over, and of how many, in words.
        score: The objective so far; None before there is one.
        began: When this attempt began, in Unix seconds.
    """

    trial: str
    attempt: int
    worker: str
    device: str
    epoch: str
    score: float | None
    began: float


@dataclass(frozen=True)
class View:
    """A search as it stood at one moment, which no thread changes any more.

    Attributes:
        name: The project's name.
        state: As in `Record`.
        why: Why it is so.
        total: How many trials there will be; None where that is not known.
        counts: How many trials have each status.
        metric: The objective's name.
        best: The best trial's id, its score and its hyperparameters in words; None without one.
        running: The trials that run, the first begun first.
        lost: How many attempts were lost.
        retried: How many KerasTuner runs once more.
        trouble: The last loss or failure, in a line; empty without one.
        began: When this run began, in Unix seconds.
        last: When anything was last written.
        left: About how long the rest takes, in seconds from `at`; None where that cannot be told.
        at: When this was seen, in Unix seconds.
    """

    name: str
    state: str
    why: str
    total: int | None
    counts: dict[str, int]
    metric: str
    best: tuple[str, float, str] | None
    running: tuple[Running, ...]
    lost: int
    retried: int
    trouble: str
    began: float
    last: float
    left: float | None
    at: float

    @classmethod
    def of(cls, record: Record, now: float) -> View:
        """A record as it stands at `now`, in Unix seconds."""
        best = record.best
        attempts = [(x.ended or 0.0, trial, x) for trial in record.trials.values() for x in trial.attempts]
        bad = [x for x in attempts if x[2].outcome in ("lost", "failed", "again")]
        if record.state == "stopped":  # in order, and nobody is to blame for what ran then
            bad = [x for x in bad if x[2].reason != record.why]
        last = max(bad, key=lambda x: x[0], default=None)
        running = [x for x in record.ordered if x.status == "running" and x.last is not None]
        return cls(
            name=record.name,
            state=record.state,
            why=record.why,
            total=record.max_trials,
            counts=record.counts,
            metric=record.metric or "objective",
            best=None if best is None or best.score is None else (best.id, best.score, _words(best.values)),
            running=tuple(sorted((_running(record, x) for x in running), key=lambda x: x.began)),
            lost=sum(x[2].outcome == "lost" for x in bad),
            retried=sum(x[2].outcome == "again" for x in bad),
            trouble="" if last is None else f"trial {last[1].id}: {_first_words(last[2].reason or last[1].message)}",
            began=record.resumed or record.began or now,
            last=record.last_event or now,
            left=record.seconds_left(now),
            at=now,
        )

    @property
    def done(self) -> int:
        """How many trials are over."""
        return sum(self.counts.get(x, 0) for x in FINISHED)

    @property
    def over(self) -> bool:
        """Whether the search is."""
        return self.state in OVER


def _running(record: Record, trial: Trial) -> Running:
    last = trial.last
    assert last is not None
    epochs = [x.number for x in trial.epochs if x.attempt <= last.number]
    of = f"/{trial.of}" if trial.of is not None else ""
    epoch = f"{epochs[-1]}{of}" if epochs else ""
    return Running(trial.id, last.number, last.worker, last.device or "", epoch, record.score_so_far(trial), last.began)


class Panel:
    """A view, drawn into what room there is: no line wraps, and there are fewer than the terminal has.

    Args:
        view: What to show; None before anything is known.
        now: The time in Unix seconds.
        final: Whether the search is over for this process: what stays on the screen is a summary.
    """

    def __init__(self, view: View | None, now: float, *, final: bool = False) -> None:
        self._view = view
        self._now = now
        self._final = final

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = console.size
        if self._view is None:
            yield _line("" if self._final else "the search begins …", style="dim")
            return
        view = self._view
        lines: list[RenderableType] = [self._progress(view, width)]
        facts = self._facts(view)
        if not self._final:
            if height >= ROOM_FOR_RULE:
                lines.insert(0, Rule(style="dim"))
            rows = min(MOST_ROWS, height - len(lines) - len(facts) - 3)
            if view.running and rows > 0:
                lines += self._table(view.running, view.metric, rows, width)
            lines = [*lines, *facts][: max(1, height - 1)]
        else:
            for fact in facts:
                fact.no_wrap, fact.overflow = False, None
            lines += facts
        yield from lines

    def _progress(self, view: View, width: int) -> Table:
        """The state, a bar and the time, in one line; what does not fit is left out, the bar first."""
        until = view.last if self._final else self._now
        word = "interrupted" if self._final and not view.over else view.state or "running"
        style = STATES.get(word, "yellow")
        of = "" if view.total is None else f" of {max(view.total, view.done)}"
        cells = {
            "name": Text(view.name, "bold"),
            "state": Text(word, style),
            "done": Text(f"{view.done}{of} trial{'' if (view.total or view.done) == 1 else 's'}"),
            "time": Text(f"in {_time(until - view.began)}" if self._final else f"{_time(until - view.began)} elapsed"),
        }
        if view.left is not None and not self._final:
            cells["left"] = Text(f"about {_time(view.left - (self._now - view.at))} left")
        for name in ("name", "left", "state", "time"):
            room = width - sum(cell.cell_len + 2 for cell in cells.values())
            if room < 0:
                cells.pop(name, None)
        drawn: dict[str, RenderableType] = {**cells}
        if view.total and room >= 10:
            total, bar = max(view.total, view.done), min(BAR, room - 2)
            drawn["bar"] = ProgressBar(total, view.done, bar, complete_style="cyan", finished_style="green")
        line = Table.grid(padding=(0, 2, 0, 0))
        shown = [drawn[x] for x in ("name", "state", "bar", "done", "time", "left") if x in drawn]
        for _ in shown:
            line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(*shown)
        return line

    def _facts(self, view: View) -> list[Text]:
        lines = []
        if view.best is not None:
            trial, score, words = view.best
            line = _line(f"best {view.metric}={score:.5g}", style="bold")
            lines.append(line.append(f" (trial {trial}){': ' if words else ''}{words}", "not bold"))
        early = _counted(view.counts.get("pruned", 0), "{} stopped early")
        lines += [_line(early, style="dim")] if early else []
        counts = [
            _counted(view.counts.get("failed", 0), "{} failed"),
            _counted(view.counts.get("waiting", 0), "{} waiting to run again"),
            _counted(view.lost, "{} attempt lost", "{} attempts lost"),
            _counted(view.retried, "{} tried again"),
        ]
        trouble = ", ".join(x for x in counts if x)
        if trouble:
            lines.append(_line(trouble + (f"; the last: {view.trouble}" if view.trouble else ""), STYLES["waiting"]))
        if view.why:
            lines.append(_line(view.why, STYLES["failed"] if view.state == "failed" else STYLES["waiting"]))
        return lines

    def _table(self, running: tuple[Running, ...], metric: str, rows: int, width: int) -> list[RenderableType]:
        """The trials that run, in so many lines at most, the header not counted."""
        shown = running if len(running) <= rows else running[: rows - 1]
        columns = {
            "trial": [x.trial + (f" (attempt {x.attempt})" if x.attempt > 1 else "") for x in shown],
            "worker": [x.worker if x.worker != ALONE else "" for x in shown],
            "device": [x.device for x in shown],
            "epoch": [x.epoch for x in shown],
            metric: ["" if x.score is None else f"{x.score:.5g}" for x in shown],
            "seconds": [f"{max(0.0, self._now - x.began):.0f}" for x in shown],
        }
        columns = {name: cells for name, cells in columns.items() if any(cells)}
        for name in DROPPED:
            if sum(_widest(title, cells) + 2 for title, cells in columns.items()) > width:
                columns.pop(name, None)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for name in columns:
            right = name in ("epoch", metric, "seconds")
            table.add_column(name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
        for number in range(len(shown)):
            table.add_row(*(Text(cells[number]) for cells in columns.values()))
        hidden = len(running) - len(shown)
        return [*([table] if shown else []), *([_line(f"… and {hidden} more", style="dim")] if hidden else [])]


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _counted(number: int, one: str, many: str = "") -> str:
    return (many if many and number > 1 else one).format(number) if number else ""


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={short(value)}" for name, value in values.items())


def _first_words(text: str) -> str:
    """What a reason or a traceback comes to, in a line: the last line of a traceback, else the first."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return "no reason is given"
    return lines[-1].strip() if lines[0].startswith("Traceback") else lines[0].strip()


def _widest(name: str, cells: Iterable[str]) -> int:
    return max(len(name), *(len(cell) for cell in cells))


def _time(seconds: float) -> str:
    """A span of time, such as 1:05 or 2:03:40."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
