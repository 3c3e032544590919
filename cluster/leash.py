"""A child that does not outlive its parent: it holds one end of a pipe, and acts when the other end closes.

The kernel closes the parent's end however the parent dies, SIGKILL included. What the parent has to tell its child
goes down the same pipe, line by line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any


class Leash:
    """The parent's end. Keep it as long as the child should live."""

    def __init__(self) -> None:
        self.child_end, own_end = os.pipe()
        self._own_end: int | None = own_end
        os.set_blocking(own_end, False)  # a child that does not read must not hold its parent up
        self._lock = threading.Lock()

    def start(self, command: Sequence[str], files: Sequence[int] = (), **options: Any) -> subprocess.Popen[bytes]:
        """Starts `command`, to which `--leash` and the pipe's number are added, in a session of its own.

        Its own session keeps a Ctrl-C at the terminal from reaching it: the parent decides what it means.

        Args:
            command: The interpreter, then the words of the `cluster` command.
            files: Descriptors that the child inherits.
            options: As for `subprocess.Popen`.
        """
        words = [*command[:1], "-P", "-m", "cluster", command[1], "--leash", str(self.child_end), *command[2:]]
        process = subprocess.Popen(
            words, pass_fds=(self.child_end, *files), stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        os.close(self.child_end)
        return process

    def tell(self, line: str) -> None:
        """Tells the child something; one that has ended, or does not listen, misses it."""
        with self._lock, contextlib.suppress(OSError):
            if self._own_end is not None:
                os.write(self._own_end, f"{line}\n".encode())

    def let_go(self) -> None:
        """Closes the parent's end: the child acts as if the parent had died."""
        with self._lock:
            if self._own_end is not None:
                os.close(self._own_end)
            self._own_end = None


def hold(end: int, then: Callable[[], None], heard: Callable[[str], None] = lambda line: None) -> None:
    """In the child: calls `then` in a thread when the parent is gone.

    Args:
        end: The pipe's number, as given by `--leash`.
        then: What to do.
        heard: What to do, in the same thread, with each line that the parent tells.
    """

    def watch() -> None:
        with contextlib.suppress(OSError), os.fdopen(end, "r") as lines:
            for line in lines:
                heard(line.rstrip("\n"))
        then()

    threading.Thread(target=watch, name="leash", daemon=True).start()


def terminate_self() -> None:
    """Ends this process as SIGTERM would: in order, where it has a handler."""
    os.kill(os.getpid(), signal.SIGTERM)


def vanish() -> None:
    """Ends this process at once."""
    os._exit(128 + signal.SIGHUP)
