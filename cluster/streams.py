"""This process's own stdout and stderr, which can be led elsewhere while the program runs.

Owns two turns: what a trial prints goes to its log too, or to its log alone; and what is printed while the terminal
shows a search goes above that. Objects that took hold of `sys.stderr` before, such as a handler of the program's
logging, are led along, since there is one object for all of it. Knows neither what is shown nor which trial runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from cluster.lines import Lines
from cluster.logs import TrialLog, closing, heading, log_of


class Screen(Protocol):
    """A terminal that shows something at its lower end."""

    @property
    def showing(self) -> bool:
        """Whether it does just now."""

    def above(self, line: str) -> None:
        """Prints a line above it."""


class Stream:
    """Stands where `sys.stdout` or `sys.stderr` stood; all but writing is the stream's own.

    Args:
        file: The stream.
        screen: The terminal that it goes to, where that shows a search.
    """

    def __init__(self, file: TextIO, screen: Screen | None = None) -> None:
        self._file = file
        self._screen = screen
        self._lines = Lines()
        self._lock = threading.Lock()
        self._log: TrialLog | None = None
        self._hidden = False

    def lead(self, log: TrialLog | None, *, hidden: bool = False) -> None:
        """From now on what is written goes to a trial's log too, or there alone; None: no longer."""
        with contextlib.suppress(Exception):
            self._file.flush()
        self._log, self._hidden = log, hidden

    def write(self, text: str) -> int:
        """As of any stream."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        log = self._log
        if log is not None:
            log.write(text)
            if self._hidden and log.kept:
                return len(text)
        screen = self._screen
        if screen is not None and screen.showing:
            with self._lock:
                for line in self._lines.feed(text):
                    screen.above(line)
            return len(text)
        if screen is not None:
            with self._lock:
                rest = self._lines.rest()
            text = rest + text
        self._file.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As of any stream."""
        for line in lines:
            self.write(line)

    def let_go(self) -> None:
        """In a process that was forked off: it is an ordinary stream, whatever its parent was doing with it."""
        self._screen = self._log = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._file, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)


@contextlib.contextmanager
def led(screen: Screen | None = None) -> Iterator[tuple[Stream, Stream]]:
    """Puts streams that can be led in the place of `sys.stdout` and `sys.stderr`, for as long as it is open.

    Args:
        screen: The terminal that shows the search; streams that go elsewhere do not mind it.
    """
    before = (sys.stdout, sys.stderr)
    streams = tuple(Stream(file, screen if screen is not None and file.isatty() else None) for file in before)
    os.register_at_fork(after_in_child=lambda: [stream.let_go() for stream in streams])
    sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in streams)
    try:
        yield streams[0], streams[1]
    finally:
        for stream in streams:
            with contextlib.suppress(OSError, ValueError):
                stream.write("")  # what has no end yet
        if sys.stdout is cast(TextIO, streams[0]):
            sys.stdout = before[0]
        if sys.stderr is cast(TextIO, streams[1]):
            sys.stderr = before[1]


class Led:
    """Leads what trials of this process print to their logs.

    Args:
        streams: As `led` gives them.
        project: The project directory.
        worker: Who runs the trials.
        device: On what; may be empty.
        hide: Whether what goes to a terminal goes to the log alone, with what libraries write past Python.
    """

    def __init__(
        self, streams: tuple[Stream, Stream], project: Path, worker: str, device: str = "", *, hide: bool = False
    ) -> None:
        self._streams = streams
        self._project = project
        self._about = (worker, device)
        self._hide = hide
        self._log: TrialLog | None = None
        self._aside: dict[int, int] = {}  # where descriptors went before

    def begin(self, trial: str, attempt: int, values: Mapping[str, Any]) -> None:
        """From here on it is this trial's."""
        self.end()
        log = TrialLog(log_of(self._project, trial), heading(attempt, *self._about, values))
        self._log = log
        for stream in self._streams:
            stream.lead(log, hidden=self._hide and stream.isatty())
        if self._hide and log.file is not None:
            for descriptor in (1, 2):
                if os.isatty(descriptor):
                    self._aside[descriptor] = os.dup(descriptor)
                    os.dup2(log.file, descriptor)

    def end(self, outcome: str = "", message: str = "") -> None:
        """Here the trial ends, if one has begun."""
        log, self._log = self._log, None
        if log is None:
            return
        for stream in self._streams:
            stream.lead(None)
        for descriptor, before in self._aside.items():
            os.dup2(before, descriptor)
            os.close(before)
        self._aside.clear()
        log.close(closing(outcome, message))
