"""How this process ends: by a signal in order, and at once when all is done."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import typer

from cluster import jsonlog


def leave(code: int) -> NoReturn:
    """Ends the process as Python does, but for taking its modules apart: TensorFlow's take seconds, for nothing."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, where it should end a run in order as Ctrl-C does."""


def signal_code(interrupt: KeyboardInterrupt) -> int:
    """With what a process exits that was interrupted."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, _Terminated) else signal.SIGINT)


def on_sigterm(handler: Callable[[int, FrameType | None], None]) -> Any:
    """Handles SIGTERM in this process, and not in those that the program forks: they end by it, as they expect to."""

    def handle(signum: int, frame: FrameType | None) -> None:
        code = None if frame is None else frame.f_code
        if any(getattr(callback, "__code__", None) is code for callback in gc.callbacks):
            # Python drops what is raised there, which is where it is right after a long look for garbage.
            again = threading.Timer(0.01, os.kill, (os.getpid(), signum))
            again.daemon = True
            again.start()
        else:
            handler(signum, frame)

    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    return signal.signal(signal.SIGTERM, handle)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Makes SIGTERM end what is inside in order, as Ctrl-C does; then the process exits with 128 + the signal."""

    def terminate(_signum: int, _frame: FrameType | None) -> None:
        raise _Terminated

    previous = on_sigterm(terminate)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        jsonlog.tell("interrupted; run the same command again to go on", logging.WARNING, before="cluster: ")
        raise typer.Exit(signal_code(interrupt)) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
