"""A search in a notebook: tables for pandas, figures for Plotly, and how it stands, read from its files.

Owns what `cluster.load` gives. Pandas and Plotly are of the extra `ui`, and are imported when they are asked for.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import MissingDependency
from cluster.follow import Follower
from cluster.record import Facts, Record
from cluster.report import tables
from cluster.report.facts import facts, headline
from cluster.report.figures import FIGURES

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure
    from rich.console import RenderableType

ROWS = 10  # trials that are shown of a search
HEIGHT = 420  # of a figure that has none of its own, in pixels
TOO_LITTLE = "too little to show yet"


@dataclass(frozen=True)
class Best:
    """The best trial.

    Attributes:
        trial: Its id.
        score: The objective's value.
        epoch: The epoch of that value, from 1; None where nothing tells.
        hyperparameters: Their values.
    """

    trial: str
    score: float
    epoch: int | None
    hyperparameters: Facts


class Search:
    """A search as it stood when it was last read; `refresh` reads what is new.

    Attributes:
        record: All that is known of it.

    Args:
        directory: The project directory.

    Raises:
        UsageError: it is none, or cannot be read; where projects are in it, the text names them.
    """

    def __init__(self, directory: str | Path) -> None:
        self._follower = Follower(Path(directory))
        self.refresh()

    def refresh(self) -> Search:
        """Reads what is new; gives itself, so that a cell can end with it."""
        self._follower.poll()
        self.record: Record = self._follower.record
        self.figures = Figures(self.record)
        return self

    @property
    def trials(self) -> pandas.DataFrame:
        """One row a trial, the best first; the columns are those of `trials.csv`."""
        found = tables.rows(self.record)
        frame = _pandas().DataFrame(found, columns=tables.columns(found))
        for name in {"best_epoch", "attempts"} & set(frame.columns):
            frame[name] = frame[name].astype("Int64")  # whole numbers, where there are any
        return frame

    @property
    def epochs(self) -> pandas.DataFrame:
        """One row an epoch, of every attempt: trial, attempt, epoch (from 1), time (UTC), and the metrics."""
        pandas = _pandas()
        found = [
            {"trial": trial.id, "attempt": x.attempt, "epoch": x.number, "time": x.time, **x.logs}
            for trial in self.record.ordered
            for x in trial.epochs
        ]
        columns = dict.fromkeys(["trial", "attempt", "epoch", "time", *(name for row in found for name in row)])
        frame = pandas.DataFrame(found, columns=list(columns))
        frame["time"] = pandas.to_datetime(frame["time"], unit="s", utc=True)
        return frame

    @property
    def best(self) -> Best | None:
        """The best trial so far; None where none has a score."""
        found = self.record.best
        if found is None or found.score is None:
            return None
        return Best(found.id, found.score, found.best_epoch, dict(found.values))

    def __repr__(self) -> str:
        return f"Search {self.record.name}: {headline(self.record)}"

    def __rich__(self) -> RenderableType:
        """How it stands, for rich's `print`."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        for name, value in facts(self.record):
            table.add_row(Text(name, style="bold"), Text(value))
        return Group(Text(repr(self)), table)

    def _repr_html_(self) -> str:
        """How it stands, and the best trials, for a notebook."""
        found = tables.rows(self.record)
        names = tables.columns(found)
        about = "".join(f"<tr>{_cell(name, 'th')}{_cell(value)}</tr>" for name, value in facts(self.record))
        head = "".join(_cell(name.removeprefix("hp:"), "th") for name in names)
        body = "".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in found[:ROWS])
        more = f"<p>{len(found) - ROWS} more are in <code>.trials</code>.</p>" if len(found) > ROWS else ""
        trials = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}" if found else ""
        return (
            f"<div><p><strong>{_text(self.record.name)}</strong>: {_text(headline(self.record))}</p>"
            f"<table><tbody>{about}</tbody></table>{trials}</div>"
        )


class Figures(Mapping[str, "Figure"]):
    """The figures of a search by name, each drawn when it is asked for.

    Args:
        record: The search.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._drawn: dict[str, tuple[int, Figure]] = {}

    def __getitem__(self, name: str) -> Figure:
        if name not in FIGURES:
            raise KeyError(f"{name!r} is none of {', '.join(FIGURES)}")
        version, figure = self._drawn.get(name, (-1, None))
        if figure is None or version != self._record.version:
            figure = _figure(FIGURES[name].title, FIGURES[name](self._record))
            self._drawn[name] = (self._record.version, figure)
        return figure

    def __iter__(self) -> Iterator[str]:
        return iter(FIGURES)

    def __len__(self) -> int:
        return len(FIGURES)

    def __repr__(self) -> str:
        return f"Figures: {', '.join(self)}"


def _figure(title: str, found: Facts | None) -> Figure:
    objects = _import("plotly.graph_objects")
    if found is None:
        nothing = {"text": TOO_LITTLE, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
        found = {"data": [], "layout": {"annotations": [nothing], "xaxis": {"visible": False}, "height": 160}}
        found["layout"]["yaxis"] = {"visible": False}
    layout = found["layout"]
    margin = layout.get("margin", {})
    # The title is above what the figure itself has there.
    above = {"title": {"text": title}, "margin": {**margin, "t": margin.get("t", 20) + 50}}
    figure: Figure = objects.Figure(data=found["data"], layout={"height": HEIGHT, **layout, **above})
    return figure


def _pandas() -> Any:
    return _import("pandas")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingDependency(f"this needs {error.name}: pip install 'keras-tuning-cluster[ui]'") from error


def _cell(value: Any, kind: str = "td") -> str:
    shown = "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
    return f'<{kind} style="text-align: left">{_text(shown)}</{kind}>'


def _text(value: str) -> str:
    # A notebook may typeset what is between dollars.
    return html.escape(value).replace("$", "&#36;")
