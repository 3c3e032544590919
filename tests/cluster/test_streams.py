"""stdout and stderr that are led to a trial's log, or above what a terminal shows."""

from __future__ import annotations

import copy
import io
import logging
import multiprocessing
import os
import pickle
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import streams
from cluster.logs import log_of


class Screen:
    """What shows something, on no terminal."""

    def __init__(self) -> None:
        self.showing = True
        self.lines: list[str] = []

    def above(self, line: str) -> None:
        self.lines.append(line)

    def end(self) -> None:
        self.showing = False


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def kept(project: Path, trial: str = "0") -> list[str]:
    """The lines of a trial's log, without its heading."""
    return log_of(project, trial).read_text().splitlines()[1:]


def test_a_trials_output_goes_to_its_log_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    with streams.led() as led:
        handler.setStream(sys.stderr)
        output = streams.Led(led, tmp_path, "local")
        print("before")
        output.begin("0", 1, {})
        print("out")
        print("error", file=sys.stderr)
        handler.emit(logging.makeLogRecord({"msg": "logged"}))
        output.end("completed")
        print("after")
    print("at the end")
    assert kept(tmp_path) == ["out", "error", "logged", "=== completed ==="]
    captured = capsys.readouterr()
    assert captured.out == "before\nout\nafter\nat the end\n"
    assert captured.err == "error\nlogged\n"


def test_the_stream_is_like_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with streams.led():
        assert sys.stdout is not before
        assert sys.stdout.encoding == before.encoding
        assert sys.stdout.isatty() == before.isatty()
        sys.stdout.writelines(["a\n", "b\n"])
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            getattr(sys.stdout, "nothing")  # noqa: B009
        assert copy.deepcopy([sys.stderr]) == [sys.stderr], "callbacks are copied for each trial"
        assert pickle.loads(pickle.dumps(sys.stdout)) is sys.stdout
        sys.stdout.close()  # absl's handler of logging does this at the end
        print("c", flush=True)
    assert sys.stdout is before
    assert capsys.readouterr().out == "a\nb\nc\n"


def test_what_the_program_put_in_its_place_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with streams.led():
        sys.stdout = other
    assert sys.stdout is other


def test_a_terminal_that_shows_a_search_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, screen = Terminal(), Screen()
    monkeypatch.setattr(sys, "stdout", terminal)
    with streams.led(screen):
        print("one", "two")
        print("10%", end="\r", flush=True)
        print("99%", end="\r", flush=True)
        print("100%")
        print("no end", end="")
        assert screen.lines == ["one two", "100%"]
        screen.end()
        print(" yet")
        print("shown no more")
    assert screen.lines == ["one two", "100%"]
    assert terminal.getvalue() == "no end yet\nshown no more\n"


def test_a_stream_that_goes_elsewhere_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    file, screen = io.StringIO(), Screen()
    monkeypatch.setattr(sys, "stderr", file)
    with streams.led(screen):
        print("to a file", file=sys.stderr)
    assert (file.getvalue(), screen.lines) == ("to a file\n", [])


HIDDEN = """
import os, sys
from pathlib import Path
from cluster import streams

class Screen:
    showing = True
    def above(self, line):
        os.write(screen, f"above: {line}\\n".encode())
    def end(self):
        self.showing = False

screen = os.dup(1)
print("before", flush=True)
with streams.led(Screen()) as led:
    output = streams.Led(led, Path(sys.argv[1]), "local", hide=True)
    output.begin("0", 1, {})
    print("by Python")
    os.write(2, b"past Python\\n")
    os.system("echo by a child")
    if sys.argv[2:]:
        sys.__breakpointhook__ = lambda: print("debugging")
        sys.breakpointhook.__self__._breakpoint = sys.__breakpointhook__
        breakpoint()
        print("seen again")
    output.end("completed")
    print("between trials")
    os.write(2, b"seen\\n")
"""


@pytest.mark.parametrize("debugging", [False, True])
def test_what_a_trial_prints_on_a_terminal_is_in_its_log_alone(tmp_path: Path, debugging: bool) -> None:
    parent, child = pty.openpty()
    words = [sys.executable, "-c", HIDDEN, str(tmp_path), *(["debug"] if debugging else [])]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=child, stderr=child) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                shown += os.read(parent, 10_000)
            except OSError:  # the last of the terminal's processes has ended
                break
        assert process.wait() == 0, shown
    os.close(parent)
    hidden = ["by Python", "past Python", "by a child"]
    lines = shown.decode().split()
    if debugging:
        assert shown.decode().splitlines() == ["before", "debugging", "seen again", "between trials", "seen"]
        assert kept(tmp_path) == [*hidden, "debugging", "seen again", "=== completed ==="]
    else:
        assert shown.decode().splitlines() == ["before", "above: between trials", "seen"], lines
        assert kept(tmp_path) == [*hidden, "=== completed ==="]


def _print(text: str) -> None:
    print(text, flush=True)


def test_a_forked_process_has_ordinary_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with streams.led(screen) as led:
        output = streams.Led(led, tmp_path, "local")
        output.begin("0", 1, {})
        child = multiprocessing.get_context("fork").Process(target=_print, args=("by a child",))
        child.start()
        child.join()
        output.end("completed")
    assert child.exitcode == 0
    assert kept(tmp_path) == ["=== completed ==="]
    assert screen.lines == []
    assert capfd.readouterr().out == "by a child\n"


def test_where_there_is_no_directory_nothing_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with streams.led() as led:
        output = streams.Led(led, tmp_path / "gone", "local", hide=True)
        output.begin("0", 1, {})
        print("seen")
        output.end("completed")
    assert terminal.getvalue() == "seen\n"


@pytest.mark.parametrize(("term", "one"), [("xterm-256color", True), ("dumb", False), ("", False), (None, False)])
def test_what_a_terminal_is(monkeypatch: pytest.MonkeyPatch, term: str | None, one: bool) -> None:
    environ = {} if term is None else {"TERM": term}
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert streams.is_terminal(environ) == one
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not streams.is_terminal(environ)
