"""The log as JSON, and children's output made the same."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from cluster import jsonlog


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What this package's log writes, as JSON."""
    file = io.StringIO()
    log = logging.getLogger("cluster")
    before = (log.handlers[:], log.level)
    handler = logging.StreamHandler(file)
    handler.setFormatter(jsonlog.Formatter())
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    yield file
    log.handlers[:], log.level = before


def test_a_record_is_an_object(written: io.StringIO) -> None:
    logging.getLogger("cluster.search").info("trial %s → %s", 1, "ä\n")
    facts = json.loads(written.getvalue())
    assert list(facts) == ["time", "level", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts["time"])
    assert (facts["level"], facts["logger"], facts["message"]) == ("INFO", "cluster.search", "trial 1 → ä\n")


def test_a_traceback_is_part_of_the_message(written: io.StringIO) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("cluster").exception("it failed")
    [line] = written.getvalue().splitlines()
    message = json.loads(line)["message"]
    assert message.startswith("it failed\nTraceback (most recent call last):\n")
    assert message.endswith("\nValueError: no")


def test_what_is_told_is_an_object_too(written: io.StringIO) -> None:
    jsonlog.tell("100 % wrong", logging.ERROR, before="cluster: error: ")
    facts = json.loads(written.getvalue())
    assert (facts["level"], facts["logger"], facts["message"]) == ("ERROR", "cluster", "100 % wrong")


def test_without_it_it_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.getLogger("cluster"), "handlers", [])
    jsonlog.tell("wrong", before="cluster: error: ")
    assert capsys.readouterr().err == "cluster: error: wrong\n"


@pytest.mark.parametrize("line", ["best x 0.5", "", "[1]", "{broken", "null", '"text"', "{" * 100_000])
def test_a_childs_line_that_is_no_object_is_wrapped(line: str) -> None:
    facts = json.loads(jsonlog.from_child("worker-1", line, 1_790_000_000.0))
    assert facts == {"time": "2026-09-21T14:13:20.000Z", "level": "INFO", "source": "worker-1", "message": line}


def test_a_childs_object_says_whose_it_is() -> None:
    line = jsonlog.from_child("chief", '{"level": "WARNING", "message": "ä"}', 0.0)
    assert line == '{"level": "WARNING", "message": "ä", "source": "chief"}'


def test_colours_are_no_message() -> None:
    assert json.loads(jsonlog.from_child("chief", "\x1b[1m5/5\x1b[0m", 0.0))["message"] == "5/5"
