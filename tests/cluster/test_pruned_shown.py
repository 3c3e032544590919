"""Trials that were stopped early, wherever a search is shown: as such, with their score, and counted once."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cluster import report, status
from cluster.dashboard import feed
from cluster.follow import read
from cluster.metrics import Metrics
from cluster.panel import Panel, View
from cluster.record import Record
from cluster.report.curves import curves
from cluster.report.facts import facts, headline
from cluster.report.figures import FIGURES
from cluster.report.importance import importance
from cluster.report.pictures import curves as curves_picture
from cluster.report.series import bars, history
from cluster.tensorboard import TensorBoard
from tests.made_up import BEGAN, MadeUp, write

REASON = "not among the best 1 of 3 after 1 epoch (--prune asha)"
PRUNED = ["0008", "0009", "0010", "0011"]
COUNTS = {"completed": 7, "pruned": 4, "failed": 1}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "digits", MadeUp(pruned=4))


@pytest.fixture
def record(project: Path) -> Record:
    return read(project)


def text_of(shown: object) -> str:
    console = Console(record=True, width=160, height=40, highlight=False, file=io.StringIO())
    console.print(shown)
    return console.export_text()


def test_the_record(record: Record) -> None:
    assert record.counts == COUNTS
    assert [x.id for x in record.ordered if x.status == "pruned"] == PRUNED
    for name in PRUNED:
        trial = record.trials[name]
        assert (trial.attempts[-1].outcome, trial.reason, trial.scored) == ("pruned", REASON, True)
        assert trial.ran is trial.attempts[-1]
    assert len(record.done) == 11
    assert record.best is record.done[0]


def test_one_of_them_may_be_the_best(project: Path) -> None:
    """Where those that went on have failed, or their later executions were worse."""
    lines = (project / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    for event in events:
        if event["event"] == "end" and event["trial"] == "0009":
            event["score"] = 0.999
    (project / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    path = project / "trial_0009" / "trial.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"score": 0.999}))
    best = read(project).best
    assert best is not None
    assert (best.id, best.status) == ("0009", "pruned")


def test_one_that_is_lost_before_its_end_waits(project: Path) -> None:
    """And is what it was told to be once it has ended; if it fails, it has failed."""
    record = read(project)
    trial = record.trials["0011"]
    grant = {"event": "grant", "time": BEGAN + 500, "trial": "0011", "attempt": 2, "worker": "w"}
    record.apply(grant)
    assert trial.status == "running"
    record.apply({"event": "lost", "time": BEGAN + 501, "trial": "0011", "attempt": 2, "reason": "killed"})
    assert (trial.status, trial.reason) == ("waiting", "killed")
    record.apply(grant | {"attempt": 3})
    record.apply({"event": "end", "time": BEGAN + 502, "trial": "0011", "attempt": 3, "status": "FAILED"})
    assert trial.status == "failed"


def test_the_report(project: Path, record: Record) -> None:
    report.write(project)
    rows = {row["trial"]: row for row in json.loads((project / "trials.json").read_text())}
    assert {name for name, row in rows.items() if row["status"] == "PRUNED"} == set(PRUNED)
    assert all(rows[name]["score"] is not None for name in PRUNED)
    assert headline(record).startswith("11 trials completed (4 stopped early), 1 not completed; best ")
    assert ("Trials", "12: 7 completed, 4 pruned, 1 failed") in facts(record)
    text = (project / "report.md").read_text()
    assert "PRUNED" in text
    assert text.count("\n## Trial ") == 1, "only the failure has a section of its own"


def test_what_is_drawn(record: Record) -> None:
    drawn = curves(record)
    assert drawn is not None
    best = "" if record.best is None else record.best.id
    early = [x for x in drawn["data"] if x["legendgroup"] == "pruned"]
    assert len(early) == len([x for x in PRUNED if x != best])
    assert all(x["marker"]["symbol"] == "x" and x["marker"]["size"][-1] > 0 for x in early)
    assert [x["name"] for x in early if x["showlegend"]] == ["stopped early"]
    assert len(history(record).trials) == 11
    assert [(x.outcome, x.reason) for x in bars(record) if x.trial in PRUNED] == [("pruned", REASON)] * 4
    timeline = FIGURES["timeline"](record)
    assert timeline is not None
    assert "pruned" in [x["name"] for x in timeline["data"]]
    picture = curves_picture(record)
    assert picture is not None
    assert "stopped early" in picture.axes[0].get_legend_handles_labels()[1]
    assert importance(record) is not None, "eleven trials have a score"


def test_the_terminal_and_the_table(project: Path, record: Record) -> None:
    view = View.of(record, BEGAN + 100)
    assert view.done == 12
    lines = text_of(Panel(view, BEGAN + 100, final=True)).splitlines()
    assert "4 stopped early" in [line.strip() for line in lines]
    console = Console(record=True, width=160, highlight=False, file=io.StringIO())
    standing = status.read(project)
    standing.tell(console, BEGAN + 100)
    text = console.export_text()
    assert text.startswith("12 trials: 7 completed, 4 stopped early, 1 failed; best ")
    assert text.count(" pruned ") == 4
    assert text.count("\ntrial ") == 2, "the header, and why one failed: not a line for each that was stopped"
    found = standing.as_json()
    assert found["counts"] == COUNTS
    assert {x["trial"]: x["reason"] for x in found["trials"] if x["status"] == "pruned"} == dict.fromkeys(
        PRUNED, REASON
    )


def test_the_page(record: Record) -> None:
    found = feed.header(record, BEGAN + 100)
    assert found["counts"] == COUNTS
    assert sum(x["trials"] for x in found["workers"]) == 12
    detail = feed.detail(record, record.trials["0008"])
    assert (detail["status"], detail["reason"]) == ("pruned", REASON)
    assert any(line["text"] == f"attempt 1 was stopped early: {REASON}" for line in detail["story"])


def test_metrics(record: Record) -> None:
    text = Metrics(lambda: [record], clock=lambda: BEGAN + 100).text().decode()
    assert 'cluster_trials{search="digits",status="pruned"} 4.0' in text
    assert 'cluster_trials{search="digits",status="completed"} 7.0' in text
    assert 'cluster_trial_seconds_count{search="digits"} 12.0' in text


def test_tensorboard_has_their_score(project: Path, record: Record) -> None:
    TensorBoard(project)(record)
    found = EventAccumulator(str(project / "tensorboard" / "0008"))
    found.Reload()
    assert found.Scalars("score")[0].value == pytest.approx(record.trials["0008"].score)


def test_optuna_knows_a_word_for_them(project: Path, record: Record, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from typer.testing import CliRunner

    from cluster.cli import app

    storage = f"sqlite:///{tmp_path}/study.db"
    said = CliRunner().invoke(app, ["export", "--optuna", storage, str(project)]).output
    assert "7 completed, 4 pruned and 1 failed trials" in said
    study = optuna.load_study(study_name="digits", storage=storage)
    early = {x.user_attrs["trial"]: x for x in study.get_trials(states=[optuna.trial.TrialState.PRUNED])}
    assert set(early) == set(PRUNED)
    for name, trial in early.items():
        assert trial.value == pytest.approx(record.trials[name].score)
        assert list(trial.intermediate_values) == [1]
        assert trial.user_attrs["pruned"] == REASON
