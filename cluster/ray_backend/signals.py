"""SIGTERM in a process that drives Ray, which has its own ideas of it.

Owns that the exception of the handler before is what leaves: by it the run's exit code is told.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def own_sigterm() -> Iterator[Callable[[], None]]:
    """Keeps SIGTERM in here what it was before Ray.

    Yields:
        What to call once Ray has started, and has set a handler of its own, which ends the process with 1.
    """
    handler = signal.getsignal(signal.SIGTERM)
    raised: list[BaseException] = []

    def keep(signum: int, frame: FrameType | None) -> None:
        assert callable(handler)
        try:
            handler(signum, frame)
        except BaseException as error:
            raised.append(error)
            raise

    try:
        yield lambda: _set(keep if callable(handler) else handler)
    except KeyboardInterrupt:
        # Where Ray waits, it takes what a handler raises, and raises a plain KeyboardInterrupt in its place.
        if raised:
            raise raised[-1] from None
        raise
    finally:
        _set(handler)


def _set(handler: Callable[[int, FrameType | None], object] | int | None) -> None:
    signal.signal(signal.SIGTERM, handler)
