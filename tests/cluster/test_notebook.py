"""A search in a notebook: its tables, its figures, and what a cell shows of it."""

from __future__ import annotations

import html
import io
import subprocess
import sys
from pathlib import Path

import pandas
import plotly.graph_objects
import pytest
from rich.console import Console

import cluster
from cluster import report
from cluster.errors import MissingDependency, UsageError
from cluster.notebook import Search
from cluster.report.figures import FIGURES
from tests.made_up import MadeUp, write

ROOT = Path(__file__).parents[2]


def test_the_trials_are_those_of_the_csv(tmp_path: Path) -> None:
    project = write(tmp_path / "digits", MadeUp(trials=12, running=1))
    report.write(project)
    trials = cluster.load(project).trials
    written = pandas.read_csv(project / "trials.csv", dtype={"trial": str})
    assert list(trials.columns) == list(written.columns)
    assert list(trials.trial) == list(written.trial)
    assert trials.score.tolist() == pytest.approx(written.score.tolist(), nan_ok=True)
    assert trials["hp:rate"].tolist() == pytest.approx(written["hp:rate"].tolist())
    assert trials.score.dtype == float
    assert str(trials.attempts.dtype) == str(trials.best_epoch.dtype) == "Int64"
    assert trials.score.idxmax() == 0


def test_the_epochs(tmp_path: Path) -> None:
    search = cluster.load(str(write(tmp_path / "digits")))
    epochs = search.epochs
    assert list(epochs.columns[:4]) == ["trial", "attempt", "epoch", "time"]
    assert {"loss", "val_accuracy"} <= set(epochs.columns)
    assert len(epochs) == 48
    best = search.best
    assert best is not None
    curve = epochs[epochs.trial == best.trial].set_index("epoch").val_accuracy
    assert curve.max() == best.score
    assert curve.idxmax() == best.epoch
    assert str(epochs.time.dt.tz) == "UTC"


def test_the_best(tmp_path: Path) -> None:
    search = cluster.load(write(tmp_path / "digits"))
    assert search.best is not None
    assert search.best.trial == search.record.done[0].id
    assert search.best.hyperparameters == search.record.done[0].values
    assert cluster.load(write(tmp_path / "new", MadeUp(trials=1, running=1, lost=0, failed=0))).best is None


def test_the_figures(tmp_path: Path) -> None:
    search = cluster.load(write(tmp_path / "digits"))
    assert list(search.figures) == list(FIGURES)
    for name, figure in search.figures.items():
        assert isinstance(figure, plotly.graph_objects.Figure)
        assert figure.layout.title.text == FIGURES[name].title
        assert figure.data
    assert search.figures["history"] is search.figures["history"]
    with pytest.raises(KeyError, match="'nothing' is none of history, "):
        search.figures["nothing"]


def test_figures_of_too_little(tmp_path: Path) -> None:
    search = cluster.load(write(tmp_path / "digits", MadeUp(trials=1, running=1, lost=0, failed=0, over=False)))
    figure = search.figures["importance"]
    assert [x.text for x in figure.layout.annotations] == ["too little to show yet"]


def test_what_is_new_is_read(tmp_path: Path) -> None:
    project = write(tmp_path / "digits", MadeUp(trials=4, max_trials=8, running=1, over=False))
    search = cluster.load(project)
    before = search.figures["history"]
    assert len(search.trials) == 4
    write(project, MadeUp(trials=8, max_trials=8))
    assert search.refresh() is search
    assert len(search.trials) == 8
    assert search.figures["history"] is not before


def test_a_search_without_trials(tmp_path: Path) -> None:
    search = cluster.load(write(tmp_path / "digits", MadeUp(trials=0, lost=0, failed=0, over=False)))
    assert len(search.trials) == len(search.epochs) == 0
    assert search.best is None
    assert "digits" in search._repr_html_()


def test_in_a_terminal(tmp_path: Path) -> None:
    search = cluster.load(write(tmp_path / "digits"))
    assert search.best is not None
    best = f"best val_accuracy={search.best.score:.5g} (trial {search.best.trial})"
    assert repr(search) == f"Search digits: 11 trials completed, 1 not completed; {best}"
    console = Console(file=io.StringIO(), width=100)
    console.print(search)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "BayesianOptimizationOracle" in shown
    assert "Best hyperparameters" in shown
    assert repr(search.figures) == "Figures: " + ", ".join(FIGURES)


EVIL = "<script>alert(1)</script>&$x$[bold]"


def test_nothing_in_a_cell_is_taken_for_markup(tmp_path: Path) -> None:
    search = cluster.load(write(tmp_path / "digits", MadeUp(program=(EVIL,))))
    search.record.name = search.record.oracle = EVIL
    for trial in search.record.trials.values():
        trial.values = {EVIL: EVIL}
        for attempt in trial.attempts:
            attempt.worker = EVIL
    shown = search._repr_html_()
    assert "<script" not in shown
    assert "$" not in shown
    assert html.escape("<script>alert(1)</script>&") in shown
    assert "2 more are in <code>.trials</code>" in shown
    console = Console(file=io.StringIO(), width=400)
    console.print(search)
    assert isinstance(console.file, io.StringIO)
    assert EVIL in console.file.getvalue()


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    write(tmp_path / "results" / "digits")
    with pytest.raises(UsageError, match=r"there is .*/digits"):
        cluster.load(tmp_path / "results")


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = cluster.load(write(tmp_path / "digits"))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependency, match=r"pandas: pip install 'keras-tuning-cluster\[ui\]'"):
        _ = search.trials
    assert "digits" in search._repr_html_()


def test_it_costs_nothing_until_it_is_asked_for() -> None:
    code = (
        "import sys, cluster; print(cluster.load.__name__, *{'cluster.notebook', 'rich', 'pandas'} & set(sys.modules));"
        "import cluster.notebook; print(*{'pandas', 'plotly', 'keras', 'tensorflow', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "load\n\n"


def test_ipython_shows_it(tmp_path: Path) -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    shown, _ = formatters.DisplayFormatter().format(cluster.load(write(tmp_path / "digits")))
    assert set(shown) == {"text/plain", "text/html"}
    assert shown["text/plain"].startswith("Search digits: ")


def test_it_is_typed() -> None:
    found: type = Search
    assert cluster.load.__annotations__["return"] == found.__name__
