"""Searches that are looked at: read at most once a second, waited for within bounds, told apart when begun anew."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from cluster.logs import log_of
from cluster.watched import LOG_BYTES, Watched, WatchedSearches
from tests.cluster.conftest import Clock
from tests.made_up import BEGAN, MadeUp, write


def add_epoch(project: Path, trial: str = "0011", number: int = 2) -> None:
    with (project / "epochs.jsonl").open("a") as file:
        about = {
            "event": "epoch",
            "trial": trial,
            "attempt": 1,
            "epoch": number,
            "of": 4,
            "logs": {"val_accuracy": 0.5},
        }
        file.write(json.dumps({"time": BEGAN + 99, **about}) + "\n")


def test_the_files_are_read_once_a_second_however_many_look(tmp_path: Path, clock: Clock) -> None:
    project = write(tmp_path, MadeUp(running=2, over=False))
    watched = Watched(project, seconds=1.0, clock=clock)
    first = watched.look()
    add_epoch(project)
    assert watched.look() is first
    clock.now += 1.1
    second = watched.look()
    assert second.record.version > first.record.version
    assert second.mark == first.mark
    clock.now += 1.1
    assert watched.look() is second, "nothing has changed"


def test_a_search_begun_anew_has_another_mark(tmp_path: Path, clock: Clock) -> None:
    project = write(tmp_path / "p")
    watched = Watched(project, clock=clock)
    first = watched.look()
    shutil.rmtree(project)
    write(project, MadeUp(trials=3, max_trials=3, lost=0, failed=0))
    clock.now += 2
    assert watched.look().mark != first.mark
    assert len(watched.look().record.trials) == 3


def test_what_has_changed_is_told_and_no_more(tmp_path: Path) -> None:
    project = write(tmp_path, MadeUp(running=2, over=False))
    searches = WatchedSearches(lambda: [project], seconds=0.01)
    all_of_it = searches.changes("", "", 0, 0.0)
    assert all_of_it["whole"]
    assert len(all_of_it["trials"]) == 12
    add_epoch(project)
    news = searches.changes(all_of_it["project"], all_of_it["mark"], all_of_it["version"], 10.0)
    assert not news["whole"]
    assert [x["id"] for x in news["trials"]] == ["0011"]


def test_a_version_of_another_reading_is_none(tmp_path: Path) -> None:
    project = write(tmp_path)
    searches = WatchedSearches(lambda: [project])
    facts = searches.changes(str(project), "that of another process", 10_000, 30.0)
    assert facts["whole"]
    assert len(facts["trials"]) == 12


def test_the_wait_is_over_when_something_changes(tmp_path: Path) -> None:
    project = write(tmp_path, MadeUp(running=2, over=False))
    searches = WatchedSearches(lambda: [project], seconds=0.01)
    known = searches.changes("", "", 0, 0.0)
    got = []
    waiting = threading.Thread(
        target=lambda: got.append(searches.changes(known["project"], known["mark"], known["version"], 30.0))
    )
    waiting.start()
    add_epoch(project)
    waiting.join(timeout=20)
    assert [x["id"] for x in got[0]["trials"]] == ["0011"]


def test_the_wait_ends_with_nothing(tmp_path: Path) -> None:
    project = write(tmp_path)
    searches = WatchedSearches(lambda: [project], seconds=0.01)
    known = searches.changes("", "", 0, 0.0)
    later = searches.changes(known["project"], known["mark"], known["version"], 0.05)
    assert (later["trials"], later["version"], later["whole"]) == ([], known["version"], False)
    gone = searches.changes(known["project"], known["mark"], known["version"], 1000.0, active=lambda: False)
    assert "trials" not in gone


def test_before_the_first_search_there_is_nothing_and_then_there_is(tmp_path: Path) -> None:
    directories: list[Path] = []
    searches = WatchedSearches(lambda: directories, seconds=0.01)
    assert searches.changes("", "", 0, 0.02) == {"projects": []}
    directories += [write(tmp_path / "a"), write(tmp_path / "b")]
    facts = searches.changes("", "", 0, 10.0)
    assert facts["projects"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert facts["project"] == str(tmp_path / "b"), "the newest"
    assert searches.changes(str(tmp_path / "a"), "", 0, 0.0)["name"] == "a"
    with pytest.raises(KeyError, match="no search in /elsewhere"):
        searches.changes("/elsewhere", "", 0, 0.0)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    project = write(tmp_path / "a")
    searches = WatchedSearches(lambda: [project])
    assert searches.log(str(project), "0003") == ""
    path = log_of(project, "0003")
    path.parent.mkdir()
    path.write_text("x" * LOG_BYTES + "\nlast line\n")
    assert searches.log(str(project), "0003") == "last line\n"
    path.write_bytes(b"short \xff\n")
    assert searches.log(str(project), "0003") == "short \ufffd\n"
    for search, trial in ((project, "../../etc/passwd"), (tmp_path, "0003")):
        with pytest.raises(KeyError):
            searches.log(str(search), trial)
