"""A terminal that shows a search: what is printed above it is whole and in order, and it goes when the search does."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from cluster.follow import Follower, read
from cluster.lines import plain
from cluster.terminal import Terminal, logged_above
from tests.made_up import MadeUp, write


class Screen(io.StringIO):
    """A terminal's file, which tells when a text has been written to it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            written = super().write(text)
            self._changed.notify_all()
        return written

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in plain(self.getvalue()), 30), self.getvalue()

    def isatty(self) -> bool:
        return True


def terminal_of(screen: Screen, width: int = 100, height: int = 30) -> Terminal:
    return Terminal(
        Console(file=screen, force_terminal=True, width=width, height=height, highlight=False, markup=False)
    )


def in_the_end(text: str) -> list[str]:
    """The lines that a terminal shows in the end: what was drawn over is gone."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", part):
            row -= int(part[2:-1] or 1)
        elif not part.startswith("\x1b") and part != "\r":
            lines[row] += part
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


def test_lines_above_a_search_are_whole_and_in_order(tmp_path: Path) -> None:
    screen = Screen()
    terminal = terminal_of(screen)
    terminal.above("before")
    look = terminal.looker(tmp_path)
    assert terminal.showing
    look(read(write(tmp_path, MadeUp(trials=6, max_trials=12, running=2, over=False))))
    screen.wait_for("4 of 12 trials")
    long = "x" * 250
    for line in ("first", long, "[bold]no markup[/bold] :smile:", "\x1b[31mred\x1b[0m", "", "last"):
        terminal.above(line)
    terminal.end()
    terminal.above("after")
    assert not terminal.showing
    lines = in_the_end(screen.getvalue())
    assert lines[:7] == ["before", "first", long, "[bold]no markup[/bold] :smile:", "red", "", "last"]
    assert lines[7].startswith(f"{tmp_path.name}  interrupted")
    assert lines[-1] == "after"
    assert sum("4 of 12 trials" in line for line in lines) == 1, "it is drawn over, and left once"
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 1, "the cursor is back"


def test_many_threads_may_print(tmp_path: Path) -> None:
    screen = Screen()
    terminal = terminal_of(screen)
    terminal.begin()

    def say(name: str) -> None:
        for number in range(200):
            terminal.above(f"{name} {number}")

    threads = [threading.Thread(target=say, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    terminal.end()
    lines = in_the_end(screen.getvalue())
    for name in "abc":
        assert [x for x in lines if x.startswith(f"{name} ")] == [f"{name} {number}" for number in range(200)]


def test_a_search_that_is_over_is_shown_no_more(tmp_path: Path) -> None:
    screen = Screen()
    terminal = terminal_of(screen)
    look = terminal.looker(tmp_path)
    look(read(write(tmp_path, MadeUp())))
    assert not terminal.showing
    look(read(tmp_path))  # once more, for good measure
    lines = in_the_end(screen.getvalue())
    assert re.match(rf"{tmp_path.name}  ended  ━+  12 of 12 trials  in 0:\d\d", lines[0])
    assert lines[1].startswith("best val_accuracy=")
    assert len(lines) == 3


def test_one_search_after_another(tmp_path: Path) -> None:
    screen = Screen()
    terminal = terminal_of(screen)
    for name in ("first", "second"):
        follower = Follower(write(tmp_path / name, MadeUp()))
        follower.poll()
        terminal.looker(tmp_path / name)(follower.record)
        terminal.above(f"after the {name}")
    lines = in_the_end(screen.getvalue())
    assert [line.split()[0] for line in lines if "12 of 12" in line] == ["first", "second"]
    assert lines.index("after the first") < next(n for n, x in enumerate(lines) if x.startswith("second "))


def test_our_own_log_is_printed_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stderr, elsewhere = Screen(), Screen(), io.StringIO()
    log = logging.getLogger("cluster")
    handlers = [logging.StreamHandler(stderr), logging.StreamHandler(elsewhere)]
    monkeypatch.setattr(log, "handlers", handlers)
    terminal = terminal_of(screen)
    with logged_above(terminal):
        terminal.begin()
        log.error("two\nlines")
    log.error("later")
    assert in_the_end(screen.getvalue())[:2] == ["two", "lines"]
    assert stderr.getvalue() == "later\n"
    assert elsewhere.getvalue() == "two\nlines\nlater\n"


def test_a_terminal_that_has_gone_disturbs_nobody(tmp_path: Path) -> None:
    class Gone(Screen):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    terminal = terminal_of(Gone())
    terminal.above("before")
    look = terminal.looker(tmp_path)
    terminal.above("a line")
    look(read(write(tmp_path, MadeUp())))
    terminal.above("after")
    assert not terminal.showing


def test_the_terminal_is_as_large_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((33, 9)))
    monkeypatch.setattr(sys, "stdout", Screen())
    terminal = Terminal()
    terminal._measure()
    assert (terminal._console.width, terminal._console.height) == (33, 9)
