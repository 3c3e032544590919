"""A TCP proxy between a worker and the chief, which can cut its connections, or go silent without closing them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class Proxy:
    """Listens on a port of its own and passes everything on, both ways.

    Args:
        target: The chief's port on this host.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()  # cleared: nothing passes, and nothing is closed
        self._open.set()
        self._refusing = False
        self._ended = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def cut(self) -> None:
        """Closes every connection, and new ones as they come, until `heal`."""
        self._refusing = True
        self._close_all()

    def silence(self) -> None:
        """Nothing arrives any more, and nobody is told, until `heal`."""
        self._open.clear()

    def heal(self) -> None:
        """Everything passes again, with what was held back."""
        self._refusing = False
        self._open.set()

    def end(self) -> None:
        """Closes everything."""
        self._ended = self._refusing = True
        self._open.set()
        # Closing alone would not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._close_all()
        for thread in self._threads:
            thread.join()

    def _start(self, action: Callable[..., None], *ends: socket.socket) -> None:
        thread = threading.Thread(target=action, args=ends, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._connect, near)

    def _connect(self, near: socket.socket) -> None:
        self._open.wait()
        try:
            if self._refusing:
                raise OSError("refused")
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        with self._lock:
            self._sockets |= {near, far}
        if self._refusing:  # since a moment ago
            self._close_all()
        self._start(self._pass, near, far)
        self._pass(far, near)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._open.wait()
                sink.sendall(data)
            self._open.wait()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._sockets.discard(end)
            if end is source:
                end.close()

    def _close_all(self) -> None:
        with self._lock:
            ends = list(self._sockets)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
