"""What a terminal shows of a search: all that matters, in the lines and columns that there are."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from cluster.follow import read
from cluster.panel import Panel, View
from tests.made_up import BEGAN, MadeUp, write

RUNNING: dict[str, Any] = {"trials": 8, "max_trials": 12, "running": 3, "over": False}


def drawn(
    view: View | None, width: int = 100, height: int = 30, *, now: float = BEGAN + 76, final: bool = False
) -> str:
    console = Console(record=True, force_terminal=True, width=width, height=height, highlight=False, file=io.StringIO())
    console.print(Panel(view, now, final=final))
    return console.export_text()


def seen(directory: Path, like: MadeUp, now: float = BEGAN + 75) -> View:
    return View.of(read(write(directory / "digits", like)), now)


def test_a_search_that_runs(tmp_path: Path) -> None:
    rule, head, titles, *rows, best, trouble = drawn(seen(tmp_path, MadeUp(**RUNNING))).splitlines()
    assert set(rule) == {"─"}
    assert re.match(r"digits  running  ━+ +━* *5 of 12 trials  1:16 elapsed  about 0:\d\d left", head.replace("╸", " "))
    assert titles.split() == ["trial", "worker", "device", "epoch", "val_accuracy", "seconds"]
    assert [row.split()[0] for row in rows] == ["0005", "0006", "0007"]
    assert re.match(r"0005 +worker-1 +gpu 0 GPU-8932f937 +2/4 +0\.\d+ +\d+", rows[0])
    assert re.match(r"best val_accuracy=0\.\d+ \(trial \d+\): rate=0\.\d+, units=\d+", best)
    assert trouble.rstrip() == "1 failed, 2 attempts lost; the last: trial 0001: ValueError: no such layer"


def test_one_that_has_ended_is_a_summary(tmp_path: Path) -> None:
    like = MadeUp(epochs=1, lost=0, failed=0)
    lines = drawn(seen(tmp_path, like), width=50, final=True).splitlines()
    assert re.match(r"digits  ended  12 of 12 trials  in 0:\d\d", lines[0])
    assert "dropout=" in "".join(lines[1:]), "nothing is cut off"
    assert "trial  worker" not in "".join(lines)


def test_one_that_this_process_leaves_was_interrupted(tmp_path: Path) -> None:
    assert "interrupted" in drawn(seen(tmp_path, MadeUp(**RUNNING)), final=True)


def test_why_a_search_stopped_is_said(tmp_path: Path) -> None:
    view = seen(tmp_path, MadeUp(**RUNNING))
    with (tmp_path / "digits" / "events.jsonl").open("a") as file:
        file.write(f'{{"time": {BEGAN + 80}, "event": "closing", "reason": "the time is up"}}\n')
    closing = View.of(read(tmp_path / "digits"), BEGAN + 81)
    assert not view.why
    text = drawn(closing)
    assert "closing" in text
    assert "the time is up" in text


def test_a_search_that_was_stopped_has_not_failed(tmp_path: Path) -> None:
    seen(tmp_path, MadeUp(**RUNNING))
    events = [
        {"time": BEGAN + 80, "event": "lost", "trial": "0005", "reason": "the chief was stopped", "counted": False},
        {"time": BEGAN + 80, "event": "stopped", "reason": "the chief was stopped"},
        {"time": BEGAN + 80, "event": "search_failed", "error": "ClusterError: the chief was interrupted"},
    ]
    with (tmp_path / "digits" / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    text = drawn(View.of(read(tmp_path / "digits"), BEGAN + 81), final=True)
    assert "digits  stopped" in text
    assert "2 attempts lost; the last: trial 0001" in text, "those that were given back in the end are no trouble"


def test_before_anything_is_known() -> None:
    assert drawn(None).strip() == "the search begins …"
    assert drawn(None, final=True).strip() == ""


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 30, 20, 10])
@pytest.mark.parametrize("height", [50, 24, 12, 8, 5, 3, 2])
@pytest.mark.parametrize("running", [0, 1, 3, 40])
def test_it_fits(tmp_path: Path, width: int, height: int, running: int) -> None:
    like = MadeUp(trials=60, max_trials=2000, running=running, workers=max(2, running), over=False, lost=3, failed=2)
    lines = drawn(seen(tmp_path, like), width, height).splitlines()
    assert 1 <= len(lines) < height
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    if width >= 20:
        assert "20 of 2000" in lines[0] + lines[1 % len(lines)] or "of 2000" in "".join(lines)


def test_more_trials_than_lines_are_counted(tmp_path: Path) -> None:
    like = MadeUp(trials=60, max_trials=100, running=40, workers=40, over=False)
    lines = drawn(seen(tmp_path, like), height=14).splitlines()
    shown = [line for line in lines if re.match(r"00\d\d ", line)]
    [more] = [line for line in lines if "more" in line]
    assert more.strip() == f"… and {40 - len(shown)} more"
    assert len(drawn(seen(tmp_path, like), height=200).splitlines()) < 25, "a large terminal is not filled"


def test_a_narrow_terminal_loses_columns_and_no_figures(tmp_path: Path) -> None:
    text = drawn(seen(tmp_path, MadeUp(**RUNNING)), width=40)
    assert "device" not in text
    assert re.search(r"0005 +(worker-1 +)?2/4 +0\.\d+", text)
    assert "5 of 12 trials" in text


def test_a_run_in_one_process_needs_no_worker(tmp_path: Path) -> None:
    project = write(tmp_path / "digits", MadeUp(trials=1, max_trials=2, running=1, lost=0, failed=0, over=False))
    events = project / "events.jsonl"
    events.write_text(events.read_text().replace("worker-1", "local").replace("worker-2", "local"))
    assert "local" not in drawn(View.of(read(project), BEGAN + 5))


def test_a_search_without_a_limit_or_trials(tmp_path: Path) -> None:
    project = tmp_path / "digits"
    project.mkdir()
    (project / "events.jsonl").write_text(f'{{"time": {BEGAN}, "event": "search_begin", "search": "s"}}\n')
    text = drawn(View.of(read(project), BEGAN + 3), now=BEGAN + 3)
    assert "digits  running  0 trials  0:03 elapsed" in text


def test_a_clock_that_was_set_back_shows_no_negative_time(tmp_path: Path) -> None:
    view = seen(tmp_path, MadeUp(**RUNNING), now=BEGAN - 100)
    text = drawn(view, now=BEGAN - 100)
    assert "0:00 elapsed" in text
    assert "-" not in text.replace("worker-1", "").replace("GPU-8932f937", "")
