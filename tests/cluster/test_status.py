"""A search as its files tell it: of real searches, of files made by hand, and of damaged ones."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster import report
from cluster.errors import UsageError
from cluster.search import Search
from cluster.status import Best, Standing, Trial, read
from tests.cluster.conftest import Clock, finish, make_oracle, open_search, take

GPU_0 = "gpu 0 GPU-8932f937"
PROJECT = "project"


def take_on(search: Search, device: str, worker: str = "w") -> Any:
    return search.next_trial(worker, f"trainer of {worker}", device=device)


def told(standing: Standing, width: int = 100, now: float = 1060.0) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    standing.tell(console, now)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def write_trial(project: Path, name: str, **facts: Any) -> None:
    place = project / f"trial_{name}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "trial.json").write_text(json.dumps({"trial_id": name, **facts}))


def write_events(project: Path, *events: dict[str, Any] | str) -> None:
    project.mkdir(exist_ok=True)
    lines = [event if isinstance(event, str) else json.dumps({"time": 1000.0, **event}) for event in events]
    (project / "events.jsonl").write_text("\n".join(lines) + "\n")


def metric(direction: str, *values: float) -> dict[str, Any]:
    return {"direction": direction, "observations": [{"value": [x], "step": n} for n, x in enumerate(values)]}


# --- real searches


@pytest.mark.usefixtures("owned")
def test_a_search_in_the_middle(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, make_oracle(trials=5)) as search:
        first = take_on(search, GPU_0, "a")
        clock.now += 2.5
        finish(search, first, 7.0)
        second = take_on(search, "cpu", "b")
        finish(search, second, 4.0)
        take_on(search, GPU_0, "a")
        take_on(search, "cpu", "c")
        search.lose_worker("c", "it was killed by SIGKILL")
        standing = read(tmp_path / PROJECT)
    assert standing.counts == {"completed": 2, "running": 1, "waiting": 1}
    assert standing.best == Best("1", 4.0, "score", "min")
    assert standing.trials[0] == Trial(
        trial="0",
        status="completed",
        score=7.0,
        attempts=1,
        worker="a",
        device=GPU_0,
        seconds=2.5,
        epoch=None,
        epochs=None,
        so_far=None,
        hyperparameters={"x": first.trial.hyperparameters["x"]},
        reason="",
    )
    running, waiting = standing.trials[2:]
    assert (running.status, running.worker, running.device, running.score) == ("running", "a", GPU_0, None)
    assert (waiting.status, waiting.worker, waiting.device) == ("waiting", "c", "cpu")
    lines = told(standing, width=120, now=(standing.last_event or 0) + 12)
    assert lines[0] == (
        "4 of 5 trials: 2 completed, 1 running, 1 waiting to run again; best score=4 (trial 1); last event 12 s ago"
    )
    assert lines[2].split() == [
        "trial",
        "status",
        "score",
        "attempts",
        "worker",
        "device",
        "seconds",
        "hyperparameters",
    ]
    assert lines[3].split() == [
        *("0", "completed", "7", "1", "a"),
        *GPU_0.split(),
        "2.5",
        f"x={first.trial.hyperparameters['x']}",
    ]
    assert lines[-1] == "trial 3 waiting: it was killed by SIGKILL"


@pytest.mark.usefixtures("owned")
def test_a_trial_that_runs_again_is_where_it_runs_now(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, make_oracle(trials=1)) as search:
        take_on(search, GPU_0, "a")
        search.lose_worker("a", "it has gone")
        grant = take_on(search, "cpu", "b")
        [trial] = read(tmp_path / PROJECT).trials
        assert (trial.status, trial.attempts, trial.worker, trial.device) == ("running", 2, "b", "cpu")
        assert trial.reason == ""
        finish(search, grant, status="FAILED")
        [trial] = read(tmp_path / PROJECT).trials
        assert (trial.status, trial.attempts, trial.worker) == ("failed", 2, "b")


@pytest.mark.usefixtures("owned")
def test_a_trial_that_lost_too_many_workers_has_failed(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock, make_oracle(trials=2)) as search:
        for worker in "abc":
            take(search, worker)
            search.lose_worker(worker, "it ran out of memory")
        standing = read(tmp_path / PROJECT)
    assert standing.counts == {"failed": 1}
    assert standing.best is None
    assert told(standing)[-1] == "trial 0 failed: The trial lost 3 workers. The last: it ran out of memory"


@pytest.mark.usefixtures("owned")
def test_a_run_that_was_stopped_leaves_nothing_running(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        take(search)
    assert read(tmp_path / PROJECT).counts == {"running": 1}, "the chief may be back for it"
    with open_search(tmp_path, clock):
        [trial] = read(tmp_path / PROJECT).trials
    assert (trial.status, trial.reason) == ("waiting", "the run before was stopped")


@pytest.mark.usefixtures("owned")
def test_the_report_names_the_device_of_the_attempt_that_ended(tmp_path: Path, clock: Clock) -> None:
    oracle = make_oracle(trials=2)
    with open_search(tmp_path, clock, oracle) as search:
        take_on(search, GPU_0, "a")
        search.lose_worker("a", "it has gone")
        finish(search, take_on(search, "cpu", "b"), 1.0)
        finish(search, take_on(search, GPU_0, "c"), 2.0)
        project = tmp_path / PROJECT
        report.write(project)
    rows = json.loads((project / "trials.json").read_text())
    assert [(row["worker"], row["device"]) for row in rows] == [("b", "cpu"), ("c", GPU_0)]
    header, *_ = csv.reader((project / "trials.csv").read_text().splitlines())
    assert header[4:7] == ["attempts", "worker", "device"]
    assert "| b | cpu | " in (project / "report.md").read_text()


@pytest.mark.usefixtures("owned")
def test_the_report_has_no_device_where_none_is_known(tmp_path: Path, clock: Clock) -> None:
    with open_search(tmp_path, clock) as search:
        finish(search, take(search), 1.0)
        report.write(tmp_path / PROJECT)
    [row] = json.loads((tmp_path / PROJECT / "trials.json").read_text())
    assert "device" not in row


# --- files made by hand


def test_a_stock_project_has_no_events(tmp_path: Path) -> None:
    for name, values in (("00", (0.5, 0.75)), ("01", (0.625, 0.5))):
        metrics = {"loss": metric("min", 0.5, 0.25), "val_accuracy": metric("max", *values)}
        score = max(values)
        write_trial(tmp_path, name, status="COMPLETED", score=score, metrics={"metrics": metrics})
    write_trial(tmp_path, "02", status="RUNNING", score=None, hyperparameters={"values": {"rate": 0.123456, "n": 3}})
    write_trial(tmp_path, "03", status="FAILED", score=None, message="Traceback …\nValueError: no\n")
    lines = told(read(tmp_path))
    assert lines == [
        "4 trials: 2 completed, 1 running, 1 failed; best val_accuracy=0.75 (trial 00)",
        "",
        "trial  status     score  hyperparameters",
        "00     completed   0.75",
        "01     completed  0.625",
        "02     running           rate=0.1235, n=3",
        "03     failed",
        "",
        "trial 03 failed: ValueError: no",
    ]


def test_without_trials_there_is_a_headline(tmp_path: Path) -> None:
    write_events(tmp_path, {"event": "search_begin"})
    assert told(read(tmp_path)) == ["0 trials: 0 completed; last event 1 min ago"]
    (tmp_path / "events.jsonl").unlink()
    (tmp_path / "oracle.json").write_text("{")
    assert told(read(tmp_path)) == ["0 trials: 0 completed"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_how_long_ago_is_told_in_one_unit(tmp_path: Path, seconds: float, text: str) -> None:
    write_events(tmp_path, {"event": "over"})
    assert told(read(tmp_path), now=1000 + seconds)[0].endswith(f"; last event {text} ago")


def test_trials_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "custom", "0"):
        write_trial(tmp_path, name, status="IDLE")
    standing = read(tmp_path)
    assert [trial.trial for trial in standing.trials] == ["0", "9", "10", "custom"]
    assert standing.counts == {"idle": 4}


def test_an_end_that_a_crash_kept_out_of_the_log_counts(tmp_path: Path) -> None:
    write_events(tmp_path, {"event": "grant", "trial": "0", "attempt": 1, "worker": "w"})
    write_trial(tmp_path, "0", status="COMPLETED", score=1.0)
    assert read(tmp_path).counts == {"completed": 1}


def test_scores_of_no_metric_have_no_best(tmp_path: Path) -> None:
    """The score of several objectives is their sum, and which way is better cannot be seen."""
    for name in "01":
        write_trial(tmp_path, name, status="COMPLETED", score=3.0, metrics={"metrics": {"a": metric("min", 1.0)}})
    assert read(tmp_path).best is None


def test_of_two_equal_metrics_the_validations_is_the_objective(tmp_path: Path) -> None:
    metrics = {name: metric("max", 1.0) for name in ("accuracy", "val_accuracy", "z")}
    write_trial(tmp_path, "0", status="COMPLETED", score=1.0, metrics={"metrics": metrics})
    assert read(tmp_path).best == Best("0", 1.0, "val_accuracy", "max")


def test_a_score_that_is_no_number_is_none(tmp_path: Path) -> None:
    metrics = {"metrics": {"loss": metric("min", float("nan"))}}
    write_trial(tmp_path, "0", status="COMPLETED", score=float("nan"), metrics=metrics)
    write_trial(tmp_path, "1", status="COMPLETED", score=10**400, hyperparameters={"values": {"x": float("inf")}})
    standing = read(tmp_path)
    assert [trial.score for trial in standing.trials] == [None, None]
    text = json.dumps(standing.as_json(), allow_nan=False)
    assert json.loads(text)["trials"][1]["hyperparameters"] == {"x": None}


def test_a_table_is_as_wide_as_the_terminal(tmp_path: Path) -> None:
    values = {f"a_long_name_{number}": 0.123456789 for number in range(9)}
    grant = {"event": "grant", "trial": "0", "attempt": 1, "worker": "a-long-host-name-1234", "device": GPU_0}
    write_events(tmp_path, {**grant, "values": values})
    lines = told(read(tmp_path))
    assert all(len(line) <= 100 for line in lines)
    assert "a_long_name_8=0.1235" in "".join(lines)
    assert "\x1b" not in "".join(lines)


# --- damage


NOT_TRIALS = ["", "{", "[]", "null", '"text"', '{"trial_id": "0", "stat', "[" * 100_000]
ODD_TRIALS: list[dict[str, Any]] = [
    {},
    {"status": 3, "score": "high", "hyperparameters": [], "metrics": None, "message": 5},
    {"status": "COMPLETED", "score": 1.0, "hyperparameters": {"values": [1]}, "metrics": {"metrics": {"a": 1}}},
    {"status": "COMPLETED", "score": 1.0, "metrics": {"metrics": {"a": {"direction": [], "observations": []}}}},
    {"status": "COMPLETED", "score": 1.0, "metrics": {"metrics": {"a": metric("sideways", 1.0)}}},
    {"status": "COMPLETED", "score": 1.0, "metrics": {"metrics": {"a": {"observations": [{"value": []}]}}}},
    {"status": "COMPLETED", "score": 1.0, "metrics": {"metrics": [1]}},
    {"status": "COMPLETED", "score": 1.0, "metrics": "none"},
]


@pytest.mark.parametrize("text", NOT_TRIALS)
def test_a_damaged_trial_is_what_the_log_knows(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    write_trial(tmp_path, "0")
    write_trial(tmp_path, "1")
    for name in "01":
        (tmp_path / f"trial_{name}" / "trial.json").write_text(text)
    end = {"event": "end", "trial": "0", "attempt": 1, "status": "COMPLETED", "score": 0.5, "seconds": 3.0}
    write_events(tmp_path, {"event": "grant", "trial": "0", "attempt": 1, "worker": "w", "values": {"x": 1}}, end)
    known, lost = read(tmp_path).trials
    assert (known.status, known.score, known.seconds, known.hyperparameters) == ("completed", 0.5, 3.0, {"x": 1})
    assert lost.status == "damaged"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "trial_1/trial.json is damaged and is left out" in caplog.text


@pytest.mark.parametrize("facts", ODD_TRIALS)
def test_an_odd_trial_is_shown_as_far_as_it_is_whole(tmp_path: Path, facts: dict[str, Any]) -> None:
    write_trial(tmp_path, "0", **facts)
    write_trial(tmp_path, "1", status="COMPLETED", score=2.0, metrics={"metrics": {"a": metric("min", 2.0)}})
    standing = read(tmp_path)
    assert [trial.trial for trial in standing.trials] == ["0", "1"]
    assert told(standing)
    json.dumps(standing.as_json(), allow_nan=False)


ODD_EVENTS: list[dict[str, Any] | str] = [
    {"event": "grant"},
    {"event": "grant", "trial": 5, "attempt": 1},
    {"event": "grant", "trial": "0"},
    {"event": "grant", "trial": "0", "attempt": "one", "worker": 7, "device": ["x"], "values": [1], "time": "now"},
    {"event": "end", "trial": "0"},
    {"event": "end", "trial": "0", "status": 4, "score": "high", "seconds": None},
    {"event": "lost", "trial": "0", "reason": 9},
    {"event": ["grant"], "trial": "0"},
    "{",
    "\x00\x00\x00",
    '{"time": 1000.0, "event": "gra',
]


@pytest.mark.parametrize("event", ODD_EVENTS)
def test_an_odd_event_is_shown_as_far_as_it_is_whole(tmp_path: Path, event: dict[str, Any] | str) -> None:
    whole = {"event": "grant", "trial": "1", "attempt": 1, "worker": "w"}
    write_events(tmp_path, whole, event, {"event": "search_begin", "search": "b"})
    standing = read(tmp_path)
    assert standing.trials[-1].status == "waiting"
    assert told(standing)
    json.dumps(standing.as_json(), allow_nan=False)


# --- what is no project


def test_projects_below_are_named(tmp_path: Path) -> None:
    write_events(tmp_path / "digits", {"event": "over"})
    write_trial(tmp_path / "stock", "0")
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError) as error:
        read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path} is no project directory: it has no events.jsonl, ")
    assert str(error.value).endswith(f"; there is {tmp_path}/digits, {tmp_path}/stock")


def test_a_log_that_is_a_directory_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(UsageError, match=r"events.jsonl cannot be read: Is a directory"):
        read(tmp_path)


# --- the command


def cluster(*words: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    command = [sys.executable, "-m", "cluster", "status", *words]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60)


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    write_trial(tmp_path, "0", status="COMPLETED", score=2.0, metrics={"metrics": {"a": metric("min", 2.0)}})
    write_events(tmp_path, {"event": "grant", "trial": "0", "attempt": 1, "worker": "w", "device": GPU_0}, "half a li")
    done = cluster(str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.startswith("1 trial: 1 completed; best a=2 (trial 0); last event ")
    assert GPU_0 in done.stdout
    assert done.stderr == f"cluster: {tmp_path}/events.jsonl line 2 is damaged and is left out\n"
    found = json.loads(cluster(str(tmp_path), "--json").stdout)
    assert found["counts"] == {"completed": 1}
    assert found["best"] == {"trial": "0", "score": 2.0, "objective": "a", "direction": "min"}
    assert found["trials"][0]["device"] == GPU_0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["/nonexistent"], "cluster: error: /nonexistent is not there\n"),
        ([__file__], f"cluster: error: {__file__} is no directory\n"),
        ([str(Path(__file__).parent)], "is no project directory"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_gets_one_line(words: list[str], text: str) -> None:
    done = cluster(*words)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_it_never_loads_keras(tmp_path: Path) -> None:
    write_events(tmp_path, {"event": "over"})
    code = (
        "import sys, cluster.cli, cluster.doctor; from cluster.status import read; from pathlib import Path; "
        "read(Path(sys.argv[1])); print(*{'keras', 'tensorflow', 'numpy', 'keras_tuner'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
