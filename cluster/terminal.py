"""The terminal of a run: the search at its lower end, drawn anew as it goes on, and all other output above that.

Owns when it is drawn, by which thread, and that every line above it is whole and in order. What is drawn is
`panel.py`'s; what is known of the search, `record.py`'s.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from cluster.observer import Looker
from cluster.panel import Panel, View
from cluster.record import Record

DRAW_SECONDS = 1.0  # how often the clock is drawn anew
GATHER_SECONDS = 0.1  # how long lines may wait to be printed together


class Terminal:
    """What shows a search. Any thread may call any method.

    Args:
        console: Where to draw; the terminal that stdout is, if it is left out.
    """

    def __init__(self, console: Console | None = None) -> None:
        # A descriptor of its own: while a trial runs, the process's own may lead to the trial's log.
        self._descriptor = os.dup(1) if console is None else None
        self._console = console or _console(self._descriptor)
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._view: View | None = None
        self._lines: list[str] = []
        self._wake = threading.Event()

    @property
    def showing(self) -> bool:
        """Whether a search is shown just now."""
        return self._live is not None

    def looker(self, directory: Path) -> Looker:
        """Begins to show a search, and returns who has to be told of it; it is shown until it is over."""
        self.begin()
        return self.look

    def begin(self) -> None:
        """Shows a search, of which nothing is known yet."""
        with self._lock:
            self.end()
            self._measure()
            self._view = None
            self._live = live = Live(
                Panel(None, time.time()),
                console=self._console,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            with contextlib.suppress(OSError, ValueError):
                live.start(refresh=True)
            threading.Thread(target=self._draw, args=(live,), name="terminal", daemon=True).start()

    def look(self, record: Record) -> None:
        """Takes a search as it stands; one that is over is left on the screen in a few lines."""
        view = View.of(record, time.time())
        with self._lock:
            if self._live is None:
                return
            self._view = view
            if view.over:
                self.end()
        self._wake.set()

    def above(self, line: str) -> None:
        """Prints a line above what is shown."""
        with self._lock:
            if self._live is None:
                self._write(line)
            else:
                self._lines.append(line)
                self._wake.set()

    def end(self) -> None:
        """Shows the search no longer; what is known of it stays on the screen."""
        with self._lock:
            live, self._live = self._live, None
            if live is None:
                return
            self._measure()
            with contextlib.suppress(OSError, ValueError):  # the terminal has gone
                self._print_lines()
                live.update(Panel(self._view, time.time(), final=True))
                live.stop()
        self._wake.set()

    # --- as of a stream, for handlers of logging: they write whole lines

    def write(self, text: str) -> int:
        """Prints lines above what is shown."""
        for line in text.removesuffix("\n").split("\n"):
            self.above(line)
        return len(text)

    def flush(self) -> None:
        """Lines are printed as they come."""

    # --- drawing

    def _draw(self, live: Live) -> None:
        """The thread that draws, for as long as this search is shown."""
        while True:
            self._wake.wait(DRAW_SECONDS)
            with self._lock:
                if self._live is not live:
                    return
                self._wake.clear()
                self._measure()
                with contextlib.suppress(OSError, ValueError):
                    self._print_lines()
                    live.update(Panel(self._view, time.time()), refresh=True)
            time.sleep(GATHER_SECONDS)

    def _measure(self) -> None:
        """Looks how large the terminal is: Rich would ask the descriptors that a trial may have."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                columns, lines = os.get_terminal_size(self._descriptor)
                self._console.size = ConsoleDimensions(columns or 80, lines or 24)

    def _print_lines(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._console.print(Text("\n").join(Text.from_ansi(line) for line in lines), soft_wrap=True)

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._console.file.write(f"{line}\n")
            self._console.file.flush()


def _console(descriptor: int | None) -> Console:
    assert descriptor is not None
    file = os.fdopen(descriptor, "w", encoding=sys.stdout.encoding or "utf-8", errors="replace", closefd=False)
    return Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False)


@contextlib.contextmanager
def logged_above(terminal: Terminal) -> Iterator[None]:
    """While open, this package's own log is printed above what the terminal shows, where it goes to the terminal."""
    own = [x for x in logging.getLogger("cluster").handlers if isinstance(x, logging.StreamHandler)]
    led = [(handler, handler.setStream(terminal)) for handler in own if handler.stream.isatty()]
    try:
        yield
    finally:
        terminal.end()
        for handler, stream in led:
            handler.setStream(stream)
