"""What is on disk: whole at every instant."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import CannotSave, DirectoryError
from cluster.state import EventLog, ensure_writable, hold_project, set_aside_damaged, write_atomically
from tests.cluster.conftest import Clock


def test_a_save_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "a longer text")
    write_atomically(path, "short")
    assert path.read_text() == "short"
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DirectoryError, match=r"No space left on device.*saved before is whole"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_killed_writer_leaves_whole_files(tmp_path: Path) -> None:
    """A process that writes without a pause is killed by SIGKILL: what is read then is one of its texts, whole."""
    path = tmp_path / "file.json"
    code = (
        "import sys; from cluster.state import write_atomically\n"
        "print('on', flush=True)\n"
        "for n in range(10**9): write_atomically(sys.argv[1], '[' + ','.join([str(n)] * 20000) + ']')"
    )
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        while not path.exists():
            os.sched_yield()
        writer.kill()
        writer.wait()
        writer.stdout.close()
        numbers = json.loads(path.read_text())
        assert len(numbers) == 20000
        assert len(set(numbers)) == 1


def test_events_are_read_back_in_order(tmp_path: Path) -> None:
    clock = Clock()
    events = EventLog(tmp_path, clock)
    events.append("grant", trial="0", attempt=1)
    clock.now += 1
    events.append("end", trial="0")
    events.close()
    assert EventLog(tmp_path).read() == [
        {"time": 1000.0, "event": "grant", "trial": "0", "attempt": 1},
        {"time": 1001.0, "event": "end", "trial": "0"},
    ]


@given(cut=st.integers(0, 120), junk=st.binary(max_size=20))
def test_a_log_cut_anywhere_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes) -> None:
    directory = tmp_path_factory.mktemp("log")
    events = EventLog(directory)
    for number in range(3):
        events.append("grant", trial=str(number))
    events.close()
    path = directory / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + junk.replace(b"\n", b""))
    kept = whole[:cut].count(b"\n")
    again = EventLog(directory)
    again.append("after")
    again.close()
    found = again.read()
    assert [e.get("trial") for e in found[:-1]] == [str(n) for n in range(kept)]
    assert found[-1]["event"] == "after"


def test_a_damaged_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "a"}\nnot json\n[1]\n{"event": "b"}\n')
    assert [e["event"] for e in EventLog(tmp_path).read()] == ["a", "b"]


def test_a_project_is_held_by_one(tmp_path: Path) -> None:
    with (
        hold_project(tmp_path),
        pytest.raises(DirectoryError, match="in use by another run"),
        hold_project(tmp_path),
    ):
        pass
    with hold_project(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryError, match=r"file/inside cannot be written by user \d+: Not a directory"):
        ensure_writable(tmp_path / "file" / "inside")


def test_damaged_trials_are_set_aside(tmp_path: Path) -> None:
    for name, text in {"0": '{"status": "COMPLETED"}', "1": '{"status": "COMP', "2": ""}.items():
        (tmp_path / f"trial_{name}").mkdir()
        (tmp_path / f"trial_{name}" / "trial.json").write_text(text)
    moved = set_aside_damaged(tmp_path)
    assert [p.parent.name for p in moved] == ["trial_1", "trial_2"]
    assert all(p.exists() for p in moved)
    assert (tmp_path / "trial_0" / "trial.json").exists()


def test_an_event_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = EventLog(tmp_path)
    events.append("grant", trial="0")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CannotSave, match="No space left on device"):
            events.append("end", trial="0")
    events.append("lost", trial="0")
    events.close()
    assert [event["event"] for event in EventLog(tmp_path).read()] == ["grant", "lost"]
