"""The notes beside a search: settings that must not change, and time that adds up over interruptions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fashion.errors import SettingsError
from fashion.files import read_json
from fashion.project import Project

SETTINGS = {"data": "real", "epochs": 5}


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return Project(tmp_path / "project", clock)


def test_the_same_settings_may_come_back(project: Project) -> None:
    project.check(SETTINGS)
    assert not project.path.exists()
    project.claim(SETTINGS)
    project.claim(SETTINGS)
    assert read_json(project.path)["settings"] == SETTINGS


def test_other_settings_are_refused_and_named(project: Project) -> None:
    project.claim(SETTINGS)
    for refuse in (project.check, project.claim):
        with pytest.raises(SettingsError, match=r"begun with data real \(now generated\)\. Ask for the same"):
            refuse({"data": "generated", "epochs": 5})
    assert read_json(project.path)["settings"] == SETTINGS


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write in"):
        Project(tmp_path / "file" / "project").claim(SETTINGS)


def test_sessions_add_up_without_the_time_between(project: Project, clock: Clock) -> None:
    assert project.seconds() == 0
    for seconds in (10, 5):
        project.claim(SETTINGS)
        with project.timing():
            clock.now += seconds
        clock.now += 1_000
    assert project.seconds() == 15


def test_a_session_that_ends_with_an_error_counts(project: Project, clock: Clock) -> None:
    def fail_later() -> None:
        with project.timing():
            clock.now += 7
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_later()
    assert project.seconds() == 7


@pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json"])
def test_a_session_that_was_killed_counts_up_to_its_last_sign_of_life(
    project: Project, clock: Clock, name: str
) -> None:
    project.claim(SETTINGS)
    killed = project.timing()
    killed.__enter__()
    sign = project.folder / name
    sign.parent.mkdir(exist_ok=True)
    sign.touch()
    os.utime(sign, (clock.now + 20, clock.now + 20))
    clock.now += 5_000

    later = Project(project.folder, clock)
    later.claim(SETTINGS)
    os.utime(sign, (clock.now, clock.now))  # what the resumed search writes says nothing about the one that died
    with later.timing():
        clock.now += 3
    assert later.seconds() == 23


def test_a_session_that_was_killed_at_once_takes_no_time(project: Project, clock: Clock) -> None:
    project.timing().__enter__()
    assert Project(project.folder, clock).seconds() == 0
