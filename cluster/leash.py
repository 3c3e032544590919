"""A child that does not outlive its parent: it holds one end of a pipe, and acts when the other end closes.

The kernel closes the parent's end however the parent dies, SIGKILL included.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any


class Leash:
    """The parent's end. Keep it as long as the child should live."""

    def __init__(self) -> None:
        self.child_end, self._own_end = os.pipe()

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Starts `command`, to which `--leash` and the pipe's number are added, in a session of its own.

        Its own session keeps a Ctrl-C at the terminal from reaching it: the parent decides what it means.
        """
        words = [*command[:1], "-P", "-m", "cluster", command[1], "--leash", str(self.child_end), *command[2:]]
        process = subprocess.Popen(
            words, pass_fds=(self.child_end,), stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        os.close(self.child_end)
        return process

    def let_go(self) -> None:
        """Closes the parent's end: the child acts as if the parent had died."""
        os.close(self._own_end)


def hold(end: int, then: Callable[[], None]) -> None:
    """In the child: calls `then` in a thread when the parent is gone.

    Args:
        end: The pipe's number, as given by `--leash`.
        then: What to do.
    """

    def watch() -> None:
        try:
            while os.read(end, 1):
                pass
        except OSError:
            pass
        then()

    threading.Thread(target=watch, name="leash", daemon=True).start()


def terminate_self() -> None:
    """Ends this process as SIGTERM would: in order, where it has a handler."""
    os.kill(os.getpid(), signal.SIGTERM)


def vanish() -> None:
    """Ends this process at once."""
    os._exit(128 + signal.SIGHUP)
