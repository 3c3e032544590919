"""This process's own stdout and stderr, which can be led elsewhere while the program runs.

Owns two turns: what a trial prints goes to its log too, or to its log alone; and what is printed while the terminal
shows a search goes above that. Objects that took hold of `sys.stderr` before, such as a handler of the program's
logging, are led along, since there is one object for all of it. Knows neither what is shown nor which trial runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from cluster.lines import Lines
from cluster.logs import TrialLog, closing, heading, log_of


def is_terminal(environ: Mapping[str, str]) -> bool:
    """Whether stdout is a terminal on which a line can be drawn over."""
    try:
        return sys.stdout.isatty() and environ.get("TERM", "") not in ("", "dumb", "unknown")
    except ValueError:  # it is closed
        return False


class Screen(Protocol):
    """A terminal that shows something at its lower end."""

    @property
    def showing(self) -> bool:
        """Whether it does just now."""

    def above(self, line: str) -> None:
        """Prints a line above it."""

    def end(self) -> None:
        """Shows it no longer."""


class Stream:
    """Stands where `sys.stdout` or `sys.stderr` stood; all but writing is the stream's own.

    Args:
        name: Its name in `sys`.
        file: The stream.
        screen: The terminal that it goes to, where that shows a search.
    """

    def __init__(self, name: str, file: TextIO, screen: Screen | None = None) -> None:
        self._name = name
        self._file = file
        self._screen = screen
        self._lines = Lines()
        self._lock = threading.RLock()
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

    def close(self) -> None:
        """Closes nothing: the stream is the process's. Handlers of logging close what is not `sys.stderr` any more."""

    def stop_showing(self) -> None:
        """The terminal is the program's alone."""
        if self._screen is not None:
            self._screen.end()

    def let_go(self) -> None:
        """In a process that was forked off: it is an ordinary stream, whatever its parent was doing with it."""
        self._screen = self._log = None
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        """A copy, or what is sent to another process, is that process's own stream."""
        return _own, (self._name,)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._file, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)


def _own(name: str) -> Any:
    return getattr(sys, name)


@functools.cache
def _all() -> weakref.WeakSet[Stream]:
    """The streams of this process; those of one that is forked off are let go."""
    streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    def let_go() -> None:
        for stream in list(streams):
            stream.let_go()

    os.register_at_fork(after_in_child=let_go)
    return streams


@contextlib.contextmanager
def led(screen: Screen | None = None) -> Iterator[tuple[Stream, Stream]]:
    """Puts streams that can be led in the place of `sys.stdout` and `sys.stderr`, for as long as it is open.

    Args:
        screen: The terminal that shows the search; streams that go elsewhere do not mind it.
    """
    before = (sys.stdout, sys.stderr)
    streams = [
        Stream(name, file, screen if screen is not None and file.isatty() else None)
        for name, file in zip(("stdout", "stderr"), before, strict=True)
    ]
    _all().update(streams)
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
        self._breakpoint: Callable[..., Any] | None = None  # what `breakpoint()` did before

    def begin(self, trial: str, attempt: int, values: Mapping[str, Any]) -> None:
        """From here on it is this trial's."""
        self.end()
        self._log = log = TrialLog(log_of(self._project, trial), heading(attempt, *self._about, values))
        to_terminal = [self._hide and stream.isatty() for stream in self._streams]
        for stream, hidden in zip(self._streams, to_terminal, strict=True):
            stream.lead(log, hidden=hidden)
        if self._hide and log.file is not None:
            self._breakpoint = sys.breakpointhook
            sys.breakpointhook = self._give_terminal
            for descriptor in (1, 2):
                if os.isatty(descriptor):
                    self._aside[descriptor] = os.dup(descriptor)
                    os.dup2(log.file, descriptor)

    def end(self, outcome: str = "", message: str = "") -> None:
        """Here the trial ends, if one has begun."""
        log, self._log = self._log, None
        if log is None:
            return
        self._show(None)
        log.close(closing(outcome, message))

    def _show(self, log: TrialLog | None) -> None:
        """Hides nothing any more; what is written still goes to this log."""
        for stream in self._streams:
            stream.lead(log)
        while self._aside:
            descriptor, before = self._aside.popitem()
            os.dup2(before, descriptor)
            os.close(before)
        if self._breakpoint is not None:
            sys.breakpointhook, self._breakpoint = self._breakpoint, None

    def _give_terminal(self, *args: Any, **kwargs: Any) -> Any:
        """The program wants a debugger, which needs the terminal for itself."""
        hook = self._breakpoint or sys.__breakpointhook__
        self._show(self._log)
        self._streams[0].stop_showing()
        return hook(*args, **kwargs)
