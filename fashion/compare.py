"""The baseline and one search for each oracle, in one table beside the figures of the original experiment.

Owns: the order of the runs, the finished rows, and the table in its three forms (terminal, `compare.md`,
`compare.json`). Does not own: how one search is made (`tune.py`).

With several processes, each must meet the others at the same searches in the same order. So every process calls
`search()` for every oracle; a search that is over returns at once. Measuring, and leaving out what was measured
before, is for the chief alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras_tuner

from fashion import data
from fashion.data import Dataset
from fashion.files import read_json, write_json, write_text
from fashion.project import Project
from fashion.role import is_chief
from fashion.settings import ORACLES, Oracle, Settings
from fashion.table import aligned, duration, markdown, percent
from fashion.train import train
from fashion.tune import evaluate_best, save_best, search

BASELINE = "baseline"
Figures = dict[str, Any]  # one row of the table, as it stands in compare.json

# What the experiment that this program repeats reported: Fashion-MNIST, 5 epochs, 10 % for validation; learning rate,
# dense units and epochs tuned. It gave no loss and no times for the baseline.
ORIGINAL: dict[str, Figures] = {
    BASELINE: {"test_accuracy": 0.9019},
    "bayesian": {"test_accuracy": 0.8959, "test_loss": 0.28, "trials_seconds": 12 * 60 + 8},
    "grid": {"test_accuracy": 0.8934, "test_loss": 0.30, "trials_seconds": 10 * 60 + 31},
    "random": {"test_accuracy": 0.8956, "test_loss": 0.28, "trials_seconds": 13 * 60 + 29},
}

HEADER = ("", "accuracy", "test loss", "run time", "time for trials", "trials")
ORIGINAL_HEADER = ("orig. accuracy", "orig. loss", "orig. time for trials")


def run(settings: Settings, oracles: Sequence[Oracle]) -> None:
    """Runs `python -m fashion compare`; `settings.oracle` and `settings.project` are set anew for each search."""
    dataset = data.load(settings.data, settings.train_samples)
    table = Table(settings, dataset)
    if is_chief() and BASELINE not in table:
        table.add(BASELINE, asdict(train(settings, dataset)))
    for oracle in oracles:
        mine = _settings_for(oracle, settings)
        tuner = search(mine, dataset)
        if is_chief() and oracle not in table:
            table.add(oracle, _search_row(tuner, mine, dataset))
    if is_chief():
        table.write()
        print(f"\n{table.text()}\n\nWritten: {table.folder / 'compare.md'}, {table.folder / 'compare.json'}")


class Table:
    """The rows measured so far, on disk after each one, so that an interrupted comparison goes on where it was.

    Rows of an earlier run count if their settings are those of this one. They stay in the table even if their oracle
    is not asked for this time.
    """

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        self.folder: Path = settings.directory
        self._settings = settings
        self._dataset = dataset
        earlier = read_json(self.folder / "compare.json") or {}
        self._rows: dict[str, Figures] = {
            row["name"]: row for row in earlier.get("rows", []) if row["settings"] == self._settings_of(row["name"])
        }

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def add(self, name: str, figures: Figures) -> None:
        """Adds a finished row and writes the table."""
        self._rows[name] = {"name": name, **figures, "settings": self._settings_of(name)}
        self.write()

    def text(self) -> str:
        """Returns the table for a terminal, with what it was measured on."""
        return f"{self._title()}\n\n{aligned(self._cells(), HEADER + ORIGINAL_HEADER)}{self._caution()}"

    def _settings_of(self, name: str) -> Figures:
        """What a row depends on; the baseline does not depend on how a search is made."""
        kind = self._dataset.kind
        if name == BASELINE:
            return self._settings.training(kind)
        search_settings = replace(self._settings, oracle=name).search(kind)  # type: ignore[arg-type]
        return search_settings | {"max_trials": self._settings.max_trials}

    def _sorted(self) -> list[Figures]:
        return [self._rows[name] for name in (BASELINE, *ORACLES) if name in self._rows]

    def _cells(self) -> list[Sequence[str]]:
        return [
            (
                row["name"],
                *_figures(row),
                duration(row["run_seconds"]),
                _time(row.get("trials_seconds")),
                str(row.get("trials", "-")),
                *_figures(original := ORIGINAL.get(row["name"], {})),
                _time(original.get("trials_seconds")),
            )
            for row in self._sorted()
        ]

    def _title(self) -> str:
        s = self._settings
        return (
            f"Data: {self._dataset.title}; {len(self._dataset.train[0]):,} images for training. "
            f"At most {s.epochs} epochs, {s.max_trials} trials a search, batch size {s.batch_size}, "
            f"{s.space} space, {s.precision}, seed {s.seed}."
        )

    def _caution(self) -> str:
        if not self._dataset.generated:
            return ""
        return "\n\nThese are results on generated data: they cannot be compared with the original's."

    def write(self) -> None:
        """Writes `compare.md` and `compare.json`."""
        table = markdown(self._cells(), HEADER + ORIGINAL_HEADER)
        write_text(
            self.folder / "compare.md", f"# Baseline and searches\n\n{self._title()}\n\n{table}{self._caution()}\n"
        )
        content = {
            **self._settings.training(self._dataset.kind),
            "max_trials": self._settings.max_trials,
            "space": self._settings.space,
            "rows": self._sorted(),
            "original": ORIGINAL,
        }
        write_json(self.folder / "compare.json", content)


def _settings_for(oracle: Oracle, settings: Settings) -> Settings:
    """A project of its own, apart from those of `tune`, whose time may have been taken in other circumstances."""
    return replace(settings, oracle=oracle, project=f"compare-{oracle}")


def _search_row(tuner: keras_tuner.Tuner, settings: Settings, dataset: Dataset) -> Figures:
    start = time.perf_counter()
    model, best = evaluate_best(tuner, settings, dataset)
    save_best(model, best, settings, dataset)
    trials_seconds = Project(settings.project_dir).seconds()
    return asdict(best) | {
        "trials_seconds": trials_seconds,
        "run_seconds": trials_seconds + time.perf_counter() - start,
    }


def _figures(row: Figures) -> tuple[str, str]:
    accuracy, loss = row.get("test_accuracy"), row.get("test_loss")
    return ("-" if accuracy is None else percent(accuracy), "-" if loss is None else f"{loss:.2f}")


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
