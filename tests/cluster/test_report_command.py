"""`cluster report`: one search again, several side by side, and what is wrong with what was asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.errors import ClusterError, MissingDependency, UsageError
from tests.cluster.test_report import without
from tests.made_up import MadeUp, write


@pytest.fixture(autouse=True)
def _unchanged_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of the other tests in this process stays as it is."""
    monkeypatch.setattr("cluster.commands.report.configure_logging", lambda: None)


def run(*words: object) -> None:
    """Runs `cluster report`; raises what the command does."""
    done = CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=True)
    if done.exception is not None:
        raise done.exception


def test_one_search_is_written_again_where_it_is(tmp_path: Path) -> None:
    project = write(tmp_path)
    run(project)
    assert {"report.md", "trials.csv", "trials.json", "report.html", "plots"} <= {x.name for x in project.iterdir()}


def test_or_elsewhere(tmp_path: Path) -> None:
    project = write(tmp_path / "project")
    before = sorted(project.iterdir())
    run(project, "--output", tmp_path / "new" / "place")
    assert {x.name for x in (tmp_path / "new" / "place").iterdir()} == {
        *("report.md", "trials.csv", "trials.json", "report.html", "plots")
    }
    assert sorted(project.iterdir()) == before


def test_several_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a" / "digits")
    write(tmp_path / "b" / "digits", MadeUp(seed=2, trials=20, max_trials=20))
    run("a/digits", "b/digits")
    found = {x.name for x in (tmp_path / "report").iterdir()}
    assert found == {"comparison.md", "comparison.html", "comparison.png"}
    text = (tmp_path / "report" / "comparison.md").read_text()
    assert re.search(r"2 searches; the best val_accuracy is 0\.\d+, of [ab]/digits\.", text)
    assert re.search(
        r"^\| a/digits \| BayesianOptimizationOracle \| 0\.862 \| 0009 \| 12 \| 1 \| 2 \| 3 \|", text, re.M
    )
    assert '<div class="plot" data-figure="compare">' in (tmp_path / "report" / "comparison.html").read_text()


def test_searches_without_a_score_are_a_table(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a", MadeUp(trials=0)), write(tmp_path / "b", MadeUp(trials=0))
    run(one, two, "--output", tmp_path / "out")
    assert "2 searches, none with a score yet" in (tmp_path / "out" / "comparison.md").read_text()
    assert not (tmp_path / "out" / "comparison.png").exists()


def test_without_packages_there_is_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = write(tmp_path / "a"), write(tmp_path / "b")
    monkeypatch.setattr("importlib.util.find_spec", without("plotly", "matplotlib"))
    with pytest.raises(MissingDependency, match=r"report\.html needs plotly, plots/\*\.png needs matplotlib"):
        run(one)
    assert (one / "report.md").exists()
    with pytest.raises(MissingDependency, match=r"comparison\.html needs plotly, comparison\.png needs matplotlib"):
        run(one, two, "--output", tmp_path / "out")
    assert (tmp_path / "out" / "comparison.md").exists()


def test_what_is_wrong_is_said_before_anything_is_written(tmp_path: Path) -> None:
    one = write(tmp_path / "searches" / "a")
    other = write(tmp_path / "searches" / "b", MadeUp(objective="val_loss"))
    out = tmp_path / "out"
    (tmp_path / "file").write_text("")
    wrong: list[tuple[list[object], str]] = [
        ([tmp_path / "none"], "none is not there"),
        ([one, tmp_path / "searches"], r"searches is no project directory.*there is .*a, .*b"),
        ([one, other], r"objective val_accuracy \(max\), .*b val_loss \(max\): they cannot be compared"),
        ([one, one], "named twice"),
        ([one, "--output", tmp_path / "file"], "nothing can be written to .*file: File exists"),
    ]
    for words, text in wrong:
        with pytest.raises(ClusterError, match=text) as error:
            run(*words, *([] if "--output" in words else ["--output", out]))
        assert isinstance(error.value, UsageError)
    assert not list(out.iterdir()) if out.exists() else True
    assert not (one / "report.md").exists()
