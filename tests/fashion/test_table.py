"""Tables and figures as people read them."""

from __future__ import annotations

import pytest

from fashion.table import aligned, duration, markdown, percent, value


def test_columns_are_aligned() -> None:
    assert aligned([("a", "1"), ("bcd", "22")]) == "a    1\nbcd  22"
    assert aligned([("a", "1"), ("bcd", "22")], ("", "number")) == "     number\n---  ------\na         1\nbcd      22"


def test_markdown() -> None:
    assert markdown([("a", "1")], ("name", "n")) == "| name | n |\n| --- | ---: |\n| a | 1 |"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (8.21, "8.2 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (728, "12 min 8 s"), (3660, "1 h 1 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_figures() -> None:
    assert percent(0.9019) == "90.19 %"
    assert value(0.00225536) == "0.002255"
    assert value(128) == "128"
    assert value(True) == "True"
