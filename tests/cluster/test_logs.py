"""Logs of trials: attempts one after another, within bounds, and nothing comes of one that cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster import logs
from cluster.asides import Asides
from cluster.logs import Told, TrialLog, closing, heading, log_of


def test_attempts_stand_one_after_another(tmp_path: Path) -> None:
    path = log_of(tmp_path, "0001")
    assert path == tmp_path / "logs" / "0001.log"
    for attempt, worker in ((1, "a"), (2, "b")):
        log = TrialLog(path, heading(attempt, worker, "cpu", {"units": 64, "rate": 0.00123456}))
        log.write(f"by {worker}\n")
        log.write("1/9\r")
        log.write("\x1b[1m9/9\x1b[0m\nno end")
        log.close(closing("completed", ""))
    lines = path.read_text().splitlines()
    assert lines[0].startswith("=== attempt 1, a, cpu, 20")
    assert lines[0].endswith(": units=64, rate=0.001235 ===")
    assert lines[1:5] == ["by a", "9/9", "no end", "=== completed ==="]
    assert lines[5].startswith("=== attempt 2, b, cpu, 20")
    assert lines[6:] == ["by b", "9/9", "no end", "=== completed ==="]


def test_a_failed_trials_message_is_at_its_end() -> None:
    assert closing("failed", "Traceback\n  …\nValueError: no\n") == "Traceback\n  …\nValueError: no\n=== failed ==="
    assert len(closing("failed", "x" * 1_000_000)) < 3000
    assert closing("", "") == "=== not ended ==="


def test_a_heading_is_short() -> None:
    line = heading(1, "local", "", {f"name{n}": n for n in range(1000)})
    assert line.startswith("=== attempt 1, local, 20")
    assert len(line) < 400


def test_a_log_keeps_its_beginning_and_each_attempts_end(tmp_path: Path) -> None:
    path = log_of(tmp_path, "0")
    for _ in range(2):
        log = TrialLog(path, "=== attempt ===", limit=500, tail=50)
        for number in range(1000):
            log.write(f"line {number}\n")
        log.close("=== completed ===")
    lines = path.read_text().splitlines()
    assert lines[:3] == ["=== attempt ===", "line 0", "line 1"]
    assert lines[-2:] == ["line 999", "=== completed ==="]
    assert sum("lines are left out" in line for line in lines) == 2
    assert lines.count("line 999") == 2
    assert len(lines) < 100
    assert path.stat().st_size < 1000


def test_one_long_line_is_no_way_around_it(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "logs" / "0.log", "=== attempt ===", limit=500, tail=50)
    for _ in range(100):
        log.write("x" * 10_000)
    log.close()
    assert (tmp_path / "logs" / "0.log").stat().st_size < 2 * 100_000 + 1000


@pytest.mark.parametrize("trouble", ["no project", "a file in the way", "a full disk"])
def test_a_log_that_cannot_be_written_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    project = tmp_path / "project"
    if trouble != "no project":
        project.mkdir()
    if trouble == "a file in the way":
        (project / "logs").write_text("")
    if trouble == "a full disk":

        def write(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", write)
    log = TrialLog(log_of(project, "0"), "=== attempt ===")
    assert not log.kept
    log.write("text\n")
    log.close("=== completed ===")
    assert project.exists() == (trouble != "no project")


def test_a_disk_that_fills_up_ends_the_log_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TrialLog(log_of(tmp_path, "0"), "=== attempt ===")
    write, left = os.write, [2]

    def until_full(file: int, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", until_full)
    log.write("1\n2\n3\n")
    assert not log.kept
    log.write("4\n")
    log.close("=== completed ===")
    assert log_of(tmp_path, "0").read_text().splitlines() == ["=== attempt ===", "1", "2"]


def test_a_trainer_tells_when_a_trial_begins_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, object]] = []
    monkeypatch.setattr(Asides, "tell", lambda self, **facts: told.append(facts))
    output = Told(Asides("word"), tmp_path, "worker-1", "cpu")
    output.end()
    output.begin("7", 2, {"x": 1})
    output.end("completed")
    output.end()
    assert [x["log"] for x in told] == [str(tmp_path / logs.FOLDER / "7.log"), None]
    assert str(told[0]["heading"]).startswith("=== attempt 2, worker-1, cpu, 20")
    assert told[1]["closing"] == "=== completed ==="
