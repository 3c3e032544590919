"""Those who show a search are told of it, and cannot disturb it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.observer import MOST_REST, Observer
from cluster.record import Record
from tests.made_up import MadeUp, write


def test_lookers_see_the_last_state(tmp_path: Path) -> None:
    seen: list[int] = []
    observer = Observer(write(tmp_path, MadeUp(trials=3)), [lambda record: seen.append(len(record.trials))], 1e6)
    observer.close()
    assert seen == [3]


def test_they_are_told_while_it_runs(tmp_path: Path) -> None:
    told = threading.Event()
    observer = Observer(write(tmp_path), [lambda record: told.set()], 0.01)
    assert told.wait(30)
    observer.close()


def test_one_that_raises_is_told_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project = write(tmp_path, MadeUp(trials=3))
    second, third = threading.Event(), threading.Event()

    def bad(record: Record) -> None:
        raise ValueError("no")

    def good(record: Record) -> None:
        third.set() if second.is_set() else second.set()

    with caplog.at_level(logging.ERROR):
        observer = Observer(project, [bad, good], 0.01)
        assert second.wait(30)
        with (project / "events.jsonl").open("a") as file:
            file.write('{"time": 1, "event": "joined", "worker": "late"}\n')
        assert third.wait(30)
        observer.close()
    assert len(caplog.records) == 1


def test_a_directory_without_a_search_is_waited_for(tmp_path: Path) -> None:
    told = threading.Event()
    observer = Observer(tmp_path / "project", [lambda record: told.set()], 0.01)
    write(tmp_path / "project")
    assert told.wait(30)
    observer.close()


def test_without_lookers_nobody_looks(tmp_path: Path) -> None:
    Observer(tmp_path, []).close()
    assert "observer" not in {x.name for x in threading.enumerate()}


def test_a_gentle_looker_is_told_in_steps_and_its_last_look_is_whole(tmp_path: Path) -> None:
    begun, told = threading.Event(), []

    class Slow:
        def __call__(self, record: Record) -> None:
            raise AssertionError("it is told in steps")

        def gently(self, record: Record) -> Iterator[None]:
            for number in range(100):
                told.append(number)
                begun.set()
                yield

    observer = Observer(write(tmp_path), [Slow()], 0.01)
    assert begun.wait(10)
    observer.close()
    assert told == list(range(100))


def test_a_gentle_looker_that_raises_in_the_middle_is_told_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()

    class Bad:
        def gently(self, record: Record) -> Iterator[None]:
            yield
            raise ValueError("gone")

        def __call__(self, record: Record) -> None:
            raise AssertionError("it is told in steps")

    with caplog.at_level(logging.ERROR, "cluster.observer"):
        observer = Observer(write(tmp_path), [Bad(), lambda record: told.set()], 0.01)
        assert told.wait(10)
        observer.close()
    assert "gone" in caplog.text


def test_between_the_steps_of_a_gentle_looker_the_others_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    class Gentle:
        def __call__(self, record: Record) -> None:
            raise AssertionError("it is told in steps")

        def gently(self, record: Record) -> Iterator[None]:
            yield
            yield

    observer = Observer(tmp_path, [])
    monkeypatch.setattr(observer._ended, "wait", rests.append)
    observer._tell_gently(Gentle(), Record(str(tmp_path), "project"))
    assert len(rests) == 2
    assert all(0 < rest <= MOST_REST for rest in rests)
