"""Lines of output as a terminal shows them in the end."""

from __future__ import annotations

import pytest

from cluster.lines import LONGEST, Lines, as_shown, plain


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("hello\n", "hello"),
        ("hello\r\n", "hello"),
        ("1/9\r2/9\r9/9\n", "9/9"),
        ("1/9\b\b\b\r9/9\n", "9/9"),
        ("", ""),
        ("\r\n", ""),
    ],
)
def test_a_progress_bars_last_state_is_kept(line: str, shown: str) -> None:
    assert as_shown(line) == shown


def test_codes_are_no_text() -> None:
    assert plain("\x1b[1m 5/10\x1b[0m \x1b[32m━━\x1b[0m \x1b]0;title\x07done\x07\tx") == " 5/10 ━━ done\tx"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_make_the_same_lines(size: int) -> None:
    text = "first\nsecond\r\n\n 10%\r 50%\r100%\nno end\r yet"
    lines = Lines()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert [line for piece in pieces for line in lines.feed(piece)] == ["first", "second", "", "100%"]
    assert lines.rest() == " yet"
    assert lines.rest() == ""


def test_a_bar_that_is_drawn_for_ever_takes_no_memory() -> None:
    lines = Lines()
    for number in range(LONGEST):
        assert lines.feed(f"{number}\r") == []
    assert lines.rest() == str(LONGEST - 1)


def test_a_line_without_an_end_is_one_at_last() -> None:
    assert Lines().feed("x" * (LONGEST + 1)) == ["x" * (LONGEST + 1)]
