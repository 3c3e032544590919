"""What a trial prints reaches the chief's log, once, whatever breaks in between."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster.errors import ChiefUnreachable, LeaseLost
from cluster.transfer.logsend import LogSender
from tests.cluster.conftest import Clock


class Log:
    """A chief's log, which may have something in it, and may be away for some calls."""

    def __init__(self, text: bytes = b"", away: int = 0) -> None:
        self.text = bytearray(text)
        self.away = away
        self.told = threading.Event()

    def append(self, at: int, data: bytes) -> int:
        if self.away:
            self.away -= 1
            raise ChiefUnreachable("away")
        if not 0 <= at <= len(self.text):
            return len(self.text)
        self.text[at : at + len(data)] = data
        self.told.set()
        return at + len(data)


def test_a_log_goes_to_the_end_of_the_chiefs(tmp_path: Path) -> None:
    path, log = tmp_path / "7.log", Log(b"first attempt\n")
    path.write_bytes(b"one\n")
    sender = LogSender(path, log.append, seconds=0.001)
    assert log.told.wait(10)
    with path.open("ab") as file:
        file.write(b"two\n" * 200_000)
    sender.close()
    assert bytes(log.text) == b"first attempt\none\n" + b"two\n" * 200_000
    assert not path.exists()


def test_a_chief_that_is_away_gets_it_when_it_is_back(tmp_path: Path) -> None:
    path, log = tmp_path / "7.log", Log(away=2)
    path.write_bytes(b"one\n")
    LogSender(path, log.append, seconds=1000).close()
    assert bytes(log.text) == b"one\n"


def test_a_chief_whose_log_was_cut_gets_what_is_new(tmp_path: Path) -> None:
    """A power cut may take the end of a log."""
    path, log = tmp_path / "7.log", Log(b"head\n")
    path.write_bytes(b"one\n")
    sender = LogSender(path, log.append, seconds=0.001)
    assert log.told.wait(10)
    del log.text[2:]
    with path.open("ab") as file:
        file.write(b"two\n")
    sender.close()
    assert bytes(log.text).endswith(b"two\n")


def test_a_call_that_hangs_does_not_hold_up_who_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.transfer.logsend.LAST_SECONDS", 0.05)
    monkeypatch.setattr("cluster.transfer.logsend.CALL_SECONDS", 0.05)
    path, let_go = tmp_path / "7.log", threading.Event()
    path.write_bytes(b"one\n")

    def hangs(at: int, data: bytes) -> int:
        let_go.wait(60)
        raise LeaseLost("over")

    LogSender(path, hangs, seconds=1000).close()
    assert not let_go.is_set()
    let_go.set()


def test_one_that_is_not_to_be_had_any_more_is_given_up(tmp_path: Path) -> None:
    path, clock = tmp_path / "7.log", Clock()
    path.write_bytes(b"one\n")

    def lost(at: int, data: bytes) -> int:
        raise LeaseLost("over")

    LogSender(path, lost, seconds=1000).close()
    assert not path.exists()
    path.write_bytes(b"one\n")

    def away(at: int, data: bytes) -> int:
        clock.now += 100
        raise ChiefUnreachable("away")

    LogSender(path, away, seconds=1000, clock=clock).close()
    assert not path.exists()
